//! What every request handler has at hand.

use crate::dns::Dns;
use crate::doctor::Survey;
use crate::log_level::LogControl;
use crate::metrics::Metrics;
use crate::resolved::HostDns;
use banger_api::{Choice, Setting, Version};
use banger_core::id::InstanceId;
use banger_engine::Engine;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What every request handler has at hand; cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState {
    /// What does the work.
    pub engine: Engine,
    /// Answers DNS queries.
    pub dns: Dns,
    /// Tells how everything is.
    pub metrics: Metrics,
    /// Has the host's resolver ask for them.
    pub host_dns: HostDns,
    /// What the daemon knows about itself.
    pub about: Arc<About>,
    /// Changes the log's level.
    pub log: Arc<LogControl>,
    /// Cancelled when the daemon is to end.
    pub ending: CancellationToken,
}

/// What the daemon knows about itself from its start on.
#[derive(Debug, Clone)]
pub struct About {
    /// Its build.
    pub version: Version,
    /// Its mark on host objects.
    pub instance: InstanceId,
    /// Its socket.
    pub socket: PathBuf,
    /// Records, disks, keys, logs.
    pub state_dir: PathBuf,
    /// Sockets.
    pub runtime_dir: PathBuf,
    /// Its log.
    pub log_file: PathBuf,
    /// Where the bundle is or will be.
    pub bundle_dir: PathBuf,
    /// Where a `runtime-bundle.toml` beside the configuration file is or would be.
    pub pin_file: PathBuf,
    /// Which VMM runs new VMs.
    pub vmm: Choice,
    /// How new root disks are layered.
    pub overlay: Choice,
    /// The bridge with its subnet, in words.
    pub bridge: String,
    /// Each setting with its origin.
    pub settings: Vec<Setting>,
    /// Looks at the host before a start, and for `banger doctor`.
    pub survey: Arc<dyn Survey>,
    /// Whether the host is simulated.
    pub simulated: bool,
}
