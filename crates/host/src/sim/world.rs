//! The simulated host by value: what is there, and what a change may and does make of it.
//!
//! Nothing here touches the machine. A change is planned as journal entries, which the caller
//! writes down and then applies; an error changes nothing.
//!
//! The rules are the kernel's, with one exception: Linux unlinks a disk that is in use and lets its
//! data go with the last user. A plan that does so is wrong, and is refused here with EBUSY.

use super::guest::GuestScript;
use super::options::ForeignLink;
use crate::HostError;
use crate::facts::Concern;
use banger_core::id::{ImageId, VmId};
use banger_core::names::{IfName, Layout};
use banger_core::net::{GuestIp, Subnet};
use banger_core::resource::{
    Gatekeeper, HostAccess, Member, Observed, Owner, Resource, ResourceKey, Role, VmmProcess,
};
use banger_core::unit::Bytes;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

/// One change of the world, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// The object is there, and is like this.
    Put(Observed, Object),
    /// The object is gone.
    Gone(Observed),
    /// The highest serial number that was given out.
    Serial(u64),
}

/// What is known of an object beyond its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Object {
    Dir,
    Disk {
        size: Bytes,
    },
    Initrd,
    // The tail's size is that of when the device was made.
    Snapshot {
        base: PathBuf,
        #[serde(default)]
        tail: Option<Bytes>,
    },
    Bridge {
        subnet: Subnet,
        serial: u64,
    },
    // Only that of an older simulator has another name for it and no members.
    #[serde(alias = "nat")]
    Firewall {
        bridge: IfName,
        subnet: Subnet,
        #[serde(default)]
        members: Vec<Member>,
        #[serde(default)]
        host_access: HostAccess,
        #[serde(default)]
        dns_port: Option<NonZeroU16>,
    },
    Permit {
        bridge: IfName,
        dns: Option<SocketAddrV4>,
    },
    // A TAP is attached while the bridge of that name is the one that it was attached to.
    Tap {
        bridge: IfName,
        bridge_serial: u64,
    },
    Process(Process),
}

/// A simulated VMM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) vm: VmId,
    pub(super) pid: u32,
    pub(super) script: GuestScript,
    pub(super) life: Life,
    pub(super) stdout: PathBuf,
    pub(super) stderr: PathBuf,
    pub(super) serial: u64,
}

/// How far a simulated VMM and its guest are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Life {
    /// The VMM waits for orders.
    Started,
    /// The guest was told to boot and is on its way.
    Booting,
    /// The guest has come as far as it comes.
    Settled,
}

/// One more than the highest pid that Linux gives out (PID_MAX_LIMIT, 2^22, on 64-bit machines):
/// nobody can mistake a simulated process for a real one.
const FIRST_PID: u64 = (1 << 22) + 1;

/// What a disk that is larger than wanted means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Larger {
    Fine,
    Refused,
}

/// Everything that is there, and the rules.
#[derive(Debug)]
pub(super) struct World {
    layout: Layout,
    capacity: Bytes,
    foreign: Vec<ForeignLink>,
    objects: BTreeMap<Observed, Object>,
    disks: u64,
    serial: u64,
}

pub(super) fn observed(resource: &Resource) -> Observed {
    Observed { key: resource.key(), object: resource.object() }
}

fn kernel_says(action: &'static str, object: impl Into<String>, errno: Errno) -> HostError {
    HostError::Io { action, object: object.into(), source: errno.into() }
}

impl World {
    pub(super) fn new(layout: Layout, capacity: Bytes, foreign: Vec<ForeignLink>) -> Self {
        let objects = BTreeMap::new();
        Self { layout, capacity, foreign, objects, disks: 0, serial: 0 }
    }

    pub(super) fn inventory(&self) -> Vec<Observed> {
        self.objects.keys().cloned().collect()
    }

    pub(super) fn contains(&self, seen: &Observed) -> bool {
        self.objects.contains_key(seen)
    }

