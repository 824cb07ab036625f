//! The part of Firecracker's API that the driver uses, as types.
//!
//! The fields and their ranges are those of `src/firecracker/swagger/firecracker.yaml` in
//! Firecracker 1.12. Firecracker refuses a field that it does not know, so only what is set is here.

use hyper::Method;
use serde::{Deserialize, Serialize};

/// A request that sets something and is answered with no content.
pub(super) trait Put: Serialize {
    /// The path of the thing that is set.
    fn path(&self) -> String;
}

/// `PUT /machine-config`.
#[derive(Debug, Serialize)]
pub(super) struct MachineConfig {
    pub(super) vcpu_count: u8,
    pub(super) mem_size_mib: u32,
    /// Off, so that any count is allowed; on, it would have to be 1 or even.
    pub(super) smt: bool,
}

/// `PUT /boot-source`.
#[derive(Debug, Serialize)]
pub(super) struct BootSource<'a> {
    pub(super) kernel_image_path: &'a str,
    pub(super) initrd_path: &'a str,
    pub(super) boot_args: &'a str,
}

/// `PUT /drives/{drive_id}`.
#[derive(Debug, Serialize)]
pub(super) struct Drive<'a> {
    pub(super) drive_id: &'a str,
    pub(super) path_on_host: &'a str,
    pub(super) is_root_device: bool,
    pub(super) is_read_only: bool,
    pub(super) cache_type: CacheType,
    pub(super) io_engine: IoEngine,
}

/// What happens to a guest's flush.
#[derive(Debug, Serialize)]
pub(super) enum CacheType {
    /// It becomes an `fsync` of the file. The other choice, `Unsafe`, does not offer flushes to the
    /// guest: what a guest has synced would not survive the host's power failure.
    Writeback,
}

/// How the drive's file is read and written.
#[derive(Debug, Serialize)]
pub(super) enum IoEngine {
    /// By blocking system calls. The other choice, `Async`, needs io_uring, which many hosts forbid.
    Sync,
}

/// `PUT /network-interfaces/{iface_id}`.
#[derive(Debug, Serialize)]
pub(super) struct NetworkInterface<'a> {
    pub(super) iface_id: &'a str,
    pub(super) host_dev_name: &'a str,
    pub(super) guest_mac: String,
}

/// `PUT /entropy`: a virtio random generator without a rate limit.
#[derive(Debug, Serialize)]
pub(super) struct Entropy {}

/// `PUT /actions`.
#[derive(Debug, Serialize)]
#[serde(tag = "action_type")]
pub(super) enum Action {
    /// Builds the machine and lets it run.
    InstanceStart,
    /// Presses Ctrl-Alt-Del on the guest's keyboard.
    SendCtrlAltDel,
}

/// The answer to `GET /`.
#[derive(Debug, Deserialize)]
pub(super) struct InstanceInfo {
    pub(super) state: InstanceState,
}

/// How the machine is.
#[derive(Debug, Deserialize)]
pub(super) enum InstanceState {
    #[serde(rename = "Not started")]
    NotStarted,
    Running,
    Paused,
}

/// The body of a refusal.
#[derive(Debug, Deserialize)]
pub(super) struct Fault {
    pub(super) fault_message: String,
}

impl Put for MachineConfig {
    fn path(&self) -> String {
        "/machine-config".to_owned()
    }
}

impl Put for BootSource<'_> {
    fn path(&self) -> String {
        "/boot-source".to_owned()
    }
}

impl Put for Drive<'_> {
    fn path(&self) -> String {
        format!("/drives/{}", self.drive_id)
    }
}

impl Put for NetworkInterface<'_> {
    fn path(&self) -> String {
        format!("/network-interfaces/{}", self.iface_id)
    }
}

impl Put for Entropy {
    fn path(&self) -> String {
        "/entropy".to_owned()
    }
}

impl Put for Action {
    fn path(&self) -> String {
        "/actions".to_owned()
    }
}

/// A request as it goes over the socket.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Vec<u8>,
}

impl Call {
    /// `GET /`, which Firecracker refuses if it has a body.
    pub(super) fn instance_info() -> Self {
        Self { method: Method::GET, path: "/".to_owned(), body: Vec::new() }
    }

    /// A request that sets something.
    pub(super) fn put(put: &impl Put) -> Self {
        let body = serde_json::to_vec(put).expect("a request has only string keys");
        Self { method: Method::PUT, path: put.path(), body }
    }

    /// What the request is called in errors: `PUT /drives/root`.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}
