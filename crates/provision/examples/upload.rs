//! Puts a file or a tree of the host's into a guest, as a build with `--copy` does, and ends: what
//! `cargo xtask bench images` measures beside `tar | ssh`.
//!
//! `upload ADDRESS PRIVATE_KEY HOST_KEY SOURCE TARGET`; the keys are files.

use banger_provision::{Login, SshGuest, Workshop};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

/// How long the guest may take to answer.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, private_key, host_key, source, target] = <[String; 5]>::try_from(args)
        .map_err(|_other| "what is needed is: ADDRESS PRIVATE_KEY HOST_KEY SOURCE TARGET")?;
    let keys = [private_key, host_key].map(std::fs::read_to_string);
    let [private_key, host_key] = keys;
    let login = Login::root(address.parse()?, private_key?, host_key?);
    let guest = SshGuest::connect(&login, LIMIT).await?;
    let mut lines = |_line: &str| ();
    Workshop::new(&guest, &mut lines).copy(Path::new(&source), &target).await?;
    Ok(())
}
