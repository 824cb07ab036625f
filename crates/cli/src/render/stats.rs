//! What VMs use, as people read it.

use super::error::printable;
use super::table::table as columns_of;
use super::time::rough;
use banger_api::VmStats;
use banger_core::unit::{Bytes, MiB};

/// The widths of a bar, the best first. None at all leaves the figures.
const BARS: [usize; 4] = [12, 8, 5, 0];

/// The table of `vm stats`.
pub(crate) fn table(all: &mut dyn Iterator<Item = &VmStats>) -> String {
    let rows: Vec<_> = all.map(|stats| row(stats, 0)).collect();
    text(&rows)
}

fn text(rows: &[[String; 7]]) -> String {
    columns_of(["NAME", "STATE", "CPU", "MEMORY", "ROOT", "WORK", "UPTIME"], rows)
}

fn row(stats: &VmStats, bar: usize) -> [String; 7] {
    let VmStats { vm, cpu_permille, resident_bytes, root_bytes, work_bytes, .. } = stats;
    let runs = vm.pid.is_some();
    let if_runs = |cell: String| if runs { cell } else { "-".to_owned() };
    let cpus = u64::from(vm.spec.vcpu.get()) * 1000;
    let cpu = format!("{}.{} %", cpu_permille / 10, cpu_permille % 10);
    [
        vm.name.to_string(),
        vm.state.to_string(),
        if_runs(with_bar(u64::from(*cpu_permille), cpus, bar, &format!("{cpu:>7}"))),
        if_runs(share(*resident_bytes, vm.spec.memory, bar)),
        share(*root_bytes, vm.spec.overlay, bar),
        share(*work_bytes, vm.spec.work_disk, bar),
        if_runs(rough(stats.uptime_ms / 1_000)),
    ]
}

/// So much of a whole, such as `256.0 MiB / 1 GiB`.
fn share(used: u64, whole: MiB, bar: usize) -> String {
    let text = format!("{} / {whole}", Bytes(used));
    with_bar(used, whole.bytes().0, bar, &text)
}

/// A bar before a text, as long as the part is of the whole. Any use at all is seen, and what is
/// more than the whole fills it.
fn with_bar(part: u64, whole: u64, width: usize, text: &str) -> String {
    if width == 0 {
        return text.trim_start().to_owned();
    }
    let cells = u64::try_from(width).unwrap_or(u64::MAX);
    let filled = part.saturating_mul(cells).div_ceil(whole.max(1)).min(cells);
    let filled = usize::try_from(filled).unwrap_or(width);
    format!("{}{} {text}", "█".repeat(filled), "░".repeat(width - filled))
}

/// The lines of a look on a terminal of that size, with bars as wide as there is room for. What does
/// not fit is cut off, and said.
pub(crate) fn live<'a>(
    all: impl Iterator<Item = &'a VmStats>,
    amiss: &[String],
    columns: usize,
    rows: usize,
) -> Vec<String> {
    let all: Vec<&VmStats> = all.collect();
    let lines = |bar: usize| -> Vec<String> {
        let rows: Vec<_> = all.iter().map(|stats| row(stats, bar)).collect();
        text(&rows).lines().map(str::to_owned).collect()
    };
    let fits = |lines: &Vec<String>| lines.iter().all(|line| line.chars().count() < columns);
    let mut lines = BARS.into_iter().map(lines).find(fits).unwrap_or_else(|| lines(0));
    if all.is_empty() {
        lines = vec!["there is no VM".to_owned()];
    }
    lines.extend(amiss.iter().map(|line| printable(line).replace('\n', " ")));
    // The cursor stands in the line below.
    let room = rows.saturating_sub(1).max(1);
    if lines.len() > room {
        let more = lines.len() - room + 1;
        lines.truncate(room - 1);
        lines.push(format!("… and {more} lines more"));
    }
    // A line that were as wide as the terminal would take two.
    lines.iter().map(|line| line.chars().take(columns.saturating_sub(1)).collect()).collect()
}

/// Puts lines where so many were before, and leaves nothing of those.
pub(crate) fn frame(before: usize, lines: &[String]) -> String {
    let up = if before == 0 { String::new() } else { format!("\x1b[{before}A\r") };
    let lines: String = lines.iter().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("{up}{lines}\x1b[J")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(name: &str, running: bool) -> VmStats {
        let state = if running { "running" } else { "stopped" };
        let vm = serde_json::json!({
            "id": "0f5k2m9q", "name": name, "image": "default", "state": state,
            "readiness": "ssh", "ip": "172.16.0.2", "mac": "06:00:ac:10:00:02",
            "spec": {
                "vcpu": 2, "memory": 1024, "overlay": 8192, "work_disk": 8192, "nat": true,
            },
            "overlay_method": "reflink", "pid": running.then_some(7),
            "created_at": "", "changed_at": "", "dir": "", "console_log": "", "vmm_log": "",
        });
        VmStats {
            vm: serde_json::from_value(vm).unwrap(),
            cpu_ms: 1,
            cpu_permille: 1000,
            resident_bytes: 256 << 20,
            root_bytes: 5 << 20,
            work_bytes: 0,
            uptime_ms: 7_200_000,
        }
    }

    fn shown(columns: usize, rows: usize) -> String {
        let all = [stats("otter", true), stats("heron", false)];
        live(all.iter(), &["the daemon is away".to_owned()], columns, rows).join("\n")
    }

    #[test]
    fn bars_are_as_wide_as_there_is_room_for() {
        insta::assert_snapshot!(shown(140, 24), @r"
        NAME   STATE    CPU                   MEMORY                          ROOT                          WORK                      UPTIME
        otter  running  ██████░░░░░░ 100.0 %  ███░░░░░░░░░ 256.0 MiB / 1 GiB  █░░░░░░░░░░░ 5.0 MiB / 8 GiB  ░░░░░░░░░░░░ 0 B / 8 GiB  2h
        heron  stopped  -                     -                               █░░░░░░░░░░░ 5.0 MiB / 8 GiB  ░░░░░░░░░░░░ 0 B / 8 GiB  -
        the daemon is away
        ");
        insta::assert_snapshot!(shown(111, 24), @r"
        NAME   STATE    CPU            MEMORY                   ROOT                   WORK               UPTIME
        otter  running  ███░░ 100.0 %  ██░░░ 256.0 MiB / 1 GiB  █░░░░ 5.0 MiB / 8 GiB  ░░░░░ 0 B / 8 GiB  2h
        heron  stopped  -              -                        █░░░░ 5.0 MiB / 8 GiB  ░░░░░ 0 B / 8 GiB  -
        the daemon is away
        ");
    }

    #[test]
    fn what_does_not_fit_is_cut_and_said() {
        insta::assert_snapshot!(shown(20, 4), @r"
        NAME   STATE    CPU
        otter  running  100
        … and 2 lines more
        ");
    }

    #[test]
    fn any_use_at_all_is_seen_and_too_much_fills_the_bar() {
        let bar = |part| with_bar(part, 100, 4, "x");
        assert_eq!(
            [0, 1, 26, 100, 900].map(bar),
            ["░░░░ x", "█░░░ x", "██░░ x", "████ x", "████ x"]
        );
    }

    #[test]
    fn a_frame_takes_the_place_of_the_one_before() {
        let lines = ["a".to_owned(), "b".to_owned()];
        assert_eq!(frame(0, &lines), "a\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(frame(3, &lines[..1]), "\x1b[3A\ra\x1b[K\n\x1b[J");
    }
}
