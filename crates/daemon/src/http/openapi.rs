//! The OpenAPI document, made from the handlers and the wire types.

use axum::Json;
use banger_api::LogSource;
use utoipa::ToSchema;
use utoipa::openapi::{ComponentsBuilder, Info, OpenApi, OpenApiBuilder};

/// The document without its paths.
pub(super) fn head() -> OpenApi {
    let mut info = Info::new("banger", &format!("v{}", banger_api::API_VERSION));
    info.description = Some(
        "The daemon's API: HTTP/1.1 with JSON over its Unix socket. An operation that takes time \
         answers with `application/x-ndjson`, one `Event` a line, the last of which is `done` or \
         `failed`. Every error is an `ErrorBody`. A `{ref}` is a VM's name or id, or a prefix of \
         either that fits no other VM. A body can be left out where every field has a default."
            .to_owned(),
    );
    // The types of query parameters are not found by way of the routes.
    let components = ComponentsBuilder::new().schema_from::<LogSource>().build();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// The whole document.
pub fn document() -> OpenApi {
    super::api().into_openapi()
}

/// The OpenAPI document
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", responses(
    (status = 200, description = "This document", body = Object),
))]
pub(super) async fn serve() -> Json<OpenApi> {
    Json(document())
}

/// What is to be different; an absent field stays as it is. Disks only grow. A change takes effect
/// at the next start.
///
/// The schema of `banger_core::spec::SpecChange`, which knows nothing of OpenAPI.
#[derive(Debug, ToSchema)]
#[schema(as = SpecChange)]
#[expect(dead_code, reason = "it is never made, only described")]
pub(super) struct SpecChangeSchema {
    /// Virtual processors.
    #[schema(minimum = 1, maximum = 32)]
    vcpu: Option<u32>,
    /// Memory in MiB.
    #[schema(minimum = 128)]
    memory: Option<u32>,
    /// The size of the root disk in MiB; one over a larger image has the image's.
    #[schema(minimum = 16, maximum = 131_072)]
    overlay: Option<u32>,
    /// The size of the work disk in MiB.
    #[schema(minimum = 16, maximum = 131_072)]
    work_disk: Option<u32>,
    /// Whether the guest reaches beyond the bridge.
    nat: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::spec::SpecChange;
    use banger_core::unit::{MiB, VcpuCount};
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn document_json() -> Value {
        serde_json::to_value(document()).unwrap()
    }

    #[test]
    fn the_schema_of_a_change_has_the_fields_of_a_change() {
        let whole = SpecChange {
            vcpu: Some(VcpuCount::new(1).unwrap()),
            memory: Some(MiB::of(128)),
            overlay: Some(MiB::of(16)),
            work_disk: Some(MiB::of(16)),
            nat: Some(true),
        };
        let names = |value: &Value| -> BTreeSet<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        let document = document_json();
        let schema = &document["components"]["schemas"]["SpecChange"]["properties"];
        assert_eq!(names(schema), names(&serde_json::to_value(whole).unwrap()));
    }

    #[test]
    fn the_routes_are_those_of_the_table_in_the_api_crate() {
        let table = include_str!("../../../api/src/lib.rs");
        let rows = table.lines().filter_map(|line| line.strip_prefix("//! | `"));
        let documented: BTreeSet<String> =
            rows.filter_map(|row| row.split(['`', '?']).next()).map(str::to_owned).collect();
        let document = document_json();
        let served: BTreeSet<String> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().keys();
                methods.map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .collect();
        assert_eq!(served, documented);
    }

    #[test]
    fn operations_have_ids_of_their_own_and_answers_are_described() {
        let document = document_json();
        let items = document["paths"].as_object().unwrap().values();
        let operations: Vec<&Value> =
            items.flat_map(|item| item.as_object().unwrap().values()).collect();
        let ids: BTreeSet<&str> =
            operations.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), operations.len());
        for operation in operations {
            for answer in operation["responses"].as_object().unwrap().values() {
                assert!(answer["description"].is_string(), "{operation}");
            }
        }
    }

    #[test]
    fn every_reference_in_the_document_leads_somewhere() {
        fn references(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(target)) = fields.get("$ref") {
                        found.insert(target.clone());
                    }
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = document_json();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
    }
}
