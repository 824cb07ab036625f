//! Makes the private disk of a VM from an image's root file system, as the daemon does for a VM and for
//! a build, and ends: what `cargo xtask bench images` measures beside `cp`.
//!
//! `clone reflink|copy IMAGE STATE_DIR` puts it below `STATE_DIR`, which is made.

use banger_core::id::VmId;
use banger_core::names::Layout;
use banger_core::resource::{CloneMethod, Resource};
use banger_core::unit::Bytes;
use banger_host::{Change, Host, LinuxHost};
use std::error::Error;
use std::ffi::OsString;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [method, image, state] = <[OsString; 3]>::try_from(args)
        .map_err(|_other| "what is needed is: reflink|copy IMAGE STATE_DIR")?;
    let method = match method.to_str() {
        Some("reflink") => CloneMethod::Reflink,
        Some("copy") => CloneMethod::Copy,
        _ => return Err("the method is `reflink` or `copy`".into()),
    };
    let layout = Layout::new(state.into(), "/run/banger-clone".into())?;
    let vm = VmId::from_entropy(0);
    let paths = layout.vm(&vm);
    let host = LinuxHost::new(layout);
    let disk = [
        Resource::VmDir { vm: vm.clone(), path: paths.dir },
        Resource::ClonedFile {
            vm,
            path: paths.root_clone,
            source: image.into(),
            size: Bytes(0),
            method,
        },
    ];
    for resource in &disk {
        if host.ensure(resource)? == Change::Unchanged {
            return Err("there is a disk already".into());
        }
    }
    Ok(())
}
