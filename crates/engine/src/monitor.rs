//! Watching a running VM: how far it has come, and when it ends. What it writes is kept short on the
//! way, and a VMM whose guest is down is ended.

use crate::console::Console;
use crate::executor::blocking;
use crate::reach::Reach;
use crate::vmm_log::VmmLog;
use banger_core::error::fault;
use banger_core::net::GuestIp;
use banger_core::resource::VmmProcess;
use banger_core::state::Readiness;
use banger_host::{Changes, Exit, ExitFuture, Processes, Signal};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// How often a booting guest's console is read at most: VMMs write what it says byte by byte.
const CONSOLE_PERIOD: Duration = Duration::from_millis(5);
/// The shortest and the longest pause between two questions to a sshd that does not answer yet.
const SSH_PAUSE: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];
/// How many times as long as a refusal took the pause after it is. Each question costs a booting
/// guest time, milliseconds of it under emulation; so it is a tenth at most.
const SSH_FACTOR: u32 = 10;

/// How often the logs are cut at most, and the console is read once its guest runs: in between, a guest
/// that prints without end adds some dozen mebibytes.
const BOUND_PERIOD: Duration = Duration::from_secs(1);

/// What a monitor reports.
#[derive(Debug)]
pub(crate) enum Sign {
    /// The guest has come this far.
    Ready(Readiness),
    /// The VMM has ended; always last.
    Exited(Ended),
}

/// How a VM ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    /// What became of the process.
    pub(crate) exit: Exit,
    /// What went wrong in the guest, in its own words.
    pub(crate) trouble: Option<String>,
    /// Whether the guest had shut down before, and the VMM was ended for that.
    pub(crate) was_down: bool,
}

/// What a monitor has to know.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) console: Console,
    pub(crate) ip: GuestIp,
    pub(crate) reach: Arc<dyn Reach>,
    pub(crate) vmm: VmmProcess,
    pub(crate) processes: Arc<dyn Processes>,
    pub(crate) vmm_log: VmmLog,
}

/// A task that watches one VM until it ends or the monitor is dropped.
#[derive(Debug)]
pub(crate) struct Monitor {
    signs: mpsc::UnboundedReceiver<Sign>,
    _task: AbortOnDropHandle<()>,
}

impl Monitor {
    pub(crate) fn start(subject: Subject, exited: ExitFuture) -> Self {
        let (sender, signs) = mpsc::unbounded_channel();
        // What the VMM says belongs to the operation that booted it.
        let task = tokio::spawn(watch(subject, exited, sender).in_current_span());
        Self { signs, _task: AbortOnDropHandle::new(task) }
    }

    /// The next sign. Cancel-safe. After `Exited` it never completes.
    pub(crate) async fn next(&mut self) -> Sign {
        match self.signs.recv().await {
            Some(sign) => sign,
            None => std::future::pending().await,
        }
    }
}

async fn watch(subject: Subject, mut exited: ExitFuture, signs: mpsc::UnboundedSender<Sign>) {
    let Subject { mut console, ip, reach, vmm, processes, mut vmm_log } = subject;
    let exit = {
        let said_more = Notify::new();
        let down = follow(&mut console, ip, reach.as_ref(), &signs, &said_more);
        let bounded = keep_bounded(Arc::clone(&processes), vmm.clone(), &mut vmm_log, &said_more);
        tokio::select! {
            exit = &mut exited => Some(exit),
            () = down => None,
            never = bounded => match never {},
        }
    };
    let (exit, was_down) = match exit {
        Some(exit) => (exit, false),
        None => {
            let is_ended = end(processes, vmm).await;
            (exited.await, is_ended)
        }
    };
    if let Err(error) = console.read() {
        tracing::warn!(%error, "the console's end cannot be read");
    }
    pass_on(&mut vmm_log);
    let trouble = console.trouble().map(str::to_owned);
    report(&signs, Sign::Exited(Ended { exit, trouble, was_down }));
}

