//! What of an archive becomes part of a root file system: which devices, and which attributes.

use super::entries::Kind;
use super::error::EntryError;
use super::name::TreePath;

/// The character devices that programs in a chroot of their own need: null, zero, full, random,
/// urandom, tty (Documentation/admin-guide/devices.txt of Linux). None leads to hardware.
const HARMLESS: [(u32, u32); 6] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)];

/// What is to be done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It becomes part of the tree.
    Take,
    /// It does not, and nothing is lost.
    LeaveOut,
}

/// Devices in `/dev` are left out, since the guest's kernel makes them. Elsewhere the harmless ones are
/// taken, and any other is refused: nobody needs one, and a whiteout of a mounted overlay is one.
pub(super) fn judge_device(path: &TreePath, kind: Kind) -> Result<Verdict, EntryError> {
    let (word, major, minor) = match kind {
        Kind::CharDevice { major, minor } => ("character", major, minor),
        Kind::BlockDevice { major, minor } => ("block", major, minor),
        _ => return Ok(Verdict::Take),
    };
    if path.is_below("dev") {
        Ok(Verdict::LeaveOut)
    } else if word == "character" && HARMLESS.contains(&(major, minor)) {
        Ok(Verdict::Take)
    } else {
        Err(EntryError::Device { kind: word, major, minor })
    }
}

/// Attributes that belong to the file: capabilities, access lists and what users set. Labels and
/// measurements belong to the machine that wrote them (SELinux, IMA, EVM), as does what an overlay
/// notes.
pub(super) fn is_kept(attribute: &str) -> bool {
    matches!(
        attribute,
        "security.capability" | "system.posix_acl_access" | "system.posix_acl_default"
    ) || attribute.starts_with("user.")
        || (attribute.starts_with("trusted.") && !attribute.starts_with("trusted.overlay."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(path: &str, kind: Kind) -> Result<Verdict, String> {
        let path = TreePath::parse(path.as_bytes()).unwrap();
        judge_device(&path, kind).map_err(|error| error.to_string())
    }

    #[test]
    fn devices_are_left_out_taken_or_refused() {
        let null = Kind::CharDevice { major: 1, minor: 3 };
        let whiteout = Kind::CharDevice { major: 0, minor: 0 };
        let disk = Kind::BlockDevice { major: 8, minor: 0 };
        assert_eq!(verdict("./dev/sda", disk), Ok(Verdict::LeaveOut));
        assert_eq!(verdict("dev/null", null), Ok(Verdict::LeaveOut));
        assert_eq!(verdict("var/chroot/dev/null", null), Ok(Verdict::Take));
        let refused = "it is a block device 8:0 outside of `/dev`".to_owned();
        assert_eq!(verdict("home/me/dev/sda", disk), Err(refused));
        assert!(verdict("dev", disk).is_err() && verdict("etc/passwd", whiteout).is_err());
        assert!(verdict("dev2/mem", Kind::CharDevice { major: 1, minor: 1 }).is_err());
    }

    #[test]
    fn attributes_of_the_machine_are_not_kept() {
        for kept in ["security.capability", "user.otter", "system.posix_acl_access", "trusted.x"] {
            assert!(is_kept(kept), "{kept}");
        }
        for left in ["security.selinux", "security.ima", "trusted.overlay.opaque", "system.x", ""] {
            assert!(!is_kept(left), "{left}");
        }
    }
}
