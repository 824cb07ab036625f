//! Gathering the facts: from the real host, or from nowhere for a simulated one.

use super::{Demand, Disks, Facts, Growth, LongFile, SourceFacts, Unread, VersionSaid};
use crate::simulation::Lack;
use banger_api::{Choice, Setting};
use banger_core::image::Image;
use banger_core::spec::MAX_DISK;
use banger_core::unit::{Bytes, MiB};
use banger_core::vm::{OverlayMethod, VmmKind};
use banger_host::SimHost;
use banger_host::facts::{
    Depth, HostFacts, NetworkFacts, NetworkQuestion, file_can_measure, version_line,
};
use banger_image::regular;
use banger_vmm::{KvmStatus, detect_kvm};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the facts come from.
pub trait Survey: fmt::Debug + Send + Sync {
    /// What a VM would be by default.
    fn usual(&self) -> Demand;

    /// Looks at everything but the bundle and the network.
    fn facts(&self, demand: Demand, depth: Depth) -> Facts;

    /// Looks at what stands between VMs and the world, which runs some programs.
    fn network(&self, question: NetworkQuestion) -> NetworkFacts;
}

/// The real host, with what the daemon decided when it started.
#[derive(Debug, Clone)]
pub struct HostSurvey {
    /// Where the disks of VMs are.
    pub vms_dir: PathBuf,
    /// The key with which VMs are entered.
    pub key: PathBuf,
    /// Which VMM runs new VMs.
    pub vmm: VmmKind,
    /// Why it is that one.
    pub vmm_choice: Choice,
    /// The VMM's program.
    pub program: PathBuf,
    /// What KVM was good for when the daemon started.
    pub kvm: KvmStatus,
    /// How new root disks are layered.
    pub overlay: OverlayMethod,
    /// Why they are layered so.
    pub overlay_choice: Choice,
    /// The memory of a new VM.
    pub memory: MiB,
    /// The settings with their origins.
    pub settings: Vec<Setting>,
}

impl Survey for HostSurvey {
    fn usual(&self) -> Demand {
        Demand {
            memory: self.memory,
            overlay: self.overlay,
            disks: Disks::New,
            image: None,
            growth: None,
        }
    }

    fn facts(&self, demand: Demand, depth: Depth) -> Facts {
        let has_program = self.program.is_file();
        let version = match (self.vmm, depth) {
            (VmmKind::Firecracker, Depth::Whole) if has_program => {
                version_line(&self.program).map_or(VersionSaid::Nothing, VersionSaid::Line)
            }
            _ => VersionSaid::NotAsked,
        };
        Facts {
            host: HostFacts::gather(&self.vms_dir, depth),
            kvm: match depth {
                Depth::Quick => self.kvm.clone(),
                Depth::Whole => detect_kvm(),
            },
            vmm: self.vmm,
            vmm_choice: self.vmm_choice.clone(),
            program: self.program.clone(),
            has_program,
            version,
            overlay_choice: self.overlay_choice.clone(),
            lost: demand
                .image
                .as_ref()
                .map(|image| lost(image, demand.overlay))
                .unwrap_or_default(),
            long_file: self.try_length(demand.growth, depth),
            demand,
            key: look_at_key(&self.key),
            bundle: None,
            network: None,
            nat_guests: 0,
            images: Vec::new(),
            sources: Vec::new(),
            settings: self.settings.clone(),
        }
    }

    fn network(&self, question: NetworkQuestion) -> NetworkFacts {
        NetworkFacts::gather(question)
    }
}

impl HostSurvey {
    /// Whether a work disk can become as large as it is to be; where none is to grow and time is
    /// given, as large as any may be.
    fn try_length(&self, growth: Option<Growth>, depth: Depth) -> Option<LongFile> {
        let bytes = match (growth, depth) {
            (Some(growth), _) => growth.to,
            (None, Depth::Whole) => MAX_DISK.bytes(),
            (None, Depth::Quick) => return None,
        };
        let holds = file_can_measure(&self.vms_dir, bytes)?;
        Some(LongFile { bytes, holds })
    }
}

