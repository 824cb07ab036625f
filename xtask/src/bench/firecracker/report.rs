//! The tables on Firecracker, in Markdown, as they stand in `docs/performance.md`.

use super::{Comparison, Measured};
use crate::bench::machine::Machine;
use crate::bench::report::{Table, ms, verdict};
use std::fmt::Write;

/// The most that everything up to `InstanceStart` may take, as a multiple of the floor.
const START_GOAL: f64 = 1.15;
/// The same for what comes after it, up to sshd's banner.
const BOOT_GOAL: f64 = 1.02;

const STARTS: [&str; 4] = [
    "host set-up",
    "VMM spawn",
    "API calls, with `InstanceStart`",
    "**all of that and what lies between**",
];
const BOOTS: [&str; 3] = ["boot to banger-init", "boot to the image's init", "**boot to ssh**"];

/// Everything that was measured in a host.
pub(super) fn render(host: &Machine, measured: &Measured) -> String {
    let Measured { vmm_name, starts, boots, repeats, guest } = measured;
    let mut text = format!(
        "Host: {host}. VMs run on {vmm_name} with KVM; root disks are dm-snapshots.\n\n{}\n{}",
        part("From `vm start` until `InstanceStart` is acknowledged", STARTS, starts, START_GOAL),
        part("From `InstanceStart` on", BOOTS, boots, BOOT_GOAL),
    );
    if !repeats.is_empty() {
        text.push_str("\nDone a second time:\n\n");
        for repeat in repeats {
            let line = repeat.replace('\n', " ");
            writeln!(text, "- {line}").expect("a string takes all");
        }
    }
    write!(text, "\nWhat the guest says of its boot:\n\n```text\n{}\n```", guest.trim_end())
        .expect("a string takes all");
    text
}

/// A table whose last row is judged.
fn part<const N: usize>(
    what: &str,
    names: [&str; N],
    comparison: &Comparison<N>,
    goal: f64,
) -> String {
    let Comparison { ours, floor } = comparison;
    let rounds = ours.first().map_or(0, |samples| samples.count());
    let mut table = Table::new(
        &format!("{what}, {rounds} rounds"),
        &["banger", "quickest", "floor", "quickest", "ratio, all"],
    );
    let mut last = 0.0;
    for ((name, ours), floor) in names.into_iter().zip(ours).zip(floor) {
        let ratios = ours.ratios_to(floor);
        last = ratios.median;
        let times = [ours.median_ms(), ours.quickest_ms(), floor.median_ms(), floor.quickest_ms()];
        let mut cells: Vec<String> = times.map(ms).into();
        cells.push(ratios.to_string());
        table.row(name, cells);
    }
    let verdict = verdict(last <= goal);
    format!("{}\nGoal: at most {goal} of the floor. It is {last:.3}: {verdict}.\n", table.text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_last_row_is_judged_by_the_median_of_its_ratios() {
        let mut comparison = Comparison::new();
        for whole in [230, 220, 300] {
            comparison.add([[100, whole], [100, 200]].map(|side| side.map(Duration::from_millis)));
        }
        let text = part("Start", ["part", "all"], &comparison, 1.15);
        let expected = "\
| Start, 3 rounds | banger | quickest | floor | quickest | ratio, all |
|---|---:|---:|---:|---:|---:|
| part | 100 ms | 100 ms | 100 ms | 100 ms | 1.00 (1.00 to 1.00) |
| all | 230 ms | 220 ms | 200 ms | 200 ms | 1.15 (1.10 to 1.50) |

Goal: at most 1.15 of the floor. It is 1.150: met.
";
        assert_eq!(text, expected);
        assert!(part("Start", ["part", "all"], &comparison, 1.1).contains("**missed**"));
    }
}