/// Ends the VMM of a guest that is down; whether that could be done. That it has ended by itself is as
/// good.
async fn end(processes: Arc<dyn Processes>, vmm: VmmProcess) -> bool {
    let vm = vmm.vm.clone();
    tracing::info!(vm_id = %vm, "the guest is down, so its VMM is ended");
    let ended = blocking(move || processes.signal(&vmm, Signal::KILL)).await;
    if let Err(error) = &ended {
        tracing::warn!(vm_id = %vm, error = fault(error), "the VMM of a guest that is down runs on");
    }
    ended.is_ok()
}

/// Reports each step of readiness once. Completes when the guest is down, which need not be noticed as
/// quickly: once it runs, the console is read when something is told of `said_more`.
async fn follow(
    console: &mut Console,
    ip: GuestIp,
    reach: &dyn Reach,
    signs: &mpsc::UnboundedSender<Sign>,
    said_more: &Notify,
) {
    let mut changes = Changes::of(&[console.path()]);
    read(console).await;
    while !console.handed_over() {
        changes.next().await;
        tokio::time::sleep(CONSOLE_PERIOD).await;
        read(console).await;
    }
    drop(changes);
    report(signs, Sign::Ready(Readiness::Guest));
    let ssh = async {
        await_ssh(ip, reach).await;
        report(signs, Sign::Ready(Readiness::Ssh));
        std::future::pending::<Infallible>().await
    };
    let down = async {
        // Whoever can write to the console may say so of a guest that is up. One that is down may
        // answer for a moment yet.
        while !console.is_down() || reach.answers(ip).await {
            let again = if console.is_down() { BOUND_PERIOD } else { Duration::MAX };
            let _elapsed = timeout(again, said_more.notified()).await;
            read(console).await;
        }
    };
    tokio::select! {
        never = ssh => match never {},
        () = down => {}
    }
}

/// Reads what the console has said since; where that cannot be read, for ever.
async fn read(console: &mut Console) {
    if let Err(error) = console.read() {
        tracing::warn!(%error, "the console cannot be read");
        std::future::pending::<()>().await;
    }
}

/// Asks for sshd until it answers.
async fn await_ssh(ip: GuestIp, reach: &dyn Reach) {
    loop {
        let asked = Instant::now();
        if reach.ssh(ip).await {
            return;
        }
        let [shortest, longest] = SSH_PAUSE;
        tokio::time::sleep((asked.elapsed() * SSH_FACTOR).clamp(shortest, longest)).await;
    }
}

/// Cuts the VMM's logs short whenever they have grown too long, for ever. What it says about itself
/// is passed on before, and that there is more is told.
async fn keep_bounded(
    processes: Arc<dyn Processes>,
    vmm: VmmProcess,
    vmm_log: &mut VmmLog,
    said_more: &Notify,
) -> Infallible {
    let mut changes = Changes::of(&[&vmm.stdout, &vmm.stderr]);
    let mut is_bounded = true;
    loop {
        said_more.notify_one();
        pass_on(vmm_log);
        if is_bounded {
            let (processes, subject) = (Arc::clone(&processes), vmm.clone());
            if let Err(error) = blocking(move || processes.bound_output(&subject)).await {
                tracing::warn!(vm_id = %vmm.vm, error = fault(&error), "the VM's logs may grow without bound");
                is_bounded = false;
            }
        }
        changes.next().await;
        tokio::time::sleep(BOUND_PERIOD).await;
    }
}

fn pass_on(vmm_log: &mut VmmLog) {
    if let Err(error) = vmm_log.pass_on() {
        tracing::warn!(%error, "what the VMM says cannot be read");
    }
}

/// The receiver is dropped only together with this task.
fn report(signs: &mpsc::UnboundedSender<Sign>, sign: Sign) {
    if signs.send(sign).is_err() {
        tracing::trace!("the monitor's owner is gone");
    }
}
