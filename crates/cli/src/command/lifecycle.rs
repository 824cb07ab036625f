//! The verbs that change VMs. Each reference is an operation of its own.

use super::Session;
use super::several::{ask, tell_each};
use crate::args::{KillArgs, RefsArgs, RestartArgs, SetArgs, StartArgs, StopArgs};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::render;
use banger_api::client::{Client, ClientError, EventStream};
use banger_api::{ErrorBody, KillVm, Outcome, RestartVm};
use banger_core::error::ErrorCode;
use std::time::Instant;

/// What came of an operation, and how long it was waited for.
#[derive(Debug, serde::Serialize)]
#[serde(transparent)]
struct Waited {
    outcome: Outcome,
    #[serde(skip)]
    milliseconds: u64,
}

impl Waited {
    /// The VM's name, else the reference as it was given: a VM that is gone has no name.
    fn name(&self, reference: &str) -> String {
        self.outcome.vm.as_ref().map_or_else(|| reference.to_owned(), |vm| vm.name.to_string())
    }

    /// What was done, or that nothing had to be.
    fn tell(&self, reference: &str, done: &str) -> String {
        let name = self.name(reference);
        match &self.outcome.vm {
            Some(vm) if !self.outcome.changed => format!("{name}: already {}\n", vm.state),
            _ => format!("{name}: {done}\n"),
        }
    }

    fn tell_boot(&self, reference: &str, timings: Timings) -> String {
        let mut text = match &self.outcome.vm {
            Some(vm) if self.outcome.changed => render::vm::booted(vm, self.milliseconds) + "\n",
            _ => self.tell(reference, "booted"),
        };
        if timings == Timings::Shown {
            text.push_str(&render::vm::timings(&self.outcome.timings));
        }
        text
    }
}

/// Whether phases are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timings {
    Shown,
    Left,
}

impl Timings {
    fn asked(flag: &crate::args::WaitArgs) -> Self {
        if flag.patience.timings { Self::Shown } else { Self::Left }
    }
}

/// Carries an operation out on each VM.
async fn act<A: Future<Output = Result<EventStream, ClientError>>>(
    session: &Session<'_>,
    refs: &[String],
    begin: impl Fn(Client, String) -> A,
    text: impl Fn(&str, &Waited) -> String,
) -> Result<(), Failure> {
    let client = session.client().await?;
    let progress = Progress::new(session.output);
    let reports = ask(refs, async |reference| {
        let mut tracker = match refs {
            [_] => progress.only(),
            _ => progress.one_of_several(&reference),
        };
        let since = Instant::now();
        let stream = begin(client.clone(), reference).await?;
        let outcome = stream.finish(|event| tracker.show(event)).await?;
        Ok(Waited { outcome, milliseconds: render::time::milliseconds(since.elapsed()) })
    })
    .await;
    tell_each(session.output, "outcome", &reports, text)
}

pub(super) async fn start(session: &Session<'_>, args: &StartArgs) -> Result<(), Failure> {
    let (request, timings) = (args.wait.start(), Timings::asked(&args.wait));
    act(
        session,
        &args.vms.refs,
        async |client, reference| client.start(&reference, &request).await,
        |reference, waited| waited.tell_boot(reference, timings),
    )
    .await
}

pub(super) async fn restart(session: &Session<'_>, args: &RestartArgs) -> Result<(), Failure> {
    let request = RestartVm { stop: args.stop(), start: args.wait.start() };
    let timings = Timings::asked(&args.wait);
    act(
        session,
        &args.vms.refs,
        async |client, reference| client.restart(&reference, &request).await,
        |reference, waited| waited.tell_boot(reference, timings),
    )
    .await
}

pub(super) async fn stop(session: &Session<'_>, args: &StopArgs) -> Result<(), Failure> {
    let request = args.stop();
    act(
        session,
        &args.vms.refs,
        async |client, reference| client.stop(&reference, &request).await,
        |reference, waited| waited.tell(reference, "stopped"),
    )
    .await
}

pub(super) async fn kill(session: &Session<'_>, args: &KillArgs) -> Result<(), Failure> {
    let request = KillVm { signal: args.signal.clone() };
    let done = format!("sent {}", args.signal);
    act(
        session,
        &args.vms.refs,
        async |client, reference| client.kill(&reference, &request).await,
        |reference, waited| waited.tell(reference, &done),
    )
    .await
}

pub(super) async fn delete(session: &Session<'_>, args: &RefsArgs) -> Result<(), Failure> {
    act(
        session,
        &args.refs,
        async |client, reference| client.delete(&reference).await,
        |reference, waited| waited.tell(reference, "deleted"),
    )
    .await
}

pub(super) async fn set(session: &Session<'_>, args: &SetArgs) -> Result<(), Failure> {
    let change = args.spec.change();
    if change.is_empty() {
        let body = ErrorBody::plain(ErrorCode::InvalidRequest, "nothing to set was given");
        let flags = "`--memory`, `--vcpu`, `--disk-size`, `--overlay-size`, `--nat` or `--no-nat`";
        return Err(body.hint(format!("give at least one of {flags}")).into());
    }
    act(
        session,
        &args.vms.refs,
        async |client, reference| client.set(&reference, &change).await,
        |reference, waited| match &waited.outcome.vm {
            Some(vm) if !waited.outcome.changed => format!("{}: already as asked\n", vm.name),
            _ => waited.tell(reference, "changed"),
        },
    )
    .await
}
