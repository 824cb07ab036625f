//! `banger vm run`: a VM of its own for a command or a shell.
//!
//! With `--rm` the VM goes when the command has ended, when the boot or ssh fails, and when the
//! user or the system ends this process by a signal. Only a second signal, or a daemon that is gone,
//! leaves it behind, and then that is said.

pub(super) mod guest;

use super::signals::{Signal, Signals};
use super::{Session, signals, ssh};
use crate::args::{RunArgs, Timings};
use crate::failure::Failure;
use crate::progress::{Progress, Tracker};
use crate::render;
use banger_api::client::{Client, ClientError, EventStream};
use banger_api::{ErrorBody, Event, Outcome, SshTarget};
use banger_core::error::{ErrorCode, Explain};
use banger_core::id::VmId;
use banger_core::vm_name::VmName;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Instant;

pub(super) async fn run(session: &Session<'_>, args: &RunArgs) -> Result<(), Failure> {
    let client = session.client().await?;
    if args.rm {
        return run_and_remove(session, &client, args).await;
    }
    let request = args.vm.request(Some(args.patience.until_ssh()));
    let stream = client.create(&request).await?;
    let outcome = {
        let progress = Progress::new(session.output);
        let mut boot = Boot::new(&progress, stream, args);
        let outcome = signals::unless_left(session, async { Ok(boot.finish().await?) }).await?;
        boot.tell(&outcome, args);
        outcome
    };
    ssh::enter(&target(&client, &outcome).await?, &args.command)
}

/// A boot that is being watched.
struct Boot<'a> {
    progress: &'a Progress<'a>,
    tracker: Tracker<'a>,
    stream: EventStream,
    since: Instant,
}

impl<'a> Boot<'a> {
    fn new(progress: &'a Progress<'a>, stream: EventStream, args: &RunArgs) -> Self {
        let tracker = progress.only(args.patience.timings());
        Self { progress, tracker, stream, since: Instant::now() }
    }

    /// Follows the boot to its end. Safe to cancel: what is left of the stream can be read on.
    async fn finish(&mut self) -> Result<Outcome, ClientError> {
        while let Some(event) = self.stream.next().await? {
            self.tracker.show(&event);
            match event {
                Event::Done { outcome } => return Ok(*outcome),
                Event::Failed { error } => return Err(ClientError::Api(error)),
                _ => {}
            }
        }
        Err(ClientError::BrokenOff { op_id: self.stream.op_id().cloned(), source: None })
    }

    /// Standard output is the command's alone.
    fn tell(&self, outcome: &Outcome, args: &RunArgs) {
        if let Some(vm) = &outcome.vm {
            let waited = render::time::milliseconds(self.since.elapsed());
            self.progress.say_live(&render::vm::booted(vm, waited));
        }
        if args.patience.timings() == Timings::Listed {
            self.progress.say(render::vm::timings(&outcome.timings).trim_end());
        }
    }
}

/// What ssh needs to enter the VM that was booted.
async fn target(client: &Client, outcome: &Outcome) -> Result<SshTarget, Failure> {
    match &outcome.vm {
        Some(vm) => Ok(client.ssh(vm.id.as_str()).await?),
        None => Err(Failure::internal("the daemon created a VM and does not say which")),
    }
}

async fn run_and_remove(
    session: &Session<'_>,
    client: &Client,
    args: &RunArgs,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let name = unused_name(client, args.vm.name.as_ref()).await?;
    let mut request = args.vm.request(Some(args.patience.until_ssh()));
    request.name = Some(name.clone());
    // From here on the VM may exist. A name that somebody else took in the meantime is refused here.
    let stream = client.create(&request).await?;
    let progress = Progress::new(session.output);
    let mut boot = Boot::new(&progress, stream, args);
    let ended = boot_and_enter(client, &mut boot, args, &mut signals).await;
    let Boot { tracker, stream, .. } = boot;
    drop(tracker);
    if let End::Signal(_) = ended {
        session.output.aside(&format!("interrupted; deleting `{name}`"));
    }
    let removal = tokio::select! {
        removal = remove(client, &name, stream, &ended) => removal,
        signal = signals.next() => {
            tell_left(session, &name);
            return Err(Failure::Exit(signal.exit_code()));
        }
    };
    conclude(session, &name, ended, removal)
}