    /// The running VMM behind an API socket.
    pub(super) fn process(&self, api_socket: &Path) -> Option<(Observed, &Process)> {
        let vm = api_socket.parent()?.file_name()?.to_str()?.parse().ok()?;
        let key = ResourceKey::of_vm(&vm, Role::Vmm);
        let seen = Observed { key, object: api_socket.display().to_string() };
        match self.objects.get(&seen) {
            Some(Object::Process(process)) => Some((seen, process)),
            _ => None,
        }
    }

    /// Every running VMM.
    pub(super) fn processes(&self) -> impl Iterator<Item = (&Observed, &Process)> {
        self.objects.iter().filter_map(|(seen, object)| match object {
            Object::Process(process) => Some((seen, process)),
            _ => None,
        })
    }

    /// Entries that make this world from nothing.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let objects = self.objects.iter();
        let puts = objects.map(|(seen, object)| Entry::Put(seen.clone(), object.clone()));
        std::iter::once(Entry::Serial(self.serial)).chain(puts)
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// What a disk measures.
    pub(super) fn disk_size(&self, path: &Path) -> Option<Bytes> {
        self.disk_at(path).map(|(_, size)| size)
    }

    fn disk_at(&self, path: &Path) -> Option<(&Observed, Bytes)> {
        let object = path.display().to_string();
        self.objects.iter().find_map(|(seen, known)| match known {
            Object::Disk { size } if seen.object == object => Some((seen, *size)),
            _ => None,
        })
    }

    /// The bridge that a VM's TAP is attached to.
    pub(super) fn tap_bridge(&self, vm: &VmId) -> Option<IfName> {
        let Some((_, Object::Tap { bridge, bridge_serial })) = self.of_vm(vm, Role::Tap) else {
            return None;
        };
        let mut bridges = self.bridges();
        let attached = bridges
            .any(|(seen, _, serial)| seen.object == bridge.as_str() && serial == *bridge_serial);
        attached.then(|| bridge.clone())
    }

    /// Whether a gatekeeper was told to let guests through, and their queries.
    pub(super) fn permits(&self, gatekeeper: Gatekeeper, concern: Concern) -> bool {
        let key = ResourceKey::of_permit(gatekeeper);
        let first = Observed { key: key.clone(), object: String::new() };
        match self.objects.range(first..).next() {
            Some((seen, Object::Permit { dns, .. })) if seen.key == key => {
                concern == Concern::Beyond || dns.is_some()
            }
            _ => false,
        }
    }

    /// The guests with NAT.
    pub(super) fn nat_guests(&self) -> Vec<GuestIp> {
        let first = Observed { key: ResourceKey::FIREWALL, object: String::new() };
        let members = match self.objects.range(first..).next() {
            Some((_, Object::Firewall { members, .. })) => members.as_slice(),
            _ => &[],
        };
        members.iter().filter(|member| member.nat).map(|member| member.ip).collect()
    }

    pub(super) fn apply(&mut self, entry: Entry) {
        let disk = |object: Option<&Object>| match object {
            Some(Object::Disk { size }) => size.0,
            _ => 0,
        };
        match entry {
            Entry::Serial(serial) => self.serial = self.serial.max(serial),
            Entry::Gone(seen) => {
                let old = self.objects.remove(&seen);
                self.disks -= disk(old.as_ref());
            }
            Entry::Put(seen, object) => {
                if let Object::Bridge { serial, .. } | Object::Process(Process { serial, .. }) =
                    &object
                {
                    self.serial = self.serial.max(*serial);
                }
                let new = disk(Some(&object));
                let old = self.objects.insert(seen, object);
                self.disks = (self.disks - disk(old.as_ref())).saturating_add(new);
            }
        }
    }

