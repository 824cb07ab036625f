//! VMs as people read them.

use super::error::one_line;
use super::table::{pairs, table};
use super::time::{age, elapsed};
use banger_api::{ForwardState, Timing, Vm, VmForward};
use banger_core::state::Readiness;
use banger_core::vm::Purpose;
use jiff::Timestamp;

/// The table of `vm list`.
pub(crate) fn list(vms: &[Vm], now: Timestamp) -> String {
    let rows: Vec<_> = vms
        .iter()
        .map(|vm| {
            [
                vm.name.to_string(),
                state(vm),
                vm.readiness.to_string(),
                vm.ip.to_string(),
                vm.spec.vcpu.to_string(),
                vm.spec.memory.to_string(),
                vm.spec.work_disk.to_string(),
                vm.image.to_string(),
                age(&vm.created_at, now),
            ]
        })
        .collect();
    table(["NAME", "STATE", "READY", "IP", "VCPU", "MEMORY", "DISK", "IMAGE", "AGE"], &rows)
}

/// Everything about one VM.
pub(crate) fn show(vm: &Vm) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    pairs(&[
        ("name", vm.name.to_string()),
        ("id", vm.id.to_string()),
        ("state", format!("{}, readiness {}", state(vm), vm.readiness)),
        ("last error", or_dash(vm.last_error.as_deref().map(one_line))),
        ("image", vm.image.to_string()),
        ("vcpu", vm.spec.vcpu.to_string()),
        ("memory", vm.spec.memory.to_string()),
        ("root overlay", format!("{} ({})", vm.spec.overlay, vm.overlay_method.as_str())),
        ("work disk", vm.spec.work_disk.to_string()),
        ("nat", if vm.spec.nat { "on" } else { "off" }.to_owned()),
        ("address", format!("{} ({})", vm.ip, vm.mac)),
        ("host name", format!("{}.vm", vm.name)),
        ("forwards", or_dash(forwards(vm))),
        ("vmm", or_dash(vm.vmm.map(|kind| kind.as_str().to_owned()))),
        ("pid", or_dash(vm.pid.map(|pid| pid.to_string()))),
        ("created", vm.created_at.clone()),
        ("changed", changed(vm)),
        ("directory", vm.dir.display().to_string()),
        ("console log", vm.console_log.display().to_string()),
        ("vmm log", vm.vmm_log.display().to_string()),
    ])
}

/// When it changed, and what brought that about.
fn changed(vm: &Vm) -> String {
    let by = vm.changed_by.as_ref().map(|op| format!(", by operation {op}"));
    format!("{}{}", vm.changed_at, by.unwrap_or_default())
}

/// The state, with what the VM is there for where that is not its user's work: `running (build)`.
fn state(vm: &Vm) -> String {
    match vm.purpose {
        Purpose::Work => vm.state.to_string(),
        other => format!("{} ({})", vm.state, other.as_str()),
    }
}

/// The forwards in one line: `8080:80/tcp open, 53:53/udp failed`.
fn forwards(vm: &Vm) -> Option<String> {
    let shown: Vec<String> = vm.forwards.iter().map(forward).collect();
    (!shown.is_empty()).then(|| shown.join(", "))
}

fn forward(it: &VmForward) -> String {
    let state = it.problem.as_deref().unwrap_or(forward_state(it.state));
    format!("{}:{}/{} {state}", it.host_port, it.guest_port, it.protocol)
}

fn forward_state(state: ForwardState) -> &'static str {
    match state {
        ForwardState::Open => "open",
        ForwardState::Closed => "closed",
        ForwardState::Failed => "failed",
    }
}

/// The table of `vm forward`.
pub(crate) fn forward_table(vm: &Vm) -> String {
    let row = |it: &VmForward| {
        [
            format!("127.0.0.1:{}", it.host_port),
            format!("{}.vm:{}", vm.name, it.guest_port),
            it.protocol.to_string(),
            it.problem.clone().unwrap_or_else(|| forward_state(it.state).to_owned()),
        ]
    };
    let rows: Vec<_> = vm.forwards.iter().map(row).collect();
    table(["HOST", "GUEST", "PROTOCOL", "STATE"], &rows)
}

/// How far a boot has come in the time that was waited.
pub(crate) fn booted(vm: &Vm, waited_ms: u64) -> String {
    let waited = elapsed(waited_ms);
    let reached = match vm.readiness {
        Readiness::Ssh => format!("ready in {waited}"),
        Readiness::Guest => format!("guest up in {waited}"),
        Readiness::Vmm => format!("VMM started in {waited}"),
        Readiness::None => return format!("{}: {}", vm.name, vm.state),
    };
    format!("{}: {reached}, at {}", vm.name, vm.ip)
}

/// A phase that has ended.
pub(crate) fn phase(phase: &str, elapsed_ms: u64) -> String {
    format!("  {phase:<24} {:>9}", elapsed(elapsed_ms))
}

/// The table of `--timings`.
pub(crate) fn timings(timings: &[Timing]) -> String {
    let total = timings.iter().map(|timing| timing.elapsed_ms).sum();
    let phases = timings.iter().map(|timing| phase(&timing.phase, timing.elapsed_ms));
    phases.chain([phase("all phases", total)]).map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_add_up() {
        let timing = |phase: &str, elapsed_ms| Timing { phase: phase.to_owned(), elapsed_ms };
        let all = [timing("prepare the host", 212), timing("wait for ssh", 9_300)];
        insta::assert_snapshot!(timings(&all), @r"
          prepare the host            212 ms
          wait for ssh                 9.3 s
          all phases                   9.5 s
        ");
    }
}
