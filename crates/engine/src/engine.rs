//! The engine as the daemon sees it.

use crate::build::{self, BuildImage};
use crate::bundle::FetchFrom;
use crate::errand::Errand;
use crate::error::EngineError;
use crate::executor::blocking;
use crate::import::ImportImage;
use crate::keys::{self, Keys, host_key_alias};
use crate::measure::Measures;
use crate::operation::{Closer, Finished, Operation, Reporter};
use crate::permit::Permission;
use crate::reach::SSH_PORT;
use crate::ready::wait_ready;
use crate::reconcile::reconcile;
use crate::register::{self, NewImage};
use crate::settings::{Images, Ports, Settings};
use crate::shared::{Shared, new_op};
use crate::store::Store;
use crate::task::{VmHandle, Work};
use crate::usage::{load, usage};
use crate::view::{Counted, ImageView, Load, SshAccess, SshConfig, Usage, VmView};
use crate::why::{Why, why};
use crate::{bundle, create, guest_init, images, import, promote};
use banger_core::dns::Table;
use banger_core::error::fault;
use banger_core::forward::ForwardChange;
use banger_core::id::OpId;
use banger_core::image::{Image, ImageOrigin};
use banger_core::ledger::Audit;
use banger_core::resource::{Observed, Resource, ResourceKey};
use banger_core::spec::SpecChange;
use banger_core::state::Readiness;
use banger_core::unit::elapsed_ms;
use banger_core::vm::Vm;
use banger_core::vm_name::{ImageName, VmName};
use banger_host::Signal;
use banger_host::facts::NetworkQuestion;
use banger_image::bundle::BundleSource;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::Instrument;
use tracing::field::Empty;

/// A VM to be made.
#[derive(Debug, Clone, Default)]
pub struct NewVm {
    /// Its name; an adjective and a noun when absent.
    pub name: Option<VmName>,
    /// Its image; `default` when absent.
    pub image: Option<ImageName>,
    /// What differs from the defaults.
    pub spec: SpecChange,
    /// How to boot it; absent means that it is not booted.
    pub start: Option<StartOptions>,
}

/// How to boot a VM.
#[derive(Debug, Clone, Copy)]
pub struct StartOptions {
    /// What to wait for: [`Readiness::Vmm`], [`Readiness::Guest`] or [`Readiness::Ssh`].
    pub wait: Readiness,
    /// How long to wait for it.
    pub timeout: Duration,
}

