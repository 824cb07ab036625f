//! A host that is simulated, for `bangerd --sim` and for tests of everything above the host.
//!
//! [`SimHost`] keeps its objects in a file of its own, so that they outlive a killed daemon as real
//! ones do. It refuses what a kernel refuses, it can be told to fail ([`Fault`]), and it runs
//! pretended guests ([`GuestScript`]). Directories and logs are real, for the daemon reads them;
//! disks, interfaces and processes are not, and nothing here needs a privilege.
//!
//! | part | owns |
//! |---|---|
//! | `world` | what is there and what a kernel allows, by value |
//! | `journal` | the file |
//! | `real` | directories and logs |
//! | `state` | the three together, and the running guests |
//! | `fault`, `guest`, `options` | what can be set |

mod fault;
mod guest;
mod journal;
mod options;
mod real;
mod state;
#[cfg(test)]
mod tests;
mod world;

pub use fault::{Effect, Fault, FaultError, Verb};
pub use guest::{GuestScript, GuestScriptError};
pub use options::{
    Artifacts, ForeignLink, ForeignLinkError, Pace, ProgramScript, ProgramScriptError, SimOptions,
};

use crate::facts::{NetworkFacts, NetworkQuestion};
use crate::{Change, Exit, ExitFuture, Host, HostError, ProcessView, Processes, Signal, raw_log};
use banger_core::id::VmId;
use banger_core::names::{IfName, Layout};
use banger_core::net::GuestIp;
use banger_core::resource::{Observed, Resource, Role, VmmProcess};
use banger_core::unit::Bytes;
use fault::FaultPlan;
use state::State;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use world::Life;

/// A simulated host.
#[derive(Debug)]
pub struct SimHost {
    shared: Arc<Shared>,
    clock: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The queue of events has changed, or the simulator closes.
    news: Condvar,
}

impl SimHost {
    /// Opens the simulated host with the objects that its file holds, or an empty one.
    ///
    /// VMMs that were running still run, but are nobody's children any more: how they end is not
    /// told ([`Exit::Unknown`]). A guest that was booting starts its boot again.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written, or is not a simulator's.
    pub fn open(layout: Layout, options: SimOptions) -> Result<Self, HostError> {
        let takes_time = options.pace != Pace::INSTANT;
        let state = Mutex::new(State::open(layout, options)?);
        let shared = Arc::new(Shared { state, news: Condvar::new() });
        let start_clock = || {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("sim-clock".to_owned()).spawn(move || shared.tick())
        };
        let clock = takes_time.then(start_clock).transpose().map_err(|source| HostError::Io {
            action: "start the thread",
            object: "sim-clock".to_owned(),
            source,
        })?;
        Ok(Self { shared, clock })
    }

    /// Tells a VMM to boot its guest, which then writes its stage lines to the console log.
    ///
    /// # Errors
    ///
    /// If no such VMM runs, or it was told before.
    pub fn boot(&self, api_socket: &Path) -> Result<(), HostError> {
        self.call_vmm(Verb::Boot, api_socket, |state| state.boot(api_socket))
    }

    /// Asks a guest to end, as Ctrl-Alt-Del does. Its VMM then ends with exit code 0, unless the
    /// guest does not listen.
    ///
    /// # Errors
    ///
    /// If no such VMM runs, or its guest was not told to boot.
    pub fn request_shutdown(&self, api_socket: &Path) -> Result<(), HostError> {
        self.call_vmm(Verb::Shutdown, api_socket, |state| state.shut_down(api_socket))
    }

    /// Does a piece of work in a guest, or on the disk that it left, of which the simulator knows
    /// nothing but that it can fail.
    ///
    /// # Errors
    ///
    /// If a fault says so, or the work itself.
    pub fn work<T>(
        &self,
        what: &str,
        act: impl FnOnce() -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        self.shared.call(Verb::Work, None, || what.to_owned(), |_| act())
    }

    /// Does a piece of work that ends with a disk elsewhere: its VM has it no more.
    ///
    /// # Errors
    ///
    /// As for [`SimHost::work`], and if there is no such disk or a VMM has it open.
    pub fn take_disk<T>(
        &self,
        disk: &Path,
        act: impl FnOnce() -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let object = || disk.display().to_string();
        self.shared.call(Verb::Work, None, object, |state| state.take_disk(disk, act))
    }

