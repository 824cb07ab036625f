//! The simulator as its callers see it.

mod faults;
mod guests;
mod keeping;
mod model;
mod refusals;

use super::*;
use banger_core::guest::HostKey;
use banger_core::id::ImageId;
use banger_core::names::ImagePaths;
use banger_core::net::MacAddr;
use banger_core::plan::{
    BridgeSpec, NetworkPlan, StartFacts, plan_network, plan_permit, plan_start,
};
use banger_core::resource::{DnsGate, Gatekeeper, HostAccess, Member, Payload};
use banger_core::spec::VmSpec;
use banger_core::state::VmState;
use banger_core::vm::{Identity, OverlayMethod, UnixMillis, Vm};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use tempfile::TempDir;

/// A directory for a simulated host, and the VMs of the tests.
pub(super) struct Lab {
    dir: TempDir,
    layout: Layout,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("sim").tempdir().unwrap();
        let layout = Layout::new(dir.path().join("state"), dir.path().join("run")).unwrap();
        Self { dir, layout }
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("sim-host.json")
    }

    fn options(&self) -> SimOptions {
        SimOptions::new(self.journal())
    }

    fn open(&self) -> SimHost {
        self.open_with(|_| ())
    }

    fn open_with(&self, set: impl FnOnce(&mut SimOptions)) -> SimHost {
        let mut options = self.options();
        set(&mut options);
        SimHost::open(self.layout.clone(), options).unwrap()
    }

    fn bridge() -> BridgeSpec {
        BridgeSpec {
            name: if_name("banger0"),
            subnet: "172.16.0.1/24".parse().unwrap(),
            host_access: HostAccess::Gateway,
            dns_port: None,
        }
    }

    fn network(&self) -> Vec<Resource> {
        let ip = Ipv4Addr::new(172, 16, 0, 2).into();
        let bridge = Self::bridge();
        let tap = self.layout.tap(&VmId::from_entropy(1));
        let member = Member { ip, mac: MacAddr::for_ip(ip), tap, nat: true };
        match plan_network(&self.layout, &bridge, vec![member]) {
            NetworkPlan::Ensure(plan) => plan,
            NetworkPlan::Remove(_) => panic!("a member needs a network"),
        }
    }

    /// What a VM with a snapshot root starts with, less the shared network.
    fn plan(&self, number: u64) -> Vec<Resource> {
        self.plan_over(number, OverlayMethod::DmSnapshot)
    }

    fn plan_over(&self, number: u64, overlay: OverlayMethod) -> Vec<Resource> {
        let facts = StartFacts {
            rootfs: "/image/rootfs.ext4".into(),
            rootfs_size: Bytes(4 << 30),
            bridge: if_name("banger0"),
            initrd_parts: vec!["/image/initrd".into()],
            config_archive: Payload(b"SECRET".to_vec()),
            vmm_program: "/usr/bin/vmm".into(),
            vmm_args: Vec::new(),
        };
        plan_start(&vm(number, overlay), &self.layout, facts)
    }

    fn resource(&self, number: u64, role: Role) -> Resource {
        let mut all = self.network();
        all.extend(self.plan(number));
        all.extend(self.plan_over(number, OverlayMethod::Copy));
        let permit = |of| plan_permit(&self.layout, &Self::bridge(), of, DnsGate::Open);
        all.extend(Gatekeeper::ALL.map(permit));
        let image = ImageId::from_entropy(number);
        let ImagePaths { dir, draft } = self.layout.image(&image);
        all.push(Resource::ImageDraft { image: image.clone(), path: draft.clone() });
        all.push(Resource::ImageDir { image, path: dir, draft });
        all.into_iter().find(|resource| resource.role() == role).expect("a plan has the role")
    }

    fn vmm(&self, number: u64) -> VmmProcess {
        match self.resource(number, Role::Vmm) {
            Resource::VmmProcess(vmm) => vmm,
            other => panic!("{other:?} is no VMM"),
        }
    }

    fn console(&self, number: u64) -> String {
        std::fs::read_to_string(self.vmm(number).stdout).unwrap()
    }

    /// A host on which the VM's VMM runs.
    fn start(&self, host: &SimHost, number: u64) {
        for resource in self.network().into_iter().chain(self.plan(number)) {
            let _change = host.ensure(&resource).unwrap();
        }
    }

    /// A host on which the VM is booted.
    fn boot(&self, host: &SimHost, number: u64) {
        self.start(host, number);
        host.boot(&self.vmm(number).api_socket).unwrap();
    }
}

fn if_name(text: &str) -> IfName {
    IfName::try_from(text.to_owned()).unwrap()
}

fn vm_id(number: u64) -> VmId {
    VmId::from_entropy(number)
}

fn vm(number: u64, overlay: OverlayMethod) -> Vm {
    let ip = Ipv4Addr::from_bits(0xac10_0002 + u32::try_from(number).unwrap()).into();
    Vm {
        id: vm_id(number),
        name: "otter".parse().unwrap(),
        image: ImageId::from_entropy(99),
        spec: VmSpec::builtin_defaults(),
        identity: Identity {
            ip,
            mac: MacAddr::for_ip(ip),
            machine_id: "0".repeat(32),
            host_key: HostKey { private: String::new(), public: String::new() },
        },
        purpose: Default::default(),
        own_kernel: None,
        overlay,
        state: VmState::Created,
        deleting: false,
        forwards: std::collections::BTreeSet::new(),
        vmm: None,
        last_error: None,
        created_at: UnixMillis(0),
        changed_at: UnixMillis(0),
        changed_by: None,
    }
}

fn roles(host: &SimHost) -> Vec<Role> {
    host.inventory().unwrap().iter().map(|seen| seen.key.role()).collect()
}

fn fault(text: &str) -> Vec<Fault> {
    Fault::parse_list(text).unwrap()
}
