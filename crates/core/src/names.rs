//! Every name that banger gives to an object on the host, and the way back from it.
//!
//! A name bears the instance, so that two daemons on one host never take each other's objects for
//! their own, and the VM, so that a leftover can be traced.
//!
//! | object | name | limit |
//! |---|---|---|
//! | TAP | `b<instance>t<vm>` | 15 (IFNAMSIZ less the NUL) |
//! | bridge | from the config; marked by its alias `banger:<instance>` | 15 |
//! | dm device | `banger-<instance>-<vm>-root` | 127 (DM_NAME_LEN less the NUL) |
//! | nft tables | `banger_<instance>` | 255 |
//! | API socket | `<runtime>/<instance>/<vm>/api.sock` | 107 (sun_path less the NUL) |

use crate::id::{ImageId, InstanceId, VmId};
use crate::resource::Role;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// A network interface's name, 1 to 15 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

/// A text that cannot name an interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` cannot name an interface; use 1 to 15 of a-z, A-Z, 0-9, `-`, `_` and `.`")]
pub struct IfNameError {
    /// The text that was refused.
    pub text: String,
}

impl IfName {
    /// IFNAMSIZ less the terminating NUL (linux/if.h).
    pub const MAX: usize = 15;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for IfName {
    type Error = IfNameError;

    fn try_from(text: String) -> Result<Self, IfNameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let sized = (1..=Self::MAX).contains(&text.len());
        if sized && text.bytes().all(allowed) && text != "." && text != ".." {
            Ok(Self(text))
        } else {
            Err(IfNameError { text })
        }
    }
}

impl From<IfName> for String {
    fn from(name: IfName) -> String {
        name.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! made_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

made_name! {
    /// A device-mapper device's name, at most 127 bytes; made by [`Layout`] only.
    DmName
}
made_name! {
    /// An nft table's name; made by [`Layout`] only.
    TableName
}

/// The extension of the directory in which an image is made.
const DRAFT: &str = "part";

/// Where an instance keeps its things, and what it calls them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    instance: InstanceId,
    state_dir: PathBuf,
    runtime_dir: PathBuf,
}

/// A directory that cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Names are made from the path, so it must not depend on the working directory.
    #[error("`{path}` is not an absolute path")]
    Relative {
        /// The path as given.
        path: PathBuf,
    },
    /// It would be cut apart in a list of options.
    #[error("`{path}` has a comma or a line break, or is not UTF-8; VMMs cannot take such a path")]
    Unusable {
        /// The path as given.
        path: PathBuf,
    },
    /// A socket in it could not be bound.
    #[error("`{path}` is too long for the sockets below it; it may have at most {max} bytes")]
    TooLong {
        /// The path as given.
        path: PathBuf,
        /// The most that it may have.
        max: usize,
    },
}

/// `sun_path` has 108 bytes with its NUL (unix(7)).
const SOCKET_MAX: usize = 107;

impl Layout {
    /// Checks that the paths are absolute, plain enough for a VMM's options, and short enough for
    /// the sockets below them.
    pub fn new(state_dir: PathBuf, runtime_dir: PathBuf) -> Result<Self, LayoutError> {
        for path in [&state_dir, &runtime_dir] {
            if !path.is_absolute() {
                return Err(LayoutError::Relative { path: path.clone() });
            }
            // QEMU separates options by commas, and a VMM is found again by its socket's path.
            let usable = |text: &str| !text.contains([',', '\n']);
            if !path.to_str().is_some_and(usable) {
                return Err(LayoutError::Unusable { path: path.clone() });
            }
        }
        let instance = InstanceId::of_state_dir(&state_dir);
        let layout = Self { instance, state_dir, runtime_dir };
        let sample = layout.vm(&VmId::from_entropy(0)).api_socket;
        let below = sample.as_os_str().len() - layout.runtime_dir.as_os_str().len();
        if layout.runtime_dir.as_os_str().len() + below > SOCKET_MAX {
            return Err(LayoutError::TooLong { path: layout.runtime_dir, max: SOCKET_MAX - below });
        }
        Ok(layout)
    }

