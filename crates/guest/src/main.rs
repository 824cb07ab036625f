//! banger-init: process 1 of the initrd that banger boots every VM with.
//!
//! It owns what happens between the kernel and the image's own init: modules, network, disks and the
//! VM's identity. Nothing of it is left in the image but the files of [`identity`]; when it is done,
//! it replaces itself with the image's init.
//!
//! ```text
//! start -> modules -> network -> root -> work_disk -> identity -> handover
//!    any of them -> failed, and the guest restarts, which ends its VMM
//! ```
//!
//! Each arrow is one line on the console ([`banger_core::guest::StageLine`]). It must not hang: an
//! error, a panic and a stage that makes no progress all end in `failed`.

mod boot;
mod console;
mod disk;
mod end;
mod events;
mod fenced;
mod handover;
mod hosts;
mod identity;
mod initramfs;
mod modules;
mod mounts;
mod network;
mod path_error;
mod replace;
mod root_disk;
mod tree;
mod watchdog;
mod work_disk;

use rustix::process::{Pid, getpid};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    if getpid() != Pid::INIT {
        let _outcome = writeln!(
            std::io::stderr(),
            "banger-init {} sets up a VM as its process 1; it does nothing elsewhere",
            env!("CARGO_PKG_VERSION")
        );
        return ExitCode::from(2);
    }
    end::on_panic();
    watchdog::start();
    let failure = match boot::boot() {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    end::fail(failure.during, &end::chain(&failure.error))
}
