//! The tables, in Markdown, as they stand in `docs/performance.md`.

use super::lists::{Costs, Lists};
use super::sample::Samples;
use super::start::Starts;
use std::fmt::Write;

/// The most that `vm start` may take, as a multiple of the floor.
const START_GOAL: f64 = 1.15;
/// The most that the daemon may hold in memory, in KiB.
const MEMORY_GOAL_KIB: u64 = 30 << 10;

/// The tables about starts.
pub(super) fn of_starts(starts: &Starts) -> String {
    format!("VMs run on {}.\n\n{}", starts.vmm_name, render_starts(starts))
}

/// The tables about the client and the daemon's memory.
pub(super) fn of_lists(lists: &Lists) -> String {
    format!("{}\n{}", render_lists(lists), render_memory(lists))
}

fn render_starts(starts: &Starts) -> String {
    let Starts { ours, client, floor, vmm, phases, .. } = starts;
    let mut table = Table::new(
        &format!("From `vm start` until the VMM says it runs, {} rounds", ours.count()),
        &["median", "quickest", "of the floor, all", "of the VMM alone, all"],
    );
    let row = |samples: &Samples| {
        vec![
            ms(samples.median_ms()),
            ms(samples.quickest_ms()),
            samples.ratios_to(floor).to_string(),
            samples.ratios_to(vmm).to_string(),
        ]
    };
    table.row("`banger vm start --wait none`", row(ours));
    for (phase, samples) in phases {
        table.row(
            &format!("… of it the daemon's \"{phase}\""),
            vec![ms(samples.median_ms()), ms(samples.quickest_ms())],
        );
    }
    table.row("… until the client has ended", row(client));
    table.row("the floor: a script's work", row(floor));
    table.row("the VMM alone", row(vmm));
    let is = ours.ratios_to(floor).median;
    let verdict = verdict(is <= START_GOAL);
    let quickest = ours.quickest_ms() / floor.quickest_ms();
    format!(
        "{}\nGoal: at most {START_GOAL} of the floor. It is {is:.2}: {verdict}. The quickest start is \
         {quickest:.2} of the quickest floor.\n",
        table.0
    )
}

fn render_lists(lists: &Lists) -> String {
    let nothing = &lists.nothing;
    let rounds = nothing.wall.count();
    let mut table = Table::new(
        &format!("The client as a whole process, {rounds} rounds"),
        &["median", "quickest", "of `true`, middle half", "processor time"],
    );
    let row = |costs: &Costs| {
        vec![
            ms(costs.wall.median_ms()),
            ms(costs.wall.quickest_ms()),
            costs.wall.ratios_to(&nothing.wall).middle_half(),
            ms(costs.cpu.median_ms()),
        ]
    };
    table.row("`true`", row(nothing));
    table.row("`banger --version`", row(&lists.version));
    for (count, costs) in &lists.lists {
        table.row(&format!("`banger vm list` of {}", vms(*count)), row(costs));
    }
    let mut text = table.0;
    if let [(_, one), rest @ ..] = lists.lists.as_slice() {
        for (count, costs) in rest {
            let ratio = costs.wall.ratios_to(&one.wall).middle_half();
            writeln!(
                text,
                "\nA list of {} takes {ratio} times as long as one of 1 VM.",
                vms(*count)
            )
            .expect("a string takes all");
        }
    }
    text
}

fn render_memory(lists: &Lists) -> String {
    let mut table = Table::new("The daemon's resident memory", &["MiB"]);
    for (when, kib) in &lists.memory {
        table.row(when, vec![format!("{}.{}", kib >> 10, (kib & 1023) * 10 / 1024)]);
    }
    let most = lists.memory.iter().map(|(_, kib)| *kib).max().unwrap_or_default();
    let verdict = verdict(most < MEMORY_GOAL_KIB);
    format!("{}\nGoal: under {} MiB: {verdict}.\n", table.0, MEMORY_GOAL_KIB >> 10)
}

pub(super) fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "**missed**" }
}

pub(super) fn ms(time: f64) -> String {
    if time < 10.0 { format!("{time:.1} ms") } else { format!("{time:.0} ms") }
}

/// So many VMs.
pub(super) fn vms(count: usize) -> String {
    match count {
        1 => "1 VM".to_owned(),
        1000 => "1,000 VMs".to_owned(),
        count => format!("{count} VMs"),
    }
}

/// A Markdown table.
pub(super) struct Table(String);

impl Table {
    pub(super) fn new(what: &str, columns: &[&str]) -> Self {
        let rule = "---:|".repeat(columns.len());
        Self(format!("| {what} | {} |\n|---|{rule}\n", columns.join(" | ")))
    }

    pub(super) fn row(&mut self, what: &str, cells: Vec<String>) {
        let columns = self.0.lines().next().unwrap_or_default().matches('|').count() - 2;
        let mut cells = cells;
        cells.resize(columns, String::new());
        writeln!(self.0, "| {what} | {} |", cells.join(" | ")).expect("a string takes all");
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn samples(milliseconds: &[u64]) -> Samples {
        let mut samples = Samples::default();
        milliseconds.iter().for_each(|ms| samples.add(Duration::from_millis(*ms)));
        samples
    }

    #[test]
    fn a_start_is_judged_by_the_median_of_its_ratios() {
        let mut starts = Starts {
            ours: samples(&[220, 300, 210]),
            client: samples(&[230, 310, 220]),
            floor: samples(&[200, 200, 200]),
            vmm: samples(&[100, 100, 100]),
            phases: vec![("start the VMM".to_owned(), samples(&[150, 150, 150]))],
            ..Starts::default()
        };
        let expected = "\
| From `vm start` until the VMM says it runs, 3 rounds | median | quickest | of the floor, all | of the VMM alone, all |
|---|---:|---:|---:|---:|
| `banger vm start --wait none` | 220 ms | 210 ms | 1.10 (1.05 to 1.50) | 2.20 (2.10 to 3.00) |
| … of it the daemon's \"start the VMM\" | 150 ms | 150 ms |  |  |
| … until the client has ended | 230 ms | 220 ms | 1.15 (1.10 to 1.55) | 2.30 (2.20 to 3.10) |
| the floor: a script's work | 200 ms | 200 ms | 1.00 (1.00 to 1.00) | 2.00 (2.00 to 2.00) |
| the VMM alone | 100 ms | 100 ms | 0.50 (0.50 to 0.50) | 1.00 (1.00 to 1.00) |

Goal: at most 1.15 of the floor. It is 1.10: met. The quickest start is 1.05 of the quickest floor.
";
        assert_eq!(render_starts(&starts), expected);
        starts.floor = samples(&[150, 200, 150]);
        assert!(render_starts(&starts).contains("**missed**"));
    }

    #[test]
    fn memory_is_judged_at_its_most() {
        let mut lists = Lists { memory: vec![("idle", 10 << 10)], ..Lists::default() };
        assert!(render_memory(&lists).contains("| idle | 10.0 |"));
        assert!(render_memory(&lists).contains(": met"));
        lists.memory.push(("full", 30 << 10));
        assert!(render_memory(&lists).contains("**missed**"));
    }
}