    /// The instance that these directories make.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// What survives a boot: records, disks, keys, logs.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// What does not survive a boot: sockets and process identities.
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime_dir
    }

    /// The directory that holds one directory for each VM.
    pub fn vms_dir(&self) -> PathBuf {
        self.state_dir.join("vms")
    }

    /// The directory that holds one runtime directory for each running VM. It bears the instance,
    /// because several state directories may share one runtime directory.
    pub fn vms_runtime_dir(&self) -> PathBuf {
        self.runtime_dir.join(self.instance.as_str())
    }

    /// The paths of one VM.
    pub fn vm(&self, vm: &VmId) -> VmPaths {
        let dir = self.vms_dir().join(vm.as_str());
        let runtime = self.vms_runtime_dir().join(vm.as_str());
        VmPaths {
            root_clone: dir.join("root.img"),
            root_cow: dir.join("root.cow"),
            root_tail: dir.join("root.tail"),
            work_disk: dir.join("work.img"),
            initrd: dir.join("initrd"),
            console_log: dir.join("console.log"),
            vmm_log: dir.join("vmm.log"),
            api_socket: runtime.join("api.sock"),
            identity: runtime.join("vmm.json"),
            dir,
            runtime,
        }
    }

    /// The directory that holds one directory for each managed image.
    pub fn images_dir(&self) -> PathBuf {
        self.state_dir.join("images")
    }

    /// The paths of one managed image.
    pub fn image(&self, image: &ImageId) -> ImagePaths {
        let dir = self.images_dir().join(image.as_str());
        ImagePaths { draft: dir.with_extension(DRAFT), dir }
    }

    /// The image of a directory among those of managed images, and what it is of it; `None` for
    /// anybody else's.
    pub fn parse_image_dir(name: &str) -> Option<(ImageId, Role)> {
        let draft = name.strip_suffix(DRAFT).and_then(|name| name.strip_suffix('.'));
        let role = if draft.is_some() { Role::ImageDraft } else { Role::ImageDir };
        Some((draft.unwrap_or(name).parse().ok()?, role))
    }

    /// The VM's TAP.
    pub fn tap(&self, vm: &VmId) -> IfName {
        IfName(format!("{}{vm}", self.tap_prefix()))
    }

    /// What the names of all TAPs of this instance begin with, and of no other interface's.
    pub fn tap_prefix(&self) -> String {
        format!("b{}t", self.instance)
    }

    /// The VM of a TAP of this instance; `None` for any other interface.
    pub fn parse_tap(&self, name: &str) -> Option<VmId> {
        name.strip_prefix(self.tap_prefix().as_str())?.parse().ok()
    }

    /// The alias by which the instance knows its bridge.
    pub fn bridge_alias(&self) -> String {
        format!("banger:{}", self.instance)
    }

    /// The file that says which interface is in firewalld's zone because of the instance.
    pub fn zone_file(&self) -> PathBuf {
        self.state_dir.join("firewalld-zone")
    }

    /// The device-mapper device of the VM's root disk.
    pub fn root_snapshot(&self, vm: &VmId) -> DmName {
        DmName(format!("banger-{}-{vm}-root", self.instance))
    }

    /// The VM of a device-mapper device of this instance; `None` for any other device.
    pub fn parse_root_snapshot(&self, name: &str) -> Option<VmId> {
        let rest = name.strip_prefix("banger-")?.strip_prefix(self.instance.as_str())?;
        rest.strip_prefix('-')?.strip_suffix("-root")?.parse().ok()
    }

    /// The instance's nft tables: one name, in more than one family.
    pub fn nft_table(&self) -> TableName {
        TableName(format!("banger_{}", self.instance))
    }
}

impl DmName {
    /// The block device under its name.
    pub fn device(&self) -> PathBuf {
        Path::new("/dev/mapper").join(&self.0)
    }
}

