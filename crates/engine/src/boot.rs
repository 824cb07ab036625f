//! Starting a VM: the plan, the VMM, the order to boot, and the undo of all that.

use crate::console::{Console, last_lines};
use crate::error::{EngineError, LeftBehind};
use crate::executor::{SetupError, blocking};
use crate::images::{image_of, rootfs_size};
use crate::monitor::{Monitor, Subject};
use crate::operation::{Phase, Reporter};
use crate::postmortem;
use crate::task::VmTask;
use crate::vmm_log::VmmLog;
use banger_core::error::{chain, fault};
use banger_core::guest::{GuestConfig, GuestNetwork, WorkDisk};
use banger_core::image::Image;
use banger_core::plan::{StartFacts, member, plan_start, plan_stop, root_disk};
use banger_core::resource::{Payload, Resource, ResourceKey, Role, VmmProcess};
use banger_core::state::{Request, VmState};
use banger_core::unit::Bytes;
use banger_host::HostError;
use banger_image::initrd::render_config_archive;
use banger_vmm::{Disk, Driver, Machine, Nic};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// How many of a log's last lines go into an error.
const TAIL_LINES: usize = 10;

/// What a start has put in place so far.
#[derive(Debug, Default)]
struct Progress {
    plan: Vec<Resource>,
    added: Vec<ResourceKey>,
    undo: Vec<LeftBehind>,
}

impl VmTask {
    /// Starts the VM, up to the order to boot. On failure everything that was added is undone, but
    /// for a disk that was added to a VM which has run before.
    pub(crate) async fn start(&mut self, report: &mut Reporter) -> Result<(), EngineError> {
        self.check_disks().await?;
        let cancel = self.renew_cancel();
        if self.vm.state == VmState::Error {
            self.finish_stop(report).await?;
        }
        let before = self.vm.state;
        self.vm.last_error = None;
        self.enter(VmState::Starting)?;
        let mut progress = Progress::default();
        let result = self.bring_up(report, &cancel, &mut progress).await;
        match result {
            Ok(()) => {
                self.note_forwards(report);
                Ok(())
            }
            Err(error) => Err(self.give_up(before, error, progress, report).await),
        }
    }

    /// A disk that the ledger has and the host has not is lost; putting an empty one in its place
    /// would hide that.
    async fn check_disks(&self) -> Result<(), EngineError> {
        let mut disks = self.shared.store.recorded(&self.vm.id)?;
        disks.retain(|resource| resource.role().persists());
        if disks.is_empty() {
            return Ok(());
        }
        let host = Arc::clone(&self.shared.ports.host);
        let lost = blocking(move || {
            for disk in disks {
                if !host.has(&disk)? {
                    return Ok(Some(disk));
                }
            }
            Ok::<_, HostError>(None)
        });
        match lost.await? {
            Some(disk) => Err(EngineError::DiskLost {
                name: self.vm.name.clone(),
                path: PathBuf::from(disk.object()),
            }),
            None => Ok(()),
        }
    }

    async fn bring_up(
        &mut self,
        report: &mut Reporter,
        cancel: &CancellationToken,
        progress: &mut Progress,
    ) -> Result<(), EngineError> {
        let image = image_of(&self.shared, &self.vm).await?;
        let driver = Arc::clone(self.shared.ports.preferred());
        let machine = self.machine(&image);
        self.vm.vmm = Some(driver.kind());

        let phase = report.begin(Phase::HostSetup);
        let member = member(&self.vm, &self.shared.settings.layout);
        self.shared.network.join(&report.id, &self.vm.id, member).await?;
        self.shared.permits.restore(&report.id).await;
        let rootfs_size = rootfs_size(&self.shared, &image).await;
        let mut plan = self.plan(driver.as_ref(), &machine, image, rootfs_size);
        let vmm = plan.pop().expect("a start plan ends with the VMM");
        self.set_up(plan, cancel, report, progress).await?;
        report.end(phase);

        let phase = report.begin(Phase::StartVmm);
        let console = Console::open(&self.paths.console_log);
        self.set_up(vec![vmm.clone()], cancel, report, progress).await?;
        report.end(phase);

        let phase = report.begin(Phase::Boot);
        self.boot(driver.as_ref(), &machine, cancel).await?;
        report.end(phase);
        let Resource::VmmProcess(process) = vmm else { unreachable!("a plan ends with the VMM") };
        self.watch(&process, console).await
    }

