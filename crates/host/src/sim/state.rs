//! The simulated host as it lives: the world, its file, what is real of it, and the running guests.

use super::fault::{Effect, FaultPlan, Verb};
use super::guest::{GuestScript, Happening, spread};
use super::journal::Journal;
use super::options::{Artifacts, Pace, ProgramScript, SimOptions};
use super::real;
use super::world::{Entry, Life, Object, Process, World, observed};
use crate::facts::{Concern, Fate, Gate, NetworkQuestion};
use crate::{Change, Exit, HostError, dirs, raw_log};
use banger_core::names::Layout;
use banger_core::resource::{Gatekeeper, Observed, Resource, Role, VmmProcess};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Runs once, when a crash fault is met.
pub(super) type CrashHook = Arc<dyn Fn() + Send + Sync>;

/// Who can be told how a VMM ended: Linux tells the parent alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kin {
    Child,
    Adopted,
}

#[derive(Debug)]
struct Watcher {
    kin: Kin,
    exit: watch::Sender<Option<Exit>>,
}

impl Watcher {
    fn new(kin: Kin) -> Self {
        Self { kin, exit: watch::Sender::new(None) }
    }
}

/// What one process is about to do by itself.
#[derive(Debug)]
struct Event {
    seen: Observed,
    pid: u32,
    act: Happening,
}

/// Everything behind the simulator's lock.
pub(super) struct State {
    pub(super) world: World,
    pub(super) faults: FaultPlan,
    pub(super) guest: GuestScript,
    pub(super) on_crash: Option<CrashHook>,
    pub(super) is_crashed: bool,
    pub(super) is_closing: bool,
    /// Calls of `ensure` and `remove` so far.
    pub(super) calls: usize,
    /// VMMs started so far.
    pub(super) starts: usize,
    layout: Layout,
    journal: Journal,
    artifacts: Artifacts,
    pace: Pace,
    gatekeepers: Vec<Gatekeeper>,
    pub(super) programs: Vec<ProgramScript>,
    watchers: BTreeMap<Observed, Watcher>,
    queue: BTreeMap<(Instant, u64), Event>,
    queued: u64,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("objects", &self.world.len())
            .field("faults", &self.faults)
            .field("guest", &self.guest)
            .field("is_crashed", &self.is_crashed)
            .finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn open(layout: Layout, options: SimOptions) -> Result<Self, HostError> {
        let mut world = World::new(layout.clone(), options.capacity, options.foreign_links);
        let journal = Journal::open(&options.journal, &mut world)?;
        let processes = world.processes();
        let watchers =
            processes.map(|(seen, _)| (seen.clone(), Watcher::new(Kin::Adopted))).collect();
        let mut state = Self {
            world,
            faults: FaultPlan::new(options.faults),
            guest: options.guest,
            on_crash: None,
            is_crashed: false,
            is_closing: false,
            calls: 0,
            starts: 0,
            layout,
            journal,
            artifacts: options.artifacts,
            pace: options.pace,
            gatekeepers: options.gatekeepers,
            programs: options.programs,
            watchers,
            queue: BTreeMap::new(),
            queued: 0,
        };
        state.resume_boots()?;
        Ok(state)
    }

    /// What the firewalls of others do with guests' packets.
    pub(super) fn gates(&self, question: &NetworkQuestion) -> Vec<Gate> {
        let concerns = [Some(Concern::Beyond), question.dns_port.map(|_| Concern::Names)];
        let of = |gatekeeper: &Gatekeeper| {
            let gatekeeper = *gatekeeper;
            concerns.into_iter().flatten().map(move |concern| Gate {
                owner: gatekeeper.program().to_owned(),
                gatekeeper: Some(gatekeeper),
                table: gatekeeper.program().to_owned(),
                chain: "FORWARD".to_owned(),
                concern,
                fate: if self.world.permits(gatekeeper, concern) {
                    Fate::Passes
                } else {
                    Fate::Refused
                },
            })
        };
        self.gatekeepers.iter().flat_map(of).collect()
    }

    /// A guest that was on its way when the daemon ended sets out again.
    fn resume_boots(&mut self) -> Result<(), HostError> {
        let on_their_way = self.world.processes().filter(|(_, p)| p.life == Life::Booting);
        let found: Vec<_> = on_their_way.map(|(seen, p)| (seen.clone(), p.clone())).collect();
        for (seen, process) in found {
            self.schedule(&seen, process.pid, process.script.boot(), self.pace.boot)?;
        }
        Ok(())
    }

    /// Counts the call; says what it comes to if it meets a fault.
    pub(super) fn meet(&mut self, verb: Verb, role: Option<Role>) -> Option<Effect> {
        if matches!(verb, Verb::Ensure | Verb::Remove) {
            self.calls += 1;
        }
        self.faults.meet(verb, role)
    }

