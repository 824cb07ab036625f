//! The arguments of `banger support-bundle`.

use clap::Args;
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
Examples:
  banger support-bundle                        show what would be in it, then ask
  banger support-bundle --yes -o /tmp/b.tar.zst
  tar --zstd -xf /tmp/b.tar.zst                look into it";

#[derive(Debug, Args)]
pub(crate) struct SupportArgs {
    /// Write it without asking
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Where to write it; by default `banger-support-TIME.tar.zst` here
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
