//! The ports of the host that lead into guests.
//!
//! A VM's task shows here what it shows everywhere: a VM's ports are open while it runs, and held
//! for it at all times. They are sockets of this process, which end with it; the next daemon opens
//! them when it takes the VM up.

use crate::error::EngineError;
use crate::operation::Reporter;
use crate::proxy::{Limits, Socket};
use crate::task::VmTask;
use banger_core::forward::{Forward, ForwardChange, HostPort};
use banger_core::id::VmId;
use banger_core::net::GuestIp;
use banger_core::state::VmState;
use banger_core::vm::Vm;
use banger_core::vm_name::VmName;
use banger_host::{holder_in_words, port_holder};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How long after a failure a port is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// A forward, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardView {
    /// The forward.
    pub forward: Forward,
    /// How it stands.
    pub state: ForwardState,
}

/// How a forward stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardState {
    /// The VM does not run.
    Closed,
    /// The port leads into the guest.
    Open,
    /// The port is not to be had; it is tried again.
    Failed {
        /// Why, in one sentence.
        problem: String,
    },
}

/// Why a port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct NotBound {
    /// In one sentence, with who holds it.
    pub problem: String,
    /// The kernel's answer.
    pub kind: io::ErrorKind,
}

/// All forwards of all VMs.
#[derive(Debug)]
pub(crate) struct Forwards {
    tasks: TaskTracker,
    closing: CancellationToken,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    ports: BTreeMap<HostPort, Port>,
    /// Ports that are being closed.
    ending: Vec<(VmId, JoinHandle<Option<()>>)>,
}

#[derive(Debug)]
struct Port {
    vm: VmId,
    name: VmName,
    forward: Forward,
    open: Option<Open>,
}

/// The task that keeps a port open; it ends with this.
#[derive(Debug)]
struct Open {
    _close: DropGuard,
    problem: watch::Receiver<Option<String>>,
    task: JoinHandle<Option<()>>,
}

impl Forwards {
    /// No forwards. Their tasks are tracked, and end with the engine.
    pub(crate) fn new(tasks: TaskTracker, closing: CancellationToken) -> Self {
        Self { tasks, closing, held: Mutex::default() }
    }

    /// A panic under the lock leaves each port whole.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a port for a VM until it is released or the VM's record says otherwise. `Err` is whose
    /// it is, and what it leads to.
    pub(crate) fn claim(&self, vm: &Vm, forward: Forward) -> Result<(), (VmName, Forward)> {
        let mut held = self.held();
        match held.ports.get(&forward.from) {
            Some(port) => Err((port.name.clone(), port.forward)),
            None => {
                held.ports.insert(forward.from, Port::closed(vm, forward));
                Ok(())
            }
        }
    }

    /// Follows a VM's record into its state: takes up what is new, closes what is gone, and has the
    /// rest open if the VM runs. Called by the VM's task alone.
    pub(crate) fn follow(&self, vm: &Vm) {
        for forward in self.closed(vm) {
            // Without the lock: who holds a port that is taken is looked for in all of `/proc`.
            let open = self.open(forward, vm.identity.ip);
            self.held().put(vm, forward, open);
        }
    }

    /// Follows a VM's record; what is returned is to be open, and is not.
    fn closed(&self, vm: &Vm) -> Vec<Forward> {
        let mut held = self.held();
        held.end_if(|port| port.vm == vm.id && !vm.forwards.contains(&port.forward));
        let runs = vm.state == VmState::Running;
        let Held { ports, ending } = &mut *held;
        let mut closed = Vec::new();
        for forward in &vm.forwards {
            let port = ports.entry(forward.from).or_insert_with(|| Port::closed(vm, *forward));
            if port.vm != vm.id {
                tracing::error!(%forward, vm_id = %vm.id, other = %port.vm, "the port is another's");
            } else if !runs {
                ending.extend(port.open.take().map(|open| (vm.id.clone(), open.task)));
            } else if port.open.is_none() {
                closed.push(*forward);
            }
        }
        closed
    }

    /// Lets go of all that a VM had.
    pub(crate) fn release(&self, vm: &VmId) {
        self.held().end_if(|port| port.vm == *vm);
    }

    /// Waits until the ports that a VM has no longer are really closed.
    pub(crate) async fn settle(&self, vm: &VmId) {
        let ended: Vec<_> = self.held().ending.extract_if(.., |(of, _)| of == vm).collect();
        for (_, task) in ended {
            if let Err(error) = task.await {
                tracing::error!(%error, "the task of a forward has failed");
            }
        }
    }

    /// How a VM's forwards stand.
    pub(crate) fn of(&self, vm: &Vm) -> Vec<ForwardView> {
        let held = self.held();
        let state = |forward: &Forward| {
            let port = held.ports.get(&forward.from).filter(|port| port.vm == vm.id);
            match port.and_then(|port| port.open.as_ref()) {
                None => ForwardState::Closed,
                Some(open) => match open.problem.borrow().clone() {
                    None => ForwardState::Open,
                    Some(problem) => ForwardState::Failed { problem },
                },
            }
        };
        let view = |forward: &Forward| ForwardView { forward: *forward, state: state(forward) };
        vm.forwards.iter().map(view).collect()
    }

