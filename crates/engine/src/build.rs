//! Building an image by booting one and working in it.
//!
//! ```text
//!   request ─► Plan ─► temporary VM ─► Workshop in it ─► shut down ─► e2fsck ─► Draft ─► record
//!                          │ its root disk is a file of its own ────────────────► the image's
//! ```
//!
//! The VM is an ordinary one with a purpose: lifecycle, ledger, reconcile and logs are those of any
//! other. Whatever ends the build, the VM and the draft go, and the log stays; a daemon that is
//! killed leaves both to the next one. From the moment on that the disk is taken nothing ends it.
//! Where a failed build is to leave its VM, that gets another purpose as the last thing, so that there
//! is never one to be kept that has lost its disk.

mod bench;
mod by_hand;
mod finish;
mod log;
mod own_kernel;
mod plan;
mod running;
mod stale;

pub use bench::{RealWorkbench, Workbench};
pub(crate) use own_kernel::sweep_kernels;
pub use plan::{BuildCopy, BuildImage};
pub(crate) use running::Builds;
pub(crate) use stale::staleness;

use crate::console::last_lines;
use crate::create::{discard, register, remove};
use crate::draft::Draft;
use crate::engine::{Answer, Gone, NewVm, StartOptions};
use crate::error::{EngineError, ImageBuildError, KeptVm};
use crate::executor::blocking;
use crate::follow::{Interest, Tell, Told, follow, tell, tell_step};
use crate::images::{self, Need};
use crate::operation::{Finished, Phase, Reporter};
use crate::ready::{ended_by_itself, wait_ready};
use crate::shared::Shared;
use crate::task::{VmHandle, Work};
use banger_core::error::{chain, fault};
use banger_core::id::OpId;
use banger_core::image::{BootFiles, Image, ImageRecord};
use banger_core::spec::SpecChange;
use banger_core::state::{Readiness, Request, VmState};
use banger_core::vm::Purpose;
use banger_core::vm_name::VmName;
use banger_provision::{
    Distribution, Guest, Installed, Login, PackageManager, ProvisionError, SessionError, Workshop,
};
use finish::{Disk, Unfinished, finish};
use log::{BuildLog, Lines};
use own_kernel::{OwnKernel, Placed};
use plan::{Plan, prepare};
use running::Entered;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a guest may take to answer by ssh, then the first session, and its end. Emulated guests
/// on a busy machine take a minute and a half for the first.
const BOOT: Duration = Duration::from_secs(300);
const ENTER: Duration = Duration::from_secs(60);
const SHUTDOWN: Duration = Duration::from_secs(180);
/// How long after a session has broken off the guest's own end may be seen.
const AFTERMATH: Duration = Duration::from_secs(5);
/// How many of the console's last lines go into an error.
const TAIL_LINES: usize = 10;

/// Builds an image.
pub(crate) async fn build(
    shared: Arc<Shared>,
    request: BuildImage,
    mut report: Reporter,
) -> Answer {
    let result = try_build(&shared, request, &mut report).await;
    Ok((report, result))
}

async fn try_build(
    shared: &Arc<Shared>,
    request: BuildImage,
    report: &mut Reporter,
) -> Result<Finished, EngineError> {
    let entered = shared.builds.enter(&report.id);
    let draft = Draft::begin(shared, &report.id, &request.name)?;
    let mut plan = blocking(move || prepare(request)).await?;
    let (base, image) = base(shared, &plan).await?;
    let log = BuildLog::create(shared.settings.layout.state_dir(), &report.id)?;
    let kernel = match plan.kernel.take() {
        Some(own) => place(shared, &report.id, own).await.map(Some),
        None => Ok(None),
    };
    let made = kernel.and_then(|kernel| {
        let own = kernel.as_ref().map(|placed| placed.boot.clone());
        Ok((temporary_vm(shared, &report.id, &plan, &base, own)?, kernel))
    });
    let (handle, kernel) = made.inspect_err(|_refused| log.remove())?;
    report.note(format!("what the guest says goes to `{}`", log.path().display()));
    let shared = Arc::clone(shared);
    let cleaning = AtomicBool::new(false);
    let job = Job { shared, entered, plan, base, image, handle, log, kernel, cleaning };
    let handwork = job.plan.request.by_hand.then(|| job.entered.handwork().clone());
    let left = by_hand::abandoned(handwork, report.left());
    let made = tokio::select! {
        biased;
        () = job.entered.cancelled() => Err(ImageBuildError::Cancelled.into()),
        () = left => Err(ImageBuildError::Abandoned.into()),
        () = job.shared.closing.cancelled() => Err(EngineError::ShuttingDown),
        made = job.make(report) => made,
    };
    let content = match made {
        Ok(content) => content,
        Err(error) => return Err(job.give_up(error, Disk::Vm, report).await),
    };
    if let Err(Unfinished { error, disk }) = finish(&job, draft, content, report).await {
        return Err(job.give_up(error, disk, report).await);
    }
    job.remove_vm(report).await;
    Ok(Finished { vm: None, changed: true })
}

