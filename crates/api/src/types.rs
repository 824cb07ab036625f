//! What requests and answers are made of.

use crate::{BundleContent, ErrorBody, HostDnsStatus, ImageImport};
use banger_core::id::{ImageId, InstanceId, OpId, VmId};
use banger_core::image::{ImageKind, ImageOrigin};
use banger_core::ledger::Audit;
use banger_core::net::{GuestIp, MacAddr, Protocol};
use banger_core::spec::{SpecChange, VmSpec};
use banger_core::state::{Readiness, VmState};
use banger_core::vm::{OverlayMethod, Purpose, VmmKind};
use banger_core::vm_name::{ImageName, VmName};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use utoipa::{IntoParams, ToSchema};

/// A VM as the daemon reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vm {
    /// Its id, for life.
    #[schema(value_type = String, example = "0f5k2m9q")]
    pub id: VmId,
    /// Its name.
    #[schema(value_type = String, example = "otter")]
    pub name: VmName,
    /// The image that it was created from.
    #[schema(value_type = String, example = "default")]
    pub image: ImageName,
    /// `created`, `starting`, `running`, `stopping`, `stopped` or `error`.
    #[schema(value_type = String, example = "running")]
    pub state: VmState,
    /// How far it has come: `none`, `vmm`, `guest` or `ssh`.
    #[schema(value_type = String, example = "ssh")]
    pub readiness: Readiness,
    /// Its address on the bridge.
    #[schema(value_type = String, example = "172.16.0.2")]
    pub ip: GuestIp,
    /// Its hardware address.
    #[schema(value_type = String, example = "06:00:ac:10:00:02")]
    pub mac: MacAddr,
    /// What it is given: `vcpu`, `memory`, `overlay`, `work_disk` (sizes in MiB), `nat`.
    #[schema(value_type = Object)]
    pub spec: VmSpec,
    /// How its root disk is layered: `reflink`, `dm-snapshot` or `copy`.
    #[schema(value_type = String)]
    pub overlay_method: OverlayMethod,
    /// What it is there for: `work`, or `build` and `kept-build` for one that an image is made of.
    #[serde(default)]
    #[schema(value_type = String)]
    pub purpose: Purpose,
    /// The VMM that runs it or ran it last.
    #[schema(value_type = Option<String>)]
    pub vmm: Option<VmmKind>,
    /// The VMM's process id while it runs.
    pub pid: Option<u32>,
    /// Why it is in `error`, or why it last failed or ended by itself.
    pub last_error: Option<String>,
    /// The ports of the host that lead into it. A daemon from before there were any has none.
    #[serde(default)]
    pub forwards: Vec<VmForward>,
    /// When it was created, RFC 3339 in UTC.
    pub created_at: String,
    /// When its state last changed, RFC 3339 in UTC.
    pub changed_at: String,
    /// The operation that changed it, by which its lines in the daemon's log are found.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "k3m9x2p7qa")]
    pub changed_by: Option<OpId>,
    /// The directory of its disks and logs.
    #[schema(value_type = String)]
    pub dir: PathBuf,
    /// What the guest wrote to its console.
    #[schema(value_type = String)]
    pub console_log: PathBuf,
    /// What the VMM wrote about itself.
    #[schema(value_type = String)]
    pub vmm_log: PathBuf,
}

/// All VMs, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmList {
    /// The VMs.
    pub vms: Vec<Vm>,
}

/// A request for a new VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVm {
    /// Its name; an adjective and a noun when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub name: Option<VmName>,
    /// The image; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub image: Option<ImageName>,
    /// What differs from the daemon's defaults: `vcpu`, `memory`, `overlay`, `work_disk` (sizes in
    /// MiB), `nat`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub spec: SpecChange,
    /// How to boot it; absent means: leave it `created`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartVm>,
}

/// How to boot a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StartVm {
    /// What to wait for.
    pub wait: Wait,
    /// How long, in seconds.
    pub timeout_s: u32,
}