/// Looks at what an import is to read.
pub(crate) fn look_at_source(role: &'static str, path: PathBuf) -> SourceFacts {
    let read = || {
        let meta = fs::metadata(&path)?;
        match meta.is_dir() {
            true => fs::read_dir(&path).map(|_| None),
            false => regular::open(&path)?.metadata().map(|meta| Some(Bytes(meta.len()))),
        }
    };
    let read = read().or_else(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Err(Unread::Missing),
        io::ErrorKind::PermissionDenied => Err(Unread::Refused(error.to_string())),
        // Who reads it knows better what is the matter with it.
        _ => Ok(None),
    });
    SourceFacts { role, path, read }
}

/// The files that a VM of this image cannot start without, and that are not there. A root disk that
/// shares or copies the image's blocks no longer needs the image.
fn lost(image: &Image, overlay: OverlayMethod) -> Vec<(&'static str, PathBuf)> {
    let mut files = vec![("kernel", &image.kernel)];
    files.extend(image.initrd.as_ref().map(|initrd| ("initrd", initrd)));
    if overlay == OverlayMethod::DmSnapshot {
        files.push(("root file system", &image.rootfs));
    }
    files.retain(|(_, path)| !path.is_file());
    files.into_iter().map(|(role, path)| (role, path.clone())).collect()
}

/// ssh refuses a key that others can read.
fn look_at_key(path: &Path) -> Result<PathBuf, String> {
    let meta = fs::metadata(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    let mode = meta.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        Ok(path.to_owned())
    } else {
        Err(format!(
            "`{}` has mode {mode:04o}, and ssh takes no key that others can read",
            path.display()
        ))
    }
}

/// A simulated host, which has everything that it is not said to lack.
#[derive(Debug, Clone)]
pub struct SimSurvey {
    /// The host, which may have a firewall.
    pub host: Arc<SimHost>,
    /// What it lacks.
    pub lacks: Vec<Lack>,
    /// What a VM would be by default.
    pub usual: Demand,
    /// The settings with their origins.
    pub settings: Vec<Setting>,
}

impl Survey for SimSurvey {
    fn usual(&self) -> Demand {
        self.usual.clone()
    }

    fn facts(&self, demand: Demand, _depth: Depth) -> Facts {
        let mut facts = Facts { settings: self.settings.clone(), ..Facts::complete(demand) };
        self.lacks.iter().for_each(|lack| lack.take_from(&mut facts));
        facts
    }

    fn network(&self, question: NetworkQuestion) -> NetworkFacts {
        self.host.network(question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_others_can_read_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("id");
        assert!(look_at_key(&key).unwrap_err().contains("No such file"));
        fs::write(&key, "x").unwrap();
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(look_at_key(&key).is_ok(), good, "{mode:o}");
        }
    }

    #[test]
    fn a_source_is_a_file_with_its_size_a_directory_or_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("otter.tar");
        fs::write(&file, "12345").unwrap();
        let read = |path: PathBuf| look_at_source("source", path).read;
        assert_eq!(read(file), Ok(Some(Bytes(5))));
        assert_eq!(read(dir.path().to_owned()), Ok(None));
        assert_eq!(read(dir.path().join("gone")), Err(Unread::Missing));
        let through = dir.path().join("otter.tar/x");
        assert_eq!(read(through), Err(Unread::Missing));
        assert_eq!(read("/dev/null".into()), Ok(None), "it is told by who reads it");
    }

    #[test]
    fn a_root_disk_of_its_own_does_not_need_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("vmlinux");
        fs::write(&kernel, "x").unwrap();
        let image = Image {
            name: "default".parse().unwrap(),
            kernel,
            initrd: Some("/no/such/initrd".into()),
            rootfs: "/no/such/rootfs".into(),
            boot_args: Vec::new(),
        };
        let roles = |overlay| -> Vec<&str> {
            lost(&image, overlay).into_iter().map(|(role, _)| role).collect()
        };
        assert_eq!(roles(OverlayMethod::Copy), ["initrd"]);
        assert_eq!(roles(OverlayMethod::DmSnapshot), ["initrd", "root file system"]);
    }
}
