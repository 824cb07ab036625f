//! Why an operation failed.

mod build;
mod image;

pub use build::{ImageBuildError, KeptVm};
pub use image::ImageError;

use crate::forward::NotBound;
use banger_core::error::{ErrorCode, Explain};
use banger_core::forward::HostPort;
use banger_core::id::OpId;
use banger_core::reference::RefError;
use banger_core::resource::Gatekeeper;
use banger_core::resource::ResourceKey;
use banger_core::spec::SpecError;
use banger_core::state::{Readiness, Request, VmState};
use banger_core::vm_name::VmName;
use banger_host::HostError;
use banger_image::bundle::{BuildError, BundleError, FetchError, PinError, VerifyError};
use banger_image::import::ImportError;
use banger_image::program::ProgramError;
use banger_vmm::VmmError;
use std::io;
use std::path::{Path, PathBuf};

/// Anything that the engine refuses or fails to do.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The reference names no VM, or several.
    #[error(transparent)]
    Reference(#[from] RefError),
    /// Another VM has the name.
    #[error("a VM called `{name}` exists already")]
    NameTaken {
        /// The name.
        name: VmName,
    },
    /// The spec is outside the limits.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The host's port leads into a guest already.
    #[error("{from} leads to port {guest_port} of `{name}` already")]
    Forwarded {
        /// The host's port.
        from: HostPort,
        /// Whose guest it is.
        name: VmName,
        /// Where it leads to there.
        guest_port: u16,
    },
    /// The host's port cannot be had.
    #[error("a port of the host cannot lead into a guest")]
    Forward(#[source] NotBound),
    /// The signal has no such name.
    #[error(transparent)]
    Signal(#[from] banger_host::SignalError),
    /// The state does not allow it.
    #[error("cannot {} `{name}` while it is {state}", .request.verb())]
    WrongState {
        /// The VM.
        name: VmName,
        /// What was asked.
        request: Request,
        /// The state that it is in.
        state: VmState,
    },
    /// Another operation ended this one.
    #[error("the {} of `{name}` was ended by another request", .request.verb())]
    Interrupted {
        /// The VM.
        name: VmName,
        /// What was under way.
        request: Request,
    },
    /// Every address is taken.
    #[error("all {count} addresses of {subnet} are taken")]
    SubnetExhausted {
        /// The subnet.
        subnet: String,
        /// How many guests it has room for.
        count: u32,
    },
    /// About an image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// An image cannot be built.
    #[error(transparent)]
    ImageBuild(#[from] ImageBuildError),
    /// The bundle cannot be used.
    #[error("cannot use the runtime bundle")]
    Bundle(#[from] BundleError),
    /// The bundle could not be built.
    #[error("could not build the runtime bundle")]
    Build(#[from] BuildError),
    /// The bundle is not as it was built or unpacked.
    #[error("the runtime bundle is not as it should be")]
    Verify(#[source] VerifyError),
    /// The bundle could not be fetched.
    #[error("could not fetch the runtime bundle")]
    Fetch(#[from] FetchError),
    /// No archive is named.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// What was to be imported cannot be.
    #[error("could not import the image")]
    Import(#[from] ImportError),
    /// A disk that the VM had is gone.
    #[error("`{name}` has lost a disk: `{}` does not exist", .path.display())]
    DiskLost {
        /// The VM.
        name: VmName,
        /// Where the disk was.
        path: PathBuf,
    },
    /// A delete has begun and did not end.
    #[error("`{name}` is half deleted: cannot {} it", .request.verb())]
    HalfDeleted {
        /// The VM.
        name: VmName,
        /// What was asked.
        request: Request,
    },
    /// Putting things in place failed. What was added has been undone, less what the operation's
    /// error lists as left.
    #[error("could not prepare the host for `{name}`")]
    Setup {
        /// The VM.
        name: VmName,
        /// The first error.
        #[source]
        source: HostError,
    },
    /// The directory of an image could not be made.
    #[error("could not make a place for the image")]
    ImageDirectory(#[source] HostError),
    /// The bridge or the nft tables could not be put in place.
    #[error("could not prepare the network")]
    Network {
        /// The first error.
        #[source]
        source: HostError,
    },
    /// Another firewall of the host could not be told to let guests through.
    #[error("could not have `{}` let VMs' packets through", .gatekeeper.program())]
    Permit {
        /// Whose firewall.
        gatekeeper: Gatekeeper,
        /// What was refused.
        #[source]
        source: HostError,
    },
    /// What had other firewalls let guests through could not be taken away.
    #[error("could not undo what lets VMs' packets through other firewalls: {} is left", list(.objects))]
    Withdraw {
        /// What is left.
        objects: Vec<String>,
        /// Why the first of them is left.
        #[source]
        source: HostError,
    },
    /// Tear-down left something behind; it is tried again.
    #[error("could not remove everything of `{name}`: {} is left", list(.objects))]
    TearDown {
        /// The VM.
        name: VmName,
        /// Why the first of them is left.
        #[source]
        source: HostError,
        /// All that is left, by its names on the host.
        objects: Vec<String>,
    },
    /// A question to the host failed.
    #[error("could not look at the host")]
    Host(#[from] HostError),
    /// The VMM refused or broke off.
    #[error("the VMM of `{name}` did not do as asked")]
    Vmm {
        /// The VM.
        name: VmName,
        /// What went wrong.
        #[source]
        source: VmmError,
        /// The VMM's last lines.
        tail: Vec<String>,
        /// The VMM's whole output.
        log_path: PathBuf,
    },
    /// The VM ended before it was ready.
    #[error("`{name}` ended while it booted: {reason}")]
    GuestFailed {
        /// The VM.
        name: VmName,
        /// What the guest or the VMM said.
        reason: String,
        /// The console's last lines.
        tail: Vec<String>,
        /// The console's whole output.
        log_path: PathBuf,
    },
    /// The wait ran out. The VM was left alone.
    #[error(
        "`{name}` was not ready within {seconds} s; it reached `{reached}` and goes on booting"
    )]
    NotReady {
        /// The VM.
        name: VmName,
        /// The limit.
        seconds: u64,
        /// How far it came.
        reached: Readiness,
        /// The console's whole output.
        log_path: PathBuf,
    },
    /// The records could not be read or written.
    #[error("could not {action} the records")]
    Store {
        /// What was being attempted.
        action: &'static str,
        /// SQLite's answer.
        #[source]
        source: rusqlite::Error,
    },
    /// A record does not make sense.
    #[error("the record `{what}` is damaged")]
    Damaged {
        /// Which record.
        what: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The records were written by a newer banger.
    #[error("the records have version {found}, and this banger knows up to {known}")]
    NewerStore {
        /// What was found.
        found: i64,
        /// What is known.
        known: i64,
    },
    /// A file of the engine's own could not be read or written.
    #[error("could not {action} `{}`", .path.display())]
    File {
        /// What was being attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The program that every guest starts with is not there.
    #[error("could not read banger-init, with which every guest starts, at `{}`", .path.display())]
    NoGuestInit {
        /// Where it should be.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The program that every guest starts with cannot do that.
    #[error("`{}` cannot be the program with which every guest starts", .path.display())]
    BadGuestInit {
        /// The program.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ProgramError,
    },
    /// A key could not be made.
    #[error("could not make an ssh key")]
    Key(#[source] ssh_key::Error),
    /// The user's own key cannot be used.
    #[error("cannot enter VMs with the key `{}`, which `ssh_key_path` in {origin} names", .path.display())]
    OwnKey {
        /// The key's file.
        path: PathBuf,
        /// Where the setting has its value from.
        origin: String,
        /// What is wrong with it.
        #[source]
        source: KeyFault,
    },
    /// The kernel gave no random bytes.
    #[error("could not get random bytes")]
    Entropy(#[source] getrandom::Error),
    /// The daemon is ending.
    #[error("the daemon is shutting down")]
    ShuttingDown,
    /// The VM went away before the request's turn came.
    #[error("the VM was deleted by another request, or the daemon is ending")]
    Gone,
    /// The simulation has no such thing.
    #[error("a simulated daemon cannot {what}")]
    Simulated {
        /// What it cannot do.
        what: &'static str,
    },
}

/// What is wrong with a user's own key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// It is something else.
    #[error("it is no private key in OpenSSH's format")]
    Format(#[from] ssh_key::Error),
    /// The daemon would have to ask somebody.
    #[error("it has a passphrase, and the daemon has nobody to ask for it")]
    Passphrase,
}

/// One thing that could not be removed.
#[derive(Debug)]
pub struct LeftBehind {
    /// Which resource.
    pub key: ResourceKey,
    /// Its name on the host.
    pub object: String,
    /// Why it is still there.
    pub error: HostError,
}

fn list(objects: &[impl std::fmt::Display]) -> String {
    let quoted: Vec<String> = objects.iter().map(|object| format!("`{object}`")).collect();
    quoted.join(", ")
}

impl EngineError {
    /// For `map_err`: a file could not be read, written or the like. Work on it that was told to end
    /// says that the engine does.
    pub(crate) fn file(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::Interrupted => Self::ShuttingDown,
            _ => Self::File { action, path, source },
        }
    }

    /// The file with the raw output, where there is one.
    pub fn log_path(&self) -> Option<&PathBuf> {
        match self {
            Self::Vmm { log_path, .. }
            | Self::GuestFailed { log_path, .. }
            | Self::NotReady { log_path, .. }
            | Self::ImageBuild(ImageBuildError::Failed { log_path, .. }) => Some(log_path),
            Self::Setup { source, .. } | Self::Network { source } | Self::Host(source) => {
                source.log_path()
            }
            _ => None,
        }
    }

    /// Causes that stand beside each other, where there are several; each with its own causes.
    pub fn faults(&self) -> &[BundleError] {
        match self {
            Self::Verify(VerifyError::Faults { faults, .. }) => faults,
            _ => &[],
        }
    }

    /// The cause that knows all there is to do.
    fn explained_by(&self) -> Option<&dyn Explain> {
        Some(match self {
            Self::Image(source) => source,
            Self::ImageBuild(source) => source,
            Self::Bundle(source) => source,
            Self::Build(source) => source,
            Self::Verify(source) => source,
            Self::Fetch(source) => source,
            Self::Pin(source) => source,
            Self::Import(source) => source,
            Self::Network { source }
            | Self::ImageDirectory(source)
            | Self::Permit { source, .. }
            | Self::Withdraw { source, .. }
            | Self::Host(source) => source,
            _ => return None,
        })
    }

    /// Points the error at the place where the raw output was saved.
    pub(crate) fn relocate_log(&mut self, saved: PathBuf) {
        match self {
            Self::Vmm { log_path, .. }
            | Self::GuestFailed { log_path, .. }
            | Self::NotReady { log_path, .. } => *log_path = saved,
            Self::Setup {
                source: HostError::VmmDied { log_path, .. } | HostError::VmmSilent { log_path, .. },
                ..
            } => *log_path = saved,
            _ => {}
        }
    }
}

const OTHER_KEY: &str = "set `ssh_key_path` to a private key that `ssh-keygen` made, or remove it";

impl Explain for EngineError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Reference(RefError::Unknown { .. }) => ErrorCode::VmNotFound,
            Self::Reference(RefError::Ambiguous { .. }) => ErrorCode::AmbiguousReference,
            Self::NameTaken { .. } => ErrorCode::NameTaken,
            Self::Image(source) => source.code(),
            Self::ImageBuild(source) => source.code(),
            Self::Spec(_) | Self::Signal(_) | Self::Simulated { .. } => ErrorCode::InvalidRequest,
            Self::WrongState { .. } | Self::HalfDeleted { .. } => ErrorCode::WrongState,
            Self::Interrupted { .. } | Self::Gone | Self::ShuttingDown => ErrorCode::Interrupted,
            Self::SubnetExhausted { .. } => ErrorCode::SubnetExhausted,
            Self::Forward(NotBound { kind: std::io::ErrorKind::PermissionDenied, .. }) => {
                ErrorCode::NotPermitted
            }
            Self::Forwarded { .. } | Self::Forward(_) => ErrorCode::NetworkConflict,
            Self::Bundle(source) => source.code(),
            Self::Build(source) => source.code(),
            Self::Verify(source) => source.code(),
            Self::Fetch(source) => source.code(),
            Self::Pin(source) => source.code(),
            Self::Import(source) => source.code(),
            Self::Setup { source, .. }
            | Self::TearDown { source, .. }
            | Self::Network { source }
            | Self::ImageDirectory(source)
            | Self::Permit { source, .. }
            | Self::Withdraw { source, .. }
            | Self::Host(source) => source.code(),
            Self::DiskLost { .. } => ErrorCode::Host,
            Self::Vmm { .. } => ErrorCode::Vmm,
            Self::GuestFailed { .. } => ErrorCode::GuestFailed,
            Self::NotReady { .. } => ErrorCode::Timeout,
            Self::File { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull => ErrorCode::NoSpace,
                std::io::ErrorKind::PermissionDenied => ErrorCode::NotPermitted,
                _ => ErrorCode::Host,
            },
            Self::NoGuestInit { .. } | Self::BadGuestInit { .. } => ErrorCode::MissingDependency,
            Self::OwnKey { .. } => ErrorCode::InvalidConfig,
            Self::NewerStore { .. } => ErrorCode::VersionMismatch,
            Self::Store { source, .. }
                if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) =>
            {
                ErrorCode::NoSpace
            }
            Self::Store { .. } | Self::Damaged { .. } | Self::Key(_) | Self::Entropy(_) => {
                ErrorCode::Internal
            }
        }
    }

    fn hints(&self) -> Vec<String> {
        if let Some(cause) = self.explained_by() {
            return cause.hints();
        }
        match self {
            Self::Reference(source) => reference_hints(source),
            Self::Spec(SpecError::Shrink { .. }) => {
                vec!["disks only grow: give a larger size, or make a new VM".to_owned()]
            }
            Self::NameTaken { name } => {
                vec![format!("pick another name, or delete that VM with `banger vm delete {name}`")]
            }
            Self::Interrupted { name, .. } => {
                vec![format!("`banger vm show {name}` tells how the VM is now")]
            }
            Self::File { action: "read", source, .. }
                if source.kind() == io::ErrorKind::NotFound =>
            {
                vec![
                    "check the path; the daemon reads it, on the machine that it runs on"
                        .to_owned(),
                ]
            }
            Self::WrongState { name, state, .. } => wrong_state_hints(name, *state),
            Self::SubnetExhausted { .. } => vec![
                "delete a VM, or set a `subnet` with a shorter prefix in the configuration file"
                    .to_owned(),
            ],
            Self::Forwarded { from, name, .. } => vec![
                "choose another port of the host, as in `8081:80`".to_owned(),
                format!("`banger vm forward {name} --remove {}` frees it", from.argument()),
            ],
            Self::Forward(_) => vec!["choose another port of the host, as in `8081:80`".to_owned()],
            Self::HalfDeleted { name, .. } => {
                vec![format!("finish it with `banger vm delete {name}`")]
            }
            Self::Store { .. } if self.code() == ErrorCode::NoSpace => {
                vec!["free some room on the file system that holds the state directory".to_owned()]
            }
            Self::Damaged { what, .. } => {
                vec![format!("put back a copy of `state.db` from before `{what}` was damaged")]
            }
            Self::Setup { name, source } => {
                let mut hints = source.hints();
                hints.extend(source.log_path().map(|_vmm_ran| see_why(name)));
                hints
            }
            Self::TearDown { source, .. } => {
                let mut hints = source.hints();
                hints.push("the daemon tries again at its next start".to_owned());
                hints
            }
            Self::Vmm { name, source, tail, .. } => {
                let mut hints = source.hints();
                hints.extend(said("the VMM", tail));
                hints.push(see_why(name));
                hints
            }
            Self::GuestFailed { name, tail, .. } => {
                said("the console", tail).into_iter().chain([see_why(name)]).collect()
            }
            Self::NotReady { name, .. } => vec![
                format!("`banger vm logs -f {name}` shows what it is doing"),
                "`--timeout` gives it longer".to_owned(),
                see_why(name),
            ],
            Self::DiskLost { name, .. } => {
                vec![format!("put the file back, or delete the VM: `banger vm delete {name}`")]
            }
            Self::NoGuestInit { .. } => vec![
                "install banger-init beside bangerd, or name it in BANGER_GUEST_INIT".to_owned(),
            ],
            Self::BadGuestInit { .. } => vec![
                "build it with `cargo xtask build`, or install the one that belongs to bangerd"
                    .to_owned(),
            ],
            Self::OwnKey { .. } => vec![OTHER_KEY.to_owned()],
            Self::NewerStore { .. } => vec!["install that version of banger again".to_owned()],
            _ => Vec::new(),
        }
    }
}

fn reference_hints(error: &RefError) -> Vec<String> {
    vec![match error {
        RefError::Unknown { nearest, .. } => match nearest.first() {
            Some(name) => format!("did you mean `{name}`?"),
            None => "`banger vm list` shows all VMs".to_owned(),
        },
        RefError::Ambiguous { .. } => "give more of the name, or the whole id".to_owned(),
    }]
}

fn wrong_state_hints(name: &VmName, state: VmState) -> Vec<String> {
    match state {
        VmState::Starting => vec![format!("`banger vm stop {name}` ends the start")],
        VmState::Created | VmState::Stopped => vec![format!("`banger vm start {name}` starts it")],
        _ => Vec::new(),
    }
}

fn see_why(name: &VmName) -> String {
    format!("`banger vm logs --why {name}` puts together what is known")
}

fn said(who: &str, tail: &[String]) -> Option<String> {
    let last: Vec<&str> = tail.iter().rev().take(3).rev().map(String::as_str).collect();
    (!last.is_empty()).then(|| format!("{who} ended with: {}", last.join(" | ")))
}

/// An operation's failure with the operation's id.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct OperationError {
    /// Which operation.
    pub op_id: OpId,
    /// Why.
    pub error: EngineError,
    /// What the undo or the tear-down could not remove, less what is the error's own cause. It is
    /// tried again at the next daemon start.
    pub left: Vec<LeftBehind>,
}

impl OperationError {
    /// The operation's task went away without an end: the daemon is ending.
    pub(crate) fn broken_off(op_id: OpId) -> Self {
        Self { op_id, error: EngineError::ShuttingDown, left: Vec::new() }
    }
}
