//! From figures to the text format: pure, and the one place that has the metrics' names.
//!
//! Only what is said of one VM bears that VM's id and name, so the number of series grows with the
//! VMs that there are and with nothing else.

use banger_api::Version;
use banger_core::state::VmState;
use banger_core::vm::Vm;
use banger_dns::Verdict;
use banger_engine::{Counted, Load, Measures};
use banger_host::facts::ThisProcess;
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How things are at one moment.
#[derive(Debug)]
pub(super) struct Scrape {
    /// All VMs.
    pub(super) loads: Vec<Load>,
    /// How many objects the ledger has.
    pub(super) ledger: Option<usize>,
    /// What the last inventory came to.
    pub(super) inventory: Option<Counted>,
    /// How many names the DNS server knows.
    pub(super) names: usize,
    /// How many queries it has answered how.
    pub(super) queries: Vec<(Verdict, u64)>,
    /// The daemon's process.
    pub(super) own: Option<ThisProcess>,
}

type Labels = Vec<(&'static str, String)>;
/// Whole numbers.
type Amount = Gauge<u64, AtomicU64>;
/// Numbers of seconds that only grow.
type Seconds = Counter<f64, AtomicU64>;

/// All metrics as text.
pub(super) fn render(scrape: &Scrape, measures: &Measures, version: &Version) -> String {
    let mut registry = Registry::default();
    daemon(&mut registry, scrape, version);
    engine(&mut registry, scrape, measures);
    names(&mut registry, scrape);
    vms(&mut registry, &scrape.loads);
    let mut text = String::new();
    encode(&mut text, &registry).expect("a text takes what is written, and no figure is too large");
    text
}

fn daemon(registry: &mut Registry, scrape: &Scrape, version: &Version) {
    let labels = vec![
        ("version", version.version.clone()),
        ("commit", version.commit.clone()),
        ("build", version.build.clone()),
    ];
    registry.register("banger_build", "The daemon's build", Info::new(labels));
    let Some(own) = scrape.own else { return };
    let resident = amount(own.resident.0);
    registry.register("process_resident_memory_bytes", "Resident memory of the daemon", resident);
    let cpu = seconds(own.cpu);
    registry.register("process_cpu_seconds", "Processor time of the daemon", cpu);
    registry.register("process_open_fds", "File descriptors of the daemon", amount(own.open_files));
}

fn engine(registry: &mut Registry, scrape: &Scrape, measures: &Measures) {
    let by_state = Family::<Labels, Amount>::default();
    for state in VmState::ALL {
        let count = scrape.loads.iter().filter(|load| load.view.vm.state == state).count();
        by_state.get_or_create(&vec![("state", state.to_string())]).set(whole(count));
    }
    registry.register("banger_vms", "VMs by state", by_state);
    registry.register(
        "banger_vm_phase_duration_seconds",
        "How long phases of starts and stops took that went well",
        measures.phases.clone(),
    );
    registry.register("banger_operations", "Ended operations", measures.operations.clone());
    registry.register(
        "banger_vms_ended_by_themselves",
        "VMs that ended without being asked to",
        measures.ended_by_themselves.clone(),
    );
    registry.register(
        "banger_host_errors",
        "Resources that the host refused to set up or to remove",
        measures.host_errors.clone(),
    );
    if let Some(count) = scrape.ledger {
        let help = "Resources that are or may be on the host";
        registry.register("banger_ledger_resources", help, amount(whole(count)));
    }
    if let Some(Counted { objects, at }) = scrape.inventory {
        let help = "Objects on the host that bear the instance's mark, by the last inventory";
        registry.register("banger_inventory_objects", help, amount(whole(objects)));
        let taken = SystemTime::now().checked_sub(at.elapsed());
        let since = taken.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(since.as_secs_f64());
        registry.register(
            "banger_inventory_timestamp_seconds",
            "When the last inventory was taken, since 1970",
            gauge,
        );
    }
}

fn names(registry: &mut Registry, scrape: &Scrape) {
    registry.register("banger_dns_names", "VMs that have a name", amount(whole(scrape.names)));
    let queries = Family::<Labels, Counter>::default();
    for (verdict, count) in &scrape.queries {
        let labels = vec![("answer", verdict.as_str().to_owned())];
        queries.get_or_create(&labels).inc_by(*count);
    }
    registry.register("banger_dns_queries", "DNS queries by answer", queries);
}

fn vms(registry: &mut Registry, loads: &[Load]) {
    let [limit, resident, allocated, size] =
        std::array::from_fn(|_| Family::<Labels, Amount>::default());
    let cpu = Family::<Labels, Seconds>::default();
    for Load { view, process, root, work } in loads {
        let (vm, spec) = (&view.vm, &view.vm.spec);
        if let Some(process) = process {
            cpu.get_or_create(&of(vm)).inc_by(process.cpu.as_secs_f64());
            resident.get_or_create(&of(vm)).set(process.resident.0);
        }
        limit.get_or_create(&of(vm)).set(spec.memory.bytes().0);
        for (disk, used, whole) in [("root", root, spec.overlay), ("work", work, spec.work_disk)] {
            let labels = [of(vm), vec![("disk", disk.to_owned())]].concat();
            allocated.get_or_create(&labels).set(used.0);
            size.get_or_create(&labels).set(whole.bytes().0);
        }
    }
    registry.register("banger_vm_cpu_seconds", "Processor time of the VMM since it started", cpu);
    registry.register("banger_vm_memory_resident_bytes", "Resident memory of the VMM", resident);
    registry.register("banger_vm_memory_limit_bytes", "Memory that the VM is given", limit);
    let help = "Allocated blocks of the VM's own part of a disk";
    registry.register("banger_vm_disk_allocated_bytes", help, allocated);
    registry.register("banger_vm_disk_size_bytes", "Size of a disk", size);
}

fn of(vm: &Vm) -> Labels {
    vec![("id", vm.id.to_string()), ("name", vm.name.to_string())]
}

fn amount(of: u64) -> Amount {
    let gauge = Amount::default();
    gauge.set(of);
    gauge
}

fn seconds(of: Duration) -> Seconds {
    let counter = Seconds::default();
    counter.inc_by(of.as_secs_f64());
    counter
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
