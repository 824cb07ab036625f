//! The client: one method for each endpoint.
//!
//! Each request has a connection of its own, which costs little on a Unix socket and keeps a
//! stream of events from blocking anything else. The client is meant for a Tokio runtime of one
//! thread as well as for a larger one.

mod error;
mod stream;
mod transport;

pub use error::ClientError;
pub use stream::{EventStream, LogStream};

use crate::{
    AddForward, AuditReport, BuildImage, BundleStatus, CreateVm, DaemonStatus, DnsStatus,
    DoctorReport, FetchBundle, FixReport, ImageList, ImageView, ImportImage, KillVm,
    LogLevelStatus, LogQuery, LogSource, RegisterImage, RemoveForward, RenameImage, RestartVm,
    Scope, SetLogLevel, SshConfig, SshTarget, StartVm, StopVm, Version, Vm, VmList, VmStats, Why,
};
use banger_core::id::OpId;
use banger_core::spec::SpecChange;
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use transport::Transport;

/// The endpoint of the log's level.
const LOG_LEVEL: &str = "/v1/daemon/log-level";

/// A client of the daemon at one socket. It holds no connection; a daemon may come and go.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
}

impl Client {
    /// A client of the daemon that listens at `socket`. Nothing is connected yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { transport: Transport::new(socket) }
    }

    /// The daemon's socket.
    pub fn socket(&self) -> &Path {
        self.transport.socket()
    }

    /// The daemon's build.
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.get("/v1/version").await
    }

    /// The daemon's own state.
    pub async fn daemon(&self) -> Result<DaemonStatus, ClientError> {
        self.get("/v1/daemon").await
    }

    /// Asks the daemon to end; VMs go on. It may still be ending when this returns.
    pub async fn stop_daemon(&self) -> Result<(), ClientError> {
        self.transport.accepted(Method::POST, "/v1/daemon/stop").await
    }

    /// The level of the daemon's log.
    pub async fn log_level(&self) -> Result<LogLevelStatus, ClientError> {
        self.get(LOG_LEVEL).await
    }

    /// Changes the level of the daemon's log.
    pub async fn set_log_level(&self, change: SetLogLevel) -> Result<LogLevelStatus, ClientError> {
        let body = serde_json::to_vec(&change).expect("a request is plain data");
        self.transport.document(Method::PUT, LOG_LEVEL, Some(body)).await
    }

    /// How VMs' names are answered for, and who knows of it.
    pub async fn dns(&self) -> Result<DnsStatus, ClientError> {
        self.get("/v1/dns").await
    }

    /// Has the host's resolver ask the daemon for VMs' names.
    pub async fn install_dns(&self) -> Result<DnsStatus, ClientError> {
        self.transport.document(Method::POST, "/v1/dns/install", None).await
    }

    /// Has the host's resolver ask the daemon for nothing.
    pub async fn uninstall_dns(&self) -> Result<DnsStatus, ClientError> {
        self.transport.document(Method::POST, "/v1/dns/uninstall", None).await
    }

    /// How ledger and host differ.
    pub async fn audit(&self) -> Result<AuditReport, ClientError> {
        self.get("/v1/audit").await
    }

    /// Every VM, by name.
    pub async fn vms(&self) -> Result<VmList, ClientError> {
        self.get("/v1/vms").await
    }

    /// One VM, by id, name or unique prefix.
    pub async fn vm(&self, reference: &str) -> Result<Vm, ClientError> {
        self.get(&vm_path(reference, "")).await
    }

    /// Creates a VM, and starts it if the request says so.
    pub async fn create(&self, request: &CreateVm) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, "/v1/vms", request).await
    }

    /// Changes a VM's spec.
    pub async fn set(
        &self,
        reference: &str,
        change: &SpecChange,
    ) -> Result<EventStream, ClientError> {
        self.operation(Method::PATCH, &vm_path(reference, ""), change).await
    }

    /// Removes a VM with its disks, whatever state it is in.
    pub async fn delete(&self, reference: &str) -> Result<EventStream, ClientError> {
        self.transport.events(Method::DELETE, &vm_path(reference, ""), None).await
    }

    /// Boots a VM.
    pub async fn start(
        &self,
        reference: &str,
        request: &StartVm,
    ) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, &vm_path(reference, "/start"), request).await
    }

    /// Asks a VM's guest to end.
    pub async fn stop(
        &self,
        reference: &str,
        request: &StopVm,
    ) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, &vm_path(reference, "/stop"), request).await
    }

    /// Stops a VM and starts it.
    pub async fn restart(
        &self,
        reference: &str,
        request: &RestartVm,
    ) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, &vm_path(reference, "/restart"), request).await
    }

    /// Sends a signal to a VM's VMM.
    pub async fn kill(
        &self,
        reference: &str,
        request: &KillVm,
    ) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, &vm_path(reference, "/kill"), request).await
    }

    /// Has a port of the host lead into a VM.
    pub async fn add_forward(
        &self,
        reference: &str,
        request: &AddForward,
    ) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, &vm_path(reference, "/forwards"), request).await
    }

    /// Has a port of the host lead nowhere.
    pub async fn remove_forward(
        &self,
        reference: &str,
        request: &RemoveForward,
    ) -> Result<EventStream, ClientError> {
        let (path, protocol) = (vm_path(reference, "/forwards"), request.protocol);
        let path = format!("{path}?host_port={}&protocol={protocol}", request.host_port);
        self.transport.events(Method::DELETE, &path, None).await
    }

    /// What an ssh client needs to enter a VM.
    pub async fn ssh(&self, reference: &str) -> Result<SshTarget, ClientError> {
        self.get(&vm_path(reference, "/ssh")).await
    }

    /// What an ssh client is configured with so that it knows VMs by their names.
    pub async fn ssh_config(&self) -> Result<SshConfig, ClientError> {
        self.get("/v1/ssh-config").await
    }

    /// What is right and what is wrong with the host, in one scope or in all that the daemon knows.
    pub async fn doctor(&self, scope: Option<Scope>) -> Result<DoctorReport, ClientError> {
        let query = scope.map(|scope| format!("?scope={scope}")).unwrap_or_default();
        self.get(&format!("/v1/doctor{query}")).await
    }

    /// Has what stands between VMs and the world let them through, as far as that can be undone.
    pub async fn fix_network(&self) -> Result<FixReport, ClientError> {
        self.transport.document(Method::POST, "/v1/doctor/fix", None).await
    }

    /// Undoes all that was fixed.
    pub async fn undo_network(&self) -> Result<FixReport, ClientError> {
        self.transport.document(Method::POST, "/v1/doctor/undo", None).await
    }

    /// What a VM uses. The daemon measures for half a second.
    pub async fn stats(&self, reference: &str) -> Result<VmStats, ClientError> {
        self.get(&vm_path(reference, "/stats")).await
    }

    /// One of a VM's log files, as it is and, when asked for, as it grows.
    pub async fn logs(&self, reference: &str, query: &LogQuery) -> Result<LogStream, ClientError> {
        let path = vm_path(reference, "/logs");
        self.transport.bytes(&format!("{path}?{}", render_query(query))).await
    }

    /// Why a VM is as it is, also one whose creation failed.
    pub async fn why(&self, reference: &str) -> Result<Why, ClientError> {
        self.get(&vm_path(reference, "/why")).await
    }

    /// Every image.
    pub async fn images(&self) -> Result<ImageList, ClientError> {
        self.get("/v1/images").await
    }

    /// One image, by id, name or unique prefix.
    pub async fn image(&self, reference: &str) -> Result<ImageView, ClientError> {
        self.get(&image_path(reference)).await
    }

    /// Makes an image of files that stay where they are.
    pub async fn register_image(
        &self,
        request: &RegisterImage,
    ) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, "/v1/images", request).await
    }

    /// Makes an image of a directory, an archive or a container image. Dropping the stream breaks the
    /// import off.
    pub async fn import_image(&self, request: &ImportImage) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, "/v1/image-imports", request).await
    }

    /// Builds an image.
    pub async fn build_image(&self, request: &BuildImage) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, "/v1/image-builds", request).await
    }

    /// Tells a build to end.
    pub async fn cancel_image_build(&self, operation: &OpId) -> Result<(), ClientError> {
        let path = escaped("/v1/image-builds/", operation.as_str());
        self.transport.accepted(Method::DELETE, &path).await
    }

    /// Tells a build that what was to be done by hand is done.
    pub async fn save_image_build(&self, operation: &OpId) -> Result<(), ClientError> {
        let path = escaped("/v1/image-builds/", operation.as_str());
        self.transport.accepted(Method::POST, &format!("{path}/save")).await
    }

    /// Gives an image another name.
    pub async fn rename_image(
        &self,
        reference: &str,
        request: &RenameImage,
    ) -> Result<ImageView, ClientError> {
        let body = serde_json::to_vec(request).expect("a request is plain data");
        self.transport.document(Method::PATCH, &image_path(reference), Some(body)).await
    }

    /// Copies an image's files into managed storage.
    pub async fn promote_image(&self, reference: &str) -> Result<EventStream, ClientError> {
        let path = format!("{}/promote", image_path(reference));
        self.transport.events(Method::POST, &path, None).await
    }

    /// Removes an image that no VM uses.
    pub async fn delete_image(&self, reference: &str) -> Result<EventStream, ClientError> {
        self.transport.events(Method::DELETE, &image_path(reference), None).await
    }

    /// The runtime bundle.
    pub async fn bundle(&self) -> Result<BundleStatus, ClientError> {
        self.get("/v1/bundle").await
    }

    /// Builds the runtime bundle.
    pub async fn build_bundle(&self) -> Result<EventStream, ClientError> {
        self.transport.events(Method::POST, "/v1/bundle/build", None).await
    }

    /// Reads all of the runtime bundle.
    pub async fn verify_bundle(&self) -> Result<EventStream, ClientError> {
        self.transport.events(Method::POST, "/v1/bundle/verify", None).await
    }

    /// Unpacks the runtime bundle from an archive.
    pub async fn fetch_bundle(&self, request: &FetchBundle) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, "/v1/bundle/fetch", request).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.transport.document(Method::GET, path, None).await
    }

    async fn operation<T: Serialize>(
        &self,
        method: Method,
        path: &str,
        request: &T,
    ) -> Result<EventStream, ClientError> {
        let body = serde_json::to_vec(request).expect("a request is plain data");
        self.transport.events(method, path, Some(body)).await
    }
}

