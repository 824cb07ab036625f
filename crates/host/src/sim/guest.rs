//! Simulated guests: what they say on the console, and how they end.

use crate::Exit;
use banger_core::error::{ErrorCode, Explain};
use banger_core::guest::{Stage, StageDetail, StageLine};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How the guests of a simulator behave. A VMM keeps the behaviour that was set when it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestScript {
    /// It passes every stage and ends when asked to.
    #[default]
    Normal,
    /// banger-init fails on the way to a stage, says so and powers off. No guest is on its way to
    /// [`Stage::Failed`].
    FailsAt(Stage),
    /// Its kernel panics after the first stage, which ends the VMM (`panic=1 reboot=k`).
    Panics,
    /// It boots without a word.
    Silent,
    /// It passes every stage and does not end when asked to.
    IgnoresShutdown,
    /// It passes every stage, then its VMM ends with exit code 1.
    DiesAfterBoot,
    /// There is no guest: its VMM ends with exit code 1 before its API socket answers.
    VmmDies,
}

/// A text that names no behaviour.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a guest's behaviour; write `normal`, `fails-at:<stage>` (one of {}), `panics`, \
     `silent`, `ignores-shutdown`, `dies-after-boot` or `vmm-dies`",
    PASSED.map(|(stage, _)| format!("`{stage}`")).join(", ")
)]
pub struct GuestScriptError {
    /// The text that was refused.
    pub text: String,
}

impl Explain for GuestScriptError {
    fn code(&self) -> ErrorCode {
        ErrorCode::InvalidConfig
    }
}

/// The behaviours that are one word.
const PLAIN: [(&str, GuestScript); 6] = [
    ("normal", GuestScript::Normal),
    ("panics", GuestScript::Panics),
    ("silent", GuestScript::Silent),
    ("ignores-shutdown", GuestScript::IgnoresShutdown),
    ("dies-after-boot", GuestScript::DiesAfterBoot),
    ("vmm-dies", GuestScript::VmmDies),
];

/// The stages that a guest passes, with the milliseconds at which it does.
const PASSED: [(Stage, u64); 7] = [
    (Stage::Start, 240),
    (Stage::Modules, 310),
    (Stage::Network, 330),
    (Stage::Root, 420),
    (Stage::WorkDisk, 480),
    (Stage::Identity, 490),
    (Stage::Handover, 500),
];

impl FromStr for GuestScript {
    type Err = GuestScriptError;

    fn from_str(text: &str) -> Result<Self, GuestScriptError> {
        let plain = PLAIN.iter().find(|(word, _)| *word == text).map(|(_, script)| *script);
        let fails_at = || {
            let word = text.strip_prefix("fails-at:")?;
            let (stage, _) = PASSED.iter().find(|(stage, _)| stage.word() == word)?;
            Some(Self::FailsAt(*stage))
        };
        plain.or_else(fails_at).ok_or_else(|| GuestScriptError { text: text.to_owned() })
    }
}

impl fmt::Display for GuestScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::FailsAt(stage) = self {
            return write!(f, "fails-at:{stage}");
        }
        let plain = PLAIN.iter().find(|(_, script)| script == self);
        f.write_str(plain.expect("every behaviour but one is in the table").0)
    }
}

/// Something that a guest does by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happening {
    /// It writes this to its console.
    Says(String),
    /// It has come as far as it comes.
    Settles,
    /// Its VMM ends.
    Ends(Exit),
}

impl GuestScript {
    /// What the guest does once it is told to boot, in order.
    pub(super) fn boot(self) -> Vec<Happening> {
        let mut acts = Vec::new();
        let mut say = |text: String| acts.push(Happening::Says(text));
        if self == Self::Silent {
            return vec![Happening::Settles];
        }
        say("[    0.000000] Linux version 6.1 (simulated)\r\n".to_owned());
        for (stage, uptime_ms) in PASSED {
            if self == Self::FailsAt(stage) {
                say(failure(stage, uptime_ms));
                say("[    0.512000] reboot: Power down\r\n".to_owned());
                acts.push(Happening::Ends(Exit::Code(0)));
                return acts;
            }
            say(reached(stage, uptime_ms));
            if self == Self::Panics {
                say("[    0.260000] Kernel panic - not syncing: simulated\r\n".to_owned());
                acts.push(Happening::Ends(Exit::Code(0)));
                return acts;
            }
        }
        say("\r\nDebian GNU/Linux 12 simulated ttyS0\r\n\r\nsimulated login: ".to_owned());
        acts.push(if self == Self::DiesAfterBoot {
            Happening::Ends(Exit::Code(1))
        } else {
            Happening::Settles
        });
        acts
    }

