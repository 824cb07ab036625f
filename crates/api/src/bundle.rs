//! The runtime bundle in more detail, and what can be asked of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use utoipa::ToSchema;

/// One part of the runtime bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundlePart {
    /// `kernel`, `initrd`, `root file system` or `module tree`.
    #[schema(example = "kernel")]
    pub role: String,
    /// Where it is.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Who says so: `bundle.json`, the legacy file names, or a key with its origin.
    pub named_by: String,
    /// Its length in bytes; absent for a directory and for what is missing.
    pub bytes: Option<u64>,
    /// What its SHA-256 was when it was built or unpacked, if that is known.
    pub sha256: Option<String>,
}

/// What is in the runtime bundle and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundleContent {
    /// Its parts.
    pub parts: Vec<BundlePart>,
    /// `bundle.json` as it is; absent where the files are known by their names alone.
    #[schema(value_type = Option<Object>)]
    pub manifest: Option<Value>,
}

/// Which archive to unpack the runtime bundle from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FetchBundle {
    /// An absolute path, or a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The archive's SHA-256, which a URL needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Without `from`: the `runtime-bundle.toml` that names the archive; when absent, the one beside
    /// the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub pin: Option<PathBuf>,
}
