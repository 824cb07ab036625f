//! The real host: one module for each kind of object.
//!
//! Nothing is remembered between calls that could not be found again on the host, but for how the
//! daemon's own children ended, which the kernel tells only once.

mod clone;
mod disk;
mod file;
mod firewall;
mod initrd;
mod inventory;
mod ioctl;
mod link;
mod loopdev;
mod netlink;
mod nftable;
mod permit;
mod proc;
mod process;
mod reap;
mod snapshot;
mod ways;

use crate::{Change, ExitFuture, Host, HostError, ProcessView, Processes, Signal, dirs, raw_log};
use banger_core::id::VmId;
use banger_core::names::Layout;
use banger_core::resource::{Member, Observed, Resource, VmmProcess};
use process::ProcessTable;
use std::path::{Component, Path};

pub use clone::copy_file;
pub(crate) use clone::reflink;
pub(crate) use firewall::bridge_filter;
pub(crate) use permit::has_filter_table;
pub(crate) use proc::this_process;
pub(crate) use snapshot::device_mapper;
pub(crate) use ways::{BEYOND, rivals, ways};

/// The machine that the program runs on, as one instance sees it.
#[derive(Debug)]
pub struct LinuxHost {
    layout: Layout,
    processes: ProcessTable,
}

impl LinuxHost {
    /// The host as the instance of `layout` sees it. Nothing is touched yet.
    pub fn new(layout: Layout) -> Self {
        let processes = ProcessTable::default();
        Self { layout, processes }
    }

    /// Refuses a path that is not below the VM's own directories, so that no resource, however it
    /// came here, makes the host touch anything else.
    fn check_path(&self, vm: &VmId, path: &Path) -> Result<(), HostError> {
        let paths = self.layout.vm(vm);
        let below = [&paths.dir, &paths.runtime]
            .into_iter()
            .find_map(|dir| path.strip_prefix(dir).ok())
            .is_some_and(|rest| {
                let mut components = rest.components();
                components.clone().count() > 0
                    && components.all(|c| matches!(c, Component::Normal(_)))
            });
        if below { Ok(()) } else { Err(HostError::Outside { path: path.to_owned() }) }
    }

    /// Refuses paths and names that are not this instance's.
    fn check(&self, resource: &Resource) -> Result<(), HostError> {
        let exactly = |path: &Path, expected: &Path| {
            // As bytes: `Path` would take `a/./b` for `a/b`.
            if path.as_os_str() == expected.as_os_str() {
                Ok(())
            } else {
                Err(HostError::Outside { path: path.to_owned() })
            }
        };
        let named = |object: &str, is_ours: bool| {
            if is_ours { Ok(()) } else { Err(HostError::Foreign { object: object.to_owned() }) }
        };
        match resource {
            Resource::VmDir { vm, path } => exactly(path, &self.layout.vm(vm).dir),
            Resource::RuntimeDir { vm, path } => exactly(path, &self.layout.vm(vm).runtime),
            Resource::ImageDraft { image, path } => exactly(path, &self.layout.image(image).draft),
            Resource::ImageDir { image, path, draft } => {
                let paths = self.layout.image(image);
                exactly(path, &paths.dir)?;
                exactly(draft, &paths.draft)
            }
            Resource::ClonedFile { vm, path, .. }
            | Resource::SparseFile { vm, path, .. }
            | Resource::Ext4 { vm, path, .. }
            | Resource::BootInitrd { vm, path, .. } => self.check_path(vm, path),
            Resource::DmSnapshot { vm, name, cow, tail, .. } => {
                named(name.as_str(), *name == self.layout.root_snapshot(vm))?;
                [cow].into_iter().chain(tail).try_for_each(|path| self.check_path(vm, path))
            }
            Resource::Tap { vm, name, .. } => named(name.as_str(), *name == self.layout.tap(vm)),
            Resource::Firewall { table, members, .. } => {
                let is_tap = |member: &Member| self.layout.parse_tap(member.tap.as_str()).is_some();
                let are_ours = members.iter().all(is_tap);
                named(table.as_str(), *table == self.layout.nft_table() && are_ours)
            }
            Resource::Bridge { name, alias, .. } => {
                named(name.as_str(), *alias == self.layout.bridge_alias())
            }
            Resource::Permit { mark, .. } => named(mark, *mark == self.layout.bridge_alias()),
            Resource::VmmProcess(vmm) => self.check_vmm(vmm),
        }
    }

