//! Everything that the checks go by.

use crate::config::Key;
use banger_api::{Choice, ErrorBody, Setting};
use banger_core::image::Image;
use banger_core::unit::{Bytes, MiB};
use banger_core::vm::{OverlayMethod, VmmKind};
use banger_host::facts::{Distribution, HostFacts, Memory, NetworkFacts};
use banger_image::bundle::Part;
use banger_vmm::KvmStatus;
use std::path::PathBuf;

/// What is asked of the host: a VM that is to start, or one as it would be by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// Its memory.
    pub memory: MiB,
    /// How its root disk is layered.
    pub overlay: OverlayMethod,
    /// Whether its disks are there.
    pub disks: Disks,
    /// The image that it boots from, for a VM that has one.
    pub image: Option<Image>,
    /// How its work disk is to grow, if it is.
    pub growth: Option<Growth>,
}

/// A work disk that is to become larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// What it measures.
    pub from: Bytes,
    /// What it is to measure.
    pub to: Bytes,
}

/// Whether a file can measure so much where the disks are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongFile {
    /// How much was tried.
    pub bytes: Bytes,
    /// What came of it: nothing, or the reason as a clause.
    pub holds: Result<(), String>,
}

/// A file or directory that an import is to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFacts {
    /// What it is for, in words: `source`, `kernel`.
    pub role: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// What the file measures, and nothing for a directory; else why it cannot be read.
    pub read: Result<Option<Bytes>, Unread>,
}

/// Why something cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// It is not there.
    Missing,
    /// For another reason, in the kernel's words.
    Refused(String),
}

/// Whether a VM's disks are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disks {
    /// They are to be made.
    New,
    /// They are.
    Kept,
}

/// What a program answers when it is asked for its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionSaid {
    /// It was not asked.
    NotAsked,
    /// Nothing.
    Nothing,
    /// A line.
    Line(String),
}

/// What is known of the runtime bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleFacts {
    /// Its directory.
    pub dir: PathBuf,
    /// Its parts, as far as they can be told.
    pub parts: Vec<Part>,
    /// The image that it holds, or why it cannot be used.
    pub image: Result<Image, ErrorBody>,
}

/// What is known of an image beside the bundle's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Its name.
    pub name: String,
    /// Its root file system.
    pub rootfs: PathBuf,
    /// Why no VM can boot from it, if none can.
    pub problem: Option<ErrorBody>,
    /// What the root file system measured when it became an image, if it is known.
    pub was: Option<Bytes>,
    /// What it measures, if it is there.
    pub is: Option<Bytes>,
}

/// Everything that the checks go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The host.
    pub host: HostFacts,
    /// Whether KVM can be used.
    pub kvm: KvmStatus,
    /// Which VMM runs new VMs.
    pub vmm: VmmKind,
    /// Why it is that one.
    pub vmm_choice: Choice,
    /// The VMM's program.
    pub program: PathBuf,
    /// Whether the program is there.
    pub has_program: bool,
    /// What the program says about itself.
    pub version: VersionSaid,
    /// Why root disks are layered as they are.
    pub overlay_choice: Choice,
    /// What is asked of the host.
    pub demand: Demand,
    /// Files of the image in `demand` that are not there, each with its role.
    pub lost: Vec<(&'static str, PathBuf)>,
    /// The key with which VMs are entered; else what is wrong with it, as a clause.
    pub key: Result<PathBuf, String>,
    /// The runtime bundle; `None` where it was not looked at.
    pub bundle: Option<BundleFacts>,
    /// What stands between VMs and the world; `None` where it was not looked at.
    pub network: Option<NetworkFacts>,
    /// How many VMs with NAT run.
    pub nat_guests: usize,
    /// The images beside the bundle's; none where they were not looked at.
    pub images: Vec<ImageFacts>,
    /// What an import is to read; nothing where there is none to be made.
    pub sources: Vec<SourceFacts>,
    /// Whether a work disk can become as large as it may; `None` where it was not tried, or could not
    /// be.
    pub long_file: Option<LongFile>,
    /// The settings with their origins.
    pub settings: Vec<Setting>,
}

impl Facts {
    /// A host that has everything, for a VM of this kind.
    pub fn complete(demand: Demand) -> Self {
        let choice = |chosen: &str| Choice {
            chosen: chosen.to_owned(),
            because: "the host is simulated".to_owned(),
        };
        let room = Bytes(64 << 30);
        let host = HostFacts {
            distribution: Distribution::Debian,
            root: true,
            kvm_opens: true,
            tun: Ok(()),
            nft: Some("/usr/sbin/nft".into()),
            mke2fs: Some("/usr/sbin/mke2fs".into()),
            device_mapper: Ok(()),
            bridge_filter: Some(Ok(())),
            forwarding: Some(true),
            memory: Some(Memory { total: room, available: room }),
            room: Ok(room),
        };
        Self {
            host,
            kvm: KvmStatus::Usable,
            vmm: VmmKind::Firecracker,
            vmm_choice: choice(VmmKind::Firecracker.as_str()),
            program: "/usr/local/bin/firecracker".into(),
            has_program: true,
            version: VersionSaid::NotAsked,
            overlay_choice: choice(demand.overlay.as_str()),
            demand,
            lost: Vec::new(),
            key: Ok("ssh/id_ed25519".into()),
            bundle: None,
            network: None,
            nat_guests: 0,
            images: Vec::new(),
            sources: Vec::new(),
            long_file: None,
            settings: Vec::new(),
        }
    }

    /// A setting's key with its origin: `vmm (default)`.
    pub(super) fn origin(&self, key: Key) -> String {
        let known = self.settings.iter().find(|setting| setting.key == key.as_str());
        format!("{key} ({})", known.map_or_else(|| "default".to_owned(), Setting::origin))
    }

    /// Whether somebody gave the setting a value.
    pub(super) fn is_set(&self, key: Key) -> bool {
        self.settings
            .iter()
            .any(|setting| setting.key == key.as_str() && setting.source != "default")
    }
}
