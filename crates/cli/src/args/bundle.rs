//! The arguments of `banger bundle fetch`.

use clap::Args;

pub(crate) const EXAMPLES: &str = "\
Without --from, `runtime-bundle.toml` names the archive: the one in the working directory, else the
one beside the configuration file. docs/bundle.md has its keys, and how to make an archive.

Examples:
  banger bundle fetch
  banger bundle fetch --from bundle.tar.zst
  banger bundle fetch --from https://example.org/bundle.tar.zst --sha256 5f2c…";

#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// The archive, by path or URL: tar, as it is or compressed with gzip, XZ or Zstandard
    #[arg(long, value_name = "ARCHIVE")]
    pub(crate) from: Option<String>,
    /// The archive's SHA-256, which a URL needs
    #[arg(long, value_name = "SUM", requires = "from")]
    pub(crate) sha256: Option<String>,
}
