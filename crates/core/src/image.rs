//! What a VM boots from: an image's files, and the record of an image.

use crate::id::ImageId;
use crate::unit::Bytes;
use crate::vm::UnixMillis;
use crate::vm_name::ImageName;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The artifacts of an image, by absolute path. None of them is ever written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The image's name.
    pub name: ImageName,
    /// An uncompressed ELF kernel (`vmlinux`).
    pub kernel: PathBuf,
    /// The archive of kernel modules, to which banger's init and the VM's configuration are
    /// appended; absent where the kernel needs none.
    #[serde(default)]
    pub initrd: Option<PathBuf>,
    /// The root file system: ext4, without a partition table.
    pub rootfs: PathBuf,
    /// Words that the image adds to the kernel's command line.
    #[serde(default)]
    pub boot_args: Vec<String>,
}

/// An image as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its id, for life.
    pub id: ImageId,
    /// Its name, unique among the images.
    pub name: ImageName,
    /// Whose its files are.
    pub kind: ImageKind,
    /// Where it came from.
    pub origin: ImageOrigin,
    /// Its kernel; absent means that it boots with the default image's.
    pub boot: Option<BootFiles>,
    /// Its root file system, by absolute path.
    pub rootfs: PathBuf,
    /// Words that it adds to the kernel's command line.
    #[serde(default)]
    pub boot_args: Vec<String>,
    /// What the root file system measured when it was last looked at.
    #[serde(default)]
    pub size: Option<Bytes>,
    /// The digest of the root file system (`banger_image::digest`), where it was taken.
    #[serde(default)]
    pub digest: Option<String>,
    /// When the record was made.
    pub created_at: UnixMillis,
}

impl Image {
    /// The same with another kernel, if there is one.
    #[must_use]
    pub fn booting(self, own: Option<BootFiles>) -> Self {
        match own {
            Some(BootFiles { kernel, initrd }) => Self { kernel, initrd, ..self },
            None => self,
        }
    }
}

/// A kernel with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFiles {
    /// An uncompressed ELF kernel, by absolute path.
    pub kernel: PathBuf,
    /// The archive of its modules; absent where it needs none.
    pub initrd: Option<PathBuf>,
}

/// Whose an image's files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageKind {
    /// banger's: they are below the state directory and go with the image.
    Managed,
    /// The user's: banger reads them where they are and never removes them.
    Unmanaged,
}

impl ImageKind {
    /// The word in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Managed => "managed",
            Self::Unmanaged => "unmanaged",
        }
    }
}

/// Where an image came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageOrigin {
    /// The runtime bundle: it is the default image. At most one image has this origin.
    Bundle,
    /// A user named its files.
    Registered,
    /// It was made of a directory, an archive or a container image.
    Imported,
    /// A VM was booted and worked in (`image build`).
    Built,
}

impl ImageOrigin {
    /// The word in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Registered => "registered",
            Self::Imported => "imported",
            Self::Built => "built",
        }
    }
}

impl ImageRecord {
    /// What a VM boots from. An image without a kernel of its own takes that of the default image,
    /// with the words that belong to it; `None` if there is no such kernel.
    pub fn image(&self, default: Option<&Self>) -> Option<Image> {
        let (boot, mut boot_args) = match &self.boot {
            Some(boot) => (boot, Vec::new()),
            None => {
                let default = default?;
                (default.boot.as_ref()?, default.boot_args.clone())
            }
        };
        boot_args.extend(self.boot_args.iter().cloned());
        Some(Image {
            name: self.name.clone(),
            kernel: boot.kernel.clone(),
            initrd: boot.initrd.clone(),
            rootfs: self.rootfs.clone(),
            boot_args,
        })
    }

    /// Whether one of its files is below a directory.
    pub fn is_in(&self, dir: &Path) -> bool {
        let boot = self.boot.iter().flat_map(|boot| [Some(&boot.kernel), boot.initrd.as_ref()]);
        boot.flatten().chain([&self.rootfs]).any(|file| file.starts_with(dir))
    }

    /// Takes the files of a bundle that has moved or changed. Returns whether anything differs.
    pub fn follow(&mut self, image: Image, size: Option<Bytes>) -> bool {
        let Image { name: _, kernel, initrd, rootfs, boot_args } = image;
        let before = self.clone();
        // What was measured of another file says nothing of this one.
        if self.rootfs != rootfs || self.size != size {
            self.digest = None;
        }
        self.boot = Some(BootFiles { kernel, initrd });
        self.rootfs = rootfs;
        self.boot_args = boot_args;
        self.size = size;
        *self != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(boot: Option<BootFiles>, words: &[&str]) -> ImageRecord {
        ImageRecord {
            id: ImageId::from_entropy(1),
            name: "dev".parse().unwrap(),
            kind: ImageKind::Unmanaged,
            origin: ImageOrigin::Registered,
            boot,
            rootfs: "/i/rootfs.ext4".into(),
            boot_args: words.iter().map(|&word| word.to_owned()).collect(),
            size: Some(Bytes(1)),
            digest: Some("sha256:0".to_owned()),
            created_at: UnixMillis(0),
        }
    }

    fn files(kernel: &str) -> Option<BootFiles> {
        Some(BootFiles { kernel: kernel.into(), initrd: None })
    }

    #[test]
    fn an_image_without_a_kernel_boots_with_the_default_images_and_its_words() {
        let default = record(files("/b/vmlinux"), &["net.ifnames=0"]);
        let image = record(None, &["quiet"]).image(Some(&default)).unwrap();
        assert_eq!(image.kernel, PathBuf::from("/b/vmlinux"));
        assert_eq!(image.boot_args, ["net.ifnames=0", "quiet"]);
        let own = record(files("/i/vmlinux"), &["quiet"]).image(Some(&default)).unwrap();
        assert_eq!(own.kernel, PathBuf::from("/i/vmlinux"));
        assert_eq!(own.boot_args, ["quiet"]);
        assert_eq!(record(None, &[]).image(None), None);
    }

    #[test]
    fn a_record_that_follows_keeps_its_id_and_name_and_drops_a_digest_that_no_longer_holds() {
        let mut followed = record(files("/old/vmlinux"), &[]);
        let image = record(files("/new/vmlinux"), &[]).image(None).unwrap();
        assert!(followed.follow(image.clone(), Some(Bytes(1))));
        assert_eq!((followed.name.as_str(), followed.digest.is_some()), ("dev", true));
        assert!(!followed.follow(image.clone(), Some(Bytes(1))));
        assert!(followed.follow(Image { rootfs: "/new/rootfs".into(), ..image }, Some(Bytes(1))));
        assert_eq!((followed.id, followed.digest), (ImageId::from_entropy(1), None));
    }
}