    /// What the guest does once it is asked to end.
    pub(super) fn shutdown(self) -> Vec<Happening> {
        if self == Self::IgnoresShutdown {
            return Vec::new();
        }
        let last = "\r\n[   60.000000] reboot: Restarting system\r\n".to_owned();
        vec![Happening::Says(last), Happening::Ends(Exit::Code(0))]
    }
}

/// When each of `count` happenings takes place, so that the last does after `whole`.
pub(super) fn spread(count: usize, whole: Duration) -> impl Iterator<Item = Duration> {
    let all = u32::try_from(count).expect("a script is short");
    (1..=all).map(move |number| whole * number / all)
}

fn reached(stage: Stage, uptime_ms: u64) -> String {
    let version = (stage == Stage::Start).then(|| env!("CARGO_PKG_VERSION").to_owned());
    let detail = StageDetail { uptime_ms, version, ..StageDetail::default() };
    format!("{}\r\n", StageLine { stage, detail }.render())
}

fn failure(during: Stage, uptime_ms: u64) -> String {
    let detail = StageDetail {
        uptime_ms,
        during: Some(during),
        error: Some("simulated failure".to_owned()),
        ..StageDetail::default()
    };
    format!("{}\r\n", StageLine { stage: Stage::Failed, detail }.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(script: GuestScript) -> Vec<Stage> {
        let said = script.boot().into_iter().filter_map(|act| match act {
            Happening::Says(text) => Some(text),
            _ => None,
        });
        said.filter_map(|text| StageLine::parse(&text)).map(|line| line.stage).collect()
    }

    #[test]
    fn a_normal_guest_passes_every_stage_and_settles() {
        let all = PASSED.map(|(stage, _)| stage);
        assert_eq!(stages(GuestScript::Normal), all);
        assert_eq!(GuestScript::Normal.boot().last(), Some(&Happening::Settles));
        assert_eq!(stages(GuestScript::DiesAfterBoot), all);
    }

    #[test]
    fn a_failing_guest_says_what_failed_and_ends() {
        let acts = GuestScript::FailsAt(Stage::Network).boot();
        assert_eq!(
            stages(GuestScript::FailsAt(Stage::Network)),
            [Stage::Start, Stage::Modules, Stage::Failed]
        );
        assert_eq!(acts.last(), Some(&Happening::Ends(Exit::Code(0))));
        let during = acts.iter().find_map(|act| match act {
            Happening::Says(text) => StageLine::parse(text)?.detail.during,
            _ => None,
        });
        assert_eq!(during, Some(Stage::Network));
    }

    #[test]
    fn behaviours_are_shown_as_they_are_read() {
        let failing = PASSED.map(|(stage, _)| GuestScript::FailsAt(stage));
        for script in PLAIN.iter().map(|(_, script)| *script).chain(failing) {
            assert_eq!(script.to_string().parse::<GuestScript>().unwrap(), script);
        }
        for text in ["", "Normal", "fails-at", "fails-at:failed", "fails-at:boot"] {
            let message = text.parse::<GuestScript>().unwrap_err().to_string();
            assert!(message.contains("`fails-at:<stage>`"), "{message}");
            assert!(message.contains("`work_disk`"), "{message}");
        }
    }

    #[test]
    fn happenings_are_spread_over_the_whole_time() {
        let times: Vec<_> = spread(4, Duration::from_millis(100)).collect();
        assert_eq!(times, [25, 50, 75, 100].map(Duration::from_millis));
        assert_eq!(spread(0, Duration::ZERO).count(), 0);
    }
}
