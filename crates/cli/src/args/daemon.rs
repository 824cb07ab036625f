//! The verbs of `banger daemon`.

use super::value;
use crate::render::log::Wanted;
use banger_api::LogLevel;
use clap::{Args, Subcommand};

const LOGS_EXAMPLES: &str = "\
Examples:
  banger daemon logs -f                     go on with what is logged from now on
  banger daemon logs --op k3m9x2p7qa -n 1000   everything about one operation
  banger daemon logs --vm otter --level warn
  banger --json daemon logs                 the lines as they are in the file, one object each";

const LEVEL_EXAMPLES: &str = "\
Examples:
  banger daemon log-level                   which level holds
  banger daemon log-level debug --for 10m   more for ten minutes, then as configured again";

#[derive(Debug, Subcommand)]
pub(crate) enum DaemonVerb {
    /// Show the daemon and where its settings come from
    Status,
    /// Start the daemon, unless it runs
    Start,
    /// Stop the daemon; VMs go on
    Stop,
    /// Stop the daemon and start the installed one; VMs go on
    Restart,
    /// Print the end of the daemon's log
    #[command(after_help = LOGS_EXAMPLES)]
    Logs(DaemonLogsArgs),
    /// Show or change how much the daemon logs
    #[command(after_help = LEVEL_EXAMPLES)]
    LogLevel(LogLevelArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DaemonLogsArgs {
    /// How many lines, of those that are asked for
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub(crate) lines: usize,
    /// Go on with what is logged from now on
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only lines of this operation, by its id
    #[arg(long, value_name = "ID")]
    op: Option<String>,
    /// Only lines about this VM, by its name or id, or a beginning of either
    #[arg(long, value_name = "VM", value_parser = value::reference)]
    vm: Option<String>,
    /// Only lines of this level and graver ones: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    level: Option<LogLevel>,
    /// Print the path of the log file instead
    #[arg(long, conflicts_with = "follow")]
    pub(crate) path: bool,
}

impl DaemonLogsArgs {
    /// Which lines are asked for.
    pub(crate) fn wanted(&self) -> Wanted {
        Wanted { op: self.op.clone(), vm: self.vm.clone(), level: self.level }
    }
}

#[derive(Debug, Args)]
pub(crate) struct LogLevelArgs {
    /// The level: error, warn, info, debug or trace [default: only show it]
    pub(crate) level: Option<LogLevel>,
    /// For how long, such as 90s, 10m or 1h; then the configured level holds again
    #[arg(long = "for", value_name = "TIME", value_parser = value::span, requires = "level")]
    pub(crate) limit: Option<u32>,
}