    fn open(&self, forward: Forward, guest: GuestIp) -> Open {
        // At once, so that a start can tell what came of it.
        let first = bind(forward.from);
        let (sender, problem) = watch::channel(first.as_ref().err().map(NotBound::to_string));
        let guest = SocketAddr::from((guest.address(), forward.guest_port.get()));
        let keeper = Keeper { from: forward.from, guest, problem: sender };
        let close = self.closing.child_token();
        let closed = close.clone();
        let task = self
            .tasks
            .spawn(async move { closed.run_until_cancelled(keeper.keep(first.ok())).await });
        Open { _close: close.drop_guard(), problem, task }
    }
}

impl Held {
    /// Keeps a port open that is still the VM's; another is closed again.
    fn put(&mut self, vm: &Vm, forward: Forward, open: Open) {
        match self.ports.get_mut(&forward.from) {
            Some(port) if port.vm == vm.id && port.open.is_none() => port.open = Some(open),
            _ => self.ending.push((vm.id.clone(), open.task)),
        }
    }

    fn end_if(&mut self, is_gone: impl Fn(&Port) -> bool) {
        for (_, port) in self.ports.extract_if(.., |_, port| is_gone(port)) {
            self.ending.extend(port.open.map(|open| (port.vm, open.task)));
        }
    }
}

impl Port {
    fn closed(vm: &Vm, forward: Forward) -> Self {
        Self { vm: vm.id.clone(), name: vm.name.clone(), forward, open: None }
    }
}

/// Keeps one port open.
#[derive(Debug)]
struct Keeper {
    from: HostPort,
    guest: SocketAddr,
    problem: watch::Sender<Option<String>>,
}

impl Keeper {
    async fn keep(self, first: Option<Socket>) {
        let mut socket = first;
        loop {
            if let Some(socket) = socket {
                self.problem.send_replace(None);
                tracing::info!(port = %self.from, guest = %self.guest, "a port leads into a guest");
                let error = socket.serve(self.guest, Limits::default()).await;
                self.fail(format!("{} has failed: {error}", self.from));
            }
            tokio::time::sleep(PAUSE).await;
            socket = match bind(self.from) {
                Ok(socket) => Some(socket),
                Err(error) => {
                    self.fail(error.problem);
                    None
                }
            };
        }
    }

    /// Shows a failure; it is logged once, however often it comes again.
    fn fail(&self, problem: String) {
        let problem = Some(problem);
        if self.problem.send_replace(problem.clone()) != problem {
            tracing::warn!(port = %self.from, problem, "a port leads nowhere; trying again");
        }
    }
}

/// Takes a port, or says who has it. Reads `/proc` in that case, which takes milliseconds.
pub(crate) fn bind(from: HostPort) -> Result<Socket, NotBound> {
    Socket::bind(from).map_err(|error| {
        let kind = error.kind();
        let problem = if kind == io::ErrorKind::AddrInUse {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, from.host_port.get()));
            format!("{from} is held by {}", holder_in_words(port_holder(&[from.protocol], address)))
        } else {
            format!("{from} cannot be taken: {error}")
        };
        NotBound { problem, kind }
    })
}

impl VmTask {
    /// Changes the VM's forwards; says whether anything was done. A new one is refused if its port
    /// cannot be had right now.
    pub(crate) fn change_forwards(&mut self, change: ForwardChange) -> Result<bool, EngineError> {
        let before = self.vm.forwards.clone();
        match change {
            ForwardChange::Add(forward) if self.vm.forwards.contains(&forward) => return Ok(false),
            ForwardChange::Add(forward) => {
                self.check_free(forward)?;
                self.vm.forwards.insert(forward);
            }
            ForwardChange::Remove(from) => self.vm.forwards.retain(|forward| forward.from != from),
        }
        if self.vm.forwards == before {
            return Ok(false);
        }
        self.save().inspect_err(|_unsaved| {
            self.vm.forwards = before;
            self.shared.forwards.follow(&self.vm);
        })?;
        Ok(true)
    }

    /// Claims the port for the VM, if it is nobody's.
    fn check_free(&self, forward: Forward) -> Result<(), EngineError> {
        let forwards = &self.shared.forwards;
        forwards.claim(&self.vm, forward).map_err(|(name, taken)| EngineError::Forwarded {
            from: forward.from,
            name,
            guest_port: taken.guest_port.get(),
        })?;
        bind(forward.from).map(drop).map_err(|error| {
            // The record has it not, so that this lets go of it.
            forwards.follow(&self.vm);
            EngineError::Forward(error)
        })
    }

    /// Says which forwards a VM that has begun to run has to do without.
    pub(crate) fn note_forwards(&self, report: &mut Reporter) {
        for view in self.shared.forwards.of(&self.vm) {
            if let ForwardState::Failed { problem } = view.state {
                let name = &self.vm.name;
                report.note(format!("{problem}; it leads to `{name}` as soon as it can be taken"));
            }
        }
    }
}