/// The image to begin with, with its files checked.
async fn base(shared: &Arc<Shared>, plan: &Plan) -> Result<(ImageRecord, Image), EngineError> {
    let (shared, from) = (Arc::clone(shared), plan.request.from.clone());
    let (base, image, size) = blocking(move || {
        let base = match &from {
            Some(name) => shared.catalog.called(name)?,
            None => images::sync_default(&shared)?,
        };
        let image = images::check(&shared, &base, Need::All)?;
        let size = images::measure(&shared, &image.rootfs);
        Ok::<_, EngineError>((base, image, size))
    })
    .await?;
    let (Some(least), Some(given)) = (size, plan.request.size) else { return Ok((base, image)) };
    if given.bytes() < least {
        return Err(ImageBuildError::TooSmall { given, least, base: base.name }.into());
    }
    Ok((base, image))
}

async fn place(shared: &Arc<Shared>, op: &OpId, own: OwnKernel) -> Result<Placed, EngineError> {
    let (layout, op) = (shared.settings.layout.clone(), op.clone());
    blocking(move || own.place(&layout, &op)).await
}

/// A VM whose root disk is as large as the image is to be.
fn temporary_vm(
    shared: &Arc<Shared>,
    op: &OpId,
    plan: &Plan,
    base: &ImageRecord,
    own_kernel: Option<BootFiles>,
) -> Result<VmHandle, EngineError> {
    let size = plan.request.size.or_else(|| base.size.and_then(finish::whole_mebibytes));
    let spec = SpecChange {
        overlay: size,
        nat: Some(plan.request.spec.nat.unwrap_or(true)),
        work_disk: None,
        ..plan.request.spec.clone()
    };
    let taken: Vec<VmName> = shared.vms().values().map(|handle| handle.view().vm.name).collect();
    let mut numbered = (1..).map(|number| vm_name(plan.request.name.as_str(), number));
    let name = numbered.find(|name| !taken.contains(name));
    let image = Some(base.name.clone());
    register(shared, op, &NewVm { name, image, spec, start: None }, Purpose::Build, own_kernel)
}

/// `build-dev`, `build-dev-2`, and so on.
fn vm_name(image: &str, number: u32) -> VmName {
    let mut name = format!("build-{}", &image[..image.len().min(48)]);
    if number > 1 {
        name = format!("{}-{number}", name.trim_end_matches('-'));
    }
    let name = name.trim_end_matches('-');
    name.parse().expect("a word, the beginning of a name and a number are a name")
}

/// What was found in a guest that is now an image.
#[derive(Debug)]
struct Content {
    distribution: Distribution,
    manager: Option<PackageManager>,
    packages: Vec<Installed>,
    base_digest: String,
}

/// One build.
#[derive(Debug)]
struct Job {
    shared: Arc<Shared>,
    entered: Entered,
    plan: Plan,
    base: ImageRecord,
    image: Image,
    handle: VmHandle,
    log: BuildLog,
    kernel: Option<Placed>,
    /// The guest loses its identity and its keys, until it boots again.
    cleaning: AtomicBool,
}

impl Job {
    /// Everything up to a root disk that nobody writes to any more.
    async fn make(&self, report: &mut Reporter) -> Result<Content, EngineError> {
        let base_digest = self.base_digest(report).await?;
        self.boot(report).await?;
        let content = self.work(&base_digest, report).await?;
        self.ask(Work::Stop { timeout: SHUTDOWN }, report).await?;
        self.check_wanted()?;
        self.check_disk(report).await?;
        Ok(content)
    }

