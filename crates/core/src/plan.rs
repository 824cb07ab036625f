//! Plans: which resources a start puts in place, and which a stop or a delete takes away.
//!
//! Plans are values. The engine carries them out through `Host`, with the ledger one step ahead;
//! the simulator and the tests see the same lists.

use crate::names::{IfName, Layout, VmPaths};
use crate::net::Subnet;
use crate::resource::{
    DnsGate, Gatekeeper, HostAccess, Member, Payload, Resource, Role, SnapshotPart, VmmProcess,
};
use crate::unit::{Bytes, Sectors};
use crate::vm::{OverlayMethod, Vm};
use std::net::SocketAddrV4;
use std::num::NonZeroU16;
use std::path::PathBuf;

/// The bridge that an instance's VMs share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeSpec {
    /// The interface, from the configuration.
    pub name: IfName,
    /// Its address and prefix, from the configuration.
    pub subnet: Subnet,
    /// Which of the host's addresses the guests reach, from the configuration.
    pub host_access: HostAccess,
    /// The port of the bridge's address on which the guests' DNS queries are answered, if they are.
    pub dns_port: Option<NonZeroU16>,
}

/// What a plan needs beyond the VM's own record.
#[derive(Debug, Clone)]
pub struct StartFacts {
    /// The bridge that the TAP joins.
    pub bridge: IfName,
    /// The image's root file system.
    pub rootfs: PathBuf,
    /// What the image's root file system measures; 0 if it is not there.
    pub rootfs_size: Bytes,
    /// The archives before the VM's own: the image's modules, banger's init.
    pub initrd_parts: Vec<PathBuf>,
    /// The archive with the VM's configuration.
    pub config_archive: Payload,
    /// The program that runs the VM, by absolute path.
    pub vmm_program: PathBuf,
    /// Its arguments, one of which contains the API socket's path.
    pub vmm_args: Vec<String>,
}

/// The block device or file that the VMM opens as the root disk.
pub fn root_disk(vm: &Vm, layout: &Layout) -> PathBuf {
    match vm.overlay {
        OverlayMethod::DmSnapshot => layout.root_snapshot(&vm.id).device(),
        OverlayMethod::Reflink | OverlayMethod::Copy => layout.vm(&vm.id).root_clone,
    }
}

/// The resources that are the VM's own, in the order in which a start puts them in place.
pub fn plan_start(vm: &Vm, layout: &Layout, facts: StartFacts) -> Vec<Resource> {
    let paths = layout.vm(&vm.id);
    let id = || vm.id.clone();
    let mut plan = vec![
        Resource::VmDir { vm: id(), path: paths.dir.clone() },
        Resource::RuntimeDir { vm: id(), path: paths.runtime.clone() },
    ];
    plan.extend(root_files(vm, &paths, &facts));
    if vm.purpose.has_work_disk() {
        let size = vm.spec.work_disk.bytes();
        plan.push(Resource::Ext4 { vm: id(), path: paths.work_disk, size });
    }
    if vm.overlay == OverlayMethod::DmSnapshot {
        let tail = tail_size(vm.spec.overlay.bytes(), facts.rootfs_size);
        plan.push(Resource::DmSnapshot {
            vm: id(),
            name: layout.root_snapshot(&vm.id),
            base: facts.rootfs.clone(),
            cow: paths.root_cow,
            tail: tail.map(|_| paths.root_tail),
        });
    }
    plan.push(Resource::BootInitrd {
        vm: id(),
        path: paths.initrd,
        parts: facts.initrd_parts,
        tail: facts.config_archive,
    });
    plan.push(Resource::Tap { vm: id(), name: layout.tap(&vm.id), bridge: facts.bridge });
    plan.push(Resource::VmmProcess(VmmProcess {
        vm: id(),
        program: facts.vmm_program,
        args: facts.vmm_args,
        api_socket: paths.api_socket,
        stdout: paths.console_log,
        stderr: paths.vmm_log,
        identity: paths.identity,
    }));
    plan
}

