//! One module for each noun; this one picks.

mod bundle;
mod create;
mod customize;
mod daemon;
mod daemon_log;
mod dns;
mod doctor;
mod forward;
mod image;
mod image_build;
mod lifecycle;
mod logs;
mod ports;
mod run;
mod several;
mod show;
mod signals;
mod ssh;
mod ssh_config;
mod stats;
mod support;
mod uninstall;
mod version;

pub(crate) use ssh_config::SshConfigError;

use crate::args::{BundleVerb, Cli, DaemonVerb, DnsVerb, ImageVerb, Noun, VmVerb};
use crate::connect::{Autostart, Door};
use crate::failure::Failure;
use crate::output::Output;
use banger_api::client::Client;

/// What every command has at hand.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    door: Door,
    output: &'a Output,
}

impl Session<'_> {
    /// A client of a daemon that answers.
    async fn client(&self) -> Result<Client, Failure> {
        Ok(self.door.open(self.output).await?)
    }
}

/// Runs one command.
pub(crate) async fn run(cli: Cli, output: &Output) -> Result<(), Failure> {
    if let Noun::Completion { shell } = cli.noun {
        return completion(shell, output);
    }
    let autostart = if cli.global.no_autostart { Autostart::Forbidden } else { Autostart::Allowed };
    let session = Session { door: Door::new(autostart)?, output };
    match cli.noun {
        Noun::Vm(verb) => vm(&session, verb).await,
        Noun::Image(verb) => images(&session, verb).await,
        Noun::Bundle(BundleVerb::Show) => bundle::show(&session).await,
        Noun::Bundle(BundleVerb::Verify) => bundle::verify(&session).await,
        Noun::Bundle(BundleVerb::Fetch(args)) => bundle::fetch(&session, &args).await,
        Noun::Bundle(BundleVerb::Build) => bundle::build(&session).await,
        Noun::Daemon(DaemonVerb::Status) => daemon::status(&session).await,
        Noun::Daemon(DaemonVerb::Start) => daemon::start(&session).await,
        Noun::Daemon(DaemonVerb::Stop) => daemon::stop(&session).await,
        Noun::Daemon(DaemonVerb::Restart) => daemon::restart(&session).await,
        Noun::Daemon(DaemonVerb::Logs(args)) => daemon_log::logs(&session, &args).await,
        Noun::Daemon(DaemonVerb::LogLevel(args)) => daemon_log::level(&session, &args).await,
        Noun::Dns(DnsVerb::Status) => dns::status(&session).await,
        Noun::Dns(DnsVerb::Install) => dns::install(&session).await,
        Noun::Dns(DnsVerb::Uninstall) => dns::uninstall(&session).await,
        Noun::Doctor(args) => doctor::run(&session, &args).await,
        Noun::SshConfig(args) => ssh_config::run(&session, &args).await,
        Noun::SupportBundle(args) => support::run(&session, &args).await,
        Noun::Uninstall => uninstall::run(&session).await,
        Noun::Completion { .. } => unreachable!("it was dealt with, for it needs no session"),
        Noun::Version => version::run(&session).await,
    }
}

async fn vm(session: &Session<'_>, verb: VmVerb) -> Result<(), Failure> {
    match verb {
        VmVerb::Create(args) => create::run(session, &args).await,
        VmVerb::Run(args) => run::run(session, &args).await,
        VmVerb::List => show::list(session).await,
        VmVerb::Show(args) => show::show(session, &args.refs).await,
        VmVerb::Ssh(args) => ssh::run(session, &args).await,
        VmVerb::Start(args) => lifecycle::start(session, &args).await,
        VmVerb::Stop(args) => lifecycle::stop(session, &args).await,
        VmVerb::Restart(args) => lifecycle::restart(session, &args).await,
        VmVerb::Kill(args) => lifecycle::kill(session, &args).await,
        VmVerb::Delete(args) => lifecycle::delete(session, &args).await,
        VmVerb::Set(args) => lifecycle::set(session, &args).await,
        VmVerb::Logs(args) => logs::run(session, &args).await,
        VmVerb::Forward(args) => forward::run(session, &args).await,
        VmVerb::Ports(args) => ports::run(session, &args.refs).await,
        VmVerb::Stats(args) => stats::run(session, &args).await,
    }
}

async fn images(session: &Session<'_>, verb: ImageVerb) -> Result<(), Failure> {
    match verb {
        ImageVerb::List => image::list(session).await,
        ImageVerb::Show(args) => image::show(session, &args.refs).await,
        ImageVerb::Build(args) => image_build::run(session, &args).await,
        ImageVerb::Customize(args) => customize::run(session, &args).await,
        ImageVerb::Register(args) => image::register(session, &args).await,
        ImageVerb::Import(args) => image::import(session, &args).await,
        ImageVerb::Promote(args) => image::promote(session, &args).await,
        ImageVerb::Rename(args) => image::rename(session, &args).await,
        ImageVerb::Delete(args) => image::delete(session, &args.refs).await,
    }
}

fn completion(shell: clap_complete::Shell, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::definition(), "banger", &mut script);
    output.bytes(&script)
}
