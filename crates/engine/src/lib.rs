//! VM and image operations: the store, the ledger, and one task for each VM.
//!
//! ```text
//!   Engine ── one Operation per request ──► VM task ──► executor ──► ledger, then Host
//!      │                                       │
//!      └── store (records, ledger)             └── monitor (console, ssh, process exit)
//! ```
//!
//! One task owns one VM. What it accepts in which state is `banger_core::state::decide`. SQL is in
//! `store` alone.

mod boot;
mod build;
mod bundle;
mod catalog;
mod console;
mod create;
mod draft;
mod engine;
mod errand;
mod error;
mod executor;
mod follow;
mod forward;
mod guest_init;
mod images;
mod import;
mod kernel;
mod keys;
mod measure;
mod monitor;
mod names;
mod network;
mod operation;
mod permit;
mod postmortem;
mod promote;
mod proxy;
mod reach;
mod ready;
mod reconcile;
mod register;
mod settings;
mod shared;
pub mod sim;
mod stop;
mod store;
mod task;
mod usage;
mod view;
mod vmm_log;
mod why;

pub use build::{BuildCopy, BuildImage, RealWorkbench, Workbench};
pub use bundle::FetchFrom;
pub use engine::{Engine, NewVm, StartOptions};
pub use error::{
    EngineError, ImageBuildError, ImageError, KeptVm, KeyFault, LeftBehind, OperationError,
};
pub use forward::{ForwardState, ForwardView, NotBound};
pub use import::{ImportImage, Importer, RealImporter};
pub use measure::Measures;
pub use operation::{Line, Operation, Outcome, Phase, Progress};
pub use permit::Permission;
pub use reach::{Reach, TcpReach};
pub use register::NewImage;
pub use settings::{Images, OwnKey, Ports, Settings};
pub use view::{Counted, ImageView, LastEnd, Load, SshAccess, SshConfig, Usage, VmView};
pub use why::{Finding, LogEnd, LogLine, Why};