    async fn set_up(
        &self,
        plan: Vec<Resource>,
        cancel: &CancellationToken,
        report: &Reporter,
        progress: &mut Progress,
    ) -> Result<(), EngineError> {
        let name = self.vm.name.clone();
        let request = Request::Start;
        match self.shared.executor.set_up(&report.id, plan.clone(), cancel).await {
            Ok(added) => {
                progress.added.extend(added);
                progress.plan.extend(plan);
                Ok(())
            }
            Err(SetupError::Host { source, undo }) => {
                progress.undo.extend(undo);
                Err(EngineError::Setup { name, source })
            }
            Err(SetupError::Cancelled { undo }) => {
                progress.undo.extend(undo);
                Err(EngineError::Interrupted { name, request })
            }
            Err(SetupError::Ledger(error)) => Err(error),
        }
    }

    async fn boot(
        &self,
        driver: &dyn Driver,
        machine: &Machine,
        cancel: &CancellationToken,
    ) -> Result<(), EngineError> {
        let name = self.vm.name.clone();
        tokio::select! {
            biased;
            () = cancel.cancelled() => {
                Err(EngineError::Interrupted { name, request: Request::Start })
            }
            booted = driver.boot(machine) => booted.map_err(|source| EngineError::Vmm {
                name,
                source,
                tail: last_lines(&self.paths.vmm_log, TAIL_LINES),
                log_path: self.paths.vmm_log.clone(),
            }),
        }
    }

    /// Begins to watch the VMM, which runs from now on.
    async fn watch(&mut self, process: &VmmProcess, console: Console) -> Result<(), EngineError> {
        let processes = Arc::clone(&self.shared.ports.processes);
        let exited = processes.exited(process)?;
        let asked = process.clone();
        let found = blocking(move || processes.find(&asked)).await?;
        let subject = Subject {
            console,
            ip: self.vm.identity.ip,
            reach: Arc::clone(&self.shared.ports.reach),
            vmm: process.clone(),
            processes: Arc::clone(&self.shared.ports.processes),
            vmm_log: VmmLog::from_start(&process.stderr),
        };
        self.enter_running(Monitor::start(subject, exited), found.map(|view| view.pid))
    }

    /// Undoes a start that failed and puts the VM back into the state it had.
    async fn give_up(
        &mut self,
        before: VmState,
        mut error: EngineError,
        progress: Progress,
        report: &mut Reporter,
    ) -> EngineError {
        let Progress { plan, mut added, undo: mut left } = progress;
        let is_first = added.iter().any(|key| key.role() == Role::VmDir);
        let is_ended_build =
            self.vm.purpose.is_temporary() && matches!(error, EngineError::Interrupted { .. });
        if is_first && !is_ended_build {
            postmortem::keep(&self.shared.settings.layout, &self.current(), &mut error);
        }
        if !is_first {
            // A guest that got as far as to run may have grown into a disk that this start added.
            added.retain(|key| !key.role().persists());
        }
        left.extend(self.shared.executor.revert(&report.id, plan, added).await);
        left.extend(self.shared.network.leave(&report.id, &self.vm.id).await);
        self.monitor = None;
        self.vm.last_error = Some(chain(&error));
        let after = if left.is_empty() { before } else { VmState::Error };
        report.leave_behind(left);
        if let Err(error) = self.enter(after) {
            tracing::error!(op_id = %report.id, error = fault(&error), "the state was not saved");
        }
        error
    }

