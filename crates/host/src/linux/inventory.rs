//! Everything on the host that bears the instance's mark.
//!
//! | object | its mark |
//! |---|---|
//! | directories, files | the path, below the state or runtime directory |
//! | bridge | its alias |
//! | TAP, nft tables, dm device | the name |
//! | loop device | its backing file |
//! | rules in somebody else's firewall | their comment; for firewalld a file in the state directory |
//! | VMM | the API socket among its arguments |

use super::{file, firewall, link, loopdev, permit, proc, snapshot};
use crate::HostError;
use banger_core::id::VmId;
use banger_core::names::Layout;
use banger_core::resource::{Gatekeeper, Observed, ResourceKey, Role};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Every object of the instance, sorted by key, each once.
pub(super) fn take(layout: &Layout) -> Result<Vec<Observed>, HostError> {
    let mut seen = Inventory { layout, found: BTreeSet::new() };
    seen.look_at_directories()?;
    seen.look_at_links()?;
    seen.look_at_tables()?;
    seen.look_at_permits()?;
    seen.look_at_block_devices();
    seen.look_at_processes()?;
    Ok(seen.found.into_iter().collect())
}

struct Inventory<'a> {
    layout: &'a Layout,
    found: BTreeSet<Observed>,
}

impl Inventory<'_> {
    fn add(&mut self, vm: &VmId, role: Role, object: impl Into<String>) {
        let key = ResourceKey::of_vm(vm, role);
        self.found.insert(Observed { key, object: object.into() });
    }

    fn look_at_directories(&mut self) -> Result<(), HostError> {
        for vm in subdirectories(&self.layout.vms_dir())? {
            let paths = self.layout.vm(&vm);
            let files = [
                (Role::RootClone, &paths.root_clone),
                (Role::RootCow, &paths.root_cow),
                (Role::RootTail, &paths.root_tail),
                (Role::WorkDisk, &paths.work_disk),
                (Role::Initrd, &paths.initrd),
            ];
            for (role, path) in files {
                if file::is_begun(path) {
                    self.add(&vm, role, text(path));
                }
            }
            self.add(&vm, Role::VmDir, text(&paths.dir));
        }
        for vm in subdirectories(&self.layout.vms_runtime_dir())? {
            let path = self.layout.vm(&vm).runtime;
            self.add(&vm, Role::RuntimeDir, text(&path));
        }
        let images = self.layout.images_dir();
        for name in names(&images)? {
            let Some((image, role)) = Layout::parse_image_dir(&name) else { continue };
            let key = ResourceKey::of_image(&image, role);
            self.found.insert(Observed { key, object: text(&images.join(name)) });
        }
        Ok(())
    }

    fn look_at_links(&mut self) -> Result<(), HostError> {
        let links =
            link::list().map_err(HostError::io("list the interfaces of", self.instance()))?;
        let alias = self.layout.bridge_alias();
        for link in links {
            if let Some(vm) = self.layout.parse_tap(&link.name) {
                self.add(&vm, Role::Tap, link.name);
            } else if link::is_own_bridge(&link, &alias) {
                self.found.insert(Observed { key: ResourceKey::BRIDGE, object: link.name });
            }
        }
        Ok(())
    }

    fn look_at_tables(&mut self) -> Result<(), HostError> {
        let table = self.layout.nft_table();
        match firewall::is_there(&table) {
            Ok(true) => {
                let object = table.to_string();
                self.found.insert(Observed { key: ResourceKey::FIREWALL, object });
                Ok(())
            }
            Ok(false) => Ok(()),
            // Who may not look cannot have made one either.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(HostError::io("look for the nft tables", &table)(error)),
        }
    }

    fn look_at_permits(&mut self) -> Result<(), HostError> {
        for gatekeeper in Gatekeeper::ALL {
            if let Some(object) = permit::find(gatekeeper, self.layout)? {
                self.found.insert(Observed { key: ResourceKey::of_permit(gatekeeper), object });
            }
        }
        Ok(())
    }

    fn look_at_block_devices(&mut self) {
        for device in snapshot::devices() {
            if let Some(vm) = self.layout.parse_root_snapshot(&device.name) {
                let object = text(&self.layout.root_snapshot(&vm).device());
                self.add(&vm, Role::RootSnapshot, object);
            }
        }
        // The kernel shows backing files by paths without links.
        let Ok(dir) = fs::canonicalize(self.layout.vms_dir()) else { return };
        for attached in loopdev::list() {
            let Ok(rest) = attached.backing.strip_prefix(&dir) else { continue };
            let vm = rest.iter().next().and_then(|name| name.to_str()?.parse::<VmId>().ok());
            if let Some(vm) = vm {
                let object = text(&self.layout.root_snapshot(&vm).device());
                self.add(&vm, Role::RootSnapshot, object);
            }
        }
    }

    fn look_at_processes(&mut self) -> Result<(), HostError> {
        let mut prefix = self.layout.vms_runtime_dir().into_os_string();
        prefix.push("/");
        let pids = proc::pids().map_err(HostError::io("list the processes of", self.instance()))?;
        for pid in pids {
            let cmdline = proc::cmdline(pid);
            let Some(name) = proc::between(&cmdline, &prefix, "api.sock") else { continue };
            let Ok(vm) = name.parse::<VmId>() else { continue };
            let Ok(Some(stat)) = proc::stat(pid) else { continue };
            if !stat.is_over() && proc::is_detached_and_ours(pid, stat) {
                let object = text(&self.layout.vm(&vm).api_socket);
                self.add(&vm, Role::Vmm, object);
            }
        }
        Ok(())
    }

    fn instance(&self) -> String {
        format!("instance {}", self.layout.instance())
    }
}

/// The VMs that have a directory in `dir`.
fn subdirectories(dir: &Path) -> Result<Vec<VmId>, HostError> {
    Ok(names(dir)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// The names in a directory; none where there is no directory.
fn names(dir: &Path) -> Result<Vec<String>, HostError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(HostError::io("list", dir.display())(error)),
    };
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

fn text(path: &Path) -> String {
    PathBuf::from(path).display().to_string()
}
