//! What a VM boots from: kernels, initrds, root file systems and the runtime bundle that holds them.
//!
//! Reading and rendering are pure over bytes and paths ([`kernel`], [`newc`], [`modules`],
//! [`initrd`], [`artifact`]); [`bundle`] reads a bundle and makes one from Debian packages.
//! Nothing here changes the host beyond the bundle's own directory, and every program is started
//! through `banger_host::cmd`.

pub mod artifact;
pub mod bundle;
mod compression;
pub mod initrd;
pub mod kernel;
pub mod modules;
pub mod newc;
pub mod program;