    /// What must change for the resource to be as described; nothing if it is.
    pub(super) fn plan_ensure(
        &self,
        resource: &Resource,
        guest: GuestScript,
    ) -> Result<Vec<Entry>, HostError> {
        self.check_name(resource)?;
        let seen = observed(resource);
        let object = match resource {
            Resource::ImageDir { image, .. } => return self.published(image, seen),
            Resource::VmDir { .. } | Resource::RuntimeDir { .. } | Resource::ImageDraft { .. } => {
                Object::Dir
            }
            Resource::ClonedFile { vm, path, size, .. }
            | Resource::SparseFile { vm, path, size, .. } => {
                self.disk(vm, path, &seen, *size, Larger::Fine)?
            }
            Resource::Ext4 { vm, path, size } => {
                self.disk(vm, path, &seen, *size, Larger::Refused)?
            }
            Resource::BootInitrd { vm, path, .. } => {
                self.check_dir(vm, Role::VmDir, path)?;
                Object::Initrd
            }
            Resource::DmSnapshot { vm, base, tail, .. } => {
                self.snapshot(vm, &seen, base, tail.as_deref())?
            }
            Resource::Bridge { name, subnet, .. } => self.bridge(name, &seen, *subnet)?,
            Resource::Firewall { bridge, subnet, members, host_access, dns_port, .. } => {
                Object::Firewall {
                    bridge: bridge.clone(),
                    subnet: *subnet,
                    members: members.clone(),
                    host_access: *host_access,
                    dns_port: *dns_port,
                }
            }
            Resource::Permit { bridge, dns, .. } => {
                Object::Permit { bridge: bridge.clone(), dns: *dns }
            }
            Resource::Tap { name, bridge, .. } => self.tap(name, bridge)?,
            Resource::VmmProcess(vmm) => self.vmm(vmm, &seen, guest)?,
        };
        // An initrd is written anew each time.
        let is_so = self.objects.get(&seen) == Some(&object) && object != Object::Initrd;
        Ok(if is_so { Vec::new() } else { vec![Entry::Put(seen, object)] })
    }

    /// What must change for an image's draft to be the image.
    fn published(&self, image: &ImageId, seen: Observed) -> Result<Vec<Entry>, HostError> {
        if self.contains(&seen) {
            return Ok(Vec::new());
        }
        let key = ResourceKey::of_image(image, Role::ImageDraft);
        match self.objects.keys().find(|known| known.key == key) {
            Some(draft) => Ok(vec![Entry::Gone(draft.clone()), Entry::Put(seen, Object::Dir)]),
            None => Err(kernel_says("put in place", seen.object, Errno::NOENT)),
        }
    }

    /// What must change for the resource to be gone; nothing if it is.
    pub(super) fn plan_remove(&self, resource: &Resource) -> Result<Vec<Entry>, HostError> {
        self.check_name(resource)?;
        let seen = observed(resource);
        if !self.contains(&seen) {
            return Ok(Vec::new());
        }
        if let Owner::Vm(vm) = resource.owner() {
            self.check_unused(&vm, &seen)?;
        }
        let mut entries = Vec::new();
        if let Resource::VmDir { vm, .. } = resource {
            let files =
                [Role::RootClone, Role::RootCow, Role::RootTail, Role::WorkDisk, Role::Initrd];
            let inside = files.into_iter().filter_map(|role| self.of_vm(vm, role));
            entries.extend(inside.map(|(inside, _)| Entry::Gone(inside.clone())));
        }
        entries.push(Entry::Gone(seen));
        Ok(entries)
    }

    /// What must change for a disk to be elsewhere.
    pub(super) fn plan_take(&self, path: &Path) -> Result<Vec<Entry>, HostError> {
        let Some((seen, _)) = self.disk_at(path) else {
            return Err(kernel_says("move", path.display().to_string(), Errno::NOENT));
        };
        if let Owner::Vm(vm) = seen.key.owner() {
            self.check_unused(vm, seen)?;
        }
        Ok(vec![Entry::Gone(seen.clone())])
    }