/// The files that the root disk is kept in.
fn root_files(vm: &Vm, paths: &VmPaths, facts: &StartFacts) -> Vec<Resource> {
    let disk = vm.spec.overlay.bytes();
    if let Some(method) = vm.overlay.clone_method() {
        return vec![Resource::ClonedFile {
            vm: vm.id.clone(),
            path: paths.root_clone.clone(),
            source: facts.rootfs.clone(),
            size: disk,
            method,
        }];
    }
    let file = |part, path: &PathBuf, size| Resource::SparseFile {
        vm: vm.id.clone(),
        part,
        path: path.clone(),
        size,
    };
    let tail = tail_size(disk, facts.rootfs_size);
    std::iter::once(file(SnapshotPart::Cow, &paths.root_cow, cow_size(facts.rootfs_size)))
        .chain(tail.map(|size| file(SnapshotPart::Tail, &paths.root_tail, size)))
        .collect()
}

/// The room that a persistent snapshot needs for changes to all of the image, so that it cannot run
/// full, which would destroy it: for each chunk of 4 KiB an exception of 16 bytes (1/256), and a
/// mebibyte for the header, the last chunk if the image ends in it, and the last, partly used area
/// (Linux, dm-snap-persistent.c). What the disk has beyond the image's end does not go there.
fn cow_size(image: Bytes) -> Bytes {
    Bytes(image.0 + image.0 / 256 + (1 << 20))
}

/// What a root disk over a dm-snapshot has beyond the image's end; `None` if it ends there. An image
/// that is not there gets none: the host will refuse the snapshot, and must not have grown the tail
/// by the image's size before that.
fn tail_size(disk: Bytes, image: Bytes) -> Option<Bytes> {
    // The snapshot ends with the image's last whole sector, so the tail begins there.
    let beyond = disk.sectors().0.saturating_sub(image.sectors().0);
    (image.sectors().0 > 0 && beyond > 0).then(|| Bytes(beyond * Sectors::BYTES))
}

/// What a stop removes of what the ledger has for the VM, in order: the reverse of the start, less
/// what persists.
pub fn plan_stop(recorded: Vec<Resource>) -> Vec<Resource> {
    let mut plan = plan_delete(recorded);
    plan.retain(|resource| !resource.role().persists());
    plan
}

/// What a delete removes of what the ledger has for the VM, in order: the reverse of the start.
pub fn plan_delete(mut recorded: Vec<Resource>) -> Vec<Resource> {
    recorded.retain(|resource| !resource.role().is_shared());
    recorded.sort_by_key(|resource| std::cmp::Reverse(resource.role()));
    recorded
}

/// The VM's part in the shared network.
pub fn member(vm: &Vm, layout: &Layout) -> Member {
    Member { ip: vm.identity.ip, mac: vm.identity.mac, tap: layout.tap(&vm.id), nat: vm.spec.nat }
}

/// What the shared network should be for the VMs that run or start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkPlan {
    /// Put these in place, in this order.
    Ensure(Vec<Resource>),
    /// No VM needs it: remove these, in this order.
    Remove(Vec<Resource>),
}

/// Plans the bridge and the nft tables for the given members.
pub fn plan_network(layout: &Layout, bridge: &BridgeSpec, mut members: Vec<Member>) -> NetworkPlan {
    members.sort();
    let nobody = members.is_empty();
    let firewall = Resource::Firewall {
        table: layout.nft_table(),
        bridge: bridge.name.clone(),
        subnet: bridge.subnet,
        members,
        host_access: bridge.host_access,
        dns_port: bridge.dns_port,
    };
    let link = Resource::Bridge {
        name: bridge.name.clone(),
        subnet: bridge.subnet,
        alias: layout.bridge_alias(),
    };
    if nobody {
        NetworkPlan::Remove(vec![firewall, link])
    } else {
        // The firewall first: no guest is ever on the bridge without its rules.
        NetworkPlan::Ensure(vec![firewall, link])
    }
}

/// What has a firewall of somebody else's let guests through.
pub fn plan_permit(
    layout: &Layout,
    bridge: &BridgeSpec,
    gatekeeper: Gatekeeper,
    dns: DnsGate,
) -> Resource {
    let port = bridge.dns_port.filter(|_| dns == DnsGate::Closed);
    Resource::Permit {
        gatekeeper,
        mark: layout.bridge_alias(),
        bridge: bridge.name.clone(),
        dns: port.map(|port| SocketAddrV4::new(bridge.subnet.gateway(), port.get())),
    }
}

