//! Imports of images, and what is kept of them.

use banger_core::unit::MiB;
use banger_core::vm_name::ImageName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use utoipa::ToSchema;

/// A request for an image made of a directory, an archive or a container image. The daemon reads all
/// paths, with its own rights, on the machine that it runs on. The import is broken off when the
/// stream of its events is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportImage {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ImageName,
    /// A directory with a root file system or an OCI image layout; a tar archive of either, plain or
    /// compressed with gzip, XZ or Zstandard; or what `docker save` writes. An absolute path, as are
    /// all here.
    #[schema(value_type = String)]
    pub source: PathBuf,
    /// Its kernel, an ELF `vmlinux` or a `bzImage`, which is copied; the default image's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub kernel: Option<PathBuf>,
    /// The kernel's module tree, `lib/modules/<release>`, from which its initrd is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub modules: Option<PathBuf>,
    /// The size of the root file system in MiB; what it needs and a quarter more when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub size: Option<MiB>,
    /// The most that may be unpacked, in MiB; 64 GiB when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub max_size: Option<MiB>,
}

/// Where an imported image came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageImport {
    /// The path that was given.
    #[schema(value_type = String)]
    pub source: PathBuf,
    /// `directory`, `tar`, `oci_layout`, `oci_archive` or `docker_archive`.
    #[schema(example = "oci_layout")]
    pub kind: String,
    /// The digest of the archive; absent where the source was no archive of a root file system.
    pub archive_digest: Option<String>,
    /// The digest of an OCI image's manifest.
    pub manifest_digest: Option<String>,
    /// The digest of an image's configuration.
    pub config_digest: Option<String>,
    /// The digests of an image's unpacked layers, the lowest first.
    pub layers: Vec<String>,
    /// The files, directories and all else in the root file system.
    pub entries: u64,
    /// How a container of the image would be run; a VM boots its init instead.
    pub container: Option<ContainerConfig>,
    /// What its user should know, a sentence each.
    pub warnings: Vec<String>,
}

/// What a container image's configuration says. No VM acts upon it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerConfig {
    /// When the image was made, as it says.
    pub created: Option<String>,
    /// Who made it, as it says.
    pub author: Option<String>,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// More arguments, or the program where there is no entry point.
    pub cmd: Vec<String>,
    /// The environment, `NAME=value` each.
    pub env: Vec<String>,
    /// The directory that the program starts in.
    pub working_dir: Option<String>,
    /// Who runs it.
    pub user: Option<String>,
    /// The signal that asks it to end.
    pub stop_signal: Option<String>,
    /// Ports, such as `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Directories with data of its own.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}
