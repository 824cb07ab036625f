//! A session with a guest over ssh.
//!
//! Only a key lets in, and only the host key that the guest was given is taken for it: there is no
//! first contact to be trusted. A connection on which nothing comes for two minutes is dead.

use crate::call::{Call, GUEST_PATH, Input, Output};
use crate::error::{SessionError, UploadError};
use crate::guest::{Ended, Exit, Guest, LineSink};
use crate::lines::{Splitter, Tail};
use crate::upload::Feed;
use async_trait::async_trait;
use russh::cipher;
use russh::client::{self, Config, Handle, Msg};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Preferred};
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// How long nothing may come before the other side is asked whether it is there, and how often it is
/// asked in vain. An emulated guest that unpacks can be busy for half a minute.
const KEEPALIVE: Duration = Duration::from_secs(20);
const UNANSWERED: usize = 6;
/// In the order of preference. Processors do AES themselves, and OpenSSH's sshd takes what is enciphered
/// with it quicker than what `ssh` prefers, which is the third (docs/performance.md).
const CIPHERS: [cipher::Name; 6] = [
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];
/// The most that is kept of what a program prints: the list of 100,000 packages.
const KEPT: usize = 16 << 20;

/// What it takes to enter a guest.
#[derive(Clone)]
pub struct Login {
    /// Where it is.
    pub address: SocketAddr,
    /// The user.
    pub user: String,
    /// The private key that lets in, as OpenSSH writes it.
    pub private_key: String,
    /// The host key that the guest was given, as in a `.pub` file.
    pub host_key: String,
    /// Where programs are looked for.
    pub path: String,
}

impl Login {
    /// As root, with the usual path.
    pub fn root(address: SocketAddr, private_key: String, host_key: String) -> Self {
        let (user, path) = ("root".to_owned(), GUEST_PATH.to_owned());
        Self { address, user, private_key, host_key, path }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("address", &self.address)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// An open session. The connection ends when this is dropped.
pub struct SshGuest {
    handle: Handle<Pin>,
    path: String,
}

impl fmt::Debug for SshGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshGuest").finish_non_exhaustive()
    }
}

/// Takes exactly one host key.
struct Pin {
    expected: PublicKey,
    /// The one that was shown instead.
    other: Arc<Mutex<Option<String>>>,
}

impl client::Handler for Pin {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let found = match shown {
            russh::keys::PublicKeyOrCertificate::PublicKey { key, .. } => {
                if key.key_data() == self.expected.key_data() {
                    return Ok(true);
                }
                fingerprint(key)
            }
            russh::keys::PublicKeyOrCertificate::Certificate(_) => "in a certificate".to_owned(),
        };
        *self.other.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(false)
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

impl SshGuest {
    /// Opens a session.
    ///
    /// # Errors
    ///
    /// When nobody answers within `limit`, somebody else does, or the key is not let in.
    pub async fn connect(login: &Login, limit: Duration) -> Result<Self, SessionError> {
        let address = login.address;
        let seconds = limit.as_secs();
        match timeout(limit, Self::open(login)).await {
            Ok(opened) => opened,
            Err(_) => Err(SessionError::NoAnswer { address, seconds }),
        }
    }

    async fn open(login: &Login) -> Result<Self, SessionError> {
        let address = login.address;
        let bad_key = |which| move |source| SessionError::Key { which, source };
        let key = PrivateKey::from_openssh(&login.private_key).map_err(bad_key("private key"))?;
        let expected = PublicKey::from_openssh(&login.host_key).map_err(bad_key("host key"))?;
        let (other, wanted) = (Arc::new(Mutex::new(None)), fingerprint(&expected));
        let pin = Pin { expected, other: Arc::clone(&other) };
        let failed = |source| {
            let shown = other.lock().unwrap_or_else(PoisonError::into_inner).take();
            match shown {
                Some(found) => SessionError::HostKey { address, expected: wanted.clone(), found },
                None => SessionError::Connect { address, source },
            }
        };
        let mut handle =
            client::connect(Arc::new(config()), address, pin).await.map_err(&failed)?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        let answer = handle.authenticate_publickey(&login.user, key).await.map_err(&failed)?;
        match answer.success() {
            true => Ok(Self { handle, path: login.path.clone() }),
            false => Err(SessionError::Refused { address }),
        }
    }

