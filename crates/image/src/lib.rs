//! What a VM boots from: kernels, initrds, root file systems and the runtime bundle that holds them.
//!
//! Reading and rendering are pure over bytes and paths ([`kernel`], [`newc`], [`modules`],
//! [`initrd`], [`artifact`], [`digest`]); [`bundle`] reads a bundle and makes one from Debian packages, and
//! [`import`] makes a root file system of what container tools and others have. Nothing here changes
//! the host beyond the directory that it is given, and every program is started through
//! `banger_host::cmd`.

pub mod artifact;
pub mod bundle;
mod checksum;
mod compression;
pub mod digest;
mod ext4;
pub mod fsck;
pub mod import;
pub mod initrd;
pub mod kernel;
pub mod modules;
pub mod newc;
pub mod program;
pub mod regular;