    /// What the VM's own resources are.
    fn plan(
        &self,
        driver: &dyn Driver,
        machine: &Machine,
        image: Image,
        rootfs_size: Bytes,
    ) -> Vec<Resource> {
        let launch = driver.launch(machine);
        let mut initrd_parts: Vec<PathBuf> = image.initrd.into_iter().collect();
        initrd_parts.extend(self.shared.init_archive.iter().cloned());
        let facts = StartFacts {
            bridge: self.shared.network.bridge().name.clone(),
            rootfs: image.rootfs,
            rootfs_size,
            initrd_parts,
            config_archive: Payload(render_config_archive(&self.guest_config())),
            vmm_program: launch.program,
            vmm_args: launch.args,
        };
        plan_start(&self.vm, &self.shared.settings.layout, facts)
    }

    fn machine(&self, image: &Image) -> Machine {
        let layout = &self.shared.settings.layout;
        let mut disks = vec![Disk { id: "root", path: root_disk(&self.vm, layout) }];
        if self.vm.purpose.has_work_disk() {
            disks.push(Disk { id: "work", path: self.paths.work_disk.clone() });
        }
        Machine {
            vcpu: self.vm.spec.vcpu,
            memory: self.vm.spec.memory,
            kernel: image.kernel.clone(),
            initrd: self.paths.initrd.clone(),
            boot_args: image.boot_args.clone(),
            disks,
            nic: Nic { tap: layout.tap(&self.vm.id), mac: self.vm.identity.mac },
            api_socket: self.paths.api_socket.clone(),
        }
    }

    fn guest_config(&self) -> GuestConfig {
        let subnet = self.shared.network.bridge().subnet;
        let identity = &self.vm.identity;
        GuestConfig {
            hostname: self.vm.name.to_string(),
            machine_id: identity.machine_id.clone(),
            network: GuestNetwork {
                mac: identity.mac.to_string(),
                address: identity.ip.address(),
                prefix: subnet.prefix(),
                gateway: subnet.gateway(),
            },
            nameservers: self.shared.settings.nameservers.clone(),
            search: self.shared.settings.search.clone(),
            authorized_keys: vec![self.shared.keys.public().to_owned()],
            host_key: identity.host_key.clone(),
            root_device: "/dev/vda".to_owned(),
            work_disk: self.vm.purpose.has_work_disk().then(|| WorkDisk {
                device: "/dev/vdb".to_owned(),
                mount_point: "/root".to_owned(),
            }),
            init: None,
        }
    }

    /// Removes what a stopped VM does not keep, and ends in `stopped`, or in `error` with the
    /// reason.
    pub(crate) async fn finish_stop(&mut self, report: &mut Reporter) -> Result<(), EngineError> {
        let phase = report.begin(Phase::TearDown);
        self.monitor = None;
        let recorded = self.shared.store.recorded(&self.vm.id)?;
        let had_run = recorded.iter().any(|resource| resource.role() == Role::VmDir);
        let mut left = self.shared.executor.tear_down(&report.id, plan_stop(recorded)).await;
        left.extend(self.shared.network.leave(&report.id, &self.vm.id).await);
        report.end(phase);
        let settled = if had_run { VmState::Stopped } else { VmState::Created };
        self.settle(left, settled, report)
    }

    /// Enters the state that a tear-down ends in.
    pub(crate) fn settle(
        &mut self,
        left: Vec<LeftBehind>,
        state: VmState,
        report: &mut Reporter,
    ) -> Result<(), EngineError> {
        let objects: Vec<String> = left.iter().map(|left| left.object.clone()).collect();
        let mut left = left.into_iter();
        let Some(first) = left.next() else { return self.enter(state) };
        report.leave_behind(left.collect());
        let name = self.vm.name.clone();
        let error = EngineError::TearDown { name, source: first.error, objects };
        self.vm.last_error = Some(chain(&error));
        self.enter(VmState::Error)?;
        Err(error)
    }
}
