//! Which VMM runs new VMs and how their disks are layered, each with the reason.
//!
//! The facts come in as arguments; [`Programs::find`] and `banger_host::facts` gather them.

use crate::config::{Config, Key, OverlaySetting, VmmSetting};
use banger_api::Choice;
use banger_core::vm::{OverlayMethod, VmmKind};
use banger_host::cmd::find_program;
use banger_host::facts;
use banger_image::bundle::BundleSource;
use banger_vmm::{Acceleration, Driver, Firecracker, KvmStatus, Qemu};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of QEMU's program for the one architecture that banger runs on.
const QEMU: &str = "qemu-system-x86_64";
/// The name of Firecracker's program.
const FIRECRACKER: &str = "firecracker";

/// The programs that can run a VM, as far as they are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// Firecracker.
    pub firecracker: Program,
    /// QEMU.
    pub qemu: Program,
}

/// A program that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// It is there.
    Found(PathBuf),
    /// It is not; this is where it is expected.
    Missing(PathBuf),
}

impl Program {
    /// Where it is or should be.
    pub fn path(&self) -> &Path {
        match self {
            Self::Found(path) | Self::Missing(path) => path,
        }
    }

    /// Whether it is there.
    pub fn is_found(&self) -> bool {
        matches!(self, Self::Found(_))
    }

    /// The configured one, else one beside the daemon, else one in the search path.
    fn find(configured: Option<&Path>, name: &str, beside: &Path, expected: &str) -> Self {
        if let Some(path) = configured {
            return match find_program(path) {
                Some(path) => Self::Found(path),
                None => Self::Missing(path.to_owned()),
            };
        }
        match find_program(beside.join(name)).or_else(|| find_program(name)) {
            Some(path) => Self::Found(path),
            None => Self::Missing(PathBuf::from(expected)),
        }
    }
}

impl Programs {
    /// Looks for both; `beside` is the directory of the daemon's own program.
    pub fn find(config: &Config, beside: &Path) -> Self {
        Self {
            firecracker: Program::find(
                config.firecracker_bin.as_deref(),
                FIRECRACKER,
                beside,
                "/usr/local/bin/firecracker",
            ),
            qemu: Program::find(
                config.qemu_bin.as_deref(),
                QEMU,
                beside,
                "/usr/bin/qemu-system-x86_64",
            ),
        }
    }

    fn of(&self, kind: VmmKind) -> &Program {
        match kind {
            VmmKind::Firecracker => &self.firecracker,
            VmmKind::Qemu => &self.qemu,
        }
    }

    /// Where the program of a VMM is or should be.
    pub fn path(&self, kind: VmmKind) -> &Path {
        self.of(kind).path()
    }

    /// The drivers: the one that runs new VMs first.
    pub fn drivers(&self, preferred: VmmKind, kvm: &KvmStatus) -> Vec<Arc<dyn Driver>> {
        let firecracker: Arc<dyn Driver> =
            Arc::new(Firecracker::new(self.firecracker.path().to_owned()));
        let acceleration = match kvm {
            KvmStatus::Usable => Acceleration::Kvm,
            KvmStatus::Unusable { .. } => Acceleration::Emulation,
        };
        let qemu: Arc<dyn Driver> = Arc::new(Qemu::new(self.qemu.path().to_owned(), acceleration));
        match preferred {
            VmmKind::Firecracker => vec![firecracker, qemu],
            VmmKind::Qemu => vec![qemu, firecracker],
        }
    }
}

/// Chooses the VMM for new VMs.
pub fn choose_vmm(config: &Config, kvm: &KvmStatus, programs: &Programs) -> (VmmKind, Choice) {
    let (kind, because) = match config.vmm {
        VmmSetting::Only(kind) => {
            let set = format!("`vmm` is set by {}", config.origin(Key::Vmm));
            (kind, format!("{set}; {}", how(kind, kvm)))
        }
        VmmSetting::Auto => auto_vmm(kvm, programs),
    };
    let because = match programs.of(kind) {
        Program::Found(_) => because,
        Program::Missing(path) => format!("{because}; `{}` is missing", path.display()),
    };
    (kind, Choice { chosen: kind.as_str().to_owned(), because })
}

fn auto_vmm(kvm: &KvmStatus, programs: &Programs) -> (VmmKind, String) {
    match kvm {
        KvmStatus::Usable if programs.firecracker.is_found() || !programs.qemu.is_found() => {
            (VmmKind::Firecracker, "KVM can run a stock kernel here".to_owned())
        }
        KvmStatus::Usable => (VmmKind::Qemu, "firecracker was not found; QEMU uses KVM".to_owned()),
        KvmStatus::Unusable { .. } => (VmmKind::Qemu, how(VmmKind::Qemu, kvm)),
    }
}

/// How a VMM would run guests here.
fn how(kind: VmmKind, kvm: &KvmStatus) -> String {
    match (kind, kvm) {
        (_, KvmStatus::Usable) => "it uses KVM".to_owned(),
        (VmmKind::Qemu, KvmStatus::Unusable { reason }) => {
            format!("a q35 machine is emulated in software, which is slow: {reason}")
        }
        (VmmKind::Firecracker, KvmStatus::Unusable { reason }) => {
            format!("guests may not come up: {reason}")
        }
    }
}

