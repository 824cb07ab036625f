//! Who this VM is: its name, its keys, its machine-id and its resolver.
//!
//! All of it is given by the host, once for the VM's life, and written into the VM's layer over the
//! image. Files that are right already are not touched.

use crate::path_error::{On, PathError};
use crate::{fenced, hosts, replace};
use banger_core::guest::GuestConfig;
use std::fs;
use std::io;
use std::path::Path;

/// Sets the kernel's host name; an init such as systemd reads the file later and finds the same.
pub(crate) fn set_host_name(name: &str) -> Result<(), PathError> {
    rustix::system::sethostname(name.as_bytes()).on("set the host name to", Path::new(name))
}

/// Writes the files below `root`.
pub(crate) fn write(root: &Path, config: &GuestConfig) -> Result<(), PathError> {
    let etc = root.join("etc");
    replace::file(&etc.join("hostname"), line(&config.hostname).as_bytes(), 0o644)?;
    replace::file(&etc.join("machine-id"), line(&config.machine_id).as_bytes(), 0o444)?;

    let hosts = etc.join("hosts");
    let current = read_if_present(&hosts)?;
    let wanted = hosts::render(current.as_deref(), &config.hostname);
    replace::file(&hosts, wanted.as_bytes(), 0o644)?;

    if !config.nameservers.is_empty() {
        replace::file(&etc.join("resolv.conf"), render_resolver(config).as_bytes(), 0o644)?;
    }

    let key = etc.join("ssh/ssh_host_ed25519_key");
    replace::file(&key, line(&config.host_key.private).as_bytes(), 0o600)?;
    replace::file(&key.with_extension("pub"), line(&config.host_key.public).as_bytes(), 0o644)?;

    write_authorized_keys(&root.join("root/.ssh"), &config.authorized_keys)
}

/// The text of resolv.conf(5).
fn render_resolver(config: &GuestConfig) -> String {
    let mut text = String::new();
    if !config.search.is_empty() {
        text.push_str(&format!("search {}\n", config.search.join(" ")));
    }
    for server in &config.nameservers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}

/// Puts banger's keys into root's `authorized_keys`, beside those that the user put there.
fn write_authorized_keys(ssh: &Path, keys: &[String]) -> Result<(), PathError> {
    replace::private_dir(ssh)?;
    let path = ssh.join("authorized_keys");
    let current = read_if_present(&path)?.unwrap_or_default();
    replace::file(&path, fenced::render(&current, keys).as_bytes(), 0o600)?;
    Ok(())
}

/// The text with exactly one line feed at its end: OpenSSH reads no private key without one.
fn line(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

/// The file's text; bytes that are no UTF-8 are replaced, since only comments can hold them.
fn read_if_present(path: &Path) -> Result<Option<String>, PathError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => {
            let bytes = other.on("read", path)?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::guest::{GuestNetwork, HostKey};
    use std::net::Ipv4Addr;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn config() -> GuestConfig {
        GuestConfig {
            hostname: "otter".into(),
            machine_id: "0123456789abcdef0123456789abcdef".into(),
            network: GuestNetwork {
                mac: "06:00:ac:10:00:02".into(),
                address: Ipv4Addr::new(172, 16, 0, 2),
                prefix: 24,
                gateway: Ipv4Addr::new(172, 16, 0, 1),
            },
            nameservers: vec![Ipv4Addr::new(172, 16, 0, 1)],
            search: vec!["vm".into()],
            authorized_keys: vec!["ssh-ed25519 AAAA banger".into()],
            host_key: HostKey { private: "PRIVATE".into(), public: "ssh-ed25519 BBBB".into() },
            root_device: "/dev/vda".into(),
            work_disk: None,
            init: None,
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_bare_root_gets_every_file_with_its_mode() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &config()).unwrap();
        for (path, wanted, content) in [
            ("etc/hostname", 0o644, "otter\n"),
            ("etc/machine-id", 0o444, "0123456789abcdef0123456789abcdef\n"),
            ("etc/resolv.conf", 0o644, "search vm\nnameserver 172.16.0.1\n"),
            ("etc/ssh/ssh_host_ed25519_key", 0o600, "PRIVATE\n"),
            ("etc/ssh/ssh_host_ed25519_key.pub", 0o644, "ssh-ed25519 BBBB\n"),
        ] {
            let path = root.path().join(path);
            assert_eq!(fs::read_to_string(&path).unwrap(), content, "{}", path.display());
            assert_eq!(mode(&path), wanted, "{}", path.display());
        }
        assert_eq!(mode(&root.path().join("root/.ssh")), 0o700);
        assert_eq!(mode(&root.path().join("root/.ssh/authorized_keys")), 0o600);
    }

    #[test]
    fn a_second_boot_writes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let inodes = || {
            write(root.path(), &config()).unwrap();
            [
                "etc/hosts",
                "etc/machine-id",
                "etc/ssh/ssh_host_ed25519_key",
                "root/.ssh/authorized_keys",
            ]
            .map(|path| fs::metadata(root.path().join(path)).unwrap().ino())
        };
        assert_eq!(inodes(), inodes());
    }

    #[test]
    fn without_name_servers_the_images_resolver_stays() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/resolv.conf"), "nameserver 9.9.9.9\n").unwrap();
        write(root.path(), &GuestConfig { nameservers: vec![], ..config() }).unwrap();
        let kept = fs::read_to_string(root.path().join("etc/resolv.conf")).unwrap();
        assert_eq!(kept, "nameserver 9.9.9.9\n");
    }

    #[test]
    fn hosts_with_foreign_bytes_is_no_reason_to_fail() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/hosts"), b"10.0.0.1 db # K\xf6ln\n").unwrap();
        write(root.path(), &config()).unwrap();
        let hosts = fs::read_to_string(root.path().join("etc/hosts")).unwrap();
        assert!(hosts.starts_with("10.0.0.1 db") && hosts.contains("127.0.1.1\totter"));
    }
}