    /// What a program in a guest comes to by its command line, if it does not succeed.
    pub fn program(&self, command: &str) -> Option<ProgramScript> {
        let state = self.shared.lock();
        state.programs.iter().find(|program| command.contains(&program.words)).cloned()
    }

    /// Whether a VMM runs and was told to boot its guest.
    pub fn is_booted(&self, api_socket: &Path) -> bool {
        let state = self.shared.lock();
        state.world.process(api_socket).is_some_and(|(_, process)| process.life != Life::Started)
    }

    /// Ends a VMM as if by itself; `Unchanged` if no such VMM runs.
    pub fn crash_process(&self, api_socket: &Path, exit: Exit) -> Result<Change, HostError> {
        self.shared.lock().end_process(api_socket, exit)
    }

    /// Loses power and comes back: every disk is kept, every process, interface, device and
    /// runtime directory is gone. The daemon would be too: open the simulator anew after this.
    pub fn reboot(&self) -> Result<(), HostError> {
        self.shared.lock().reboot()
    }

    /// Sets how the guests of VMMs that start from now on behave.
    pub fn set_guest(&self, guest: GuestScript) {
        self.shared.lock().guest = guest;
    }

    /// Replaces the faults; all counting starts anew.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.shared.lock().faults = FaultPlan::new(faults);
    }

    /// Sets what runs when a crash fault is met, on the thread that meets it. A daemon that is to
    /// be killed for real passes [`std::process::abort`].
    pub fn on_crash(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.shared.lock().on_crash = Some(Arc::new(hook));
    }

    /// Whether a crash fault was met: every verb is an error from then on.
    pub fn is_crashed(&self) -> bool {
        self.shared.lock().is_crashed
    }

    /// How many calls of `ensure` and `remove` there were since the simulator was opened: what the
    /// number in `crash-after:5` counts.
    pub fn calls(&self) -> usize {
        self.shared.lock().calls
    }

    /// How many VMMs were started since the simulator was opened, those included that died at once.
    pub fn vmm_starts(&self) -> usize {
        self.shared.lock().starts
    }

    /// What the disk at a path measures, if there is one.
    pub fn disk_size(&self, path: &Path) -> Option<Bytes> {
        self.shared.lock().world.disk_size(path)
    }

    /// The bridge that a VM's TAP is attached to. A TAP whose bridge was removed is attached to
    /// none, even when a bridge of that name is there again.
    pub fn tap_bridge(&self, vm: &VmId) -> Option<IfName> {
        self.shared.lock().world.tap_bridge(vm)
    }

    /// The guests that the nft table lists; none without a table.
    pub fn nat_guests(&self) -> Vec<GuestIp> {
        self.shared.lock().world.nat_guests()
    }

    /// What stands between guests and the world: the firewalls that the simulator was given.
    pub fn network(&self, question: NetworkQuestion) -> NetworkFacts {
        let gates = self.shared.lock().gates(&question);
        NetworkFacts { gates: Ok(gates), ..NetworkFacts::open(question) }
    }

    fn call_vmm<T>(
        &self,
        verb: Verb,
        api_socket: &Path,
        act: impl FnOnce(&mut State) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let object = || api_socket.display().to_string();
        let outcome = self.shared.call(verb, Some(Role::Vmm), object, act);
        self.shared.news.notify_all();
        outcome
    }
}

impl Drop for SimHost {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.news.notify_all();
        if let Some(clock) = self.clock.take()
            && clock.join().is_err()
        {
            tracing::error!("the clock of the simulated host panicked");
        }
    }
}

impl Shared {
    /// Every change of the state is complete before it could panic, so a poisoned lock is as good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a call, or what a fault makes of it.
    fn call<T>(
        &self,
        verb: Verb,
        role: Option<Role>,
        object: impl Fn() -> String,
        act: impl FnOnce(&mut State) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let mut state = self.lock();
        if state.is_crashed {
            return Err(crashed(verb.as_str(), object()));
        }
        let effect = state.meet(verb, role);
        let injected = || HostError::Injected { action: verb.as_str(), object: object() };
        let outcome = match effect {
            None => act(&mut state),
            Some(Effect::Fail | Effect::CrashBefore) => Err(injected()),
            Some(Effect::FailAfter | Effect::CrashAfter) => {
                act(&mut state).and_then(|_| Err(injected()))
            }
        };
        if matches!(effect, Some(Effect::CrashBefore | Effect::CrashAfter)) {
            state.is_crashed = true;
            let hook = state.on_crash.clone();
            drop(state);
            if let Some(hook) = hook {
                hook();
            }
        }
        outcome
    }

