//! The machine and the patience that the tests use.

use banger_core::names::IfName;
use banger_core::net::MacAddr;
use banger_core::unit::{MiB, VcpuCount};
use banger_vmm::{Disk, Machine, Nic, Patience};
use std::path::PathBuf;
use std::time::Duration;

/// A machine with two disks whose control socket is here.
pub(crate) fn machine(api_socket: PathBuf) -> Machine {
    Machine {
        vcpu: VcpuCount::new(3).unwrap(),
        memory: MiB::of(1024),
        kernel: "/bundle/vmlinux".into(),
        initrd: "/vms/otter/initrd".into(),
        boot_args: vec!["ro".to_owned()],
        disks: vec![
            Disk { id: "root", path: "/vms/otter/root.img".into() },
            Disk { id: "work", path: "/vms/otter/work.img".into() },
        ],
        nic: Nic {
            tap: IfName::try_from("b_1.t2".to_owned()).unwrap(),
            mac: MacAddr::try_from("06:00:ac:10:00:02".to_owned()).unwrap(),
        },
        api_socket,
    }
}

/// Long enough for a fake that answers at once on a busy machine.
pub(crate) fn patient() -> Patience {
    Patience { answer: Duration::from_secs(10), start: Duration::from_secs(10) }
}

/// For a fake that never answers, and still enough for the answers that come before.
pub(crate) fn impatient() -> Patience {
    Patience { answer: Duration::from_millis(1500), start: Duration::from_millis(2000) }
}
