//! The bill of materials of an image, in SPDX 2.3.

use crate::manifest::Manifest;
use serde_json::{Value, json};

/// Renders the document. `id` is unique to the image, and makes the document's namespace so.
///
/// Fields and their forms: the SPDX specification 2.3, clauses 6, 7 and 11; package URLs: purl-spec.
pub fn render_spdx(manifest: &Manifest, id: &str) -> String {
    let image = "SPDXRef-Image";
    let mut packages = vec![json!({
        "SPDXID": image,
        "name": manifest.image,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "comment": format!(
            "built from the image {}, whose root file system has the digest {}",
            manifest.base.image, manifest.base.digest
        ),
    })];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", image)];
    for (index, _) in manifest.packages.iter().enumerate() {
        packages.push(package(manifest, index));
        relationships.push(relationship(image, "CONTAINS", &package_id(manifest, index)));
    }
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": manifest.image,
        "documentNamespace": format!("urn:banger:image:{id}"),
        "creationInfo": {
            "created": manifest.built_at,
            "creators": [format!("Tool: {}", manifest.builder)],
        },
        "packages": packages,
        "relationships": relationships,
    });
    let text = serde_json::to_string_pretty(&document);
    text.expect("it has string keys and whole numbers only") + "\n"
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn package(manifest: &Manifest, index: usize) -> Value {
    let package = &manifest.packages[index];
    let mut value = json!({
        "SPDXID": package_id(manifest, index),
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    });
    if let Some(purl) = purl(manifest, index) {
        value["externalRefs"] = json!([{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": purl,
        }]);
    }
    value
}

/// Letters, digits, dots and dashes only; the number makes it unique.
fn package_id(manifest: &Manifest, index: usize) -> String {
    let name: String = manifest.packages[index]
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    format!("SPDXRef-Package-{}-{name}", index + 1)
}

/// `pkg:deb/debian/udev@252.39-1?arch=amd64&distro=debian-12`.
fn purl(manifest: &Manifest, index: usize) -> Option<String> {
    let (package, distribution) = (&manifest.packages[index], &manifest.distribution);
    let kind = manifest.package_manager?.purl_type();
    let namespace = match distribution.id.as_str() {
        "" => String::new(),
        id => format!("{}/", encode(id)),
    };
    let mut purl = format!(
        "pkg:{kind}/{namespace}{}@{}?arch={}",
        encode(&package.name),
        encode(&package.version),
        encode(&package.architecture)
    );
    if !distribution.id.is_empty() && !distribution.version.is_empty() {
        let (id, version) = (encode(&distribution.id), encode(&distribution.version));
        purl.push_str(&format!("&distro={id}-{version}"));
    }
    Some(purl)
}

/// Percent-encodes what a package URL does not take as it is.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{Installed, PackageManager};
    use crate::manifest::{Base, FileRecord, Request};
    use crate::workshop::Distribution;
    use std::collections::BTreeSet;

    fn manifest() -> Manifest {
        let file = |path: &str| FileRecord { path: path.into(), sha256: "0".repeat(64) };
        let installed = |name: &str, version: &str| Installed {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "amd64".to_owned(),
        };
        Manifest {
            version: Manifest::VERSION,
            image: "dev".to_owned(),
            built_at: "2026-01-02T03:04:05Z".to_owned(),
            builder: "banger-0.1.0".to_owned(),
            base: Base {
                image: "default".to_owned(),
                id: "0f5k2m9q".to_owned(),
                rootfs: "/b/rootfs.ext4".into(),
                digest: "sparse-sha256:2".to_owned(),
            },
            distribution: Distribution { id: "debian".to_owned(), version: "12".to_owned() },
            kernel: file("/b/vmlinux"),
            request: Request {
                file: None,
                file_sha256: None,
                packages: vec!["libstdc++6".to_owned()],
                sha256: "1".repeat(64),
            },
            package_manager: Some(PackageManager::Apt),
            packages: vec![installed("libstdc++6", "1:12.2.0-14+deb12u1"), installed("udev", "2")],
            by_hand: false,
            scripts: Vec::new(),
            copies: Vec::new(),
            modules: None,
        }
    }

    #[test]
    fn every_package_is_in_it_once_with_its_url() {
        let document: Value = serde_json::from_str(&render_spdx(&manifest(), "x")).unwrap();
        assert_eq!(document["packages"].as_array().unwrap().len(), 3);
        assert_eq!(
            document["packages"][1]["externalRefs"][0]["referenceLocator"],
            "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12"
        );
        let ids: BTreeSet<String> = document["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|package| package["SPDXID"].as_str().unwrap().to_owned())
            .collect();
        for relationship in document["relationships"].as_array().unwrap() {
            let target = relationship["relatedSpdxElement"].as_str().unwrap();
            assert!(ids.contains(target), "{target}");
        }
    }

    #[test]
    fn the_documents_are_beside_the_root_file_system_and_parse_back() {
        let rootfs = std::path::Path::new("/i/rootfs.ext4");
        assert_eq!(Manifest::path_of(rootfs).to_str(), Some("/i/rootfs.ext4.packages.json"));
        assert_eq!(Manifest::sbom_path_of(rootfs).to_str(), Some("/i/rootfs.ext4.spdx.json"));
        let manifest = manifest();
        let again: Manifest = serde_json::from_str(&manifest.render()).unwrap();
        assert_eq!(again, manifest);
    }
}