    pub(super) fn ensure(&mut self, resource: &Resource) -> Result<Change, HostError> {
        if let Resource::Permit { gatekeeper, .. } = resource
            && !self.gatekeepers.contains(gatekeeper)
        {
            return Err(HostError::Unavailable {
                feature: "the firewall",
                reason: format!("there is no `{}` here", gatekeeper.program()),
                remedy: "start it",
            });
        }
        let entries = self.world.plan_ensure(resource, self.guest)?;
        let seen = observed(resource);
        let is_new = !self.world.contains(&seen);
        if !entries.is_empty() {
            // A clone that grows does not read the image again.
            let reads = is_new || !matches!(resource, Resource::ClonedFile { .. });
            if reads && self.artifacts == Artifacts::Checked {
                real::check_artifacts(resource)?;
            }
            self.commit(&entries)?;
        }
        let made = self.realise(resource);
        if made.is_err() && is_new {
            self.commit(&[Entry::Gone(seen)])?;
        }
        Ok(if entries.is_empty() { made? } else { made.map(|_| Change::Changed)? })
    }

    /// Makes what is real of a resource.
    fn realise(&mut self, resource: &Resource) -> Result<Change, HostError> {
        match resource {
            Resource::VmDir { path, .. }
            | Resource::RuntimeDir { path, .. }
            | Resource::ImageDraft { path, .. } => dirs::ensure(path),
            Resource::ImageDir { path, draft, .. } => dirs::publish(draft, path),
            Resource::VmmProcess(vmm) => self.start(vmm, &observed(resource)),
            _ => Ok(Change::Unchanged),
        }
    }

    fn start(&mut self, vmm: &VmmProcess, seen: &Observed) -> Result<Change, HostError> {
        let Some((_, process)) = self.world.process(&vmm.api_socket) else {
            return Ok(Change::Unchanged);
        };
        if self.watchers.get(seen).is_some_and(|watcher| watcher.exit.borrow().is_none()) {
            return Ok(Change::Unchanged);
        }
        for log in [&vmm.stdout, &vmm.stderr] {
            let _opened_for_each_word = raw_log::begin(log)?;
        }
        self.starts += 1;
        if process.script == GuestScript::VmmDies {
            let said = "simulated VMM: could not start: simulated failure";
            real::say(&vmm.stderr, &format!("{said}\n"))?;
            return Err(HostError::VmmDied {
                program: vmm.program.clone(),
                exit: Exit::Code(1),
                log_tail: vec![said.to_owned()],
                log_path: vmm.stderr.clone(),
            });
        }
        real::say(&vmm.stderr, &format!("simulated VMM: started as {}\n", process.pid))?;
        self.watchers.insert(seen.clone(), Watcher::new(Kin::Child));
        Ok(Change::Changed)
    }

    pub(super) fn remove(&mut self, resource: &Resource) -> Result<Change, HostError> {
        let entries = self.world.plan_remove(resource)?;
        match resource {
            Resource::VmmProcess(vmm) => {
                let ended = self.end_process(&vmm.api_socket, Exit::Signal(9))?;
                self.watchers.remove(&observed(resource));
                return Ok(ended);
            }
            Resource::VmDir { path, .. }
            | Resource::RuntimeDir { path, .. }
            | Resource::ImageDraft { path, .. }
            | Resource::ImageDir { path, .. } => {
                let _told_by_the_world = dirs::remove(path)?;
            }
            _ => {}
        }
        if entries.is_empty() {
            return Ok(Change::Unchanged);
        }
        self.commit(&entries)?;
        Ok(Change::Changed)
    }

    /// Lets a disk go, which `act` puts elsewhere.
    pub(super) fn take_disk<T>(
        &mut self,
        disk: &Path,
        act: impl FnOnce() -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let entries = self.world.plan_take(disk)?;
        let taken = act()?;
        self.commit(&entries)?;
        Ok(taken)
    }

    /// Ends a VMM, whoever wants it so.
    pub(super) fn end_process(
        &mut self,
        api_socket: &Path,
        exit: Exit,
    ) -> Result<Change, HostError> {
        let Some((seen, process)) = self.world.process(api_socket) else {
            return Ok(Change::Unchanged);
        };
        let stderr = process.stderr.clone();
        self.commit(&[Entry::Gone(seen.clone())])?;
        if let Some(watcher) = self.watchers.get(&seen) {
            let known = if watcher.kin == Kin::Child { exit } else { Exit::Unknown };
            watcher.exit.send_replace(Some(known));
        }
        self.queue.retain(|_, event| event.seen != seen);
        real::say(&stderr, &format!("simulated VMM: ended with {exit}\n"))?;
        Ok(Change::Changed)
    }

