//! A session with a guest over ssh, and what is done in it to make an image of it.
//!
//! ```text
//!   PackageList ─┐                       ┌─ SshGuest: a session with a real guest
//!   ModulesTree ─┼─► Workshop ─► Guest ──┤
//!   Source ──────┘      │                └─ a simulated one, in the engine
//!                       ▼
//!                   Installed ─► Manifest ─► SBOM
//! ```
//!
//! It knows no engine, no host and no VM: an address, two keys and what is to be done are all that
//! it is told. Reading the files that are uploaded is the only thing that it does on the host.

mod call;
mod error;
mod guest;
mod lines;
mod list;
mod manager;
mod manifest;
mod modules;
mod quote;
mod sbom;
mod session;
mod upload;
mod workshop;

pub use call::{Call, GUEST_PATH};
pub use error::{ModulesError, ProvisionError, SessionError, UploadError};
pub use guest::{Ended, Exit, Guest, LineSink};
pub use list::{ListError, PackageList, PackageName};
pub use manager::{Installed, PackageManager};
pub use manifest::{Base, CopyRecord, FileRecord, Manifest, ModulesRecord, Request};
pub use modules::ModulesTree;
pub use sbom::render_spdx;
pub use session::{Login, SshGuest};
pub use upload::{Source, digest};
pub use workshop::{Distribution, Script, Workshop, is_place};
