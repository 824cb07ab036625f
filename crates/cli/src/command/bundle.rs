//! `banger bundle`.

use super::Session;
use crate::args::Timings;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::render;
use crate::render::table::pairs;
use banger_api::BundleStatus;
use std::time::Instant;

/// Shows the bundle. A bundle that cannot be used is an answer and a failure.
pub(super) async fn show(session: &Session<'_>) -> Result<(), Failure> {
    let bundle = session.client().await?.bundle().await?;
    session.output.answer(&bundle, text)?;
    match &bundle.problem {
        None => Ok(()),
        Some(problem) => {
            if session.output.format() == crate::output::Format::Text {
                session.output.error(None, problem);
            }
            Err(Failure::Exit(problem.code.exit_code()))
        }
    }
}

fn text(bundle: &BundleStatus) -> String {
    let mut lines = vec![("directory", bundle.dir.display().to_string())];
    if let Some(image) = &bundle.image {
        lines.push(("image", image.name.to_string()));
        lines.push(("kernel", image.kernel.display().to_string()));
        lines.push(("root file system", image.rootfs.display().to_string()));
    }
    let usable = if bundle.problem.is_none() { "yes" } else { "no" };
    lines.push(("usable", usable.to_owned()));
    pairs(&lines)
}

pub(super) async fn build(session: &Session<'_>) -> Result<(), Failure> {
    let client = session.client().await?;
    let since = Instant::now();
    let outcome = {
        let progress = Progress::new(session.output);
        let mut tracker = progress.only(Timings::Left);
        client.build_bundle().await?.finish(|event| tracker.show(event)).await?
    };
    let took = render::time::elapsed(render::time::milliseconds(since.elapsed()));
    session.output.answer(&outcome, |outcome| match outcome.changed {
        true => format!("bundle built in {took}\n"),
        false => "the bundle is already built\n".to_owned(),
    })
}
