//! `banger vm create`.

use super::{Session, signals};
use crate::args::{CreateArgs, Timings};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::render;
use banger_api::Outcome;
use std::time::Instant;

pub(super) async fn run(session: &Session<'_>, args: &CreateArgs) -> Result<(), Failure> {
    let client = session.client().await?;
    let since = Instant::now();
    let timings = args.wait.patience.timings();
    let outcome = {
        let progress = Progress::new(session.output);
        let mut tracker = progress.only(timings);
        signals::unless_left(session, async {
            let stream = client.create(&args.request()).await?;
            Ok(stream.finish(|event| tracker.show(event)).await?)
        })
        .await?
    };
    let waited = render::time::milliseconds(since.elapsed());
    session.output.answer(&outcome, |outcome| {
        let mut text = text(outcome, waited);
        if timings == Timings::Listed {
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