/// All VMs of one instance. Clones are the same engine.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// Opens the records, resolves whatever an earlier daemon left half-done, and takes up the VMs
    /// that are running. Needs a Tokio runtime; the state directory must exist.
    pub async fn open(settings: Settings, ports: Ports) -> Result<Self, EngineError> {
        let state_dir = settings.layout.state_dir();
        let store = Store::open(&state_dir.join("state.db"))?;
        let keys = Keys::open(state_dir, settings.ssh_key.as_ref())?;
        let init_archive = guest_init::publish(&settings)?;
        let shared = Arc::new(Shared::new(settings, ports, store, keys, init_archive)?);
        if let Err(error) = images::sync_default(&shared) {
            tracing::warn!(error = fault(&error), "the default image cannot be used");
        }
        reconcile(&shared).await?;
        build::sweep_kernels(&shared);
        Ok(Self { shared })
    }

    /// All VMs, in order of their names.
    pub fn list(&self) -> Vec<VmView> {
        let mut views: Vec<VmView> = self.shared.vms().values().map(VmHandle::view).collect();
        views.sort_by(|a, b| a.vm.name.cmp(&b.vm.name));
        views
    }

    /// One VM.
    pub fn view(&self, reference: &str) -> Result<VmView, EngineError> {
        Ok(self.shared.find(reference)?.view())
    }

    /// The names of the VMs that run: this table, and each that takes its place.
    pub fn names(&self) -> watch::Receiver<Arc<Table>> {
        self.shared.names.watch()
    }

    /// Makes a VM and, if it says so, boots it. When that fails nothing of the VM is left, except
    /// where only the wait ran out: then the VM goes on booting.
    pub fn create(&self, new: NewVm) -> Operation {
        let shared = Arc::clone(&self.shared);
        self.operate(Errand::Create, move |report| create::create(shared, new, report))
    }

    /// Boots a VM.
    pub fn start(&self, reference: &str, options: StartOptions) -> Result<Operation, EngineError> {
        self.boot(reference, Errand::Start, Work::Start, options)
    }

    /// Asks the guest to end and kills it after `timeout`.
    pub fn stop(&self, reference: &str, timeout: Duration) -> Result<Operation, EngineError> {
        self.ask(reference, Errand::Stop, Work::Stop { timeout })
    }

    /// Stops the VM if it runs, then boots it.
    pub fn restart(
        &self,
        reference: &str,
        stop: Duration,
        start: StartOptions,
    ) -> Result<Operation, EngineError> {
        self.boot(reference, Errand::Restart, Work::Restart { timeout: stop }, start)
    }

    /// Sends the VMM a signal.
    pub fn kill(&self, reference: &str, signal: Signal) -> Result<Operation, EngineError> {
        self.ask(reference, Errand::Kill, Work::Kill { signal })
    }

    /// Removes the VM with its disks.
    pub fn delete(&self, reference: &str) -> Result<Operation, EngineError> {
        self.ask(reference, Errand::Delete, Work::Delete)
    }

    /// Changes the VM's spec.
    pub fn set(&self, reference: &str, change: SpecChange) -> Result<Operation, EngineError> {
        self.ask(reference, Errand::Set, Work::Set { change })
    }

    /// Changes which ports of the host lead into the VM.
    pub fn forward(
        &self,
        reference: &str,
        change: ForwardChange,
    ) -> Result<Operation, EngineError> {
        self.ask(reference, Errand::Forward, Work::Forward { change })
    }

    /// What a VM uses. Takes half a second, in which processor time is measured.
    pub async fn usage(&self, reference: &str) -> Result<Usage, EngineError> {
        let view = self.view(reference)?;
        usage(&self.shared, view).await
    }

    /// What each VM weighs at this moment, in order of their names. One that cannot be looked at
    /// counts as not running.
    pub async fn loads(&self) -> Vec<Load> {
        let views = self.list();
        let shared = Arc::clone(&self.shared);
        blocking(move || views.into_iter().map(|view| load(&shared, view)).collect()).await
    }

    /// What the engine counts and times.
    pub fn measures(&self) -> &Measures {
        &self.shared.measures
    }

    /// How many objects the ledger has.
    pub fn ledger_size(&self) -> Result<usize, EngineError> {
        self.shared.store.ledger_size()
    }

    /// How many objects the host has of this instance, as of the last inventory. If that is older
    /// than `age`, another is taken first, which asks the kernel for all links, tables, devices and
    /// processes.
    pub async fn inventory_size(&self, age: Duration) -> Result<Counted, EngineError> {
        if let Some(counted) = self.shared.counted().filter(|counted| counted.at.elapsed() <= age) {
            return Ok(counted);
        }
        let objects = images::inventory(&self.shared).await?.len();
        Ok(self.shared.counted().unwrap_or(Counted { objects, at: Instant::now() }))
    }

    /// What is known about why a VM is as it is, also about one whose creation failed.
    pub async fn why(&self, reference: &str) -> Result<Why, EngineError> {
        let (shared, reference) = (Arc::clone(&self.shared), reference.to_owned());
        blocking(move || why(&shared, &reference)).await
    }

    /// What an ssh client needs.
    pub fn ssh_access(&self, reference: &str) -> Result<SshAccess, EngineError> {
        let view = self.view(reference)?;
        let keys = &self.shared.keys;
        Ok(SshAccess {
            user: keys::USER,
            address: view.vm.identity.ip.address(),
            port: SSH_PORT,
            key: keys.private_path(),
            known_hosts: keys.known_hosts_path(),
            host_key_alias: host_key_alias(&view.vm),
            view,
        })
    }

    /// What an ssh client is configured with so that it knows VMs by their names.
    pub fn ssh_config(&self) -> SshConfig {
        let keys = &self.shared.keys;
        SshConfig { file: keys.config_path(), text: keys.config() }
    }

    /// Compares the ledger with the host.
    pub async fn audit(&self) -> Result<(Audit, Vec<Observed>), EngineError> {
        let inventory = images::inventory(&self.shared).await?;
        Ok((Audit::new(&self.ledger()?, &inventory), inventory))
    }

    /// Every object that is or may be on the host, by the records.
    pub fn ledger(&self) -> Result<Vec<ResourceKey>, EngineError> {
        Ok(self.shared.store.ledger()?.iter().map(Resource::key).collect())
    }

    /// What to ask of the host about guests' way to the world.
    pub fn network_question(&self) -> NetworkQuestion {
        let bridge = self.shared.network.bridge();
        NetworkQuestion {
            bridge: bridge.name.clone(),
            subnet: bridge.subnet,
            dns_port: bridge.dns_port,
            table: self.shared.settings.layout.nft_table(),
        }
    }

    /// Has other firewalls of the host let guests' packets through, until that is withdrawn. Returns
    /// what was put there; stops at the first that cannot be told.
    pub async fn permit(&self, permissions: &[Permission]) -> Result<Vec<Resource>, EngineError> {
        let op = new_op();
        let mut permits = Vec::new();
        for permission in permissions {
            tracing::info!(op_id = %op, ?permission, "guests are to be let through");
            permits.push(self.shared.permits.grant(&op, *permission).await?);
        }
        Ok(permits)
    }

    /// Undoes all that [`Engine::permit`] did. Returns what is gone.
    pub async fn withdraw(&self) -> Result<Vec<Resource>, EngineError> {
        let op = new_op();
        let (gone, left) = self.shared.permits.withdraw(&op).await;
        tracing::info!(op_id = %op, ?gone, "guests are no longer let through");
        let objects = left.iter().map(|left| left.object.clone()).collect();
        match left.into_iter().next() {
            Some(first) => Err(EngineError::Withdraw { objects, source: first.error }),
            None => Ok(gone),
        }
    }

    /// Makes bridge, tables and forwarding what they should be, where somebody has changed them.
    pub async fn refresh_network(&self) -> Result<(), EngineError> {
        self.shared.network.refresh(&new_op()).await
    }

    /// All images, in order of their names. Reads files.
    pub fn images(&self) -> Vec<ImageView> {
        images::views(&self.shared)
    }

    /// One image. Reads files.
    pub fn image(&self, reference: &str) -> Result<ImageView, EngineError> {
        Ok(images::view(&self.shared, self.shared.catalog.find(reference)?))
    }

    /// Makes an image of files that stay where they are.
    pub fn register_image(&self, new: NewImage) -> Operation {
        let shared = Arc::clone(&self.shared);
        self.operate(Errand::ImageRegister, move |report| register::register(shared, new, report))
    }

    /// Makes an image of a directory, an archive or a container image. It is broken off when nobody
    /// listens to it any more.
    pub fn import_image(&self, request: ImportImage) -> Operation {
        let shared = Arc::clone(&self.shared);
        self.operate(Errand::ImageImport, move |report| import::import(shared, request, report))
    }

    /// Builds an image by booting one and working in it.
    pub fn build_image(&self, request: BuildImage) -> Operation {
        let shared = Arc::clone(&self.shared);
        self.operate(Errand::ImageBuild, move |report| build::build(shared, request, report))
    }

    /// Tells an image build to end. It is over when its operation ends.
    pub fn cancel(&self, operation: &OpId) -> Result<(), EngineError> {
        self.shared.builds.cancel(operation)
    }

    /// Tells an image build that its user has done what was to be done by hand.
    pub fn save(&self, operation: &OpId) -> Result<(), EngineError> {
        self.shared.builds.save(operation)
    }

    /// Gives an image another name.
    pub fn rename_image(&self, reference: &str, name: ImageName) -> Result<(), EngineError> {
        let catalog = &self.shared.catalog;
        catalog.rename(&catalog.find(reference)?.id, name)
    }

    /// Copies an image's files into managed storage.
    pub fn promote_image(&self, reference: &str) -> Result<Operation, EngineError> {
        let id = self.shared.catalog.find(reference)?.id;
        let shared = Arc::clone(&self.shared);
        Ok(self.operate(Errand::ImagePromote, move |report| promote::promote(shared, id, report)))
    }

    /// Removes an image that no VM uses. Files that are not banger's stay.
    pub fn delete_image(&self, reference: &str) -> Result<Operation, EngineError> {
        let shared = Arc::clone(&self.shared);
        let id = shared.catalog.find(reference)?.id;
        Ok(self.operate(Errand::ImageDelete, move |mut report| async move {
            let result = images::delete(&shared, id, &mut report).await;
            Ok((report, result))
        }))
    }

    /// What a VM boots from, as far as the records tell; the files are not looked at.
    pub fn boots_from(&self, vm: &Vm) -> Option<Image> {
        let catalog = &self.shared.catalog;
        let image = catalog.get(&vm.image)?.image(catalog.default().as_ref())?;
        Some(image.booting(vm.own_kernel.clone()))
    }

    /// Whether a new VM of that image boots with anything of the runtime bundle's.
    pub fn needs_bundle(&self, image: Option<&ImageName>) -> bool {
        let Some(name) = image else { return true };
        // What is not known is refused with its own reason.
        let found = self.shared.catalog.called(name);
        found.is_ok_and(|record| record.boot.is_none() || record.origin == ImageOrigin::Bundle)
    }

    /// The runtime bundle's image. Reads files.
    pub fn bundle_image(&self) -> Result<Image, EngineError> {
        images::bundle_image(&self.shared)
    }

    /// Where the runtime bundle is and which of its parts are elsewhere, where there is one.
    pub fn bundle_source(&self) -> Option<BundleSource> {
        match &self.shared.settings.images {
            Images::Bundle(source) => Some(source.clone()),
            Images::Simulated => None,
        }
    }

    /// Builds the runtime bundle from the distribution's packages.
    pub fn build_bundle(&self) -> Operation {
        let shared = Arc::clone(&self.shared);
        self.operate(Errand::BundleBuild, move |report| bundle::build(shared, report))
    }

    /// Reads all of the runtime bundle: each file against its checksum, and whether each can do its
    /// work.
    pub fn verify_bundle(&self) -> Operation {
        let shared = Arc::clone(&self.shared);
        self.operate(Errand::BundleVerify, move |report| bundle::verify(shared, report))
    }

    /// Unpacks the runtime bundle from an archive.
    pub fn fetch_bundle(&self, from: FetchFrom) -> Operation {
        let shared = Arc::clone(&self.shared);
        self.operate(Errand::BundleFetch, move |report| bundle::fetch(shared, from, report))
    }

    /// Ends all tasks of the engine, after the operations under way. VMs go on running.
    pub async fn shutdown(&self) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    fn ask(&self, reference: &str, what: Errand, work: Work) -> Result<Operation, EngineError> {
        let handle = self.shared.find(reference)?;
        Ok(self.operate(what, move |report| async move {
            name_in_log(&handle.view());
            handle.ask(work, report).await
        }))
    }

    fn boot(
        &self,
        reference: &str,
        what: Errand,
        work: Work,
        options: StartOptions,
    ) -> Result<Operation, EngineError> {
        let handle = self.shared.find(reference)?;
        Ok(self.operate(what, move |report| async move {
            name_in_log(&handle.view());
            let (mut report, result) = handle.ask(work, report).await?;
            let result = match result {
                Ok(started) => wait_ready(&handle, options, started.changed, &mut report).await,
                Err(error) => Err(error),
            };
            Ok((report, result))
        }))
    }

    /// Runs an operation as a task of its own, so that it outlives its asker.
    fn operate<F>(&self, what: Errand, work: impl FnOnce(Reporter) -> F) -> Operation
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let id = new_op();
        let (report, operation) = Reporter::new(id.clone(), self.shared.measures.clone());
        let closer = report.closer();
        let answer = work(report);
        // Whom it concerns is known to a create only later.
        let span = tracing::info_span!(
            "operation", op_id = %id, what = what.as_str(), vm_id = Empty, vm_name = Empty, image = Empty
        );
        self.shared
            .tasks
            .spawn(conclude(what, answer, closer, self.shared.measures.clone()).instrument(span));
        operation
    }
}

