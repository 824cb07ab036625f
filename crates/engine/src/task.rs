//! The task that owns one VM.
//!
//! It holds the record, carries out one command at a time, and watches the VMM in between. Others
//! see the VM through a watch channel and change it only by commands. Between commands the state
//! is settled: never `starting` or `stopping`.

use crate::build::Builds;
use crate::catalog::Catalog;
use crate::engine::{Answer, Gone};
use crate::error::EngineError;
use crate::forward::Forwards;
use crate::monitor::{Ended, Monitor, Sign};
use crate::operation::{Finished, Phase, Reporter};
use crate::shared::{Shared, new_op, now};
use crate::view::{LastEnd, VmView};
use banger_core::error::{chain, fault};
use banger_core::forward::ForwardChange;
use banger_core::id::OpId;
use banger_core::names::VmPaths;
use banger_core::plan::member;
use banger_core::resource::Member;
use banger_core::spec::SpecChange;
use banger_core::state::{Decision, Readiness, Request, VmState, decide};
use banger_core::vm::{Purpose, Vm};
use banger_host::Signal;
use futures_util::FutureExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// What a task is told to do.
#[derive(Debug)]
pub(crate) enum Work {
    Start,
    Stop { timeout: Duration },
    Restart { timeout: Duration },
    Kill { signal: Signal },
    Delete,
    Set { change: SpecChange },
    Forward { change: ForwardChange },
    Keep,
}

impl Work {
    pub(crate) fn request(&self) -> Request {
        match self {
            Self::Start => Request::Start,
            Self::Stop { .. } => Request::Stop,
            Self::Restart { .. } => Request::Restart,
            Self::Kill { .. } => Request::Kill,
            Self::Delete => Request::Delete,
            // Both change the record and nothing else.
            Self::Set { .. } | Self::Keep => Request::Set,
            Self::Forward { .. } => Request::Forward,
        }
    }

    /// Whether the VM is to run no longer after it.
    fn ends_vm(&self) -> bool {
        match self {
            Self::Stop { .. } | Self::Delete => true,
            Self::Kill { signal } => !signal.spares(),
            Self::Start | Self::Restart { .. } | Self::Set { .. } => false,
            Self::Forward { .. } | Self::Keep => false,
        }
    }
}

#[derive(Debug)]
struct Command {
    work: Work,
    report: Reporter,
    reply: oneshot::Sender<(Reporter, Result<Finished, EngineError>)>,
}

/// A VM as the rest of the engine holds it.
#[derive(Debug, Clone)]
pub(crate) struct VmHandle {
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<VmView>,
    forwards: Arc<Forwards>,
    catalog: Arc<Catalog>,
    builds: Builds,
    /// Ends the operation under way, where it can be ended.
    cancel: Arc<Mutex<CancellationToken>>,
}

impl VmHandle {
    /// The VM as it is now.
    pub(crate) fn view(&self) -> VmView {
        let view = self.view.borrow().clone();
        // These change also when nothing is done to the VM.
        let (forwards, image) = (self.forwards.of(&view.vm), self.catalog.name_of(&view.vm.image));
        VmView { forwards, image, ..view }
    }

    /// Follows the VM.
    pub(crate) fn watch(&self) -> watch::Receiver<VmView> {
        self.view.clone()
    }

    /// Has the task do something, after ending what it is doing if the policy says so.
    pub(crate) async fn ask(&self, work: Work, report: Reporter) -> Answer {
        let (request, view) = (work.request(), self.view());
        // A build has its VM from the VM's beginning and gives it up once, so what comes through here
        // needs no second look when its turn comes.
        if let Err(refused) = self.builds.admit(&view.vm, request, &report.id) {
            return Ok((report, Err(refused)));
        }
        let decision = decide(view.vm.state, request);
        if decision == Decision::Refuse {
            let (name, state) = (view.vm.name, view.vm.state);
            return Ok((report, Err(EngineError::WrongState { name, request, state })));
        }
        if work.ends_vm() && decision != Decision::Already {
            self.builds.end(&view.vm.id, &report.id);
        }
        if decision == Decision::Interrupt {
            self.interrupt();
        }
        let (reply, answer) = oneshot::channel();
        let gone = |_| Gone;
        self.commands.send(Command { work, report, reply }).await.map_err(gone)?;
        answer.await.map_err(|_closed| Gone)
    }

