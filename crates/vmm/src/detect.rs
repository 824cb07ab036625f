//! Whether KVM can run a stock kernel here.
//!
//! That `/dev/kvm` exists is not enough: where the CPU's virtualisation extension is hidden, as in
//! many containers and nested machines, a guest's kernel can hang for half a minute and die.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

/// What was found out about KVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvmStatus {
    /// A stock kernel can be expected to run.
    Usable,
    /// It cannot.
    Unusable {
        /// Why, as a sentence in lower case without a full stop.
        reason: String,
    },
}

/// What the host shows of KVM.
#[derive(Debug)]
struct Evidence<'a> {
    /// The outcome of opening `/dev/kvm` for reading and writing.
    device: io::Result<()>,
    /// The text of `/proc/cpuinfo`.
    cpuinfo: &'a str,
    /// The text of `/proc/modules`.
    modules: &'a str,
    /// The names of the directories in `/sys/module`, which also has what is built in.
    sys_modules: &'a [String],
}

/// The CPU's extensions: Intel's and AMD's flag in `/proc/cpuinfo`.
const FLAGS: [&str; 2] = ["vmx", "svm"];

/// The modules that drive them. They load only where the extension works.
const MODULES: [&str; 2] = ["kvm_intel", "kvm_amd"];

/// Looks at this host. What cannot be read counts as empty.
pub fn detect_kvm() -> KvmStatus {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    judge(&Evidence {
        device: OpenOptions::new().read(true).write(true).open("/dev/kvm").map(drop),
        cpuinfo: &read("/proc/cpuinfo"),
        modules: &read("/proc/modules"),
        sys_modules: &names_in(Path::new("/sys/module")),
    })
}

fn names_in(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

fn judge(evidence: &Evidence<'_>) -> KvmStatus {
    if let Err(error) = &evidence.device {
        return KvmStatus::Unusable { reason: device_reason(error) };
    }
    if has_extension_flag(evidence.cpuinfo) || has_kvm_module(evidence) {
        return KvmStatus::Usable;
    }
    let reason = "`/dev/kvm` can be opened, but the CPU shows neither the `vmx` nor the `svm` flag \
                  and neither `kvm_intel` nor `kvm_amd` is loaded, so a stock kernel would hang";
    KvmStatus::Unusable { reason: reason.to_owned() }
}

fn device_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "`/dev/kvm` does not exist, so the host's kernel offers no virtualisation".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "`/dev/kvm` exists, but this user may not open it for reading and writing".to_owned()
        }
        _ => format!("`/dev/kvm` cannot be opened for reading and writing: {error}"),
    }
}

/// Whether any processor's `flags` line has one of the flags as a whole word.
fn has_extension_flag(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.trim() == "flags")
        .any(|(_, flags)| flags.split_whitespace().any(|flag| FLAGS.contains(&flag)))
}

/// Whether a module is loaded, or built into the kernel.
fn has_kvm_module(evidence: &Evidence<'_>) -> bool {
    let loaded = evidence.modules.lines().filter_map(|line| line.split_whitespace().next());
    let present = evidence.sys_modules.iter().map(String::as_str);
    loaded.chain(present).any(|name| MODULES.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_FLAGS: &str =
        "processor\t: 0\nvmx flags\t: vnmi\nflags\t\t: fpu hypervisor svm_lock\n";
    const INTEL: &str = "processor\t: 0\nflags\t\t: fpu vmx sse2\n";
    const AMD: &str = "processor\t: 0\nflags\t\t: fpu svm\n";

    fn verdict(device: io::Result<()>, cpuinfo: &str, modules: &str, sys: &[&str]) -> KvmStatus {
        let sys_modules: Vec<String> = sys.iter().map(ToString::to_string).collect();
        judge(&Evidence { device, cpuinfo, modules, sys_modules: &sys_modules })
    }

    fn reason(status: KvmStatus) -> String {
        match status {
            KvmStatus::Unusable { reason } => reason,
            KvmStatus::Usable => panic!("KVM was judged usable"),
        }
    }

    #[test]
    fn an_open_device_and_a_flag_or_a_module_make_kvm_usable() {
        let module = "kvm_amd 155648 4 - Live 0x0\nkvm 1142784 1 kvm_amd, Live 0x0\n";
        for (cpuinfo, modules, sys) in [
            (INTEL, "", &[][..]),
            (AMD, "", &[]),
            (NO_FLAGS, module, &[]),
            (NO_FLAGS, "", &["kvm", "kvm_intel"]),
        ] {
            let status = verdict(Ok(()), cpuinfo, modules, sys);
            assert_eq!(status, KvmStatus::Usable, "{cpuinfo:?} {modules:?} {sys:?}");
        }
    }

    #[test]
    fn a_device_without_the_extension_is_not_enough() {
        let lookalikes = "kvm 1142784 0 - Live 0x0\nnot_kvm_amd 1 0 - Live 0x0\n";
        for (cpuinfo, modules, sys) in
            [(NO_FLAGS, "", &[][..]), (NO_FLAGS, lookalikes, &["kvm", "kvm_amd_x"]), ("", "", &[])]
        {
            let reason = reason(verdict(Ok(()), cpuinfo, modules, sys));
            assert!(reason.contains("`vmx`") && reason.contains("`kvm_amd`"), "{reason}");
        }
    }

    #[test]
    fn a_device_that_does_not_open_is_named_with_the_cause() {
        let of = |kind: io::ErrorKind| reason(verdict(Err(kind.into()), INTEL, "", &["kvm_intel"]));
        assert!(of(io::ErrorKind::NotFound).contains("does not exist"));
        assert!(of(io::ErrorKind::PermissionDenied).contains("this user may not"));
        let busy = reason(verdict(Err(io::Error::from_raw_os_error(16)), INTEL, "", &[]));
        assert!(busy.contains("busy"), "{busy}");
    }

    #[test]
    fn reasons_read_as_sentences() {
        let outcomes = [
            verdict(Err(io::ErrorKind::NotFound.into()), "", "", &[]),
            verdict(Err(io::ErrorKind::PermissionDenied.into()), "", "", &[]),
            verdict(Ok(()), "", "", &[]),
        ];
        for text in outcomes.map(reason) {
            assert!(!text.ends_with('.') && !text.contains("  "), "{text}");
        }
    }

    #[test]
    fn this_host_gets_a_verdict() {
        if let KvmStatus::Unusable { reason } = detect_kvm() {
            assert!(reason.contains("/dev/kvm"), "{reason}");
        }
    }
}
