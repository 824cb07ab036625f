//! What all operations of an engine share.

use crate::build::Builds;
use crate::catalog::Catalog;
use crate::error::EngineError;
use crate::executor::Executor;
use crate::forward::Forwards;
use crate::keys::Keys;
use crate::measure::Measures;
use crate::names::Names;
use crate::network::Network;
use crate::permit::Permits;
use crate::settings::{Ports, Settings};
use crate::store::Store;
use crate::task::VmHandle;
use crate::view::Counted;
use banger_core::id::{OpId, VmId};
use banger_core::reference::resolve;
use banger_core::vm::{UnixMillis, Vm};
use banger_core::vm_name::VmName;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The engine's inside.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) ports: Ports,
    pub(crate) store: Arc<Store>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) executor: Executor,
    pub(crate) network: Network,
    pub(crate) permits: Permits,
    pub(crate) names: Names,
    pub(crate) forwards: Arc<Forwards>,
    pub(crate) keys: Keys,
    pub(crate) measures: Measures,
    /// The image builds that are under way.
    pub(crate) builds: Builds,
    /// The archives that come after an image's initrd: banger's init.
    pub(crate) init_archive: Vec<PathBuf>,
    /// Operations and VM tasks: each is joined at shutdown.
    pub(crate) tasks: TaskTracker,
    /// Tells every VM task to end; the VMs go on.
    pub(crate) closing: CancellationToken,
    vms: Mutex<BTreeMap<VmId, VmHandle>>,
    /// What the last inventory came to.
    counted: Mutex<Option<Counted>>,
    /// Whose turn it is to write the known-hosts file.
    publishing: Mutex<()>,
}

impl Shared {
    pub(crate) fn new(
        settings: Settings,
        ports: Ports,
        store: Store,
        keys: Keys,
        init_archive: Vec<PathBuf>,
    ) -> Result<Self, EngineError> {
        let store = Arc::new(store);
        let catalog = Arc::new(Catalog::open(Arc::clone(&store))?);
        let measures = Measures::default();
        let executor = Executor::new(Arc::clone(&store), Arc::clone(&ports.host), measures.clone());
        let network =
            Network::new(settings.layout.clone(), settings.bridge.clone(), executor.clone());
        let permits = Permits::new(
            settings.layout.clone(),
            settings.bridge.clone(),
            executor.clone(),
            Arc::clone(&store),
        );
        let names = Names::new(settings.bridge.subnet);
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let forwards = Arc::new(Forwards::new(tasks.clone(), closing.clone()));
        Ok(Self {
            settings,
            ports,
            store,
            catalog,
            executor,
            network,
            permits,
            names,
            forwards,
            keys,
            measures,
            builds: Builds::default(),
            init_archive,
            tasks,
            closing,
            vms: Mutex::new(BTreeMap::new()),
            counted: Mutex::new(None),
            publishing: Mutex::new(()),
        })
    }

    /// The VMs that exist. A panic under the lock leaves the map whole: each change is one call.
    pub(crate) fn vms(&self) -> MutexGuard<'_, BTreeMap<VmId, VmHandle>> {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last inventory came to.
    pub(crate) fn counted(&self) -> Option<Counted> {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what an inventory came to.
    pub(crate) fn count(&self, objects: usize) {
        let counted = Counted { objects, at: Instant::now() };
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some(counted);
    }

    /// The VM that a reference names.
    pub(crate) fn find(&self, reference: &str) -> Result<VmHandle, EngineError> {
        let vms = self.vms();
        let names: Vec<(&VmId, VmName)> =
            vms.iter().map(|(id, handle)| (id, handle.view().vm.name)).collect();
        let id = resolve("VM", reference, names.iter().map(|(id, name)| (*id, name)))?;
        Ok(vms.get(id).expect("the id was taken from the map").clone())
    }

    /// Forgets a deleted VM, its forwards and its host key.
    pub(crate) fn forget(&self, vm: &VmId) {
        self.forwards.release(vm);
        self.vms().remove(vm);
        self.publish_host_keys();
    }

    /// Brings the known-hosts file up to date. An error is logged: it spoils no operation, and
    /// the next change writes the file again.
    pub(crate) fn publish_host_keys(&self) {
        // The VMs are listed within the turn, so that who writes last has seen every change.
        let _turn = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let vms: Vec<Vm> = self.vms().values().map(|handle| handle.view().vm).collect();
        if let Err(error) = self.keys.write_known_hosts(vms.iter()) {
            tracing::error!(%error, "the known-hosts file could not be written");
        }
    }
}

/// 64 random bits.
pub(crate) fn entropy() -> Result<u64, EngineError> {
    getrandom::u64().map_err(EngineError::Entropy)
}

/// A new operation's id. Without randomness it falls back on the clock: an id is for reading logs,
/// not for secrecy.
pub(crate) fn new_op() -> OpId {
    let clock = || Timestamp::now().as_nanosecond().unsigned_abs();
    let bits = getrandom::u64()
        .unwrap_or_else(|_| u64::try_from(clock() & u128::from(u64::MAX)).unwrap_or_default());
    OpId::from_entropy(bits)
}

/// The time now.
pub(crate) fn now() -> UnixMillis {
    UnixMillis(Timestamp::now().as_millisecond())
}
