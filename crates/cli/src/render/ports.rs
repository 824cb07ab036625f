//! What guests listen on, as people and programs read it.

use super::table;
use banger_core::listen::{Listener, Reach};
use banger_core::vm_name::VmName;
use serde::ser::{Serialize, SerializeSeq, Serializer};

/// What one VM's guest listens on.
#[derive(Debug)]
pub(crate) struct VmPorts {
    pub(crate) vm: VmName,
    pub(crate) listeners: Vec<Listener>,
}

/// A listener with the name under which it is reached.
#[derive(serde::Serialize)]
struct Port<'a> {
    address: String,
    #[serde(flatten)]
    listener: &'a Listener,
}

impl VmPorts {
    fn address(&self, listener: &Listener) -> String {
        format!("{}.vm:{}", self.vm, listener.port)
    }
}

impl Serialize for VmPorts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_seq(Some(self.listeners.len()))?;
        for listener in &self.listeners {
            all.serialize_element(&Port { address: self.address(listener), listener })?;
        }
        all.end()
    }
}

/// The table of `vm ports`.
pub(crate) fn table<'a>(all: impl Iterator<Item = &'a VmPorts>) -> String {
    let row = |vm: &VmPorts, listener: &Listener| {
        let reach = match listener.reach {
            Reach::Loopback => "the guest alone",
            Reach::Network => "the network",
        };
        [vm.address(listener), listener.protocol.to_string(), reach.to_owned()]
    };
    let rows: Vec<_> =
        all.flat_map(|vm| vm.listeners.iter().map(move |listener| row(vm, listener))).collect();
    table::table(["ADDRESS", "PROTOCOL", "REACHED FROM"], &rows)
}
