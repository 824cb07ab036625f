//! `banger version`.

use super::Session;
use crate::failure::Failure;
use banger_api::{Version, build};
use serde::Serialize;

#[derive(Serialize)]
struct Versions {
    client: Version,
    /// Absent when no daemon runs.
    daemon: Option<Version>,
}

/// Shows both builds. It starts no daemon: what is asked for is what there is.
pub(super) async fn run(session: &Session<'_>) -> Result<(), Failure> {
    let daemon = match session.door.client().version().await {
        Ok(version) => Some(version),
        Err(error) if error.is_unreachable() => None,
        Err(error) => return Err(error.into()),
    };
    let versions = Versions { client: build::this_program(), daemon };
    session.output.answer(&versions, |versions| {
        let daemon = match &versions.daemon {
            Some(version) => line("bangerd", version),
            None => "bangerd: not running\n".to_owned(),
        };
        line("banger", &versions.client) + &daemon
    })
}

fn line(program: &str, version: &Version) -> String {
    let Version { version, api, commit, build } = version;
    format!("{program} {version} (commit {commit}, API {api}, build {build})\n")
}