    /// Starts the VM and waits until it can be entered.
    async fn boot(&self, report: &mut Reporter) -> Result<(), EngineError> {
        self.ask(Work::Start, report).await?;
        self.cleaning.store(false, Ordering::Relaxed);
        let options = StartOptions { wait: Readiness::Ssh, timeout: BOOT };
        let ready = wait_ready(&self.handle, options, true, report).await;
        ready.map(drop).map_err(|error| self.explain_silence(error))
    }

    /// The work in the guest.
    async fn work(&self, base_digest: &str, report: &mut Reporter) -> Result<Content, EngineError> {
        let guest = self.in_guest(self.enter(report)).await?;
        self.in_guest(self.install(guest.as_ref(), report)).await?;
        match self.plan.request.by_hand {
            true => self.by_hand(guest, base_digest, report).await,
            false => self.in_guest(self.conclude(guest.as_ref(), base_digest, report)).await,
        }
    }

    /// Does something in the guest, which has to run on meanwhile.
    async fn in_guest<T>(
        &self,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let worked = tokio::select! {
            biased;
            worked = work => worked,
            error = self.vm_ended() => Err(error),
        };
        match worked {
            Err(error) if is_broken_off(&error) => Err(self.why_broken_off(error).await),
            other => other,
        }
    }

    async fn install(&self, guest: &dyn Guest, report: &mut Reporter) -> Result<(), EngineError> {
        let mut lines = Lines::new(&self.log, report.lines());
        let mut sink = |line: &str| lines.take(line);
        let mut workshop = Workshop::new(guest, &mut sink);
        Steps { workshop: &mut workshop, report, cleaning: &self.cleaning }
            .install(&self.plan)
            .await
    }

    async fn conclude(
        &self,
        guest: &dyn Guest,
        base_digest: &str,
        report: &mut Reporter,
    ) -> Result<Content, EngineError> {
        let mut lines = Lines::new(&self.log, report.lines());
        let mut sink = |line: &str| lines.take(line);
        let mut workshop = Workshop::new(guest, &mut sink);
        Steps { workshop: &mut workshop, report, cleaning: &self.cleaning }
            .conclude(base_digest.to_owned())
            .await
    }

    async fn enter(&self, report: &mut Reporter) -> Result<Arc<dyn Guest>, EngineError> {
        let phase = report.begin(Phase::Build("enter the guest".to_owned()));
        let guest = self.open_session().await?;
        report.end(phase);
        Ok(guest)
    }

    async fn open_session(&self) -> Result<Arc<dyn Guest>, EngineError> {
        let vm = self.handle.view().vm;
        let address = SocketAddr::from((vm.identity.ip.address(), crate::reach::SSH_PORT));
        let key = self.shared.keys.private()?;
        let login = Login::root(address, key, vm.identity.host_key.public);
        let entered = self.shared.ports.workbench.enter(&login, ENTER).await;
        let action = "enter the guest".to_owned();
        Ok(entered.map_err(|source| ProvisionError::Session { action, source })?)
    }

    async fn base_digest(&self, report: &mut Reporter) -> Result<String, EngineError> {
        if let Some(digest) = &self.base.digest {
            return Ok(digest.clone());
        }
        let (bench, path) = (Arc::clone(&self.shared.ports.workbench), self.image.rootfs.clone());
        let digest = move |cancel: &AtomicBool, to: &Tell| {
            tell(to, Told::Step(Phase::Digest));
            bench.digest(&path, cancel).map_err(EngineError::file("read", &path))
        };
        follow(&self.shared, Interest::Everybody, report, digest).await
    }

    async fn check_disk(&self, report: &mut Reporter) -> Result<(), EngineError> {
        let disk = self.handle.view().paths.root_clone;
        let bench = Arc::clone(&self.shared.ports.workbench);
        let check = move |cancel: &AtomicBool, to: &Tell| {
            tell_step(to, "check the file system");
            Ok(bench.check(&disk, cancel).map_err(ImageBuildError::Filesystem)?)
        };
        follow(&self.shared, Interest::Everybody, report, check).await
    }