/// How a run came to its end.
pub(super) enum End {
    /// The command ended with this code.
    Code(u8),
    /// Something failed.
    Failed(Failure),
    /// This process was told to end.
    Signal(Signal),
}

async fn boot_and_enter(
    client: &Client,
    boot: &mut Boot<'_>,
    args: &RunArgs,
    signals: &mut Signals,
) -> End {
    let booted = tokio::select! {
        outcome = boot.finish() => outcome,
        signal = signals.next() => return End::Signal(signal),
    };
    let outcome = match booted {
        Ok(outcome) => outcome,
        Err(error) => return End::Failed(error.into()),
    };
    boot.tell(&outcome, args);
    let target = tokio::select! {
        target = target(client, &outcome) => target,
        signal = signals.next() => return End::Signal(signal),
    };
    match target {
        Ok(target) => guest::run(&target, &args.command, signals).await,
        Err(failure) => End::Failed(failure),
    }
}

/// The name of the new VM: as given, else one that is free. It has to be known before the VM
/// exists, so that a VM whose boot is interrupted can be found and deleted.
async fn unused_name(client: &Client, given: Option<&VmName>) -> Result<VmName, Failure> {
    let vms = client.vms().await?.vms;
    let is_taken = |name: &VmName| vms.iter().any(|vm| vm.name == *name);
    match given {
        Some(name) if is_taken(name) => {
            let body = ErrorBody::plain(
                ErrorCode::NameTaken,
                format!("a VM called `{name}` exists already"),
            );
            Err(body.hint(format!("`banger vm ssh {name}` enters it")).into())
        }
        Some(name) => Ok(name.clone()),
        None => {
            let random = std::iter::repeat_with(|| RandomState::new().build_hasher().finish());
            let mut names = random.take(1_000).map(VmName::generate);
            names.find(|name| !is_taken(name)).ok_or_else(|| {
                let message = "every name that could be generated is taken";
                ErrorBody::plain(ErrorCode::NameTaken, message)
                    .hint("choose one with `--name`")
                    .into()
            })
        }
    }
}

/// Deletes the VM, by its id: a name that is not there could be the beginning of another VM's.
async fn remove(
    client: &Client,
    name: &VmName,
    mut stream: EventStream,
    ended: &End,
) -> Result<(), ClientError> {
    // Somebody else's VM has the name.
    if matches!(ended, End::Failed(Failure::Error(body)) if body.code == ErrorCode::NameTaken) {
        return Ok(());
    }
    loop {
        if let Some(id) = find(client, name).await? {
            return delete(client, &id).await;
        }
        // The operation may not have come so far as to make a record; then it goes on.
        if !matches!(stream.next().await, Ok(Some(_))) {
            return match find(client, name).await? {
                Some(id) => delete(client, &id).await,
                None => Ok(()),
            };
        }
    }
}

async fn find(client: &Client, name: &VmName) -> Result<Option<VmId>, ClientError> {
    let vms = client.vms().await?.vms;
    Ok(vms.into_iter().find(|vm| vm.name == *name).map(|vm| vm.id))
}

async fn delete(client: &Client, id: &VmId) -> Result<(), ClientError> {
    let deletion = async { client.delete(id.as_str()).await?.finish(|_| {}).await };
    match deletion.await {
        Err(error) if error.code() == ErrorCode::VmNotFound => Ok(()),
        other => other.map(drop),
    }
}

fn tell_left(session: &Session<'_>, name: &VmName) {
    let hint = format!("delete it with `banger vm delete {name}`");
    session.output.note(&format!("`{name}` may be left; {hint}"));
}

/// The command's own end comes first; a VM that is left makes a good end a bad one.
fn conclude(
    session: &Session<'_>,
    name: &VmName,
    ended: End,
    removal: Result<(), ClientError>,
) -> Result<(), Failure> {
    let failure = match ended {
        End::Code(0) => None,
        End::Code(code) => Some(Failure::Exit(code)),
        End::Signal(signal) => Some(Failure::Exit(signal.exit_code())),
        End::Failed(failure) => Some(failure),
    };
    let Err(error) = removal else { return failure.map_or(Ok(()), Err) };
    let code = failure.map(|failure| session.output.report(failure));
    let own = session.output.report(error.into());
    tell_left(session, name);
    Err(Failure::Exit(code.unwrap_or(own)))
}
