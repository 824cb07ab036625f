//! What a test plays in: private namespaces, a temporary instance, and a clean-up that also runs
//! when the test fails.

use banger_core::id::VmId;
use banger_core::names::{Layout, VmPaths};
use banger_core::resource::Resource;
use banger_host::{Change, Host, HostError, LinuxHost};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tempfile::TempDir;

/// An instance with nothing in it.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) host: LinuxHost,
    pub(crate) layout: Layout,
    dir: TempDir,
}

impl Scene {
    /// Moves the calling thread into namespaces of its own; they go when it ends.
    pub(crate) fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "tests in `host_…` need root");
        // SAFETY: descriptors stay shared; only namespaces are left.
        #[expect(unsafe_code, reason = "a test plays in namespaces of its own")]
        unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }.unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let layout = Layout::new(root.join("state"), root.join("run")).unwrap();
        Self { host: LinuxHost::new(layout.clone()), layout, dir }
    }

    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) fn vm(&self, n: u64) -> (VmId, VmPaths) {
        let vm = VmId::from_entropy(n);
        let paths = self.layout.vm(&vm);
        (vm, paths)
    }

    /// Makes the VM's two directories.
    pub(crate) fn ensure_dirs(&self, vm: &VmId) {
        let paths = self.layout.vm(vm);
        self.ensure(&Resource::VmDir { vm: vm.clone(), path: paths.dir });
        self.ensure(&Resource::RuntimeDir { vm: vm.clone(), path: paths.runtime });
    }

    /// Ensures twice: the second time must find it done.
    pub(crate) fn ensure(&self, resource: &Resource) {
        assert_eq!(self.host.ensure(resource).unwrap(), Change::Changed, "{resource:?}");
        assert_eq!(self.host.ensure(resource).unwrap(), Change::Unchanged, "{resource:?}");
        assert!(self.host.has(resource).unwrap(), "{resource:?}");
    }

    /// Removes twice: the second time must find it gone.
    pub(crate) fn remove(&self, resource: &Resource) {
        assert_eq!(self.host.remove(resource).unwrap(), Change::Changed, "{resource:?}");
        assert_eq!(self.host.remove(resource).unwrap(), Change::Unchanged, "{resource:?}");
        assert!(!self.host.has(resource).unwrap(), "{resource:?}");
    }

    /// The keys of what is on the host, as text.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.host.inventory().unwrap().iter().map(|observed| observed.key.to_string()).collect()
    }

    /// Removes everything, as a daemon does with what a crash left.
    pub(crate) fn clear(&self) -> Result<(), HostError> {
        // Sorted by key, VMs come last first: processes before what they use.
        for observed in self.host.inventory()?.into_iter().rev() {
            if let Some(resource) = observed.leftover(&self.layout) {
                let _gone = self.host.remove(&resource)?;
            }
        }
        Ok(())
    }

    /// The end of a test that tidied up after itself.
    pub(crate) fn finish(self) {
        assert_eq!(self.keys(), [""; 0]);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Err(error) = self.clear()
        {
            eprintln!("not everything could be removed: {error:?}");
        }
    }
}
