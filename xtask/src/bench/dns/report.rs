//! The tables about names.

use super::{Dns, Load};
use crate::bench::report::{Table, ms, verdict, vms};
use crate::bench::sample::Spread;

/// The most that a lone query may take, as a multiple of dnsmasq's time.
const LATENCY_GOAL: f64 = 1.1;
/// The least that is answered in a second, as a multiple of dnsmasq's rate.
const RATE_GOAL: f64 = 0.5;
/// The most from the start event until the name is there, in milliseconds.
const APPEARANCE_GOAL: f64 = 5.0;

/// The tables.
pub(in crate::bench) fn render(dns: &Dns) -> String {
    format!("{}\n{}", render_rounds(dns), render_appearances(dns))
}

fn render_rounds(Dns { rival, ours, theirs, .. }: &Dns) -> String {
    let rounds = ours.loads.len();
    let mut table = Table::new(
        &format!("1,000 names by UDP on loopback, {rounds} rounds"),
        &["banger", rival, "ratio, all"],
    );
    let lone = [("median", &ours.p50, &theirs.p50), ("the slowest of 100", &ours.p99, &theirs.p99)];
    for (which, ours, theirs) in lone {
        let cells = [ours, theirs].map(|side| us(side.median_ms() * 1e3));
        table.row(&format!("one outstanding: {which}"), row(cells, ours.ratios_to(theirs)));
    }
    let mut load = |what: &str, of: fn(&Load) -> f64, shown: fn(f64) -> String| {
        let cells = [ours, theirs].map(|side| shown(Spread::of(side.loads.iter().map(of)).median));
        let pairs = ours.loads.iter().zip(&theirs.loads);
        let ratios = Spread::of(pairs.map(|(ours, theirs)| of(ours) / of(theirs)));
        table.row(&format!("100 outstanding: {what}"), row(cells, ratios));
        ratios.median
    };
    let rate = load("answers in a second", |load| load.rate, thousands);
    load("the server's processor time for each", |load| load.user, us);
    load("the kernel's on its behalf", |load| load.system, us);
    let [p50, p99] = lone.map(|(_, ours, theirs)| ours.ratios_to(theirs).median);
    let latency = verdict(p50 <= LATENCY_GOAL && p99 <= LATENCY_GOAL);
    let lost = [ours, theirs].map(|side| side.loads.iter().map(|load| load.lost).sum::<u64>());
    format!(
        "{}\nGoal: a lone query takes at most {LATENCY_GOAL} of dnsmasq's time. It is {p50:.2}, and {p99:.2} for \
         the slowest of 100: {latency}. Goal: at least {RATE_GOAL} of its answers in a second. It is \
         {rate:.2}: {}. Lost: {} of banger's answers, {} of dnsmasq's.\n",
        table.text(),
        verdict(rate >= RATE_GOAL),
        lost[0],
        lost[1],
    )
}

fn render_appearances(Dns { appearances, .. }: &Dns) -> String {
    let rounds = appearances.first().map_or(0, |(_, samples)| samples.count());
    let mut table = Table::new(
        &format!("From the start event until the name is answered, {rounds} starts"),
        &["median", "quickest", "slowest"],
    );
    for (count, samples) in appearances {
        let cells = [samples.median_ms(), samples.quickest_ms(), samples.slowest_ms()];
        table.row(&format!("with {}", vms(*count)), cells.map(ms).to_vec());
    }
    let medians = appearances.iter().map(|(_, samples)| samples.median_ms());
    let most = medians.fold(0.0, f64::max);
    let verdict = verdict(most <= APPEARANCE_GOAL);
    format!("{}\nGoal: within {APPEARANCE_GOAL:.0} ms: {verdict}.\n", table.text())
}

fn row(cells: [String; 2], ratios: Spread) -> Vec<String> {
    cells.into_iter().chain([ratios.to_string()]).collect()
}

fn us(time: f64) -> String {
    if time < 10.0 { format!("{time:.1} µs") } else { format!("{time:.0} µs") }
}

/// A number with a comma before its last three digits.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    match digits.len().checked_sub(3) {
        Some(at @ 1..) => format!("{},{}", &digits[..at], &digits[at..]),
        _ => digits,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::*;
    use crate::bench::sample::Samples;
    use std::time::Duration;

    fn samples(microseconds: u64) -> Samples {
        let mut samples = Samples::default();
        samples.add(Duration::from_micros(microseconds));
        samples
    }

    fn side(lone: u64, rate: f64) -> Side {
        let loads = vec![Load { rate, lost: 0, user: 2.5, system: 7.0 }];
        Side { p50: samples(lone), p99: samples(lone * 2), loads }
    }

    #[test]
    fn both_servers_stand_side_by_side_and_are_judged_by_ratios() {
        let dns = Dns {
            rival: "dnsmasq 2.90".to_owned(),
            ours: side(77, 84_000.0),
            theirs: side(70, 105_000.0),
            appearances: vec![(1, samples(900)), (1000, samples(5100))],
        };
        let expected = "\
| 1,000 names by UDP on loopback, 1 rounds | banger | dnsmasq 2.90 | ratio, all |
|---|---:|---:|---:|
| one outstanding: median | 77 µs | 70 µs | 1.10 (1.10 to 1.10) |
| one outstanding: the slowest of 100 | 154 µs | 140 µs | 1.10 (1.10 to 1.10) |
| 100 outstanding: answers in a second | 84,000 | 105,000 | 0.80 (0.80 to 0.80) |
| 100 outstanding: the server's processor time for each | 2.5 µs | 2.5 µs | 1.00 (1.00 to 1.00) |
| 100 outstanding: the kernel's on its behalf | 7.0 µs | 7.0 µs | 1.00 (1.00 to 1.00) |

Goal: a lone query takes at most 1.1 of dnsmasq's time. It is 1.10, and 1.10 for the slowest of 100: met. \
Goal: at least 0.5 of its answers in a second. It is 0.80: met. Lost: 0 of banger's answers, 0 of dnsmasq's.

| From the start event until the name is answered, 1 starts | median | quickest | slowest |
|---|---:|---:|---:|
| with 1 VM | 0.9 ms | 0.9 ms | 0.9 ms |
| with 1,000 VMs | 5.1 ms | 5.1 ms | 5.1 ms |

Goal: within 5 ms: **missed**.
";
        assert_eq!(render(&dns), expected);
    }
}