/// The path of a VM's endpoint.
fn vm_path(reference: &str, endpoint: &str) -> String {
    escaped("/v1/vms/", reference) + endpoint
}

/// The path of an image.
fn image_path(reference: &str) -> String {
    escaped("/v1/images/", reference)
}

/// A reference is the user's own text, so everything that has a meaning in a path is escaped.
fn escaped(parent: &str, reference: &str) -> String {
    let mut path = String::from(parent);
    for byte in reference.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

fn render_query(query: &LogQuery) -> String {
    let source = match query.source {
        LogSource::Console => "console",
        LogSource::Vmm => "vmm",
    };
    let tail = query.tail.map(|lines| format!("&tail={lines}")).unwrap_or_default();
    let previous = if query.previous { "&previous=true" } else { "" };
    format!("source={source}&follow={}{tail}{previous}", query.follow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_cannot_leave_its_place_in_the_path() {
        assert_eq!(vm_path("otter", "/start"), "/v1/vms/otter/start");
        assert_eq!(vm_path("../daemon/stop?", ""), "/v1/vms/%2E%2E%2Fdaemon%2Fstop%3F");
        assert_eq!(vm_path("é", ""), "/v1/vms/%C3%A9");
    }

    #[test]
    fn a_log_query_names_what_was_asked_for() {
        let query =
            LogQuery { source: LogSource::Vmm, follow: true, tail: Some(20), previous: true };
        assert_eq!(render_query(&query), "source=vmm&follow=true&tail=20&previous=true");
        assert_eq!(render_query(&LogQuery::default()), "source=console&follow=false");
    }
}
