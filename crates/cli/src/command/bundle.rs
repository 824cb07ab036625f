//! `banger bundle`.

use super::Session;
use crate::args::{FetchArgs, Timings};
use crate::failure::Failure;
use crate::output::Format;
use crate::progress::Progress;
use crate::render;
use banger_api::client::EventStream;
use banger_api::{ErrorBody, FetchBundle, Outcome};
use banger_core::error::ErrorCode;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The file that names an archive.
const PIN_FILE: &str = "runtime-bundle.toml";

/// Shows the bundle. A bundle that cannot be used is an answer and a failure.
pub(super) async fn show(session: &Session<'_>) -> Result<(), Failure> {
    let bundle = session.client().await?.bundle().await?;
    session.output.answer(&bundle, render::bundle::text)?;
    match &bundle.problem {
        None => Ok(()),
        Some(problem) => {
            if session.output.format() == Format::Text {
                session.output.error(None, problem);
            }
            Err(Failure::Exit(problem.code.exit_code()))
        }
    }
}

pub(super) async fn verify(session: &Session<'_>) -> Result<(), Failure> {
    let events = session.client().await?.verify_bundle().await?;
    let (outcome, took) = follow(session, events).await?;
    session.output.answer(&outcome, |_| format!("the bundle is as it should be; read in {took}\n"))
}

pub(super) async fn build(session: &Session<'_>) -> Result<(), Failure> {
    let events = session.client().await?.build_bundle().await?;
    let (outcome, took) = follow(session, events).await?;
    session.output.answer(&outcome, |outcome| match outcome.changed {
        true => format!("bundle built in {took}\n"),
        false => "the bundle is already built\n".to_owned(),
    })
}

pub(super) async fn fetch(session: &Session<'_>, args: &FetchArgs) -> Result<(), Failure> {
    let request = request(args)?;
    let events = session.client().await?.fetch_bundle(&request).await?;
    let (outcome, took) = follow(session, events).await?;
    session.output.answer(&outcome, |outcome| match outcome.changed {
        true => format!("bundle fetched in {took}\n"),
        false => "the bundle is this archive's already, and whole\n".to_owned(),
    })
}

/// What the daemon is to be asked: it has a working directory of its own.
fn request(args: &FetchArgs) -> Result<FetchBundle, Failure> {
    let here = || {
        std::env::current_dir().map_err(|error| {
            let message = format!("the working directory cannot be told: {error}");
            Failure::from(ErrorBody::plain(ErrorCode::Host, message))
        })
    };
    let from = match &args.from {
        Some(from) if !from.contains("://") && Path::new(from).is_relative() => {
            Some(here()?.join(from).display().to_string())
        }
        from => from.clone(),
    };
    let pin: Option<PathBuf> = match &from {
        Some(_) => None,
        None => Some(here()?.join(PIN_FILE)).filter(|pin| pin.exists()),
    };
    Ok(FetchBundle { from, sha256: args.sha256.clone(), pin })
}

/// Follows an operation to its end; returns how long it took, too.
async fn follow(session: &Session<'_>, events: EventStream) -> Result<(Outcome, String), Failure> {
    let since = Instant::now();
    let outcome = {
        let progress = Progress::new(session.output);
        let mut tracker = progress.only(Timings::Left);
        events.finish(|event| tracker.show(event)).await?
    };
    let took = render::time::elapsed(render::time::milliseconds(since.elapsed()));
    Ok((outcome, took))
}
