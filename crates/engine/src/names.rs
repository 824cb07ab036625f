//! The names of running VMs, as the DNS server reads them.
//!
//! A VM's task shows here what it shows everywhere: with each state that others see, the table
//! follows. So a name is there before a start returns and gone before a stop does, and a new daemon
//! has the names of the VMs that it takes up.

use banger_core::dns::{Entry, Scope, Table};
use banger_core::id::VmId;
use banger_core::net::Subnet;
use banger_core::state::VmState;
use banger_core::vm::Vm;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The table of names, and what it is made from.
#[derive(Debug)]
pub(crate) struct Names {
    subnet: Subnet,
    running: Mutex<BTreeMap<VmId, Entry>>,
    table: watch::Sender<Arc<Table>>,
}

impl Names {
    pub(crate) fn new(subnet: Subnet) -> Self {
        let table = watch::Sender::new(Arc::new(Table::new(subnet, 1, [])));
        Self { subnet, running: Mutex::new(BTreeMap::new()), table }
    }

    /// The table, and each that takes its place.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Table>> {
        self.table.subscribe()
    }

    /// Follows a VM into its state. When this returns, the table has its name if it runs, and has
    /// it no longer if it does not. It also says then what the guest is told of others' names, which
    /// is nothing without NAT: a guest that is to reach nobody would reach whoever answers for a name.
    pub(crate) fn follow(&self, vm: &Vm) {
        // A panic under the lock leaves the map whole: each change is one call.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = if vm.state == VmState::Running {
            let scope = if vm.spec.nat { Scope::All } else { Scope::Ours };
            let entry = Entry { name: vm.name.clone(), ip: vm.identity.ip, scope };
            running.insert(vm.id.clone(), entry.clone()) != Some(entry)
        } else {
            running.remove(&vm.id).is_some()
        };
        if changed {
            let serial = self.table.borrow().serial().wrapping_add(1);
            let next = Table::new(self.subnet, serial, running.values().cloned());
            // Within the lock, so that a later table is never replaced by an earlier one.
            self.table.send_replace(Arc::new(next));
        }
    }
}