    /// What a restart of the host leaves nothing of: all but files.
    pub(super) fn plan_reboot(&self) -> Vec<Entry> {
        let kept = |seen: &Observed| {
            let role = seen.key.role();
            role.persists() || matches!(role, Role::Initrd | Role::ImageDraft)
        };
        self.objects.keys().filter(|seen| !kept(seen)).cloned().map(Entry::Gone).collect()
    }

    /// An object's name must be the one that the layout makes, for no inventory would find another,
    /// and must not be somebody else's.
    fn check_name(&self, resource: &Resource) -> Result<(), HostError> {
        if let Resource::Bridge { name, .. } | Resource::Tap { name, .. } = resource
            && self.foreign.iter().any(|link| link.name == *name)
        {
            return Err(HostError::Foreign { object: name.to_string() });
        }
        let seen = observed(resource);
        let own = seen.leftover(&self.layout);
        let fits = own.as_ref().is_some_and(|own| match (own, resource) {
            (Resource::Bridge { alias: own, .. }, Resource::Bridge { alias, .. }) => own == alias,
            (Resource::DmSnapshot { name: own, cow: own_cow, tail: own_tail, .. }, _) => {
                matches!(resource, Resource::DmSnapshot { name, cow, tail, .. }
                    if (own, own_cow) == (name, cow) && (tail.is_none() || own_tail == tail))
            }
            (Resource::VmmProcess(own), Resource::VmmProcess(vmm)) => {
                let names = |vmm: &VmmProcess| {
                    [&vmm.api_socket, &vmm.stdout, &vmm.stderr, &vmm.identity].map(PathBuf::clone)
                };
                names(own) == names(vmm)
            }
            _ => own.object() == seen.object,
        });
        if fits {
            return Ok(());
        }
        let reason = format!("its names are not those of the instance {}", self.layout.instance());
        Err(HostError::Refused { action: "accept", object: seen.object, reason })
    }

    fn of_vm(&self, vm: &VmId, role: Role) -> Option<(&Observed, &Object)> {
        let key = ResourceKey::of_vm(vm, role);
        // Only the layout's own names are let in, so a VM has at most one object of a role.
        let first = Observed { key: key.clone(), object: String::new() };
        self.objects.range(first..).next().filter(|(seen, _)| seen.key == key)
    }

    fn check_unused(&self, vm: &VmId, seen: &Observed) -> Result<(), HostError> {
        let role = seen.key.role();
        let part = matches!(role, Role::RootCow | Role::RootTail);
        let disk = part || matches!(role, Role::RootClone | Role::WorkDisk | Role::RootSnapshot);
        let by_vmm = disk && self.of_vm(vm, Role::Vmm).is_some();
        let by_device = part && self.of_vm(vm, Role::RootSnapshot).is_some();
        if by_vmm || by_device {
            return Err(kernel_says("remove", seen.object.clone(), Errno::BUSY));
        }
        Ok(())
    }

    fn check_dir(&self, vm: &VmId, dir: Role, inside: &Path) -> Result<(), HostError> {
        match self.of_vm(vm, dir) {
            Some(_) => Ok(()),
            None => Err(kernel_says("create", inside.display().to_string(), Errno::NOENT)),
        }
    }

    fn disk(
        &self,
        vm: &VmId,
        path: &Path,
        seen: &Observed,
        wanted: Bytes,
        larger: Larger,
    ) -> Result<Object, HostError> {
        self.check_dir(vm, Role::VmDir, path)?;
        let is = match self.objects.get(seen) {
            Some(Object::Disk { size }) => *size,
            _ => Bytes(0),
        };
        if wanted < is && larger == Larger::Refused {
            return Err(HostError::Shrink { path: path.to_owned(), is, wanted });
        }
        let size = wanted.max(is);
        let all = (self.disks - is.0).saturating_add(size.0);
        if size > is && all > self.capacity.0 {
            return Err(kernel_says("extend", path.display().to_string(), Errno::NOSPC));
        }
        Ok(Object::Disk { size })
    }