    /// Where the end of a VMM is told; `None` if no such VMM was seen running.
    pub(super) fn watch(&self, vmm: &VmmProcess) -> Option<watch::Receiver<Option<Exit>>> {
        let seen = observed(&Resource::VmmProcess(vmm.clone()));
        self.watchers.get(&seen).map(|watcher| watcher.exit.subscribe())
    }

    pub(super) fn boot(&mut self, api_socket: &Path) -> Result<(), HostError> {
        let (seen, process) = self.connect(api_socket)?;
        if process.life != Life::Started {
            return Err(HostError::Refused {
                action: "boot the guest behind",
                object: seen.object,
                reason: "it was told to boot before".to_owned(),
            });
        }
        self.set_life(&seen, process.clone(), Life::Booting)?;
        self.schedule(&seen, process.pid, process.script.boot(), self.pace.boot)
    }

    pub(super) fn shut_down(&mut self, api_socket: &Path) -> Result<(), HostError> {
        let (seen, process) = self.connect(api_socket)?;
        if process.life == Life::Started {
            return Err(HostError::Refused {
                action: "shut down the guest behind",
                object: seen.object,
                reason: "it was not told to boot".to_owned(),
            });
        }
        self.schedule(&seen, process.pid, process.script.shutdown(), self.pace.shutdown)
    }

    fn connect(&self, api_socket: &Path) -> Result<(Observed, Process), HostError> {
        let found = self.world.process(api_socket);
        found.map(|(seen, process)| (seen, process.clone())).ok_or_else(|| HostError::Io {
            action: "connect to",
            object: api_socket.display().to_string(),
            source: Errno::CONNREFUSED.into(),
        })
    }

    /// Loses power and comes back: all but the files is gone.
    pub(super) fn reboot(&mut self) -> Result<(), HostError> {
        let processes = self.world.processes().map(|(seen, _)| seen.clone());
        for seen in processes.collect::<Vec<_>>() {
            if let Some(watcher) = self.watchers.remove(&seen) {
                watcher.exit.send_replace(Some(Exit::Unknown));
            }
        }
        self.queue.clear();
        let _was_there = dirs::remove(&self.layout.vms_runtime_dir())?;
        let entries = self.world.plan_reboot();
        self.commit(&entries)
    }

    fn set_life(&mut self, seen: &Observed, old: Process, life: Life) -> Result<(), HostError> {
        let process = Object::Process(Process { life, ..old });
        self.commit(&[Entry::Put(seen.clone(), process)])
    }

    /// Lets a process do something: at once, or spread over `whole`.
    fn schedule(
        &mut self,
        seen: &Observed,
        pid: u32,
        acts: Vec<Happening>,
        whole: Duration,
    ) -> Result<(), HostError> {
        if whole.is_zero() {
            return acts.into_iter().try_for_each(|act| self.act(seen, pid, act));
        }
        let now = Instant::now();
        for (delay, act) in spread(acts.len(), whole).zip(acts) {
            let event = Event { seen: seen.clone(), pid, act };
            self.queue.insert((now + delay, self.queued), event);
            self.queued += 1;
        }
        Ok(())
    }

    /// When the next event is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.queue.keys().next().map(|(due, _)| *due)
    }

    /// Lets the next event take place.
    pub(super) fn run_next(&mut self) {
        let Some((_, event)) = self.queue.pop_first() else { return };
        // The guests of a crashed simulator are in the care of the next one.
        if self.is_crashed {
            return;
        }
        if let Err(error) = self.act(&event.seen, event.pid, event.act) {
            tracing::warn!(%error, vmm = event.seen.object, "a simulated guest went astray");
        }
    }

    fn act(&mut self, seen: &Observed, pid: u32, act: Happening) -> Result<(), HostError> {
        let socket = Path::new(&seen.object);
        let process = match self.world.process(socket) {
            Some((_, process)) if process.pid == pid => process.clone(),
            _ => return Ok(()),
        };
        match act {
            Happening::Says(text) => real::say(&process.stdout, &text),
            Happening::Settles => self.set_life(seen, process, Life::Settled),
            Happening::Ends(exit) => self.end_process(socket, exit).map(|_| ()),
        }
    }

    /// Writes the entries down, then makes them so.
    fn commit(&mut self, entries: &[Entry]) -> Result<(), HostError> {
        self.journal.append(entries)?;
        entries.iter().cloned().for_each(|entry| self.world.apply(entry));
        if let Err(error) = self.journal.tidy(&self.world) {
            tracing::warn!(%error, "the simulator's file stays as long as it is");
        }
        Ok(())
    }
}