    fn interrupt(&self) {
        self.cancel.lock().unwrap_or_else(PoisonError::into_inner).cancel();
    }
}

/// The state of a VM's task.
#[derive(Debug)]
pub(crate) struct VmTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) vm: Vm,
    pub(crate) paths: VmPaths,
    pub(crate) monitor: Option<Monitor>,
    readiness: Readiness,
    pid: Option<u32>,
    last_end: Option<LastEnd>,
    /// The operation that booted it or took it up: what that leads to belongs to it in the log.
    watched_by: Option<OpId>,
    /// The operation that is under way, or the last one.
    op: Option<OpId>,
    /// When the guest came as far as it has; `None` where an earlier daemon saw that.
    reached: Option<Instant>,
    view: watch::Sender<VmView>,
    cancel: Arc<Mutex<CancellationToken>>,
}

/// A VM that was found running.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) monitor: Monitor,
    pub(crate) pid: u32,
    /// The operation that found it.
    pub(crate) op: OpId,
}

/// Whether the VM still exists after a command.
enum After {
    Exists,
    Deleted,
}

impl VmTask {
    /// Starts the task of a VM and returns the handle on it.
    pub(crate) fn spawn(shared: &Arc<Shared>, vm: Vm, adopted: Option<Adopted>) -> VmHandle {
        let paths = shared.settings.layout.vm(&vm.id);
        let (monitor, pid, watched_by) = match adopted {
            Some(Adopted { monitor, pid, op }) => (Some(monitor), Some(pid), Some(op)),
            None => (None, None, None),
        };
        let readiness = if monitor.is_some() { Readiness::Vmm } else { Readiness::None };
        shared.names.follow(&vm);
        shared.forwards.follow(&vm);
        let first = VmView {
            vm: vm.clone(),
            image: shared.catalog.name_of(&vm.image),
            readiness,
            pid,
            last_end: None,
            forwards: shared.forwards.of(&vm),
            paths: paths.clone(),
        };
        let (sender, view) = watch::channel(first);
        let (commands, receiver) = mpsc::channel(8);
        let cancel = Arc::new(Mutex::new(CancellationToken::new()));
        let task = Self {
            shared: Arc::clone(shared),
            vm,
            paths,
            monitor,
            readiness,
            pid,
            last_end: None,
            watched_by,
            op: None,
            reached: None,
            view: sender,
            cancel: Arc::clone(&cancel),
        };
        shared.tasks.spawn(task.run(receiver));
        let (forwards, catalog) = (Arc::clone(&shared.forwards), Arc::clone(&shared.catalog));
        VmHandle { commands, view, forwards, catalog, builds: shared.builds.clone(), cancel }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let closing = self.shared.closing.clone();
        loop {
            let sign = async {
                match &mut self.monitor {
                    Some(monitor) => monitor.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = closing.cancelled() => {
                    self.end_with_daemon().boxed().await;
                    return;
                }
                // Boxed, so that a task that waits does not hold the room for its busiest moment.
                sign = sign => self.take_sign(sign).boxed().await,
                command = commands.recv() => {
                    let Some(command) = command else { return };
                    if let After::Deleted = self.execute(command).boxed().await {
                        return;
                    }
                }
            }
        }
    }

    /// A VM that a daemon takes up again is left alone; a temporary one would be nobody's.
    async fn end_with_daemon(&mut self) {
        if !self.vm.purpose.is_temporary() {
            return;
        }
        let mut report = Reporter::new(new_op(), self.shared.measures.clone()).0;
        if let Err(error) = self.delete(&mut report).await {
            tracing::error!(op_id = %report.id, vm_id = %self.vm.id, error = fault(&error), "a temporary VM is left");
        }
    }

    async fn execute(&mut self, command: Command) -> After {
        let Command { work, mut report, reply } = command;
        let is_delete = matches!(work, Work::Delete);
        let span = self.span(&report.id);
        self.op = Some(report.id.clone());
        let result = self.perform(work, &mut report).instrument(span).await;
        self.settle_after(&result, &report);
        let deleted = is_delete && result.is_ok();
        let finished =
            result.map(|changed| Finished { vm: (!deleted).then(|| self.current()), changed });
        // Before the asker hears of it, so that a list after a delete does not show the VM.
        if deleted {
            self.shared.forget(&self.vm.id);
        }
        // What was closed can be taken by others when the asker hears of it.
        self.shared.forwards.settle(&self.vm.id).await;
        if reply.send((report, finished)).is_err() {
            tracing::trace!("the asker is gone");
        }
        if deleted { After::Deleted } else { After::Exists }
    }

    /// What is in every log line of an operation on this VM.
    fn span(&self, op: &OpId) -> tracing::Span {
        tracing::info_span!(
            "work", op_id = %op, vm_id = %self.vm.id, vm_name = %self.vm.name,
            image = %self.shared.catalog.name_of(&self.vm.image)
        )
    }

    /// Whatever a command met, the state is settled when it is over.
    fn settle_after(&mut self, result: &Result<bool, EngineError>, report: &Reporter) {
        if !matches!(self.vm.state, VmState::Starting | VmState::Stopping) {
            return;
        }
        let deleted = self.vm.deleting && result.is_ok();
        if let (Err(error), false) = (result, deleted) {
            self.vm.last_error = Some(chain(error));
            if let Err(error) = self.enter(VmState::Error) {
                tracing::error!(op_id = %report.id, error = fault(&error), "the state was not saved");
            }
        }
    }

    /// Carries out one command; says whether anything was done.
    async fn perform(&mut self, work: Work, report: &mut Reporter) -> Result<bool, EngineError> {
        let request = work.request();
        if self.vm.deleting && request != Request::Delete {
            return Err(EngineError::HalfDeleted { name: self.vm.name.clone(), request });
        }
        match decide(self.vm.state, request) {
            Decision::Do => {}
            Decision::Already => return Ok(false),
            Decision::Refuse | Decision::Interrupt | Decision::Wait => {
                let (name, state) = (self.vm.name.clone(), self.vm.state);
                return Err(EngineError::WrongState { name, request, state });
            }
        }
        if matches!(work, Work::Start | Work::Restart { .. }) {
            self.watched_by = Some(report.id.clone());
        }
        match work {
            Work::Start => self.start(report).await?,
            Work::Stop { timeout } => self.stop(timeout, report).await?,
            Work::Restart { timeout } => {
                if self.vm.state == VmState::Running {
                    self.stop(timeout, report).await?;
                }
                self.start(report).await?;
            }
            Work::Kill { signal } => self.kill(signal, report).await?,
            Work::Delete => self.delete(report).await?,
            Work::Set { change } => return self.set(&change, report).await,
            Work::Forward { change } => return self.change_forwards(change),
            Work::Keep => self.keep()?,
        }
        Ok(true)
    }

    async fn set(
        &mut self,
        change: &SpecChange,
        report: &mut Reporter,
    ) -> Result<bool, EngineError> {
        let spec = change.apply(&self.vm.spec)?;
        if spec == self.vm.spec {
            return Ok(false);
        }
        let running = self.vm.state == VmState::Running;
        let nat_changed = spec.nat != self.vm.spec.nat;
        let only_nat = banger_core::spec::VmSpec { nat: spec.nat, ..self.vm.spec.clone() } == spec;
        if running && nat_changed {
            let was = member(&self.vm, &self.shared.settings.layout);
            let member = Member { nat: spec.nat, ..was };
            self.shared.network.join(&report.id, &self.vm.id, member).await?;
        }
        self.vm.spec = spec;
        self.save()?;
        if running && !only_nat {
            report.note(format!("the new sizes take effect when `{}` starts again", self.vm.name));
        }
        Ok(true)
    }

    /// The VM of a build becomes one that stays.
    fn keep(&mut self) -> Result<(), EngineError> {
        let before = std::mem::replace(&mut self.vm.purpose, Purpose::KeptBuild);
        self.save().inspect_err(|_unsaved| self.vm.purpose = before)
    }

    async fn take_sign(&mut self, sign: Sign) {
        match sign {
            Sign::Ready(readiness) => self.enter_readiness(readiness),
            Sign::Exited(ended) => {
                let report = Reporter::new(new_op(), self.shared.measures.clone()).0;
                let span = self.span(&report.id);
                self.ended_by_itself(&ended, report).instrument(span).await;
            }
        }
    }

    /// The guest has come this far.
    pub(crate) fn enter_readiness(&mut self, readiness: Readiness) {
        self.readiness = readiness;
        self.measure(readiness);
        tracing::info!(
            op_id = self.watched_by.as_ref().map(tracing::field::display),
            vm_id = %self.vm.id, vm_name = %self.vm.name, %readiness, "ready"
        );
        self.publish();
    }

    /// Measures how long the guest took to come this far from where it was.
    fn measure(&mut self, readiness: Readiness) {
        let phase = match readiness {
            Readiness::Guest => Phase::Guest,
            Readiness::Ssh => Phase::Ssh,
            Readiness::None | Readiness::Vmm => return,
        };
        if let Some(before) = &mut self.reached {
            self.shared.measures.phase(&phase, before.elapsed());
            *before = Instant::now();
        }
    }

    /// The VMM has ended and nobody asked for it.
    async fn ended_by_itself(&mut self, ended: &Ended, mut report: Reporter) {
        self.op = Some(report.id.clone());
        self.vm.last_error = self.reason(ended);
        self.last_end = Some(LastEnd::ByItself);
        tracing::warn!(
            exit = %ended.exit, reason = self.vm.last_error, "the VM has ended by itself"
        );
        self.shared.measures.ended_by_themselves.inc();
        self.monitor = None;
        if let Err(error) = self.enter(VmState::Stopping) {
            tracing::error!(error = fault(&error), "the state was not saved");
        }
        let result = self.finish_stop(&mut report).await.map(|()| true);
        if let Err(error) = &result {
            tracing::error!(error = fault(error), "clean-up failed");
        }
        self.settle_after(&result, &report);
    }

    /// Why the VM ended, or `None` where the guest ended it in good order.
    fn reason(&self, ended: &Ended) -> Option<String> {
        if let Some(trouble) = &ended.trouble {
            return Some(trouble.clone());
        }
        let in_order = ended.was_down
            || matches!(ended.exit, banger_host::Exit::Code(0) | banger_host::Exit::Unknown);
        match (in_order, self.readiness >= Readiness::Guest) {
            (true, true) => None,
            (true, false) => Some("the guest ended before its init was running".to_owned()),
            (false, _) => Some(format!("the VMM ended with {}", ended.exit)),
        }
    }

    /// A fresh token for the operation that begins.
    pub(crate) fn renew_cancel(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.cancel.lock().unwrap_or_else(PoisonError::into_inner) = token.clone();
        token
    }

    /// The VM with what is true now.
    pub(crate) fn current(&self) -> VmView {
        VmView {
            vm: self.vm.clone(),
            image: self.shared.catalog.name_of(&self.vm.image),
            readiness: self.readiness,
            pid: self.pid,
            last_end: self.last_end,
            forwards: self.shared.forwards.of(&self.vm),
            paths: self.paths.clone(),
        }
    }

    /// Enters a state: saved, then seen. It is seen even if it could not be saved.
    pub(crate) fn enter(&mut self, state: VmState) -> Result<(), EngineError> {
        self.vm.state = state;
        self.vm.changed_at = now();
        self.vm.changed_by.clone_from(&self.op);
        if !state.may_have_vmm() {
            (self.readiness, self.pid) = (Readiness::None, None);
        }
        self.save()
    }

    /// The VMM runs and was told to boot.
    pub(crate) fn enter_running(
        &mut self,
        monitor: Monitor,
        pid: Option<u32>,
    ) -> Result<(), EngineError> {
        (self.monitor, self.readiness, self.pid) = (Some(monitor), Readiness::Vmm, pid);
        self.last_end = None;
        self.reached = Some(Instant::now());
        self.vm.last_error = None;
        self.enter(VmState::Running)
    }

    pub(crate) fn save(&self) -> Result<(), EngineError> {
        let saved = self.shared.store.save_vm(&self.vm);
        self.publish();
        saved
    }

    fn publish(&self) {
        // The names first: who sees a running VM can ask for its name.
        self.shared.names.follow(&self.vm);
        self.shared.forwards.follow(&self.vm);
        self.view.send_replace(self.current());
    }
}
