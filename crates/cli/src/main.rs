//! `banger`: the command line of the daemon `bangerd`.
//!
//! It knows the API and the vocabulary, and no more: everything that is done is done by the daemon.
//! `args` says what can be typed, `command` has one module for each noun or verb, `render` turns
//! answers into text and is pure, `fence` edits a text of the user's, `support` gathers what helps others to help, `output` and `progress` are the two that write, `connect` finds
//! or starts the daemon, and `launch` alone starts programs.

mod args;
mod command;
mod connect;
mod failure;
mod fence;
mod launch;
mod output;
mod progress;
mod render;
mod support;

use args::Cli;
use failure::Failure;
use output::{EXIT_USAGE, Format, Output};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::read() {
        Ok(cli) => ExitCode::from(run(cli)),
        Err(refusal) => ExitCode::from(refuse(&refusal)),
    }
}

/// Runs one command to its exit code.
fn run(cli: Cli) -> u8 {
    let output = Output::new(if cli.global.json { Format::Json } else { Format::Text });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(command::run(cli, &output)),
        Err(error) => Err(Failure::internal(&format!("the runtime does not start: {error}"))),
    };
    match result {
        Ok(()) => 0,
        Err(failure) => output.report(failure),
    }
}

/// Shows what is wrong with a command line, or the help or version that was asked for.
fn refuse(refusal: &clap::Error) -> u8 {
    let before_command = std::env::args_os().skip(1).take_while(|arg| arg != "--");
    let json = before_command.into_iter().any(|arg| arg == "--json");
    if !refusal.use_stderr() {
        return if refusal.print().is_ok() { 0 } else { EXIT_USAGE };
    }
    if json {
        return Output::new(Format::Json).report(Failure::usage(refusal));
    }
    refusal.print().map_or(EXIT_USAGE, |()| EXIT_USAGE)
}