/// What a daemon's start removes of what is on the host and in no record, in order.
pub fn plan_leaked(leaked: Vec<Resource>) -> Vec<Resource> {
    let is_permit = |resource: &Resource| resource.role().is_permit();
    let (permits, others) = leaked.into_iter().partition(is_permit);
    let permits: Vec<Resource> = permits;
    plan_delete(others).into_iter().chain(permits).collect()
}

/// Whether the roles of a plan are in start order: what the plans promise, for tests and debug
/// assertions.
pub fn is_in_start_order(plan: &[Resource]) -> bool {
    plan.is_sorted_by_key(|resource| -> Role { resource.role() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::HostKey;
    use crate::id::{ImageId, VmId};
    use crate::net::MacAddr;
    use crate::spec::VmSpec;
    use crate::state::VmState;
    use crate::vm::{Identity, Purpose, UnixMillis};
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    fn vm(overlay: OverlayMethod) -> Vm {
        let ip = Ipv4Addr::new(172, 16, 0, 2).into();
        Vm {
            id: VmId::from_entropy(1),
            name: "otter".parse().unwrap(),
            image: ImageId::from_entropy(2),
            spec: VmSpec::builtin_defaults(),
            identity: Identity {
                ip,
                mac: MacAddr::for_ip(ip),
                machine_id: "0".repeat(32),
                host_key: HostKey { private: String::new(), public: String::new() },
            },
            purpose: Purpose::Work,
            own_kernel: None,
            overlay,
            state: VmState::Created,
            vmm: None,
            last_error: None,
            deleting: false,
            forwards: BTreeSet::new(),
            created_at: UnixMillis(0),
            changed_at: UnixMillis(0),
            changed_by: None,
        }
    }

    fn layout() -> Layout {
        Layout::new("/state".into(), "/run/b".into()).unwrap()
    }

    fn start(overlay: OverlayMethod) -> Vec<Resource> {
        start_over(overlay, Bytes(1 << 30))
    }

    /// With the default root disk of 8 GiB.
    fn start_over(overlay: OverlayMethod, rootfs_size: Bytes) -> Vec<Resource> {
        plan_start(&vm(overlay), &layout(), facts(rootfs_size))
    }

    fn facts(rootfs_size: Bytes) -> StartFacts {
        StartFacts {
            bridge: IfName::try_from("banger0".to_owned()).unwrap(),
            rootfs: "/b/rootfs.ext4".into(),
            rootfs_size,
            initrd_parts: vec!["/b/initrd".into()],
            config_archive: Payload(vec![1]),
            vmm_program: "/usr/bin/vmm".into(),
            vmm_args: Vec::new(),
        }
    }

    fn roles(plan: &[Resource]) -> Vec<Role> {
        plan.iter().map(Resource::role).collect()
    }

    const METHODS: [OverlayMethod; 3] =
        [OverlayMethod::Reflink, OverlayMethod::DmSnapshot, OverlayMethod::Copy];

    #[test]
    fn a_start_ends_with_the_vmm_and_is_in_order() {
        for method in METHODS {
            let plan = start(method);
            assert!(is_in_start_order(&plan), "{method:?}");
            assert_eq!(plan.last().unwrap().role(), Role::Vmm);
        }
    }

    #[test]
    fn a_snapshot_root_is_a_store_a_tail_and_a_device_and_a_clone_is_one_file() {
        use Role::{
            Initrd, RootClone, RootCow, RootSnapshot, RootTail, RuntimeDir, Tap, VmDir, Vmm,
            WorkDisk,
        };
        assert_eq!(
            roles(&start(OverlayMethod::DmSnapshot)),
            [VmDir, RuntimeDir, RootCow, RootTail, WorkDisk, RootSnapshot, Initrd, Tap, Vmm]
        );
        assert_eq!(
            roles(&start(OverlayMethod::Copy)),
            [VmDir, RuntimeDir, RootClone, WorkDisk, Initrd, Tap, Vmm]
        );
    }

    #[test]
    fn a_vm_that_becomes_an_image_has_no_work_disk() {
        for purpose in [Purpose::Build, Purpose::KeptBuild] {
            let vm = Vm { purpose, ..vm(OverlayMethod::Copy) };
            let plan = plan_start(&vm, &layout(), facts(Bytes(1 << 30)));
            assert!(is_in_start_order(&plan));
            assert!(!roles(&plan).contains(&Role::WorkDisk));
        }
    }

    /// The sizes of the store and of the tail, and whether the device has the tail.
    fn snapshot_sizes(rootfs_size: Bytes) -> (u64, Option<u64>, bool) {
        let plan = start_over(OverlayMethod::DmSnapshot, rootfs_size);
        let sized = |wanted| {
            plan.iter().find_map(|resource| match resource {
                Resource::SparseFile { part, size, .. } if *part == wanted => Some(size.0),
                _ => None,
            })
        };
        let of_device = |resource: &Resource| matches!(resource, Resource::DmSnapshot { tail: Some(tail), .. } if tail.ends_with("root.tail"));
        let store = sized(SnapshotPart::Cow).expect("a snapshot has a store");
        (store, sized(SnapshotPart::Tail), plan.iter().any(of_device))
    }

    #[test]
    fn a_snapshots_store_has_room_for_every_block_of_the_image_and_the_tail_for_the_rest() {
        let (gib, mib) = (1u64 << 30, 1u64 << 20);
        assert_eq!(snapshot_sizes(Bytes(2 * gib)), (2 * gib + 8 * mib + mib, Some(6 * gib), true));
        // An image that fills the disk, or would not fit.
        for size in [8 * gib, 16 * gib] {
            assert_eq!(snapshot_sizes(Bytes(size)), (size + size / 256 + mib, None, false));
        }
    }

    #[test]
    fn a_tail_begins_where_the_images_last_whole_sector_ends() {
        let gib = 1u64 << 30;
        for (odd, whole) in [(1, 0), (511, 0), (512, 512), (4095, 3584)] {
            let (_, tail, _) = snapshot_sizes(Bytes(gib + odd));
            assert_eq!(tail, Some(7 * gib - whole), "{odd}");
        }
        assert_eq!(snapshot_sizes(Bytes(8 * gib - 1)).1, Some(512));
    }

    #[test]
    fn an_image_that_is_not_there_has_no_tail() {
        assert_eq!(snapshot_sizes(Bytes(0)), (1 << 20, None, false));
    }

    #[test]
    fn a_stop_is_the_start_in_reverse_less_what_persists() {
        for method in METHODS {
            let mut expected = roles(&start(method));
            expected.reverse();
            expected.retain(|role| !role.persists());
            assert_eq!(roles(&plan_stop(start(method))), expected);
        }
    }

    #[test]
    fn a_delete_takes_away_everything_a_start_makes() {
        for method in METHODS {
            let mut expected = roles(&start(method));
            expected.reverse();
            assert_eq!(roles(&plan_delete(start(method))), expected);
        }
    }

    #[test]
    fn the_network_lists_its_members_and_goes_with_the_last() {
        let bridge = BridgeSpec {
            name: IfName::try_from("banger0".to_owned()).unwrap(),
            subnet: "172.16.0.1/24".parse().unwrap(),
            host_access: HostAccess::Gateway,
            dns_port: NonZeroU16::new(42_069),
        };
        let first = member(&vm(OverlayMethod::Copy), &layout());
        let second = Member { ip: Ipv4Addr::new(172, 16, 0, 9).into(), ..first.clone() };
        let members = vec![second.clone(), first.clone()];
        let NetworkPlan::Ensure(plan) = plan_network(&layout(), &bridge, members) else {
            panic!("members need a network");
        };
        assert_eq!(roles(&plan), [Role::Firewall, Role::Bridge]);
        let Resource::Firewall { members, dns_port, .. } = &plan[0] else { panic!("it is first") };
        assert_eq!((members, *dns_port), (&vec![first, second], bridge.dns_port));
        let NetworkPlan::Remove(plan) = plan_network(&layout(), &bridge, Vec::new()) else {
            panic!("nobody needs a network");
        };
        assert_eq!(roles(&plan), [Role::Firewall, Role::Bridge]);
    }
}
