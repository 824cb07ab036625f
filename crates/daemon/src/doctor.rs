//! What is right and what is wrong with this host, told before a VM finds out.
//!
//! ```text
//!   Survey (host, files) ─► Facts ─► examine(scope) ─► checks ─► `banger doctor`
//!                                                        └─────► preflight: the failures alone
//! ```
//!
//! A scope has a module and a function from [`Facts`] to checks, which looks at nothing else.

mod bundle;
mod disk;
mod facts;
mod growth;
mod image;
mod import;
mod nat;
mod network;
mod ssh;
mod survey;
mod vm;

pub use facts::{
    BundleFacts, Demand, Disks, Facts, Growth, ImageFacts, LongFile, SourceFacts, Unread,
    VersionSaid,
};
pub use network::{is_forwarding_lost, permissions};
pub(crate) use survey::look_at_source;
pub use survey::{HostSurvey, SimSurvey, Survey};

use banger_api::{Check, Scope};

/// The scopes that the daemon examines. The client has the others from what it asks anyway.
pub const SCOPES: [Scope; 9] = [
    Scope::Vm,
    Scope::Nat,
    Scope::Network,
    Scope::Ssh,
    Scope::Bundle,
    Scope::Image,
    Scope::Import,
    Scope::Disk,
    Scope::Growth,
];

/// What the facts say in one scope. One that is not of [`SCOPES`] has no checks here.
pub fn examine(facts: &Facts, scope: Scope) -> Vec<Check> {
    match scope {
        Scope::Vm => vm::examine(facts),
        Scope::Nat => nat::examine(facts),
        Scope::Network => network::examine(facts),
        Scope::Ssh => ssh::examine(facts),
        Scope::Bundle => bundle::examine(facts),
        Scope::Image => image::examine(facts),
        Scope::Import => import::examine(facts),
        Scope::Disk => disk::examine(facts),
        Scope::Growth => growth::examine(facts),
        Scope::Daemon | Scope::Dns | Scope::Leaks => Vec::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
