//! Keys: the instance's own ssh key, each VM's host key, and the files for ssh clients: known hosts
//! and configuration.

use crate::error::{EngineError, KeyFault};
use crate::settings::OwnKey;
use banger_core::dns::ZONE;
use banger_core::guest::HostKey;
use banger_core::ssh_config;
use banger_core::vm::Vm;
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The instance's ssh files, in a directory of their own.
#[derive(Debug)]
pub(crate) struct Keys {
    dir: PathBuf,
    own: Option<OwnKey>,
    public: String,
}

/// The instance's own key, which is made where there is none.
fn instance_key(dir: &Path) -> Result<PrivateKey, EngineError> {
    let private = dir.join(KEY);
    if !private.try_exists().map_err(EngineError::file("look for", &private))? {
        let pair = generate("banger")?;
        let public = dir.join("id_ed25519.pub");
        let line = format!("{}\n", pair.public);
        replace(&public, line.as_bytes()).map_err(EngineError::file("write", &public))?;
        replace(&private, pair.private.as_bytes()).map_err(EngineError::file("write", &private))?;
    }
    let text = fs::read_to_string(&private).map_err(EngineError::file("read", &private))?;
    PrivateKey::from_openssh(&text).map_err(EngineError::Key)
}

/// A user's key. One with a passphrase will do: its public half is in the clear.
fn read_own(own: &OwnKey) -> Result<PrivateKey, EngineError> {
    let read = || Ok(PrivateKey::from_openssh(fs::read_to_string(&own.path)?)?);
    read().map_err(|source: KeyFault| {
        let OwnKey { path, origin } = own.clone();
        EngineError::OwnKey { path, origin, source }
    })
}

/// The file of the instance's own key.
const KEY: &str = "id_ed25519";

/// Whom an ssh client logs in as.
pub(crate) const USER: &str = "root";

/// A new ed25519 key pair.
fn generate(comment: &str) -> Result<HostKey, EngineError> {
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(EngineError::Key)?;
    key.set_comment(comment);
    let private = key.to_openssh(LineEnding::LF).map_err(EngineError::Key)?.to_string();
    let public = key.public_key().to_openssh().map_err(EngineError::Key)?;
    Ok(HostKey { private, public })
}

/// A host key for a new VM.
pub(crate) fn host_key(comment: &str) -> Result<HostKey, EngineError> {
    generate(comment)
}

/// The name of a VM in the known-hosts file. It goes by the id, which no other VM ever has.
pub(crate) fn host_key_alias(vm: &Vm) -> String {
    format!("banger-{}", vm.id)
}

impl Keys {
    /// Opens the directory, making it if it is not there, and the instance's own key unless another
    /// is to be used.
    pub(crate) fn open(state_dir: &Path, own: Option<&OwnKey>) -> Result<Self, EngineError> {
        let dir = state_dir.join("ssh");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(EngineError::file("create", &dir))?;
        let key = match own {
            Some(own) => read_own(own)?,
            None => instance_key(&dir)?,
        };
        let public = key.public_key().to_openssh().map_err(EngineError::Key)?;
        let keys = Self { dir, own: own.cloned(), public };
        let config = keys.config_path();
        replace(&config, keys.config().as_bytes()).map_err(EngineError::file("write", &config))?;
        Ok(keys)
    }

    /// The line for a guest's `authorized_keys`.
    pub(crate) fn public(&self) -> &str {
        &self.public
    }

    /// The private key's file.
    pub(crate) fn private_path(&self) -> PathBuf {
        self.own.as_ref().map_or_else(|| self.dir.join(KEY), |own| own.path.clone())
    }

    /// The private key itself, for the daemon's own use.
    pub(crate) fn private(&self) -> Result<String, EngineError> {
        if let Some(own) = &self.own
            && read_own(own)?.is_encrypted()
        {
            let OwnKey { path, origin } = own.clone();
            return Err(EngineError::OwnKey { path, origin, source: KeyFault::Passphrase });
        }
        let path = self.private_path();
        fs::read_to_string(&path).map_err(EngineError::file("read", &path))
    }

    /// The known-hosts file.
    pub(crate) fn known_hosts_path(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }

    /// The file with [`Keys::config`], for an `Include` in the user's own.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.dir.join("config")
    }

    /// The configuration of an ssh client that is to know VMs by their names.
    pub(crate) fn config(&self) -> String {
        ssh_config::render(USER, &self.private_path(), &self.known_hosts_path())
    }

    /// Writes the known-hosts file for exactly these VMs: under the alias, and under all names that
    /// lead to the VM.
    pub(crate) fn write_known_hosts<'a>(
        &self,
        vms: impl Iterator<Item = &'a Vm>,
    ) -> Result<(), EngineError> {
        let path = self.known_hosts_path();
        let text: String = vms
            .map(|vm| {
                let (alias, name) = (host_key_alias(vm), &vm.name);
                let names = format!("{alias},{name}.{ZONE},*.{name}.{ZONE}");
                format!("{names} {}\n", vm.identity.host_key.public)
            })
            .collect();
        replace(&path, text.as_bytes()).map_err(EngineError::file("write", &path))
    }
}

