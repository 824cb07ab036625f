//! `banger vm create`.

use super::Session;
use crate::args::CreateArgs;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::render;
use banger_api::Outcome;
use std::time::Instant;

pub(super) async fn run(session: &Session<'_>, args: &CreateArgs) -> Result<(), Failure> {
    let client = session.client().await?;
    let since = Instant::now();
    let stream = client.create(&args.request()).await?;
    let outcome = {
        let progress = Progress::new(session.output);
        let mut tracker = progress.only();
        stream.finish(|event| tracker.show(event)).await?
    };
    let waited = render::time::milliseconds(since.elapsed());
    let timings = args.wait.patience.timings;
    session.output.answer(&outcome, |outcome| {
        let mut text = text(outcome, waited);
        if timings {
            text.push_str(&render::vm::timings(&outcome.timings));
        }
        text
    })
}

fn text(outcome: &Outcome, waited_ms: u64) -> String {
    match &outcome.vm {
        Some(vm) => render::vm::booted(vm, waited_ms) + "\n",
        None => "created\n".to_owned(),
    }
}