impl Default for StartVm {
    fn default() -> Self {
        Self { wait: Wait::Ssh, timeout_s: 120 }
    }
}

/// What a start waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Nothing beyond the VMM having been told to boot.
    None,
    /// banger-init has handed over to the image's init.
    Guest,
    /// sshd has sent its banner.
    Ssh,
}

/// How to stop a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StopVm {
    /// How long the guest may take to end by itself, in seconds; then it is killed.
    pub timeout_s: u32,
}

impl Default for StopVm {
    fn default() -> Self {
        Self { timeout_s: 60 }
    }
}

/// How to restart a VM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestartVm {
    /// The stop.
    pub stop: StopVm,
    /// The start.
    pub start: StartVm,
}

/// How to kill a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KillVm {
    /// The signal for the VMM, by name or number.
    pub signal: String,
}

impl Default for KillVm {
    fn default() -> Self {
        Self { signal: "KILL".to_owned() }
    }
}

/// A port of 127.0.0.1 on the host that leads into a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmForward {
    /// `tcp` or `udp`.
    #[schema(value_type = String, example = "tcp")]
    pub protocol: Protocol,
    /// The port of the host.
    #[schema(value_type = u16, example = 8080)]
    pub host_port: NonZeroU16,
    /// The port of the guest.
    #[schema(value_type = u16, example = 80)]
    pub guest_port: NonZeroU16,
    /// Whether it leads there now.
    pub state: ForwardState,
    /// Why it does not, when it should.
    pub problem: Option<String>,
}

/// Whether a port of the host leads into its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForwardState {
    /// It does.
    Open,
    /// It will when the VM runs.
    Closed,
    /// The host's port is not to be had; it is tried again.
    Failed,
}

/// A port of 127.0.0.1 on the host that is to lead into a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddForward {
    /// `tcp` or `udp`; `tcp` when absent.
    #[serde(default)]
    #[schema(value_type = String, example = "tcp")]
    pub protocol: Protocol,
    /// The port of the host.
    #[schema(value_type = u16, example = 8080)]
    pub host_port: NonZeroU16,
    /// The port of the guest.
    #[schema(value_type = u16, example = 80)]
    pub guest_port: NonZeroU16,
}

/// A port of 127.0.0.1 on the host that is to lead nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RemoveForward {
    /// The port of the host.
    #[param(value_type = u16)]
    pub host_port: NonZeroU16,
    /// `tcp` or `udp`; `tcp` when absent.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub protocol: Protocol,
}

/// Everything that an ssh client needs. Nothing of the user's `~/.ssh` is involved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SshTarget {
    /// The VM.
    pub vm: Vm,
    /// The user to log in as.
    pub user: String,
    /// The address.
    #[schema(value_type = String)]
    pub address: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// The private key.
    #[schema(value_type = String)]
    pub key: PathBuf,
    /// A known-hosts file that has the VM's host key under `host_key_alias`.
    #[schema(value_type = String)]
    pub known_hosts: PathBuf,
    /// The name of the VM in that file.
    pub host_key_alias: String,
}

/// What an ssh client is configured with so that it knows VMs by their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SshConfig {
    /// A file with the text, which the daemon keeps; an `Include` can name it.
    #[schema(value_type = String)]
    pub file: PathBuf,
    /// Lines as in ssh_config(5).
    pub text: String,
}

/// What a VM uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmStats {
    /// The VM.
    pub vm: Vm,
    /// Processor time of the VMM since it started, in milliseconds; 0 when it does not run.
    pub cpu_ms: u64,
    /// Processor time over the last half second, in thousandths of one host processor.
    pub cpu_permille: u32,
    /// Memory of the VMM that is resident, in bytes.
    pub resident_bytes: u64,
    /// Blocks of the root disk's own layer that are allocated, in bytes.
    pub root_bytes: u64,
    /// Blocks of the work disk that are allocated, in bytes.
    pub work_bytes: u64,
    /// How long it has been running, in milliseconds.
    pub uptime_ms: u64,
}

