//! The verbs that change VMs. Each reference is an operation of its own.

use super::several::{ask, tell_each};
use super::{Session, signals};
use crate::args::{KillArgs, RefsArgs, RestartArgs, SetArgs, StartArgs, StopArgs, Timings};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::render;
use banger_api::client::{Client, ClientError, EventStream};
use banger_api::{ErrorBody, KillVm, Outcome, RestartVm};
use banger_core::error::ErrorCode;
use banger_core::state::VmState;
use futures_util::future::join_all;
use std::collections::HashMap;
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
    /// What was done, or that nothing had to be.
    fn tell(&self, reference: &str, done: &str) -> String {
        match &self.outcome.vm {
            Some(vm) if self.outcome.changed => format!("{}: {done}\n", vm.name),
            Some(vm) if vm.state == VmState::Created => format!("{}: never started\n", vm.name),
            Some(vm) => format!("{}: already {}\n", vm.name, vm.state),
            // A VM that is gone has no name.
            None => format!("{reference}: {done}\n"),
        }
    }

    fn tell_boot(&self, reference: &str, timings: Timings) -> String {
        let mut text = match &self.outcome.vm {
            Some(vm) if self.outcome.changed => render::vm::booted(vm, self.milliseconds) + "\n",
            _ => self.tell(reference, "booted"),
        };
        if timings == Timings::Listed {
            text.push_str(&render::vm::timings(&self.outcome.timings));
        }
        text
    }
}

/// One kind of operation on several VMs.
struct Act<'a> {
    session: &'a Session<'a>,
    refs: &'a [String],
    timings: Timings,
}

impl<'a> Act<'a> {
    fn new(session: &'a Session<'a>, refs: &'a [String]) -> Self {
        Self { session, refs, timings: Timings::Left }
    }

    /// Carries the operation out on each VM, and tells what came of it.
    async fn run<A: Future<Output = Result<EventStream, ClientError>>>(
        &self,
        begin: impl Fn(Client, String) -> A,
        text: impl Fn(&str, &Waited) -> String,
    ) -> Result<(), Failure> {
        let client = self.session.client().await?;
        let progress = Progress::new(self.session.output);
        let operations = ask(self.refs, async |reference| {
            let mut tracker = match self.refs {
                [_] => progress.only(self.timings),
                _ => progress.one_of_several(&reference),
            };
            let since = Instant::now();
            let stream = begin(client.clone(), reference).await?;
            let outcome = stream.finish(|event| tracker.show(event)).await?;
            let milliseconds = render::time::milliseconds(since.elapsed());
            Ok::<_, ClientError>(Waited { outcome, milliseconds })
        });
        let reports = signals::unless_left(self.session, async { Ok(operations.await) }).await?;
        tell_each(self.session.output, "outcome", &reports, text)
    }
}

pub(super) async fn start(session: &Session<'_>, args: &StartArgs) -> Result<(), Failure> {
    let (request, timings) = (args.wait.start(), args.wait.patience.timings());
    let act = Act { timings, ..Act::new(session, &args.vms.refs) };
    act.run(
        async |client, reference| client.start(&reference, &request).await,
        |reference, waited| waited.tell_boot(reference, timings),
    )
    .await
}

pub(super) async fn restart(session: &Session<'_>, args: &RestartArgs) -> Result<(), Failure> {
    let request = RestartVm { stop: args.stop(), start: args.wait.start() };
    let timings = args.wait.patience.timings();
    let act = Act { timings, ..Act::new(session, &args.vms.refs) };
    act.run(
        async |client, reference| client.restart(&reference, &request).await,
        |reference, waited| waited.tell_boot(reference, timings),
    )
    .await
}

pub(super) async fn stop(session: &Session<'_>, args: &StopArgs) -> Result<(), Failure> {
    let request = args.stop();
    let act = Act::new(session, &args.vms.refs);
    act.run(
        async |client, reference| client.stop(&reference, &request).await,
        |reference, waited| waited.tell(reference, "stopped"),
    )
    .await
}

pub(super) async fn kill(session: &Session<'_>, args: &KillArgs) -> Result<(), Failure> {
    let request = KillVm { signal: args.signal.clone() };
    let done = format!("sent {}", args.signal);
    let act = Act::new(session, &args.vms.refs);
    act.run(
        async |client, reference| client.kill(&reference, &request).await,
        |reference, waited| waited.tell(reference, &done),
    )
    .await
}

/// Deletes, and says which VM each reference meant, for afterwards nobody can ask.
pub(super) async fn delete(session: &Session<'_>, args: &RefsArgs) -> Result<(), Failure> {
    let client = session.client().await?;
    let known = join_all(args.refs.iter().map(|reference| client.vm(reference))).await;
    let names: HashMap<_, _> = args
        .refs
        .iter()
        .zip(known)
        .filter_map(|(reference, vm)| Some((reference.as_str(), vm.ok()?.name.to_string())))
        .collect();
    let act = Act::new(session, &args.refs);
    act.run(
        async |client, reference| client.delete(&reference).await,
        |reference, waited| {
            waited.tell(names.get(reference).map_or(reference, String::as_str), "deleted")
        },
    )
    .await
}

pub(super) async fn set(session: &Session<'_>, args: &SetArgs) -> Result<(), Failure> {
    let change = args.spec.change();
    if change.is_empty() {
        let body = ErrorBody::plain(ErrorCode::InvalidRequest, "nothing to set was given");
        let flags = "`--memory`, `--vcpu`, `--disk-size`, `--overlay-size`, `--nat` or `--no-nat`";
        let body = body.hint(format!("give at least one of {flags}"));
        return Err(Failure::Usage(Box::new(body)));
    }
    let act = Act::new(session, &args.vms.refs);
    act.run(
        async |client, reference| client.set(&reference, &change).await,
        |reference, waited| match &waited.outcome.vm {
            Some(vm) if !waited.outcome.changed => format!("{}: already as asked\n", vm.name),
            _ => waited.tell(reference, "changed"),
        },
    )
    .await
}
