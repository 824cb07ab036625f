//! What a test plays in: namespaces, a server on loopback, keys, and a `PATH` with programs of the
//! test's own.

use crate::program::Server;
use banger_provision::{GUEST_PATH, Login};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};
use std::ffi::CStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(30);
/// The network is the test's own, so any port is free.
const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 22);

/// A server to log in to.
#[derive(Debug)]
pub(crate) struct Scene {
    dir: TempDir,
    login: Login,
    server: Option<Server>,
}

fn key() -> PrivateKey {
    PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap()
}

fn public(key: &PrivateKey) -> String {
    key.public_key().to_openssh().unwrap()
}

fn private(key: &PrivateKey) -> String {
    key.to_openssh(LineEnding::LF).unwrap().to_string()
}

impl Scene {
    /// Moves the calling thread into namespaces of its own and starts the server in them. All that
    /// it writes is in a directory that goes.
    pub(crate) fn start() -> Self {
        assert!(rustix::process::geteuid().is_root(), "tests in `host_…` need root");
        // SAFETY: descriptors stay shared; only namespaces are left.
        #[expect(unsafe_code, reason = "a test plays in namespaces of its own")]
        unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }.unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        // Where sshd wants an empty directory, and where the work in a guest leaves its traces.
        for dir in ["/run", "/var/tmp"] {
            mount("tmpfs", dir, "tmpfs", MountFlags::empty(), None::<&CStr>).unwrap();
        }
        fs::create_dir("/run/sshd").unwrap();
        let ip = banger_host::cmd::Cmd::new("ip").args(["link", "set", "lo", "up"]);
        ip.run().unwrap();

        let dir = tempfile::tempdir().unwrap();
        let (host, user) = (key(), key());
        let file = |name: &str, text: String| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let host_key = file("host_key", private(&host));
        let authorized = file("authorized_keys", public(&user) + "\n");
        let configuration = format!(
            "ListenAddress {}\nPort {}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\n\
             PasswordAuthentication no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n",
            ADDRESS.0,
            ADDRESS.1,
            host_key.display(),
            authorized.display()
        );
        let server = Some(Server::start(&file("sshd_config", configuration)));
        let programs = dir.path().join("bin");
        fs::create_dir(&programs).unwrap();
        let mut login = Login::root(SocketAddr::from(ADDRESS), private(&user), public(&host));
        login.path = format!("{}:{GUEST_PATH}", programs.display());
        let since = Instant::now();
        while TcpStream::connect(ADDRESS).is_err() {
            assert!(since.elapsed() < LONG, "sshd does not listen");
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Self { dir, login, server }
    }

    /// What it takes to log in.
    pub(crate) fn login(&self) -> Login {
        self.login.clone()
    }

    /// As if another machine had the guest's address.
    pub(crate) fn login_to_another(&self) -> Login {
        Login { host_key: public(&key()), ..self.login() }
    }

    /// With a key that nobody let in.
    pub(crate) fn login_with_another(&self) -> Login {
        Login { private_key: private(&key()), ..self.login() }
    }

    /// A path in the test's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that can be run.
    pub(crate) fn executable(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Ends the server; connections that are open go on.
    pub(crate) fn end_server(&mut self) {
        self.server = None;
    }
}
