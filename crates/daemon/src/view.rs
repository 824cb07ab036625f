//! What the engine shows, as it is on the wire.

pub mod bundle;

use crate::problem;
use banger_api::{
    AuditReport, BootStage, BundleImage, ContainerConfig, Finding, ForwardState, ImageImport,
    ImageView, LogEnd, LogLine, LogSource, SshTarget, Timing, Vm, VmForward, VmStats, Why,
};
use banger_core::forward::{Forward, HostPort};
use banger_core::guest::StageDetail;
use banger_core::image::Image;
use banger_core::ledger::Audit;
use banger_core::resource::{Observed, ResourceKey};
use banger_core::telling::{self, Voice};
use banger_core::vm::UnixMillis;
use banger_engine::{ForwardView, Outcome, SshAccess, Usage, VmView};
use banger_image::import::{ImageConfig, ImportRecord};
use jiff::Timestamp;
use std::time::Duration;

/// A VM.
pub fn vm(view: VmView) -> Vm {
    let VmView { vm, image, readiness, pid, forwards, paths, last_end: _ } = view;
    Vm {
        id: vm.id,
        name: vm.name,
        image,
        state: vm.state,
        readiness,
        ip: vm.identity.ip,
        mac: vm.identity.mac,
        spec: vm.spec,
        overlay_method: vm.overlay,
        purpose: vm.purpose,
        vmm: vm.vmm,
        pid,
        last_error: vm.last_error,
        forwards: forwards.into_iter().map(forward).collect(),
        created_at: time(vm.created_at),
        changed_at: time(vm.changed_at),
        changed_by: vm.changed_by,
        dir: paths.dir,
        console_log: paths.console_log,
        vmm_log: paths.vmm_log,
    }
}

fn forward(view: ForwardView) -> VmForward {
    let Forward { from: HostPort { protocol, host_port }, guest_port } = view.forward;
    let (state, problem) = match view.state {
        banger_engine::ForwardState::Closed => (ForwardState::Closed, None),
        banger_engine::ForwardState::Open => (ForwardState::Open, None),
        banger_engine::ForwardState::Failed { problem } => (ForwardState::Failed, Some(problem)),
    };
    VmForward { protocol, host_port, guest_port, state, problem }
}

/// Why a VM is as it is.
pub fn why(why: banger_engine::Why) -> Why {
    Why {
        name: why.name,
        id: why.id,
        vm: why.view.map(vm),
        last_error: why.last_error,
        op_id: why.op_id,
        failed_at: why.failed_at.map(time),
        stages: why.stages.into_iter().map(boot_stage).collect(),
        findings: why.findings.into_iter().map(finding).collect(),
        console: log_end(why.console),
        vmm: log_end(why.vmm),
    }
}

fn boot_stage(reached: telling::BootStage) -> BootStage {
    let telling::BootStage { stage, took_ms, detail } = reached;
    let StageDetail { uptime_ms, version: _, warning, during, error } = detail;
    BootStage { stage, at_ms: uptime_ms, took_ms, warning, during, error }
}

fn finding(found: banger_engine::Finding) -> Finding {
    Finding {
        telling: found.telling,
        source: match found.voice {
            Voice::Guest => LogSource::Console,
            Voice::Vmm => LogSource::Vmm,
        },
        line: found.line,
        count: found.count,
        meaning: found.telling.meaning().to_owned(),
        hint: found.telling.remedy().to_owned(),
    }
}

fn log_end(end: banger_engine::LogEnd) -> LogEnd {
    let line = |line: banger_engine::LogLine| LogLine { text: line.text, telling: line.telling };
    LogEnd { path: end.path, lines: end.lines.into_iter().map(line).collect() }
}

/// What an ssh client needs.
pub fn ssh(access: SshAccess) -> SshTarget {
    SshTarget {
        vm: vm(access.view),
        user: access.user.to_owned(),
        address: access.address,
        port: access.port,
        key: access.key,
        known_hosts: access.known_hosts,
        host_key_alias: access.host_key_alias,
    }
}

/// What a VM uses.
pub fn stats(usage: Usage) -> VmStats {
    VmStats {
        vm: vm(usage.view),
        cpu_ms: millis(usage.cpu),
        cpu_permille: usage.cpu_permille,
        resident_bytes: usage.resident.0,
        root_bytes: usage.root.0,
        work_bytes: usage.work.0,
        uptime_ms: millis(usage.uptime),
    }
}

/// An image.
pub fn image(view: banger_engine::ImageView) -> ImageView {
    let banger_engine::ImageView { record, image, problem, users, stale, provenance } = view;
    let boot = image.map(|image| (image.kernel, image.initrd, image.boot_args));
    let (kernel, initrd, boot_args) = match boot {
        Some((kernel, initrd, boot_args)) => (Some(kernel), initrd, boot_args),
        None => (None, None, record.boot_args),
    };
    ImageView {
        id: record.id,
        name: record.name,
        kind: record.kind,
        origin: record.origin,
        rootfs: record.rootfs,
        kernel,
        initrd,
        boot_args,
        size_bytes: record.size.map(|size| size.0),
        digest: record.digest,
        created_at: time(record.created_at),
        used_by: users,
        stale,
        problem: problem.as_ref().map(problem::describe),
        import: provenance.map(image_import),
    }
}

fn image_import(record: ImportRecord) -> ImageImport {
    let ImportRecord { version: _, source, kind, digests, entries, config, warnings } = record;
    ImageImport {
        source,
        kind: kind.name().to_owned(),
        archive_digest: digests.archive,
        manifest_digest: digests.manifest,
        config_digest: digests.config,
        layers: digests.layers,
        entries,
        container: config.map(container_config),
        warnings,
    }
}

fn container_config(config: ImageConfig) -> ContainerConfig {
    ContainerConfig {
        created: config.created,
        author: config.author,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        env: config.env,
        working_dir: config.working_dir,
        user: config.user,
        stop_signal: config.stop_signal,
        exposed_ports: config.exposed_ports,
        volumes: config.volumes,
        labels: config.labels,
    }
}

/// The image in the bundle.
pub fn bundle_image(image: Image) -> BundleImage {
    BundleImage { name: image.name, rootfs: image.rootfs, kernel: image.kernel }
}

/// How ledger and host differ.
pub fn audit(audit: Audit, inventory: &[Observed], ledger: &[ResourceKey]) -> AuditReport {
    let line = |observed: &Observed| format!("{} {}", observed.key, observed.object);
    let ledger = ledger.iter().map(ResourceKey::to_string).collect();
    AuditReport { audit, inventory: inventory.iter().map(line).collect(), ledger }
}

/// What a successful operation came to.
pub fn outcome(op_id: banger_core::id::OpId, outcome: Outcome) -> banger_api::Outcome {
    let timing = |(phase, elapsed): (banger_engine::Phase, Duration)| Timing {
        phase: phase.to_string(),
        elapsed_ms: millis(elapsed),
    };
    banger_api::Outcome {
        op_id,
        vm: outcome.vm.map(vm),
        changed: outcome.changed,
        timings: outcome.timings.into_iter().map(timing).collect(),
        notes: outcome.notes,
    }
}

/// Whole milliseconds; a duration of more than 584 million years counts as that.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC, with milliseconds. A time that no calendar has is shown as the epoch.
fn time(at: UnixMillis) -> String {
    let at = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(time(UnixMillis(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(UnixMillis(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(UnixMillis(i64::MAX)), "1970-01-01T00:00:00.000Z");
    }
}