/// Chooses how the root disks of new VMs are layered; `vms_dir` is where they will be, and
/// `bundle` has the image.
pub fn choose_overlay(
    config: &Config,
    vms_dir: &Path,
    bundle: &BundleSource,
) -> (OverlayMethod, Choice) {
    let (method, because) = match config.overlay {
        OverlaySetting::Only(method) => {
            (method, format!("`overlay` is set by {}", config.origin(Key::Overlay)))
        }
        OverlaySetting::Auto => match facts::choose_overlay(vms_dir) {
            (OverlayMethod::Reflink, _) if device(vms_dir) != device(bundle.root()) => {
                without_reflink(facts::is_root() && facts::device_mapper().is_ok())
            }
            chosen => chosen,
        },
    };
    (method, Choice { chosen: method.as_str().to_owned(), because })
}

/// The device of the file system that a path is on, or will be on once it is made.
fn device(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|path| path.metadata().ok()).map(|meta| meta.dev())
}

/// Blocks are not shared between file systems.
fn without_reflink(device_mapper: bool) -> (OverlayMethod, String) {
    let apart = "the image and the disks are on different file systems";
    if device_mapper {
        (OverlayMethod::DmSnapshot, format!("{apart}, and device-mapper is there"))
    } else {
        (OverlayMethod::Copy, format!("{apart}, and device-mapper cannot be used"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vmm: &str) -> Config {
        let env = |name: &str| (name == "BANGER_VMM").then(|| vmm.to_owned());
        Config::read(None, env).unwrap()
    }

    fn programs(firecracker: bool, qemu: bool) -> Programs {
        let program = |found: bool, path: &str| {
            if found { Program::Found(path.into()) } else { Program::Missing(path.into()) }
        };
        Programs {
            firecracker: program(firecracker, "/b/firecracker"),
            qemu: program(qemu, "/b/qemu-system-x86_64"),
        }
    }

    fn unusable() -> KvmStatus {
        KvmStatus::Unusable { reason: "`/dev/kvm` does not exist".to_owned() }
    }

    fn choice(vmm: &str, kvm: &KvmStatus, programs: &Programs) -> String {
        let (kind, choice) = choose_vmm(&config(vmm), kvm, programs);
        assert_eq!(kind.as_str(), choice.chosen);
        format!("{}: {}", choice.chosen, choice.because)
    }

    #[test]
    fn auto_is_firecracker_where_kvm_works_and_qemu_elsewhere() {
        let usable = KvmStatus::Usable;
        insta::assert_snapshot!(choice("auto", &usable, &programs(true, true)), @"firecracker: KVM can run a stock kernel here");
        insta::assert_snapshot!(choice("auto", &usable, &programs(false, true)), @"qemu: firecracker was not found; QEMU uses KVM");
        insta::assert_snapshot!(choice("auto", &usable, &programs(false, false)), @"firecracker: KVM can run a stock kernel here; `/b/firecracker` is missing");
        insta::assert_snapshot!(choice("auto", &unusable(), &programs(true, true)), @"qemu: a q35 machine is emulated in software, which is slow: `/dev/kvm` does not exist");
        insta::assert_snapshot!(choice("auto", &unusable(), &programs(true, false)), @"qemu: a q35 machine is emulated in software, which is slow: `/dev/kvm` does not exist; `/b/qemu-system-x86_64` is missing");
    }

    #[test]
    fn a_set_vmm_is_taken_and_says_what_to_expect() {
        insta::assert_snapshot!(choice("firecracker", &unusable(), &programs(true, true)), @"firecracker: `vmm` is set by the environment variable `BANGER_VMM`; guests may not come up: `/dev/kvm` does not exist");
        insta::assert_snapshot!(choice("qemu", &KvmStatus::Usable, &programs(true, true)), @"qemu: `vmm` is set by the environment variable `BANGER_VMM`; it uses KVM");
    }

    #[test]
    fn a_path_that_does_not_exist_yet_is_on_the_device_of_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(device(&dir.path().join("a/b")), device(dir.path()));
        assert_ne!(device(Path::new("/proc/self")), device(dir.path()));
    }

    #[test]
    fn a_set_overlay_is_taken_and_says_by_whom() {
        let env = |name: &str| (name == "BANGER_OVERLAY").then(|| "dm-snapshot".to_owned());
        let config = Config::read(None, env).unwrap();
        let (method, choice) = choose_overlay(&config, Path::new("/a"), &BundleSource::at("/b"));
        assert_eq!(method, OverlayMethod::DmSnapshot);
        assert!(choice.because.ends_with("`BANGER_OVERLAY`"), "{}", choice.because);
    }

    #[test]
    fn the_driver_of_new_vms_comes_first() {
        let kinds = |preferred| -> Vec<VmmKind> {
            let drivers = programs(true, true).drivers(preferred, &unusable());
            drivers.iter().map(|driver| driver.kind()).collect()
        };
        assert_eq!(kinds(VmmKind::Qemu), [VmmKind::Qemu, VmmKind::Firecracker]);
        assert_eq!(kinds(VmmKind::Firecracker), [VmmKind::Firecracker, VmmKind::Qemu]);
    }
}
