//! The initrd of a VM: three archives, one after another, which the kernel unpacks into one tree.
//!
//! ```text
//! the bundle's:  /banger/modules, /banger/modules.d/*.ko     per kernel
//! banger's:      /init and the directories that it mounts on per banger version
//! the VM's:      /banger/config.json                         per VM; it holds the VM's keys
//! ```

use crate::modules::{ModuleTree, ModulesError};
use crate::newc::{Archive, NewcError};
use banger_core::guest::{CONFIG_PATH, GuestConfig, MODULES_DIR, MODULES_LIST};

/// The modules that a guest needs before it has its root file system, with those that make
/// Ctrl-Alt-Del reach it. All of them are built in or modules in Debian's kernels.
pub const GUEST_MODULES: [&str; 9] = [
    "virtio_mmio",
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "vmw_vsock_virtio_transport",
    "ext4",
    "i8042",
    "atkbd",
];

/// Why an initrd cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    /// A module is missing or unreadable.
    #[error("cannot collect the kernel's modules")]
    Modules(#[from] ModulesError),
    /// An entry does not fit the format.
    #[error("cannot write the initrd's archive")]
    Archive(#[from] NewcError),
}

/// The archive of the wanted modules and what they need, with their load order.
///
/// # Errors
///
/// When the kernel lacks a wanted module or a file cannot be read.
pub fn render_modules_archive(tree: &ModuleTree, wanted: &[&str]) -> Result<Vec<u8>, InitrdError> {
    let mut archive = Archive::new();
    let mut list = String::new();
    archive.directory(MODULES_DIR, 0o755)?;
    for file in tree.resolve(wanted)? {
        let module = tree.read(file)?;
        let path = format!("{MODULES_DIR}/{}", module.file_name);
        archive.file(&path, 0o644, &module.content)?;
        list.push_str(&module.file_name);
        list.push('\n');
    }
    archive.file(MODULES_LIST, 0o644, list.as_bytes())?;
    Ok(archive.finish())
}

/// The archive with banger-init as `/init`.
///
/// # Errors
///
/// When the program has 4 GiB or more.
pub fn render_init_archive(banger_init: &[u8]) -> Result<Vec<u8>, NewcError> {
    let mut archive = Archive::new();
    for directory in ["/dev", "/proc", "/sys", "/run", "/newroot"] {
        archive.directory(directory, 0o755)?;
    }
    // The kernel opens the console for process 1 before a devtmpfs is there; without one, Rust's
    // start-up falls back to /dev/null.
    archive.char_device("/dev/console", 0o600, (5, 1))?;
    archive.char_device("/dev/null", 0o666, (1, 3))?;
    archive.file("/init", 0o755, banger_init)?;
    Ok(archive.finish())
}

/// The archive with a VM's configuration. It holds private keys: keep it from other users.
pub fn render_config_archive(config: &GuestConfig) -> Vec<u8> {
    let json = serde_json::to_vec(config).expect("a plain struct serialises");
    let mut archive = Archive::new();
    archive.file(CONFIG_PATH, 0o600, &json).expect("a short file at a fixed path fits");
    archive.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::newc::find_file;
    use banger_core::guest::{GuestNetwork, HostKey};
    use std::fs;
    use std::net::Ipv4Addr;

    #[test]
    fn the_modules_archive_lists_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("modules.dep"), "a.ko:\nb-c.ko: a.ko\n").unwrap();
        fs::write(dir.path().join("a.ko"), "A").unwrap();
        fs::write(dir.path().join("b-c.ko"), "B").unwrap();
        let tree = ModuleTree::open(dir.path()).unwrap();
        let archive = render_modules_archive(&tree, &["b_c"]).unwrap();
        assert_eq!(&archive[find_file(&archive, MODULES_LIST).unwrap()], b"a.ko\nb-c.ko\n");
        let module = find_file(&archive, &format!("{MODULES_DIR}/b-c.ko")).unwrap();
        assert_eq!(&archive[module], b"B");
    }

    #[test]
    fn the_three_archives_are_one_initrd() {
        let config = GuestConfig {
            hostname: "otter".into(),
            machine_id: "0".repeat(32),
            network: GuestNetwork {
                mac: "06:00:ac:10:00:02".into(),
                address: Ipv4Addr::new(172, 16, 0, 2),
                prefix: 24,
                gateway: Ipv4Addr::new(172, 16, 0, 1),
            },
            nameservers: vec![],
            search: vec![],
            authorized_keys: vec![],
            host_key: HostKey { private: "PRIVATE".into(), public: "PUBLIC".into() },
            root_device: "/dev/vda".into(),
            work_disk: None,
            init: None,
        };
        let initrd =
            [render_init_archive(b"\x7fELF init").unwrap(), render_config_archive(&config)]
                .concat();
        assert_eq!(&initrd[find_file(&initrd, "/init").unwrap()], b"\x7fELF init");
        let json = &initrd[find_file(&initrd, CONFIG_PATH).unwrap()];
        assert_eq!(serde_json::from_slice::<GuestConfig>(json).unwrap(), config);
    }
}