    fn check_vmm(&self, vmm: &VmmProcess) -> Result<(), HostError> {
        [&vmm.api_socket, &vmm.identity, &vmm.stdout, &vmm.stderr]
            .into_iter()
            .try_for_each(|path| self.check_path(&vmm.vm, path))
    }
}

impl Host for LinuxHost {
    fn ensure(&self, resource: &Resource) -> Result<Change, HostError> {
        self.check(resource)?;
        match resource {
            Resource::VmDir { path, .. }
            | Resource::RuntimeDir { path, .. }
            | Resource::ImageDraft { path, .. } => dirs::ensure(path),
            Resource::ImageDir { path, draft, .. } => dirs::publish(draft, path),
            Resource::ClonedFile { path, source, size, method, .. } => {
                clone::ensure(path, source, *size, *method)
            }
            Resource::SparseFile { path, size, .. } => disk::ensure_sparse(path, *size),
            Resource::Ext4 { path, size, .. } => disk::ensure_ext4(path, *size),
            Resource::DmSnapshot { name, base, cow, tail, .. } => {
                snapshot::ensure(name, snapshot::Files { base, cow, tail: tail.as_deref() })
            }
            Resource::BootInitrd { path, parts, tail, .. } => initrd::ensure(path, parts, tail),
            Resource::Bridge { name, subnet, alias } => link::ensure_bridge(name, *subnet, alias),
            Resource::Firewall { table, bridge, subnet, members, host_access, dns_port } => {
                firewall::ensure(&firewall::Rules {
                    table,
                    bridge,
                    subnet: *subnet,
                    taps: &self.layout.tap_prefix(),
                    members,
                    host_access: *host_access,
                    dns_port: *dns_port,
                })
            }
            Resource::Permit { gatekeeper, mark, bridge, dns } => {
                let permit = permit::Permit { gatekeeper: *gatekeeper, mark, bridge, dns: *dns };
                permit::ensure(&permit, &self.layout)
            }
            Resource::Tap { name, bridge, .. } => link::ensure_tap(name, bridge),
            Resource::VmmProcess(vmm) => self.processes.ensure(vmm),
        }
    }

    fn remove(&self, resource: &Resource) -> Result<Change, HostError> {
        self.check(resource)?;
        match resource {
            Resource::VmDir { path, .. }
            | Resource::RuntimeDir { path, .. }
            | Resource::ImageDraft { path, .. }
            | Resource::ImageDir { path, .. } => dirs::remove(path),
            Resource::ClonedFile { path, .. }
            | Resource::SparseFile { path, .. }
            | Resource::Ext4 { path, .. }
            | Resource::BootInitrd { path, .. } => file::remove(path),
            Resource::DmSnapshot { name, cow, tail, .. } => {
                snapshot::remove(name, cow, tail.as_deref())
            }
            Resource::Bridge { name, alias, .. } => link::remove_bridge(name, alias),
            Resource::Firewall { table, .. } => firewall::remove(table),
            Resource::Permit { gatekeeper, mark, .. } => {
                permit::remove(*gatekeeper, mark, &self.layout)
            }
            Resource::Tap { name, .. } => link::remove_tap(name),
            Resource::VmmProcess(vmm) => self.processes.remove(vmm),
        }
    }

    fn has(&self, resource: &Resource) -> Result<bool, HostError> {
        self.check(resource)?;
        Ok(match resource {
            Resource::VmDir { path, .. }
            | Resource::RuntimeDir { path, .. }
            | Resource::ImageDraft { path, .. }
            | Resource::ImageDir { path, .. } => path.symlink_metadata().is_ok(),
            Resource::ClonedFile { path, .. }
            | Resource::SparseFile { path, .. }
            | Resource::Ext4 { path, .. }
            | Resource::BootInitrd { path, .. } => file::is_begun(path),
            other => self.inventory()?.iter().any(|seen| seen.key == other.key()),
        })
    }

