//! Running the built program, and what it said as one text.

use crate::fake::Fake;
use crate::program::{BANGER, command};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The program against a daemon of prepared answers.
pub(crate) fn against(fake: &Fake, args: &[&str]) -> Command {
    let mut command = command(Path::new(BANGER), fake.dir());
    command.args(args);
    command
}

/// Runs the program, and shows all that a user would see.
pub(crate) fn banger(fake: &Fake, args: &[&str]) -> String {
    transcript(&against(fake, args).output().unwrap(), fake.dir())
}

/// What a run came to. What changes from run to run is replaced.
pub(crate) fn transcript(output: &Output, dir: &Path) -> String {
    let shown = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).replace(dir.to_str().unwrap(), "[DIR]");
        text.lines().map(|line| steady(line) + "\n").collect::<String>()
    };
    let code = output.status.code().map_or("none".to_owned(), |code| code.to_string());
    let (stdout, stderr) = (shown(&output.stdout), shown(&output.stderr));
    format!("exit: {code}\n--- stdout\n{stdout}--- stderr\n{stderr}")
}

/// Replaces the time that was waited, `in 12 ms` and `in 1.2 s`, and the blanks of blank lines,
/// which the help has and no editor keeps.
fn steady(line: &str) -> String {
    if line.trim().is_empty() {
        return String::new();
    }
    let Some((before, rest)) = line.split_once(" in ") else { return line.to_owned() };
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let after = after.strip_prefix(" ms").or_else(|| after.strip_prefix(" s"));
    match after {
        Some(after) if rest.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("{before} in [TIME]{after}")
        }
        _ => line.to_owned(),
    }
}

/// Makes a script in a directory.
pub(crate) fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Starts the program and goes on.
pub(crate) fn start(fake: &Fake, args: &[&str]) -> Child {
    piped(against(fake, args).env("PATH", fake.dir()))
}

/// Starts a program whose words are read at its end.
pub(crate) fn piped(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(crate) fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Waits for the end of a program that was started.
pub(crate) fn end_of(child: Child, fake: &Fake) -> String {
    transcript(&child.wait_with_output().unwrap(), fake.dir())
}
