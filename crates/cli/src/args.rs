//! What can be typed.

mod bundle;
mod customize;
mod daemon;
mod dns;
mod doctor;
mod image;
mod image_build;
mod import;
mod ssh_config;
mod support;
mod value;
mod vm;

pub(crate) use bundle::FetchArgs;
pub(crate) use customize::CustomizeArgs;
pub(crate) use daemon::{DaemonLogsArgs, DaemonVerb, LogLevelArgs};
pub(crate) use dns::DnsVerb;
pub(crate) use doctor::{DoctorArgs, Remedy};
pub(crate) use image::{ImageVerb, PromoteArgs, RegisterArgs, RenameArgs};
pub(crate) use image_build::BuildArgs;
pub(crate) use import::ImportArgs;
pub(crate) use ssh_config::SshConfigArgs;
pub(crate) use support::SupportArgs;
pub(crate) use vm::{
    CreateArgs, ForwardArgs, KillArgs, LogsArgs, RefsArgs, RestartArgs, RunArgs, SetArgs, SshArgs,
    StartArgs, StatsArgs, StopArgs, Timings, VmVerb,
};

use clap::builder::FalseyValueParser;
use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  banger vm create --name otter     make a VM and boot it
  banger vm ssh otter               enter it
  banger vm run --rm -- uname -a    run one command in a VM of its own
  banger vm delete otter            remove it with its disks";

/// Persistent Linux VMs on this machine.
#[derive(Debug, Parser)]
#[command(name = "banger", version = version(), after_help = EXAMPLES, max_term_width = 100)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

impl Cli {
    /// The whole definition.
    pub(crate) fn definition() -> Command {
        Self::command().mut_subcommand("vm", |vm| {
            vm.mut_subcommand("create", vm::with_defaults).mut_subcommand("run", vm::with_defaults)
        })
    }

    /// Reads this process's arguments.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        Self::from_arg_matches(&Self::definition().try_get_matches()?)
    }
}

fn version() -> String {
    format!("{} (commit {})", env!("CARGO_PKG_VERSION"), banger_api::build::COMMIT)
}

/// What holds for every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct GlobalArgs {
    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// Do not start or replace the daemon; fail if it does not run
    #[arg(long, global = true, env = "BANGER_NO_AUTOSTART", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new(), help_heading = "Global options")]
    pub(crate) no_autostart: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Create, enter, start, stop and delete VMs
    #[command(subcommand, arg_required_else_help = true)]
    Vm(VmVerb),
    /// Show, register, import, rename and delete the images that VMs are created from
    #[command(subcommand, arg_required_else_help = true)]
    Image(ImageVerb),
    /// Show, verify, build or fetch the runtime bundle: kernel, initrd and root file system
    #[command(subcommand, arg_required_else_help = true)]
    Bundle(BundleVerb),
    /// Show, start and stop the daemon
    #[command(subcommand, arg_required_else_help = true)]
    Daemon(DaemonVerb),
    /// Show or change whether this host's programs know VMs by their names
    #[command(subcommand, arg_required_else_help = true, after_help = dns::EXAMPLES)]
    Dns(DnsVerb),
    /// Check that everything banger needs is there and that nothing leaked
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(DoctorArgs),
    /// Have `ssh NAME.vm` enter VMs: print the lines for ssh's configuration, or install them
    #[command(after_help = ssh_config::EXAMPLES)]
    SshConfig(SshConfigArgs),
    /// Gather in one file what helps others to help: doctor's findings, versions, logs, records
    #[command(after_help = support::EXAMPLES)]
    SupportBundle(SupportArgs),
    /// Print a shell's completion script
    #[command(
        after_help = "Example:\n  banger completion bash > ~/.local/share/bash-completion/completions/banger"
    )]
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Show the builds of this program and of the daemon
    Version,
    /// Take back what is set in other firewalls and in your ssh's configuration, and stop the daemon
    Uninstall,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BundleVerb {
    /// Show the bundle, or what is wrong with it
    Show,
    /// Read all of the bundle: each file against its checksum, and whether each can do its work
    Verify,
    /// Build the bundle from Debian packages
    Build,
    /// Unpack the bundle from an archive
    #[command(after_help = bundle::EXAMPLES)]
    Fetch(FetchArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::definition().debug_assert();
    }
}