    fn snapshot(
        &self,
        vm: &VmId,
        seen: &Observed,
        base: &Path,
        tail: Option<&Path>,
    ) -> Result<Object, HostError> {
        let absent = |path: &Path| kernel_says("open", path.display().to_string(), Errno::NOENT);
        if self.of_vm(vm, Role::RootCow).is_none() {
            return Err(absent(&self.layout.vm(vm).root_cow));
        }
        let measure = |path: &Path| self.disk_size(path).ok_or_else(|| absent(path));
        let tail = tail.map(measure).transpose()?;
        if tail.is_some_and(|size| size.sectors().0 == 0) {
            // A segment of no length.
            return Err(kernel_says("create the snapshot", seen.object.clone(), Errno::INVAL));
        }
        let device = Object::Snapshot { base: base.to_owned(), tail };
        if self.objects.get(seen).is_some_and(|other| *other != device) {
            // It has to be made anew.
            self.check_unused(vm, seen)?;
        }
        Ok(device)
    }

    fn bridges(&self) -> impl Iterator<Item = (&Observed, Subnet, u64)> {
        let first = Observed { key: ResourceKey::BRIDGE, object: String::new() };
        self.objects.range(first..).map_while(|(seen, object)| match object {
            Object::Bridge { subnet, serial } => Some((seen, *subnet, *serial)),
            _ => None,
        })
    }

    fn bridge(&self, name: &IfName, seen: &Observed, subnet: Subnet) -> Result<Object, HostError> {
        let tap = self.layout.parse_tap(name.as_str());
        if tap.is_some_and(|vm| self.of_vm(&vm, Role::Tap).is_some()) {
            return Err(HostError::Foreign { object: name.to_string() });
        }
        let old = self.bridges().find(|(other, ..)| *other == seen);
        if let Some((_, is, serial)) = old
            && is == subnet
        {
            return Ok(Object::Bridge { subnet, serial });
        }
        let foreign = self.foreign.iter().filter_map(|l| Some((l.name.to_string(), l.subnet?)));
        let others = self.bridges().filter(|(other, ..)| *other != seen);
        let own = others.map(|(other, subnet, _)| (other.object.clone(), subnet));
        if let Some((interface, other)) =
            foreign.chain(own).find(|(_, other)| other.overlaps(subnet))
        {
            let (address, other) = (subnet.to_string(), other.to_string());
            return Err(HostError::AddressInUse { address, interface, other });
        }
        let serial = old.map_or(self.serial + 1, |(_, _, serial)| serial);
        Ok(Object::Bridge { subnet, serial })
    }

    fn tap(&self, name: &IfName, bridge: &IfName) -> Result<Object, HostError> {
        if self.bridges().any(|(seen, ..)| seen.object == name.as_str()) {
            return Err(HostError::Foreign { object: name.to_string() });
        }
        let link = self.bridges().find(|(seen, ..)| seen.object == bridge.as_str());
        let Some((_, _, bridge_serial)) = link else {
            return Err(HostError::Refused {
                action: "attach the TAP",
                object: name.to_string(),
                reason: format!("there is no bridge `{bridge}`"),
            });
        };
        Ok(Object::Tap { bridge: bridge.clone(), bridge_serial })
    }

    fn vmm(
        &self,
        vmm: &VmmProcess,
        seen: &Observed,
        script: GuestScript,
    ) -> Result<Object, HostError> {
        if let Some(running) = self.objects.get(seen) {
            return Ok(running.clone());
        }
        self.check_dir(&vmm.vm, Role::VmDir, &vmm.stdout)?;
        self.check_dir(&vmm.vm, Role::RuntimeDir, &vmm.api_socket)?;
        let serial = self.serial + 1;
        Ok(Object::Process(Process {
            vm: vmm.vm.clone(),
            pid: u32::try_from(FIRST_PID + serial).unwrap_or(u32::MAX),
            script,
            life: Life::Started,
            stdout: vmm.stdout.clone(),
            stderr: vmm.stderr.clone(),
            serial,
        }))
    }
}