/// Which of a VM's logs to read, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// `console` (the default) or `vmm`.
    pub source: LogSource,
    /// Go on with what is written from now on, until the client leaves or the VM is deleted.
    pub follow: bool,
    /// Begin this many lines before the end; absent means at the beginning.
    pub tail: Option<u32>,
    /// Read the log of the boot before the last one.
    pub previous: bool,
}

impl Default for LogQuery {
    fn default() -> Self {
        Self { source: LogSource::Console, follow: false, tail: None, previous: false }
    }
}

/// One of a VM's log files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogSource {
    /// The guest's serial console.
    Console,
    /// The VMM's own messages.
    Vmm,
}

/// An image that VMs can be created from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageView {
    /// Its id, for life.
    #[schema(value_type = String, example = "0f5k2m9q")]
    pub id: ImageId,
    /// Its name.
    #[schema(value_type = String, example = "default")]
    pub name: ImageName,
    /// `managed`: its files are banger's; `unmanaged`: they are the user's.
    #[schema(value_type = String, example = "unmanaged")]
    pub kind: ImageKind,
    /// `bundle`, `registered`, `imported` or `built`.
    #[schema(value_type = String, example = "bundle")]
    pub origin: ImageOrigin,
    /// Its root file system.
    #[schema(value_type = String)]
    pub rootfs: PathBuf,
    /// The kernel that it boots with; absent where there is none.
    #[schema(value_type = Option<String>)]
    pub kernel: Option<PathBuf>,
    /// The archive of the kernel's modules, where there is one.
    #[schema(value_type = Option<String>)]
    pub initrd: Option<PathBuf>,
    /// Words that it adds to the kernel's command line.
    pub boot_args: Vec<String>,
    /// What the root file system measures, in bytes, holes included; absent where it is not known.
    pub size_bytes: Option<u64>,
    /// `sparse-sha256:` and the SHA-256 of the root file system's blocks of 4 KiB that are not all
    /// zeroes, each after its number (64 bits, little-endian), and of its length; where it was taken.
    pub digest: Option<String>,
    /// When its record was made, RFC 3339 in UTC.
    pub created_at: String,
    /// The VMs that were created from it.
    #[schema(value_type = Vec<String>)]
    pub used_by: Vec<VmName>,
    /// Why it is no longer what the list of packages asks for that it was built with; absent when it
    /// is, or was built without one.
    #[serde(default)]
    pub stale: Option<String>,
    /// Why no VM can boot from it; absent when one can.
    pub problem: Option<ErrorBody>,
    /// Where it came from, if it was imported.
    #[serde(default)]
    pub import: Option<ImageImport>,
}

/// The image that the runtime bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundleImage {
    /// The name that the bundle gives it.
    #[schema(value_type = String)]
    pub name: ImageName,
    /// Its root file system.
    #[schema(value_type = String)]
    pub rootfs: PathBuf,
    /// Its kernel.
    #[schema(value_type = String)]
    pub kernel: PathBuf,
}

/// All images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageList {
    /// The images.
    pub images: Vec<ImageView>,
}

/// The runtime bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundleStatus {
    /// Its directory.
    #[schema(value_type = String)]
    pub dir: PathBuf,
    /// Why it cannot be used; absent when it can.
    pub problem: Option<ErrorBody>,
    /// What it holds, when it can be used.
    pub image: Option<BundleImage>,
    /// Its parts and its manifest, when these can be told.
    #[serde(default)]
    pub content: Option<BundleContent>,
}

/// Build data of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The release.
    pub version: String,
    /// The API that it speaks.
    pub api: u32,
    /// The commit that it was built from, or `unknown`.
    pub commit: String,
    /// Tells two builds of one program apart.
    pub build: String,
}

