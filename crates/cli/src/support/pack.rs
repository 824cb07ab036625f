//! Writing the bundle: a tar archive, compressed with Zstandard, that nobody else can read.

use super::Bundle;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tar::{Builder, Header};

/// Writes it to a new file; returns how long that is. `dir` is the directory in the archive, and
/// `mtime` the time of all files in it.
pub(crate) fn write(bundle: &Bundle, path: &Path, dir: &str, mtime: u64) -> io::Result<usize> {
    let bytes = compress_to_vec(archive(bundle, dir, mtime)?.as_slice(), CompressionLevel::Fastest);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(&bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a bundle is worth nothing. If it cannot be removed, the first error says more.
        drop(std::fs::remove_file(path));
        return Err(error);
    }
    Ok(bytes.len())
}

fn archive(bundle: &Bundle, dir: &str, mtime: u64) -> io::Result<Vec<u8>> {
    let list = serde_json::to_string_pretty(bundle).map_err(io::Error::other)?;
    let mut builder = Builder::new(Vec::new());
    let files = bundle.files.iter().map(|file| (file.name.as_str(), file.text.as_str()));
    for (name, text) in [("list.json", list.as_str())].into_iter().chain(files) {
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(mtime);
        builder.append_data(&mut header, format!("{dir}/{name}"), text.as_bytes())?;
    }
    builder.into_inner()
}
