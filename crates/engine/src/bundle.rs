//! Building the runtime bundle, fetching one, and reading all of it: work that takes its time, step by step.

use crate::engine::Answer;
use crate::error::EngineError;
use crate::executor::blocking;
use crate::follow::{Interest, Tell, Told, follow, tell, tell_step};
use crate::images::sync_default;
use crate::operation::{Finished, Reporter};
use crate::settings::Images;
use crate::shared::Shared;
use banger_image::bundle::{
    BuildRequest, BundleSource, Checksum, FetchProgress, FetchRequest, Pin, Place, VerifyError,
    build as build_bundle, fetch as fetch_bundle, verify as verify_bundle,
};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Which archive to fetch.
#[derive(Debug, Clone)]
pub enum FetchFrom {
    /// This one.
    Archive {
        /// Where it is.
        place: Place,
        /// Its checksum; a URL needs one.
        sha256: Option<Checksum>,
    },
    /// The one that a `runtime-bundle.toml` names.
    Pin(PathBuf),
}

/// Where the bundle is; a simulation has none for what is to be done.
fn bundle_source(shared: &Shared, what: &'static str) -> Result<BundleSource, EngineError> {
    match &shared.settings.images {
        Images::Bundle(source) => Ok(source.clone()),
        Images::Simulated => Err(EngineError::Simulated { what }),
    }
}

/// Builds the bundle.
pub(crate) async fn build(shared: Arc<Shared>, mut report: Reporter) -> Answer {
    let dir = match bundle_source(&shared, "build a bundle") {
        Ok(source) => source.dir,
        Err(error) => return Ok((report, Err(error))),
    };
    let work = move |cancel: &AtomicBool, to: &Tell| run_build(&dir, cancel, to);
    let built = follow(&shared, Interest::Everybody, &mut report, work).await;
    let synced = match built {
        // The default image is what the bundle has now.
        Ok(()) => blocking(move || sync_default(&shared)).await.map(drop),
        Err(error) => Err(error),
    };
    Ok((report, synced.map(|()| Finished { vm: None, changed: true })))
}

fn run_build(dir: &Path, cancel: &AtomicBool, to: &Tell) -> Result<(), EngineError> {
    let built = Timestamp::now().to_string();
    let name = "default".parse().expect("a plain word");
    let request = BuildRequest { dir, name, built: &built, cancel };
    build_bundle(&request, &|step| tell_step(to, step.to_string()))?;
    Ok(())
}

/// Reads all of the bundle.
pub(crate) async fn verify(shared: Arc<Shared>, mut report: Reporter) -> Answer {
    let source = match bundle_source(&shared, "verify a bundle") {
        Ok(source) => source,
        Err(error) => return Ok((report, Err(error))),
    };
    let verified = follow(&shared, Interest::Everybody, &mut report, move |cancel, to| {
        let step = |name: &str| tell_step(to, format!("reading {name}"));
        verify_bundle(&source, cancel, &step).map_err(EngineError::from)
    })
    .await;
    let finished = verified.map(|verified| {
        for path in &verified.unrecorded {
            report.note(format!("no checksum of `{}` is known", path.display()));
        }
        Finished { vm: None, changed: false }
    });
    Ok((report, finished))
}

/// Fetches a bundle.
pub(crate) async fn fetch(shared: Arc<Shared>, from: FetchFrom, mut report: Reporter) -> Answer {
    let dir = match bundle_source(&shared, "fetch a bundle") {
        Ok(source) => source.dir,
        Err(error) => return Ok((report, Err(error))),
    };
    let follower = Arc::clone(&shared);
    let fetched = follow(&shared, Interest::Everybody, &mut report, move |cancel, to| {
        let fetched = run_fetch(&dir, from, cancel, to)?;
        // The default image is what the bundle has now.
        sync_default(&follower)?;
        Ok(fetched)
    })
    .await;
    let finished = fetched.map(|(place, changed)| {
        report.note(format!("the archive is {place}"));
        Finished { vm: None, changed }
    });
    Ok((report, finished))
}

fn run_fetch(
    dir: &Path,
    from: FetchFrom,
    cancel: &AtomicBool,
    to: &Tell,
) -> Result<(String, bool), EngineError> {
    let (place, sha256) = match from {
        FetchFrom::Archive { place, sha256 } => (place, sha256),
        FetchFrom::Pin(file) => {
            let Pin { from, sha256 } = Pin::read(&file)?;
            (from, sha256)
        }
    };
    let now = Timestamp::now().to_string();
    let request = FetchRequest { dir, from: &place, sha256, now: &now, cancel };
    let fetched = fetch_bundle(&request, &|progress| match progress {
        FetchProgress::Step(step) => tell_step(to, step.to_string()),
        FetchProgress::Read { done, total } => tell(to, Told::Amount(done, total)),
    })?;
    Ok((place.to_string(), fetched.changed))
}

impl From<VerifyError> for EngineError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Cancelled => Self::ShuttingDown,
            other => Self::Verify(other),
        }
    }
}