/// Replaces a file as a whole, private from birth: readers see the old or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::error::{ErrorCode, Explain};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_is_made_once_and_is_private() {
        let state = tempfile::tempdir().unwrap();
        let first = Keys::open(state.path(), None).unwrap();
        let second = Keys::open(state.path(), None).unwrap();
        assert!(first.public().starts_with("ssh-ed25519 "));
        assert_eq!(first.public(), second.public());
        let mode = fs::metadata(first.private_path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_an_error_and_stays() {
        let state = tempfile::tempdir().unwrap();
        let path = Keys::open(state.path(), None).unwrap().private_path();
        fs::write(&path, "no key").unwrap();
        let error = Keys::open(state.path(), None).unwrap_err();
        assert_eq!(error.to_string(), "could not make an ssh key");
        assert_eq!(fs::read_to_string(&path).unwrap(), "no key");
    }

    #[test]
    fn a_key_of_the_users_own_is_used_where_it_is_and_none_is_made() {
        let state = tempfile::tempdir().unwrap();
        let pair = generate("user").unwrap();
        let path = state.path().join("mine");
        fs::write(&path, &pair.private).unwrap();
        let own = OwnKey { path: path.clone(), origin: "line 3 of `/c`".to_owned() };
        let keys = Keys::open(state.path(), Some(&own)).unwrap();
        assert_eq!((keys.public(), keys.private_path()), (pair.public.as_str(), path));
        assert!(!state.path().join("ssh/id_ed25519").exists());
        assert!(keys.config().contains("/mine"), "{}", keys.config());
    }

    #[test]
    fn a_key_that_is_not_there_or_none_is_told_with_who_names_it() {
        let state = tempfile::tempdir().unwrap();
        let told = |name: &str| {
            let own = OwnKey { path: state.path().join(name), origin: "line 3 of `/c`".to_owned() };
            let error = Keys::open(state.path(), Some(&own)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidConfig);
            let cause = std::error::Error::source(&error).unwrap().to_string();
            let text = format!("{error}\ncaused by: {cause}\nhint: {}", error.hints().join("\n"));
            text.replace(state.path().to_str().unwrap(), "[STATE]")
        };
        insta::assert_snapshot!(told("gone"), @r"
        cannot enter VMs with the key `[STATE]/gone`, which `ssh_key_path` in line 3 of `/c` names
        caused by: No such file or directory (os error 2)
        hint: set `ssh_key_path` to a private key that `ssh-keygen` made, or remove it
        ");
        fs::write(state.path().join("text"), "ssh-ed25519 AAAA").unwrap();
        insta::assert_snapshot!(told("text"), @r"
        cannot enter VMs with the key `[STATE]/text`, which `ssh_key_path` in line 3 of `/c` names
        caused by: it is no private key in OpenSSH's format
        hint: set `ssh_key_path` to a private key that `ssh-keygen` made, or remove it
        ");
    }

    /// A key with a passphrase, made for this test; it opens nothing.
    const ENCRYPTED: &str = "\
        -----BEGIN OPENSSH PRIVATE KEY-----\n\
        b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABBrUjLLyF\n\
        G1vMazcAd9Wyp/AAAAAQAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIFGvF45TMeL11IgQ\n\
        GaUBCwyoq1o5D/AAzekL7xsow6ZVAAAAkFD888sVdlPPk+EgxGsygBL8SL4XEbWUZZns0d\n\
        F9DbLcg7BsDhh3jiRJ1bz9KdEvZUV1GB/6lbchfyQ6Xc5rv2NnJADTgre0Ccl8Pf7VIib4\n\
        CZTkGse8R3n/5Ksx6LOgdXOd+a2UZobBBS1uWSKEHrZz5LMi+lyKJuhFwZRH40msSL8xiE\n\
        emylCp6Inwub49hA==\n\
        -----END OPENSSH PRIVATE KEY-----\n\
        ";

    #[test]
    fn a_key_with_a_passphrase_serves_ssh_and_not_the_daemon_itself() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("mine");
        fs::write(&path, ENCRYPTED).unwrap();
        let own = OwnKey { path, origin: "line 3 of `/c`".to_owned() };
        let keys = Keys::open(state.path(), Some(&own)).unwrap();
        assert!(keys.public().starts_with("ssh-ed25519 "), "{}", keys.public());
        let refused = keys.private().unwrap_err();
        let passphrase =
            matches!(refused, EngineError::OwnKey { source: KeyFault::Passphrase, .. });
        assert!(passphrase, "{refused}");
    }
}
