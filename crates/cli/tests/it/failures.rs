//! What each failure looks like: message, causes, what to do, and where the log is; and what it
//! leaves. The daemon is a real one; its host is simulated.
//!
//! | module | failures |
//! |---|---|
//! | `boot` | of a VM on its way up, and of its end |
//! | `host` | of the host: what it lacks, what others have taken, no room |
//! | `request` | of what was asked |
//! | `files` | of the files that VMs boot from |
//! | `build` | of image builds |
//! | `import` | of what is imported, and of deleting images |
//! | `daemon` | of the daemon itself |

mod boot;
mod build;
mod daemon;
mod files;
mod host;
mod import;
mod request;