/// The daemon, and why it works the way it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DaemonStatus {
    /// Its build.
    pub version: Version,
    /// Its process id.
    pub pid: u32,
    /// Its mark on host objects.
    #[schema(value_type = String)]
    pub instance: InstanceId,
    /// Its socket.
    #[schema(value_type = String)]
    pub socket: PathBuf,
    /// Records, disks, keys, logs.
    #[schema(value_type = String)]
    pub state_dir: PathBuf,
    /// Sockets.
    #[schema(value_type = String)]
    pub runtime_dir: PathBuf,
    /// Its log.
    #[schema(value_type = String)]
    pub log_file: PathBuf,
    /// Which VMM runs new VMs.
    pub vmm: Choice,
    /// How new root disks are layered.
    pub overlay: Choice,
    /// The bridge and its subnet.
    pub bridge: String,
    /// How many VMs have a record.
    pub vms: u32,
    /// How many run.
    pub running: u32,
    /// The DNS server. A daemon from before it has none.
    #[serde(default)]
    pub dns: DnsStatus,
    /// Where metrics are served beside the socket. A daemon from before that serves none.
    #[serde(default)]
    pub metrics: MetricsStatus,
    /// The runtime bundle. A daemon from before that says nothing of it here.
    #[serde(default)]
    pub bundle: Option<BundleStatus>,
    /// Where each setting came from.
    pub settings: Vec<Setting>,
    /// Whether it is a simulation.
    pub simulated: bool,
}

/// The DNS server for the names of VMs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsStatus {
    /// Whether it answers.
    pub state: ListenState,
    /// Where it listens, or tries to.
    #[schema(value_type = Option<String>, example = "127.0.0.1:42069")]
    pub address: Option<SocketAddr>,
    /// Why it does not answer, when it should.
    pub problem: Option<String>,
    /// How many VMs have a name in it.
    pub records: u32,
    /// How many queries it has answered since the daemon started.
    pub queries: u64,
    /// What it does for guests. A daemon from before that does nothing.
    #[serde(default)]
    pub guests: GuestDnsStatus,
    /// Whether the programs of the host know of it.
    #[serde(default)]
    pub host: HostDnsStatus,
}

/// The DNS server as guests have it, at the bridge's address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestDnsStatus {
    /// Whether it answers.
    pub state: ListenState,
    /// Where the queries to port 53 of the bridge's address are turned to.
    #[schema(value_type = Option<String>, example = "172.16.0.1:42069")]
    pub address: Option<SocketAddr>,
    /// Why it does not answer, when it should.
    pub problem: Option<String>,
    /// Who is asked for other names at this moment.
    #[schema(value_type = Vec<String>)]
    pub upstreams: Vec<SocketAddr>,
}

/// Where metrics are served beside the socket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MetricsStatus {
    /// Whether they are.
    pub state: ListenState,
    /// Where it listens, or tries to.
    #[schema(value_type = Option<String>, example = "127.0.0.1:9469")]
    pub address: Option<SocketAddr>,
    /// Why it does not answer, when it should.
    pub problem: Option<String>,
}

/// Whether the daemon answers at an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListenState {
    /// It is not to.
    #[default]
    Off,
    /// It does.
    Serving,
    /// Its address is not to be had; it tries again.
    Failed,
}

/// Something that was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Choice {
    /// What.
    pub chosen: String,
    /// Why, in one sentence.
    pub because: String,
}

/// One setting with its provenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    /// The key in the configuration file.
    pub key: String,
    /// Its value.
    pub value: String,
    /// `default`, the configuration file's path, or the environment variable.
    pub source: String,
    /// The line of the configuration file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl Setting {
    /// Where the value came from: `default`, `/etc/b/config.toml:3`, `BANGER_VMM`.
    pub fn origin(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}", self.source),
            None => self.source.clone(),
        }
    }
}

/// How ledger and host differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditReport {
    /// `leaked`: on the host and not in the ledger; `missing`: in the ledger and not on the host.
    #[schema(value_type = Object)]
    pub audit: Audit,
    /// Every object on the host that bears the instance's mark.
    pub inventory: Vec<String>,
    /// Every object that is or may be on the host by the records, by its key. A daemon from before
    /// does not tell.
    #[serde(default)]
    pub ledger: Vec<String>,
}