    async fn talk(&self, call: Call, lines: &mut LineSink<'_>) -> Result<Ended, SessionError> {
        let command = call.shown();
        let broken = |source| SessionError::Broken { command: command.clone(), source };
        let opened = self.handle.channel_open_session().await;
        let (read, write) = opened.map_err(|error| broken(Some(error)))?.split();
        let line = call.line(&self.path);
        write.exec(true, line).await.map_err(|error| broken(Some(error)))?;
        let mut listener = Listener::new(read, call.output, &command);
        let feeding = feed(write, call.input);
        tokio::pin!(feeding);
        let mut fed = false;
        loop {
            tokio::select! {
                heard = listener.next(lines) => match heard? {
                    Heard::More => {}
                    Heard::End => break,
                },
                result = &mut feeding, if !fed => {
                    fed = true;
                    result?;
                }
            }
        }
        listener.finish(lines).ok_or_else(|| broken(None))
    }
}

#[async_trait]
impl Guest for SshGuest {
    async fn run(&self, call: Call, lines: &mut LineSink<'_>) -> Result<Ended, SessionError> {
        let (limit, command) = (call.limit, call.shown());
        match timeout(limit, self.talk(call, lines)).await {
            Ok(ended) => ended,
            Err(_) => Err(SessionError::TimedOut { command, seconds: limit.as_secs() }),
        }
    }
}

fn config() -> Config {
    let preferred = Preferred {
        kex: Cow::Borrowed(&[
            russh::kex::CURVE25519,
            russh::kex::CURVE25519_PRE_RFC_8731,
            russh::kex::EXTENSION_SUPPORT_AS_CLIENT,
            russh::kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        ]),
        key: Cow::Borrowed(&[Algorithm::Ed25519]),
        cipher: Cow::Borrowed(&CIPHERS),
        ..Preferred::default()
    };
    Config {
        preferred,
        nodelay: true,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: UNANSWERED,
        ..Config::default()
    }
}

/// Sends what the program reads, then the end of it.
async fn feed(write: ChannelWriteHalf<Msg>, input: Input) -> Result<(), UploadError> {
    if let Input::Feed(Feed { mut pieces }) = input {
        while let Some(piece) = pieces.recv().await {
            // A program that has ended reads no more; how it ended is heard.
            if write.data_bytes(piece?).await.is_err() {
                return Ok(());
            }
        }
    }
    if write.eof().await.is_err() {
        tracing::trace!("the program has ended before its input");
    }
    Ok(())
}

enum Heard {
    More,
    End,
}

/// Listens to one program.
struct Listener<'a> {
    read: ChannelReadHalf,
    output: Output,
    command: &'a str,
    out: Splitter,
    err: Splitter,
    tail: Tail,
    kept: Vec<u8>,
    exit: Option<Exit>,
}

impl<'a> Listener<'a> {
    fn new(read: ChannelReadHalf, output: Output, command: &'a str) -> Self {
        let (out, err) = (Splitter::default(), Splitter::default());
        let (tail, kept) = (Tail::default(), Vec::new());
        Self { read, output, command, out, err, tail, kept, exit: None }
    }

    /// Takes the next message. Cancel-safe.
    async fn next(&mut self, lines: &mut LineSink<'_>) -> Result<Heard, SessionError> {
        let Some(message) = self.read.wait().await else { return Ok(Heard::End) };
        let tail = &mut self.tail;
        let mut say = |line: &str| {
            tail.push(line);
            lines(line);
        };
        match message {
            ChannelMsg::Data { data } if self.output == Output::Kept => {
                if self.kept.len() + data.len() > KEPT {
                    let command = self.command.to_owned();
                    return Err(SessionError::TooMuch { command, most: KEPT });
                }
                self.kept.extend_from_slice(&data);
            }
            ChannelMsg::Data { data } => self.out.take(&data, &mut say),
            ChannelMsg::ExtendedData { data, .. } => self.err.take(&data, &mut say),
            ChannelMsg::ExitStatus { exit_status } => self.exit = Some(Exit::Code(exit_status)),
            ChannelMsg::ExitSignal { signal_name, .. } => {
                self.exit = Some(Exit::Signal(format!("{signal_name:?}")));
            }
            ChannelMsg::Close => return Ok(Heard::End),
            _ => {}
        }
        Ok(Heard::More)
    }

    /// How the program ended; `None` if that was not heard.
    fn finish(mut self, lines: &mut LineSink<'_>) -> Option<Ended> {
        let tail = &mut self.tail;
        let mut say = |line: &str| {
            tail.push(line);
            lines(line);
        };
        self.out.finish(&mut say);
        self.err.finish(&mut say);
        let exit = self.exit?;
        Some(Ended { exit, stdout: self.kept, tail: self.tail.into_lines() })
    }
}