    fn inventory(&self) -> Result<Vec<Observed>, HostError> {
        inventory::take(&self.layout)
    }
}

impl Processes for LinuxHost {
    fn find(&self, vmm: &VmmProcess) -> Result<Option<ProcessView>, HostError> {
        self.check_vmm(vmm)?;
        self.processes.find(vmm)
    }

    fn signal(&self, vmm: &VmmProcess, signal: Signal) -> Result<Change, HostError> {
        self.check_vmm(vmm)?;
        self.processes.signal(vmm, signal)
    }

    fn exited(&self, vmm: &VmmProcess) -> Result<ExitFuture, HostError> {
        self.check_vmm(vmm)?;
        self.processes.exited(vmm)
    }

    fn bound_output(&self, vmm: &VmmProcess) -> Result<Change, HostError> {
        self.check_vmm(vmm)?;
        raw_log::bound_both(vmm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::net::MacAddr;
    use banger_core::resource::{HostAccess, SnapshotPart};
    use banger_core::unit::Bytes;

    fn sparse(path: &str) -> Resource {
        let part = SnapshotPart::Cow;
        Resource::SparseFile { vm: vm(), part, path: path.into(), size: Bytes(1) }
    }

    fn vm() -> VmId {
        VmId::from_entropy(1)
    }

    #[test]
    fn a_path_outside_the_vms_directories_is_refused_by_both_verbs() {
        let layout = Layout::new("/nonexistent/s".into(), "/nonexistent/r".into()).unwrap();
        let host = LinuxHost::new(layout.clone());
        let dir = layout.vm(&vm()).dir.display().to_string();
        let other = layout.vm(&VmId::from_entropy(2)).root_cow.display().to_string();
        for path in ["/etc/passwd", "", &dir, &format!("{dir}/../x"), &other] {
            let outside = |outcome| matches!(outcome, Err(HostError::Outside { .. }));
            assert!(outside(host.ensure(&sparse(path))), "{path}");
            assert!(outside(host.remove(&sparse(path))), "{path}");
        }
        let name = layout.root_snapshot(&vm());
        let (base, cow) = ("/b".into(), layout.vm(&vm()).root_cow);
        let tail = Some("/dev/sda".into());
        let astray = Resource::DmSnapshot { vm: vm(), name, base, cow, tail };
        assert!(matches!(host.ensure(&astray), Err(HostError::Outside { .. })));
        assert!(matches!(host.remove(&astray), Err(HostError::Outside { .. })));
        let wrong = Resource::VmDir { vm: vm(), path: layout.vms_dir() };
        assert!(matches!(host.remove(&wrong), Err(HostError::Outside { .. })));
    }

    #[test]
    fn a_name_of_another_instance_is_refused() {
        let layout = |state: &str| Layout::new(state.into(), "/nonexistent/r".into()).unwrap();
        let (ours, theirs) = (layout("/nonexistent/a"), layout("/nonexistent/b"));
        let bridge = theirs.tap(&vm());
        let tap = Resource::Tap { vm: vm(), name: theirs.tap(&vm()), bridge: bridge.clone() };
        let ip = std::net::Ipv4Addr::new(172, 16, 0, 2).into();
        let member = Member { ip, mac: MacAddr::for_ip(ip), tap: theirs.tap(&vm()), nat: true };
        let firewall = Resource::Firewall {
            table: ours.nft_table(),
            bridge,
            subnet: "172.16.0.1/24".parse().unwrap(),
            members: vec![member],
            host_access: HostAccess::Gateway,
            dns_port: None,
        };
        let host = LinuxHost::new(ours);
        for resource in [tap, firewall] {
            let outcome = host.remove(&resource);
            assert!(matches!(outcome, Err(HostError::Foreign { .. })), "{resource:?}");
        }
    }
}
