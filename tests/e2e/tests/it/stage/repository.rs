//! A small archive of Debian packages, and a server that guests get them from.

use super::program::tool;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// How often the server sees whether it is still wanted.
const PERIOD: Duration = Duration::from_millis(50);
/// How long a guest may take to ask.
const LIMIT: Duration = Duration::from_secs(30);

/// The archive with its server.
#[derive(Debug)]
pub(crate) struct Repository {
    dir: TempDir,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Repository {
    /// The port that it is served on, at every address of the test's network.
    const PORT: u16 = 8000;
    /// What a guest's `sources.list` has for it, in the usual subnet. Nobody signs it.
    pub(crate) const SOURCE: &str = "deb [trusted=yes] http://172.16.0.1:8000/ ./\n";

    /// Makes the packages, each with its version and what it depends on, and serves them. Each has one
    /// file, `/opt/<name>`, with its version in it.
    pub(crate) fn serve(packages: &[(&str, &str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut index = String::new();
        for (name, version, depends) in packages {
            index.push_str(&make_package(dir.path(), name, version, depends));
        }
        fs::write(dir.path().join("Packages"), &index).unwrap();
        let (sum, size) = (sha256(&dir.path().join("Packages")), index.len());
        let release = format!("Suite: test\nSHA256:\n {sum} {size} Packages\n");
        fs::write(dir.path().join("Release"), release).unwrap();

        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, Self::PORT)).unwrap();
        let (ended, root) = (Arc::new(AtomicBool::new(false)), dir.path().to_owned());
        let is_over = Arc::clone(&ended);
        let thread = Some(std::thread::spawn(move || serve(&listener, &root, &is_over)));
        Self { dir, ended, thread }
    }

    /// A path beside the archive for a test's own files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Builds a package; returns its paragraph of the index.
fn make_package(dir: &Path, name: &str, version: &str, depends: &str) -> String {
    let tree = dir.join("trees").join(name);
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::create_dir_all(tree.join("opt")).unwrap();
    fs::write(tree.join("opt").join(name), version).unwrap();
    let mut control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\n\
         Maintainer: Otter <otter@example.org>\nDescription: for a test\n"
    );
    if !depends.is_empty() {
        writeln!(control, "Depends: {depends}").unwrap();
    }
    fs::write(tree.join("DEBIAN/control"), &control).unwrap();
    let file = format!("{name}_{version}_all.deb");
    let path = dir.join(&file);
    let (from, to) = (tree.to_str().unwrap(), path.to_str().unwrap());
    tool("dpkg-deb", &["--root-owner-group", "--build", from, to]);
    let (size, sum) = (fs::metadata(&path).unwrap().len(), sha256(&path));
    format!("{control}Filename: ./{file}\nSize: {size}\nSHA256: {sum}\n\n")
}

fn sha256(path: &Path) -> String {
    let printed = tool("sha256sum", &[path.to_str().unwrap()]);
    printed.split(' ').next().unwrap().to_owned()
}

fn serve(listener: &TcpListener, root: &Path, ended: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    while !ended.load(Ordering::Relaxed) {
        match listener.accept() {
            // A caller that goes away early is its own affair.
            Ok((stream, _)) => drop(answer(&stream, root)),
            Err(_) => std::thread::park_timeout(PERIOD),
        }
    }
}

/// Answers one request, then closes the connection.
fn answer(mut stream: &TcpStream, root: &Path) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    match fs::read(root.join(name)) {
        Ok(body) if !name.is_empty() => {
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
            )?;
            stream.write_all(&body)
        }
        _ => write!(stream, "HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
    }
}