/// Where a log of the boot before is: under the log's name with `.1` appended.
pub fn log_before(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// The paths of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmPaths {
    /// The directory of what the VM keeps.
    pub dir: PathBuf,
    /// The directory of what it has while it runs.
    pub runtime: PathBuf,
    /// The root disk, where the overlay is a clone of the image.
    pub root_clone: PathBuf,
    /// The copy-on-write store, where the overlay is a dm-snapshot.
    pub root_cow: PathBuf,
    /// What a root disk over a dm-snapshot has beyond the image's end.
    pub root_tail: PathBuf,
    /// The work disk.
    pub work_disk: PathBuf,
    /// The initrd with the VM's configuration; it holds the VM's host key.
    pub initrd: PathBuf,
    /// What the guest wrote to its serial console in its last boot.
    pub console_log: PathBuf,
    /// What the VMM of the last boot wrote about itself.
    pub vmm_log: PathBuf,
    /// The VMM's control socket.
    pub api_socket: PathBuf,
    /// The VMM process's identity: pid, start time and boot id.
    pub identity: PathBuf,
}

/// The paths of one managed image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePaths {
    /// The directory of a whole image.
    pub dir: PathBuf,
    /// The directory in which it is made.
    pub draft: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(state: &str) -> Layout {
        Layout::new(state.into(), "/run/banger".into()).unwrap()
    }

    #[test]
    fn a_runtime_directory_that_is_too_long_is_refused_with_its_limit() {
        let path = format!("/{}", "r".repeat(90));
        let error = Layout::new("/s".into(), path.into()).unwrap_err();
        assert!(error.to_string().ends_with("at most 83 bytes"), "{error}");
        let longest = format!("/{}", "r".repeat(82));
        assert!(Layout::new("/s".into(), longest.into()).is_ok());
    }

    #[test]
    fn paths_that_options_cannot_hold_are_refused() {
        let error = Layout::new("/a,b".into(), "/run/b".into()).unwrap_err();
        assert!(error.to_string().starts_with("`/a,b` has a comma"), "{error}");
    }

    #[test]
    fn relative_directories_are_refused() {
        let error = Layout::new("state".into(), "/run/b".into()).unwrap_err();
        assert_eq!(error.to_string(), "`state` is not an absolute path");
    }

    proptest! {
        #[test]
        fn names_fit_their_limits_and_parse_back(dir in "/[a-z/]{0,20}", entropy: u64) {
            let layout = layout(&dir);
            let vm = VmId::from_entropy(entropy);
            let tap = layout.tap(&vm);
            prop_assert!(tap.as_str().len() <= IfName::MAX);
            prop_assert!(IfName::try_from(tap.as_str().to_owned()).is_ok());
            prop_assert_eq!(layout.parse_tap(tap.as_str()), Some(vm.clone()));
            let dm = layout.root_snapshot(&vm);
            prop_assert!(dm.as_str().len() <= 127);
            prop_assert_eq!(layout.parse_root_snapshot(dm.as_str()), Some(vm));
            let image = ImageId::from_entropy(entropy);
            let paths = layout.image(&image);
            for (path, role) in [(paths.dir, Role::ImageDir), (paths.draft, Role::ImageDraft)] {
                let name = path.file_name().unwrap().to_str().unwrap();
                prop_assert_eq!(Layout::parse_image_dir(name), Some((image.clone(), role)));
            }
        }

        #[test]
        fn another_instance_does_not_know_the_names(entropy: u64) {
            let (ours, theirs) = (layout("/state/ours"), layout("/state/theirs"));
            let vm = VmId::from_entropy(entropy);
            prop_assert_eq!(theirs.parse_tap(ours.tap(&vm).as_str()), None);
            prop_assert_ne!(theirs.vm(&vm).runtime, ours.vm(&vm).runtime);
            prop_assert_eq!(theirs.parse_root_snapshot(ours.root_snapshot(&vm).as_str()), None);
        }

        #[test]
        fn any_interface_name_is_parsed_without_a_panic(name in ".{0,20}") {
            let _outcome = layout("/s").parse_tap(&name);
        }
    }
}