    /// Has the VM's task do something; what it reports is this build's.
    async fn ask(&self, work: Work, report: &mut Reporter) -> Result<(), EngineError> {
        match self.handle.ask(work, report.fork()).await {
            Ok((forked, result)) => {
                report.absorb(forked);
                result.map(drop)
            }
            Err(Gone) => Err(EngineError::Gone),
        }
    }

    /// Completes when the VM no longer runs, which nobody here has asked for.
    async fn vm_ended(&self) -> EngineError {
        let mut watch = self.handle.watch();
        let over = watch.wait_for(|view| view.vm.state != VmState::Running).await;
        let view = over.map_or_else(|_| self.handle.view(), |view| view.clone());
        let name = view.vm.name.clone();
        let error = match ended_by_itself(&view) {
            Some(reason) => {
                let tail = last_lines(&view.paths.console_log, TAIL_LINES);
                ImageBuildError::GuestEnded { name, reason, tail }
            }
            None => ImageBuildError::Ended { name },
        };
        error.into()
    }

    /// Why a session broke off: the guest's end, where that is seen, says more than the session's.
    async fn why_broken_off(&self, error: EngineError) -> EngineError {
        tokio::time::timeout(AFTERMATH, self.vm_ended()).await.unwrap_or(error)
    }

    /// A VM that only takes long is not left alone here, so the error has to say more.
    fn explain_silence(&self, error: EngineError) -> EngineError {
        match error {
            EngineError::NotReady { seconds, reached, log_path, .. } => {
                let tail = last_lines(&log_path, TAIL_LINES);
                ImageBuildError::NoSsh { seconds, reached, tail }.into()
            }
            other => other,
        }
    }

    /// The image is there: what is left of its VM only takes room.
    async fn remove_vm(&self, report: &mut Reporter) {
        match self.ask(Work::Delete, report).await {
            Ok(()) => {}
            // Another request has deleted it, or it went with the daemon.
            Err(EngineError::Gone) => {}
            Err(error) => {
                tracing::error!(error = fault(&error), "the build's VM is left");
                let name = self.handle.view().vm.name;
                report.note(format!("`{name}` is left: `banger vm delete {name}` removes it"));
            }
        }
    }

    /// Refuses to go on where somebody has ended the build.
    fn check_wanted(&self) -> Result<(), EngineError> {
        if self.entered.is_cancelled() {
            return Err(ImageBuildError::Cancelled.into());
        }
        if self.shared.closing.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        if self.entered.is_ended() {
            return Err(self.ended());
        }
        Ok(())
    }

    fn ended(&self) -> EngineError {
        ImageBuildError::Ended { name: self.handle.view().vm.name }.into()
    }

    /// Why the build fails: who ends one has steps fail in many ways.
    fn reason(&self, error: EngineError) -> EngineError {
        match (self.check_wanted(), error) {
            (Err(ended), _) => ended,
            (Ok(()), EngineError::Gone | EngineError::Interrupted { .. }) => self.ended(),
            (Ok(()), error) => error,
        }
    }

    /// Makes the VM one that stays, if that was asked for and it has its disk. Who has ended the build
    /// wants nothing of it.
    async fn keep(&self, error: &EngineError, disk: Disk, report: &mut Reporter) -> Option<KeptVm> {
        // What somebody has done by hand, and wants to have, is not thrown away.
        let is_wanted = self.plan.request.keep_on_failure || self.entered.handwork().is_done();
        if !is_wanted || disk == Disk::Nobody || was_ended(error) {
            return None;
        }
        if let Err(error) = self.ask(Work::Keep, report).await {
            tracing::error!(error = fault(&error), "the build's VM cannot be kept");
            report.note(format!("its VM cannot be kept: {}", chain(&error)));
            return None;
        }
        let vm = self.handle.view().vm;
        let first = match vm.state {
            VmState::Running if self.cleaning.load(Ordering::Relaxed) => Some(Request::Restart),
            VmState::Running => None,
            _ => Some(Request::Start),
        };
        Some(KeptVm { name: vm.name, first })
    }