    /// Lets events take place when they are due, until the simulator closes.
    fn tick(&self) {
        let mut state = self.lock();
        while !state.is_closing {
            let wait = state.next_due().map(|due| due.saturating_duration_since(Instant::now()));
            match wait {
                Some(Duration::ZERO) => state.run_next(),
                Some(wait) => {
                    let woken = self.news.wait_timeout(state, wait);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

fn crashed(action: &'static str, object: String) -> HostError {
    HostError::Refused { action, object, reason: "the simulated daemon has crashed".to_owned() }
}

impl Host for SimHost {
    fn ensure(&self, resource: &Resource) -> Result<Change, HostError> {
        let object = || resource.object();
        self.shared
            .call(Verb::Ensure, Some(resource.role()), object, |state| state.ensure(resource))
    }

    fn remove(&self, resource: &Resource) -> Result<Change, HostError> {
        let object = || resource.object();
        self.shared
            .call(Verb::Remove, Some(resource.role()), object, |state| state.remove(resource))
    }

    fn has(&self, resource: &Resource) -> Result<bool, HostError> {
        let key = resource.key();
        Ok(self.inventory()?.iter().any(|seen| seen.key == key))
    }

    fn inventory(&self) -> Result<Vec<Observed>, HostError> {
        let object = || "the host".to_owned();
        self.shared.call(Verb::Inventory, None, object, |state| Ok(state.world.inventory()))
    }
}

/// What a simulated VMM has resident, and the processor time that it has used.
const RESIDENT: Bytes = Bytes(64 << 20);
const CPU: Duration = Duration::from_millis(1500);

/// The signals that do not end a process that has not asked for them: CHLD, CONT, STOP, TSTP,
/// TTIN, TTOU, URG, WINCH (signal(7)).
const HARMLESS: [i32; 8] = [17, 18, 19, 20, 21, 22, 23, 28];

impl Processes for SimHost {
    fn find(&self, vmm: &VmmProcess) -> Result<Option<ProcessView>, HostError> {
        let state = self.shared.lock();
        if state.is_crashed {
            return Err(crashed("find", vmm.api_socket.display().to_string()));
        }
        let found = state.world.process(&vmm.api_socket);
        Ok(found.map(|(_, process)| ProcessView { pid: process.pid, resident: RESIDENT, cpu: CPU }))
    }

    fn signal(&self, vmm: &VmmProcess, signal: Signal) -> Result<Change, HostError> {
        let socket = &vmm.api_socket;
        self.call_vmm(Verb::Signal, socket, |state| {
            if HARMLESS.contains(&signal.number()) {
                let runs = state.world.process(socket).is_some();
                return Ok(if runs { Change::Changed } else { Change::Unchanged });
            }
            state.end_process(socket, Exit::Signal(signal.number()))
        })
    }

    fn exited(&self, vmm: &VmmProcess) -> Result<ExitFuture, HostError> {
        let state = self.shared.lock();
        if state.is_crashed {
            return Err(crashed("watch", vmm.api_socket.display().to_string()));
        }
        let Some(mut exit) = state.watch(vmm) else {
            return Ok(Box::pin(std::future::ready(Exit::Unknown)));
        };
        Ok(Box::pin(async move {
            let told = exit.wait_for(Option::is_some).await.map(|exit| *exit);
            match told {
                Ok(exit) => exit.unwrap_or(Exit::Unknown),
                // The simulator was closed; the process runs on.
                Err(_) => std::future::pending().await,
            }
        }))
    }

    fn bound_output(&self, vmm: &VmmProcess) -> Result<Change, HostError> {
        if self.shared.lock().is_crashed {
            return Err(crashed("bound the output of", vmm.api_socket.display().to_string()));
        }
        raw_log::bound_both(vmm)
    }
}
