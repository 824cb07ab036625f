//! Reading values from the command line with the messages of the vocabulary.
//!
//! What the types of the core hold is checked here already, so that a mistake is told before
//! anything is started; the daemon checks it again.

use banger_core::spec::{SpecChange, VmSpec};
use banger_core::unit::{MiB, VcpuCount};
use std::io;
use std::path::PathBuf;

/// A reference to a VM. The daemon knows which ones mean something; an empty one never does.
pub(crate) fn reference(text: &str) -> Result<String, String> {
    given(text, "a VM's")
}

/// A reference to an image.
pub(crate) fn image_reference(text: &str) -> Result<String, String> {
    given(text, "an image's")
}

fn given(text: &str, whose: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err(format!("a reference is {whose} name, its id, or a unique beginning of one"));
    }
    Ok(text.to_owned())
}

/// A path for the daemon, which may be in another directory.
pub(crate) fn absolute(path: Option<&PathBuf>) -> io::Result<Option<PathBuf>> {
    path.map(std::path::absolute).transpose()
}

pub(crate) fn vcpu(text: &str) -> Result<VcpuCount, String> {
    let Ok(count) = text.parse::<i64>() else {
        return Err(format!("`{text}` is not a number of processors"));
    };
    match u32::try_from(count) {
        Ok(count) => VcpuCount::new(count).map_err(|error| error.to_string()),
        Err(_) => Err(format!("{count} vCPUs cannot be had; give 1 to {}", VcpuCount::MAX)),
    }
}

pub(crate) fn memory(text: &str) -> Result<MiB, String> {
    size(text, |size| SpecChange { memory: Some(size), ..SpecChange::default() })
}

pub(crate) fn overlay(text: &str) -> Result<MiB, String> {
    size(text, |size| SpecChange { overlay: Some(size), ..SpecChange::default() })
}

pub(crate) fn work_disk(text: &str) -> Result<MiB, String> {
    size(text, |size| SpecChange { work_disk: Some(size), ..SpecChange::default() })
}

/// Reads a size and checks its limits, which do not depend on what else is asked for.
fn size(text: &str, change: impl Fn(MiB) -> SpecChange) -> Result<MiB, String> {
    let size: MiB = text.parse().map_err(|error| format!("{error}"))?;
    let checked = change(size).over_defaults(&VmSpec::builtin_defaults());
    checked.map(|_| size).map_err(|error| error.to_string())
}

pub(crate) fn seconds(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("`{text}` is not a number of seconds, 1 or more")),
        Ok(seconds) => Ok(seconds),
    }
}

/// A span of time in seconds: `90`, `90s`, `10m`, `1h`.
pub(crate) fn span(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is not a span of time such as `90s`, `10m` or `1h`");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(wrong()),
    };
    let seconds = digits.parse::<u32>().ok().and_then(|count| count.checked_mul(factor));
    seconds.filter(|seconds| *seconds > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_has_its_own_message() {
        assert_eq!(vcpu("0").unwrap_err(), "0 vCPUs cannot be had; give 1 to 32");
        assert_eq!(vcpu("-2").unwrap_err(), "-2 vCPUs cannot be had; give 1 to 32");
        assert_eq!(vcpu("two").unwrap_err(), "`two` is not a number of processors");
        assert_eq!(memory("0").unwrap_err(), "a size must be at least 1 MiB");
        assert!(memory("64M").unwrap_err().contains("at least 128 MiB"));
        assert!(work_disk("129G").unwrap_err().contains("16 MiB to 128 GiB"));
        assert!(overlay("-1G").unwrap_err().contains("is not a size"));
        assert!(seconds("0").is_err() && seconds("-1").is_err());
    }

    #[test]
    fn good_values_pass() {
        assert_eq!(memory("2G").unwrap(), MiB::of(2048));
        assert_eq!(vcpu("4").unwrap().get(), 4);
        assert_eq!(seconds("90").unwrap(), 90);
        assert_eq!(
            ["90", "90s", "10m", "1h"].map(|text| span(text).unwrap()),
            [90, 90, 600, 3_600]
        );
        assert!(["", "0", "m", "-1m", "10d", "9999999h"].iter().all(|text| span(text).is_err()));
    }
}