    /// Removes the VM, or keeps it; the error says where the log is.
    async fn give_up(self, error: EngineError, disk: Disk, report: &mut Reporter) -> EngineError {
        let error = match disk {
            Disk::Vm => self.reason(error),
            Disk::Nobody => error,
        };
        let console = self.handle.view().paths.console_log;
        self.log.append_end(&error, &last_lines(&console, TAIL_LINES));
        let kept = self.keep(&error, disk, report).await;
        let source = match kept {
            Some(_) => {
                self.kernel.into_iter().for_each(Placed::keep);
                error
            }
            // Nobody asks why it failed, and the copies that are kept of failed ones are few.
            None if was_ended(&error) => {
                remove(&self.shared, &self.handle, report).await;
                error
            }
            None => discard(&self.shared, &self.handle, error, report).await,
        };
        ImageBuildError::Failed {
            name: self.plan.request.name,
            source: Box::new(source),
            kept,
            log_path: self.log.path().to_owned(),
        }
        .into()
    }
}

/// Whether somebody has ended the build, rather than that it failed.
fn was_ended(error: &EngineError) -> bool {
    use ImageBuildError::{Abandoned, Cancelled, Ended};
    match error {
        EngineError::ShuttingDown => true,
        EngineError::ImageBuild(error) => matches!(error, Cancelled | Abandoned | Ended { .. }),
        _ => false,
    }
}

fn is_broken_off(error: &EngineError) -> bool {
    use ProvisionError::Session;
    let EngineError::ImageBuild(ImageBuildError::Provision(Session { source, .. })) = error else {
        return false;
    };
    matches!(source, SessionError::Broken { .. } | SessionError::Connect { .. })
}

/// The steps in a guest, each a phase of the operation.
struct Steps<'a, 'w> {
    workshop: &'a mut Workshop<'w>,
    report: &'a mut Reporter,
    cleaning: &'a AtomicBool,
}

impl Steps<'_, '_> {
    /// Puts in everything that was asked for.
    async fn install(&mut self, plan: &Plan) -> Result<(), EngineError> {
        // First, since it may tell the package manager where packages come from.
        for BuildCopy { from, to } in &plan.request.copies {
            let phase = self.begin(&format!("copy `{}`", from.display()));
            self.workshop.copy(from, to).await?;
            self.report.end(phase);
        }
        if !plan.list.is_empty() {
            let manager = self.workshop.manager().await?.ok_or(ProvisionError::NoManager)?;
            let phase = self.begin("install the packages");
            self.workshop.install(manager, &plan.list).await?;
            self.report.end(phase);
        }
        if let Some(modules) = &plan.modules {
            let phase = self.begin("install the modules");
            self.workshop.modules(modules).await?;
            self.report.end(phase);
        }
        for (index, script) in plan.scripts.iter().enumerate() {
            let phase = self.begin(&format!("run `{}`", script.path.display()));
            self.workshop.script(script, index + 1).await?;
            self.report.end(phase);
        }
        Ok(())
    }

    /// Looks at what there is then, and leaves nothing that is this guest's alone.
    async fn conclude(&mut self, base_digest: String) -> Result<Content, EngineError> {
        let distribution = self.workshop.distribution().await?;
        let manager = self.workshop.manager().await?;
        let phase = self.begin("list what is installed");
        let packages = match manager {
            Some(manager) => self.workshop.installed(manager).await?,
            None => Vec::new(),
        };
        self.report.end(phase);
        let phase = self.begin("clean the guest");
        self.cleaning.store(true, Ordering::Relaxed);
        self.workshop.clean(manager).await?;
        self.workshop.sync().await?;
        self.report.end(phase);
        Ok(Content { distribution, manager, packages, base_digest })
    }

    fn begin(&mut self, step: &str) -> crate::operation::Running {
        self.report.begin(Phase::Build(step.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_images_build_has_a_name_for_its_vm() {
        assert_eq!(vm_name("dev", 1).as_str(), "build-dev");
        assert_eq!(vm_name("dev", 2).as_str(), "build-dev-2");
        let long = format!("{}-{}", "a".repeat(47), "b".repeat(15));
        assert_eq!(vm_name(&long, 12).as_str(), format!("build-{}-12", "a".repeat(47)));
    }
}
