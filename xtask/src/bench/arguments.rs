//! What a VMM was told when it was started.

use anyhow::{Context, Result};
use rustix::process::Pid;
use std::fs;

/// The arguments of a process that runs, the program first.
pub(super) fn of_process(pid: Pid) -> Result<Vec<String>> {
    let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.split_terminator('\0').map(str::to_owned).collect())
}

/// What follows `start` in one of the arguments, up to a comma.
pub(super) fn value<'a>(args: &'a [String], start: &str) -> Result<&'a str> {
    args.iter()
        .find_map(|arg| arg.strip_prefix(start)?.split(',').next())
        .with_context(|| format!("the VMM has no argument `{start}…`"))
}

/// The argument after the option.
pub(super) fn following<'a>(args: &'a [String], option: &str) -> Result<&'a str> {
    let mut args = args.iter().skip_while(|arg| *arg != option);
    args.nth(1).map(String::as_str).with_context(|| format!("the VMM has no option `{option}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_names_are_found_in_the_arguments() {
        let text = "qemu -initrd /a/initrd -chardev socket,id=control,path=/r/s,server=on";
        let args: Vec<String> = text.split(' ').map(str::to_owned).collect();
        assert_eq!(value(&args, "socket,id=control,path=").unwrap(), "/r/s");
        assert_eq!(following(&args, "-initrd").unwrap(), "/a/initrd");
        assert!(value(&args, "tap,").unwrap_err().to_string().contains("tap,"));
        assert!(following(&args, "-kernel").is_err());
    }
}
