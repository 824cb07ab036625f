//! What is kept of an import beside the root file system: where it came from, and what the image's
//! configuration says. Nothing of that is acted upon by a VM.

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The record's file, beside the root file system.
pub const RECORD_FILE: &str = "import.json";
/// The version of the record that this banger writes.
const VERSION: u32 = 1;

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRecord {
    /// The version of this record.
    pub version: u32,
    /// The path that was given.
    pub source: PathBuf,
    /// What was there.
    pub kind: SourceKind,
    /// The digests by which the image can be found again.
    pub digests: Digests,
    /// The files, directories and all else in the root file system.
    pub entries: u64,
    /// The image's configuration; absent where the source was no image.
    #[serde(default)]
    pub config: Option<ImageConfig>,
    /// What its user should know, a sentence each.
    pub warnings: Vec<String>,
}

impl ImportRecord {
    /// One of which no more is known yet.
    pub fn new(source: PathBuf, kind: SourceKind) -> Self {
        Self {
            version: VERSION,
            source,
            kind,
            digests: Digests::default(),
            entries: 0,
            config: None,
            warnings: Vec::new(),
        }
    }

    /// The text of its file.
    ///
    /// # Panics
    ///
    /// Never: it has only text, numbers and lists.
    pub fn render(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("it has only text, numbers and lists");
        format!("{text}\n")
    }
}

/// What a root file system was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// A directory with a root file system.
    Directory,
    /// A tar archive of one, compressed or not.
    Tar,
    /// A directory in OCI's image layout.
    OciLayout,
    /// A tar archive of such a directory.
    OciArchive,
    /// What `docker save` writes.
    DockerArchive,
}

impl SourceKind {
    /// The word in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Tar => "tar",
            Self::OciLayout => "oci_layout",
            Self::OciArchive => "oci_archive",
            Self::DockerArchive => "docker_archive",
        }
    }

    /// The word in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Tar => "tar archive",
            Self::OciLayout => "OCI image layout",
            Self::OciArchive => "OCI archive",
            Self::DockerArchive => "docker archive",
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Digests, each `sha256:` and 64 digits. All that are there were checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// The archive as it was given; absent for a directory.
    #[serde(default)]
    pub archive: Option<String>,
    /// The manifest of an OCI image.
    #[serde(default)]
    pub manifest: Option<String>,
    /// The configuration of an image, which is also Docker's id of it.
    #[serde(default)]
    pub config: Option<String>,
    /// The unpacked layers, the lowest first.
    #[serde(default)]
    pub layers: Vec<String>,
}

/// How a container of the image would be run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
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

impl From<&ImageConfiguration> for ImageConfig {
    fn from(image: &ImageConfiguration) -> Self {
        let config = image.config().clone().unwrap_or_default();
        let sorted = |list: &Option<Vec<String>>| {
            let mut list = list.clone().unwrap_or_default();
            list.sort();
            list
        };
        let word = |word: &Option<String>| word.clone().filter(|word| !word.is_empty());
        Self {
            created: word(image.created()),
            author: word(image.author()),
            entrypoint: config.entrypoint().clone().unwrap_or_default(),
            cmd: config.cmd().clone().unwrap_or_default(),
            env: config.env().clone().unwrap_or_default(),
            working_dir: word(config.working_dir()),
            user: word(config.user()),
            stop_signal: word(config.stop_signal()),
            exposed_ports: sorted(config.exposed_ports()),
            volumes: sorted(config.volumes()),
            labels: config.labels().clone().unwrap_or_default().into_iter().collect(),
        }
    }
}
