//! What the start of a VM needs: a VMM, KVM or patience, TAP interfaces, privileges, memory.

use super::{Facts, VersionSaid};
use crate::config::Key;
use banger_api::{Check, Scope};
use banger_core::error::ErrorCode;
use banger_core::unit::Bytes;
use banger_core::vm::VmmKind;
use banger_vmm::{FirecrackerVersion, KvmStatus};

const SCOPE: Scope = Scope::Vm;

pub(super) fn examine(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![vmm(facts)];
    checks.extend(version(facts));
    checks.extend([kvm(facts), tun(facts), privileges(SCOPE, NETWORK, facts)]);
    checks.extend(memory(facts));
    checks
}

fn vmm(facts: &Facts) -> Check {
    let (what, key) = match facts.vmm {
        VmmKind::Firecracker => ("Firecracker", Key::FirecrackerBin),
        VmmKind::Qemu => ("QEMU", Key::QemuBin),
    };
    if facts.has_program {
        let choice = &facts.vmm_choice;
        let found = format!("{}: {}", choice.chosen, choice.because);
        return Check::pass(SCOPE, "vmm", found).from(facts.origin(Key::Vmm));
    }
    let program = facts.program.display();
    if facts.is_set(key) {
        let found = format!("there is no `{program}`, which {} names", facts.origin(key));
        let hint =
            format!("set `{key}` to {what}'s program, or remove it; then `banger daemon restart`");
        return Check::fail(SCOPE, "vmm", ErrorCode::MissingDependency, found, hint)
            .from(facts.origin(key));
    }
    let found = format!("{what} is not installed: there is no `{program}`");
    let install = facts.host.distribution.install(&facts.program);
    let instead = format!("set `{key}` in the configuration file and start the daemon again");
    let hint = format!("{install}, or {instead}");
    Check::fail(SCOPE, "vmm", ErrorCode::MissingDependency, found, hint).from(facts.origin(key))
}

fn version(facts: &Facts) -> Option<Check> {
    if facts.vmm != VmmKind::Firecracker || !facts.has_program {
        return None;
    }
    let line = match &facts.version {
        VersionSaid::NotAsked => return None,
        VersionSaid::Nothing => "",
        VersionSaid::Line(line) => line,
    };
    let program = facts.program.display();
    let advised = FirecrackerVersion::ADVISED;
    let check = match FirecrackerVersion::read(line) {
        Some(version) if version >= advised => {
            Check::pass(SCOPE, "firecracker", format!("version {version}"))
        }
        Some(version) => Check::warn(
            SCOPE,
            "firecracker",
            format!("version {version} is older than {advised}: its jailer has CVE-2026-1386"),
            format!("replace `{program}` by Firecracker {advised} or later"),
        ),
        None => Check::warn(
            SCOPE,
            "firecracker",
            format!("`{program} --version` names no version of Firecracker"),
            format!("replace it by Firecracker {advised} or later"),
        ),
    };
    Some(check.from(facts.origin(Key::FirecrackerBin)))
}

fn kvm(facts: &Facts) -> Check {
    let missing = ErrorCode::MissingDependency;
    let hint = "switch virtualisation on in the firmware's settings, load `kvm_intel` or \
                `kvm_amd`, and let the daemon's user open `/dev/kvm`";
    let emulate = "or set `vmm = \"qemu\"`, which needs no KVM";
    match (&facts.kvm, facts.vmm) {
        (KvmStatus::Usable, _) if facts.host.kvm_opens => {
            Check::pass(SCOPE, "kvm", "KVM can run a stock kernel here")
        }
        (KvmStatus::Usable, _) => {
            let found = "`/dev/kvm` could be opened when the daemon started, and cannot now";
            Check::fail(SCOPE, "kvm", missing, found, "start the daemon again, or mend `/dev/kvm`")
        }
        (KvmStatus::Unusable { reason }, VmmKind::Qemu) => {
            let found = format!("guests are emulated in software, which is slow: {reason}");
            Check::warn(SCOPE, "kvm", found, hint)
        }
        (KvmStatus::Unusable { reason }, VmmKind::Firecracker) if facts.host.kvm_opens => {
            let found = format!("guests may not come up: {reason}");
            Check::warn(SCOPE, "kvm", found, format!("{hint}; {emulate}"))
        }
        (KvmStatus::Unusable { reason }, VmmKind::Firecracker) => {
            let found = format!("Firecracker needs KVM: {reason}");
            Check::fail(SCOPE, "kvm", missing, found, format!("{hint}; {emulate}"))
        }
    }
}

fn tun(facts: &Facts) -> Check {
    match &facts.host.tun {
        Ok(()) => Check::pass(SCOPE, "tun", "TAP interfaces can be made"),
        Err(reason) => Check::fail(
            SCOPE,
            "tun",
            ErrorCode::MissingDependency,
            format!("no TAP interface can be made: {reason}"),
            "load the module with `modprobe tun`; in a container, pass `/dev/net/tun` in",
        ),
    }
}

/// What a VM needs root for.
const NETWORK: &str = "may make neither interfaces nor firewall rules";

/// Whether the daemon is root; `else_it` says what it may not do without.
pub(super) fn privileges(scope: Scope, else_it: &str, facts: &Facts) -> Check {
    if facts.host.root {
        return Check::pass(scope, "privileges", "the daemon is root");
    }
    Check::fail(
        scope,
        "privileges",
        ErrorCode::NotPermitted,
        format!("the daemon is not root, and {else_it}"),
        "stop it with `banger daemon stop`, and use `sudo banger`",
    )
}

fn memory(facts: &Facts) -> Option<Check> {
    let memory = facts.host.memory?;
    let asked = facts.demand.memory;
    let needed = Bytes(u64::from(asked.get()) << 20);
    let check = if needed > memory.total {
        Check::fail(
            SCOPE,
            "memory",
            ErrorCode::InvalidRequest,
            format!("a VM of {asked} does not fit: the host has {} with swap", memory.total),
            "give the VM less with `--memory`",
        )
    } else if needed > memory.available {
        Check::warn(
            SCOPE,
            "memory",
            format!("{} are available, less than a VM's {asked}", memory.available),
            "stop other VMs with `banger vm stop`, or give VMs less with `--memory`",
        )
    } else {
        let found = format!("{} are available for VMs of {asked}", memory.available);
        Check::pass(SCOPE, "memory", found)
    };
    Some(check.from(facts.origin(Key::Memory)))
}
