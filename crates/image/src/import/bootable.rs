//! What a VM needs of a root file system beyond being one.

use banger_core::guest::USUAL_INITS;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Where distributions have programs that answer ssh.
const SSH_SERVERS: [&str; 4] =
    ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/sbin/dropbear", "/usr/bin/dropbear"];
const SYSTEMD: [&str; 2] = ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"];
/// `S_IXUSR`, `S_IXGRP` and `S_IXOTH` of inode(7).
const EXECUTABLE: u32 = 0o111;

/// Something that an image lacks, or that was left out of it, and that its user should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// No VM of it can come up.
    NoInit {
        /// systemd is there, but nothing leads to it.
        systemd: Systemd,
    },
    /// A VM of it comes up and cannot be entered.
    NoSshServer,
    /// Device nodes in `/dev`.
    DevicesLeftOut(u64),
    /// Extended attributes that belong to the machine that the image was made on.
    AttributesLeftOut(u64),
}

/// Whether systemd is in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Systemd {
    /// It is.
    Present,
    /// It is not.
    Absent,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInit { systemd } => {
                let inits = USUAL_INITS.join(", ");
                write!(
                    f,
                    "it has no init (none of {inits} is an executable), so it cannot boot as a VM: \
                     banger-init says `the image has no init` on the console and ends the VM"
                )?;
                match systemd {
                    Systemd::Present => {
                        f.write_str("; systemd is in it, and a link `/sbin/init` to it is missing")
                    }
                    Systemd::Absent => Ok(()),
                }
            }
            Self::NoSshServer => f.write_str(
                "it has no ssh server, so `banger vm ssh` cannot enter a VM of it, and a wait for \
                 `ssh` runs out",
            ),
            Self::DevicesLeftOut(count) => write!(
                f,
                "{count} device nodes in `/dev` were left out; the guest's kernel makes its own"
            ),
            Self::AttributesLeftOut(count) => write!(
                f,
                "{count} extended attributes were left out, such as SELinux labels of the machine \
                 that the image was made on"
            ),
        }
    }
}

/// Looks for an init and an ssh server in a tree.
pub(super) fn inspect(root: &Path) -> io::Result<Vec<Warning>> {
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let any = |paths: &[&str]| paths.iter().any(|path| is_program(&root, path));
    let mut warnings = Vec::new();
    if !any(&USUAL_INITS) {
        let systemd = if any(&SYSTEMD) { Systemd::Present } else { Systemd::Absent };
        warnings.push(Warning::NoInit { systemd });
    }
    if !any(&SSH_SERVERS) {
        warnings.push(Warning::NoSshServer);
    }
    Ok(warnings)
}

/// Whether the guest would find a program there: links are followed as if the tree were `/`.
fn is_program(root: &OwnedFd, path: &str) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve).and_then(fstat).is_ok_and(|found| {
        FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
            && found.st_mode & EXECUTABLE != 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn program(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn links_are_followed_inside_of_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        // The machine's own, which a careless look would find.
        fs::create_dir_all(root.join("sbin")).unwrap();
        symlink("/bin/true", root.join("sbin/init")).unwrap();
        let no_init = Warning::NoInit { systemd: Systemd::Absent };
        assert_eq!(inspect(root).unwrap(), [no_init, Warning::NoSshServer]);

        program(&root.join("usr/lib/systemd/systemd"));
        let no_link = Warning::NoInit { systemd: Systemd::Present };
        assert_eq!(inspect(root).unwrap(), [no_link, Warning::NoSshServer]);

        fs::remove_file(root.join("sbin/init")).unwrap();
        symlink("/usr/lib/systemd/systemd", root.join("sbin/init")).unwrap();
        program(&root.join("usr/sbin/sshd"));
        assert_eq!(inspect(root).unwrap(), []);
    }
}