/// Puts the VM into every log line of the operation under way.
pub(crate) fn name_in_log(view: &VmView) {
    let (span, vm) = (tracing::Span::current(), &view.vm);
    span.record("vm_id", vm.id.as_str());
    span.record("vm_name", vm.name.as_str());
    span.record("image", view.image.as_str());
}

/// An operation's result with the reporter to give it to. `Err` means that the VM's task went away
/// with the reporter.
pub(crate) type Answer = Result<(Reporter, Result<Finished, EngineError>), Gone>;

/// The VM's task has ended: the VM was deleted, or the daemon is ending.
#[derive(Debug)]
pub(crate) struct Gone;

async fn conclude(
    what: Errand,
    answer: impl Future<Output = Answer>,
    closer: Closer,
    measures: Measures,
) {
    tracing::info!("{what} begins");
    let since = Instant::now();
    let (finish, error, stage): (Box<dyn FnOnce(_) + Send>, _, _) = match answer.await {
        Ok((report, Ok(finished))) => {
            let elapsed_ms = elapsed_ms(since.elapsed());
            tracing::info!(changed = finished.changed, elapsed_ms, "{what} is done");
            measures.operation(what, "done");
            return report.finish(finished);
        }
        Ok((report, Err(error))) => {
            let stage = report.stage();
            (Box::new(move |error| report.fail(error)), error, stage)
        }
        Err(Gone) => (Box::new(move |error| closer.fail(error)), EngineError::Gone, None),
    };
    let elapsed_ms = elapsed_ms(since.elapsed());
    tracing::error!(error = fault(&error), stage, elapsed_ms, "{what} failed");
    measures.operation(what, "failed");
    finish(error);
}
