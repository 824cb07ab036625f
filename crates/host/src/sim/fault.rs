//! Faults that the simulator is told to have: which call meets one, and what then happens.

use banger_core::error::{ErrorCode, Explain};
use banger_core::resource::Role;
use std::fmt;
use std::str::FromStr;

/// What is asked of the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `Host::ensure`.
    Ensure,
    /// `Host::remove`.
    Remove,
    /// `Host::inventory`, which has no role.
    Inventory,
    /// [`SimHost::boot`](super::SimHost::boot), of the role `vmm`.
    Boot,
    /// [`SimHost::request_shutdown`](super::SimHost::request_shutdown), of the role `vmm`.
    Shutdown,
    /// `Processes::signal`, of the role `vmm`.
    Signal,
    /// [`SimHost::work`](super::SimHost::work) and [`SimHost::take_disk`](super::SimHost::take_disk),
    /// which have no role.
    Work,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 7] = [
        Self::Ensure,
        Self::Remove,
        Self::Inventory,
        Self::Boot,
        Self::Shutdown,
        Self::Signal,
        Self::Work,
    ];

    /// The verb's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ensure => "ensure",
            Self::Remove => "remove",
            Self::Inventory => "inventory",
            Self::Boot => "boot",
            Self::Shutdown => "shutdown",
            Self::Signal => "signal",
            Self::Work => "work",
        }
    }

    /// Whether a fault that names no verb is about this one.
    const fn is_usual(self) -> bool {
        matches!(self, Self::Ensure | Self::Remove)
    }
}

/// What a call that meets a fault comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It does nothing and returns an error.
    Fail,
    /// It does what was asked and returns an error all the same, as after a lost answer.
    FailAfter,
    /// It does nothing, and the simulator answers nothing but errors from then on: the daemon was
    /// killed before the change.
    CrashBefore,
    /// It does what was asked, and the simulator answers nothing but errors from then on: the
    /// daemon was killed between the change and its next write to the ledger.
    CrashAfter,
}

impl Effect {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Fail => "",
            Self::FailAfter => "fail-after",
            Self::CrashBefore => "crash-before",
            Self::CrashAfter => "crash-after",
        }
    }
}

/// Which of the matching calls meet the fault, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Times {
    Once(usize),
    From(usize),
}

/// A fault to come.
///
/// As text it is `[effect:][verb:][role:][n]`, with at least one of the four. Without an effect the
/// call fails; without a verb the calls of `ensure` and `remove` count, in one row; without a role
/// those of every role. `n` is the number of the call that meets the fault, counted from 1 over the
/// calls that match and from the moment the fault is set; `n+` means this and each later one,
/// `always` is `1+`, and nothing is `1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fault {
    effect: Effect,
    verb: Option<Verb>,
    role: Option<Role>,
    times: Times,
}

impl Fault {
    /// A fault at the first `ensure` or `remove`.
    pub const fn new(effect: Effect) -> Self {
        Self { effect, verb: None, role: None, times: Times::Once(1) }
    }

    /// Limits the fault to calls of one verb.
    #[must_use]
    pub const fn on(self, verb: Verb) -> Self {
        Self { verb: Some(verb), ..self }
    }

    /// Limits the fault to objects of one role.
    #[must_use]
    pub const fn of(self, role: Role) -> Self {
        Self { role: Some(role), ..self }
    }

    /// Puts the fault at the n-th matching call and at no other. It counts from 1.
    #[must_use]
    pub const fn nth(self, n: usize) -> Self {
        Self { times: Times::Once(n), ..self }
    }

    /// Puts the fault at the n-th matching call and at each later one. It counts from 1.
    #[must_use]
    pub const fn from_nth(self, n: usize) -> Self {
        Self { times: Times::From(n), ..self }
    }

    /// Puts the fault at every matching call.
    #[must_use]
    pub const fn always(self) -> Self {
        self.from_nth(1)
    }

    /// Reads faults that are separated by commas; an empty text holds none.
    ///
    /// # Errors
    ///
    /// [`FaultError`] for the first part that is no fault.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, FaultError> {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        text.split(',').map(|part| part.trim().parse()).collect()
    }

    fn matches(&self, verb: Verb, role: Option<Role>) -> bool {
        self.verb.map_or(verb.is_usual(), |wanted| wanted == verb)
            && self.role.is_none_or(|wanted| Some(wanted) == role)
    }

    fn is_due(&self, call: usize) -> bool {
        match self.times {
            Times::Once(n) => call == n,
            Times::From(n) => call >= n,
        }
    }
}

/// A text that is not a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a fault; write `[effect:][verb:][role:][n]`, as `ensure:tap:always`, \
     `remove:3`, `remove:vmm:2+` or `crash-after:5`, where effect is one of {}, verb one of {}, \
     role one of {}, and n a number from 1, `n+` or `always`",
    words([Effect::FailAfter, Effect::CrashBefore, Effect::CrashAfter].map(Effect::prefix)),
    words(Verb::ALL.map(Verb::as_str)),
    words(Role::ALL.map(Role::as_str))
)]
pub struct FaultError {
    /// The text that was refused.
    pub text: String,
}

impl Explain for FaultError {
    fn code(&self) -> ErrorCode {
        ErrorCode::InvalidConfig
    }
}

fn words<const N: usize>(words: [&str; N]) -> String {
    words.map(|word| format!("`{word}`")).join(", ")
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let refused = || FaultError { text: text.to_owned() };
        let mut parts = text.split(':').peekable();
        let mut take = |known: &dyn Fn(&str) -> bool| parts.next_if(|part| known(part));
        let effect = [Effect::FailAfter, Effect::CrashBefore, Effect::CrashAfter]
            .into_iter()
            .find(|effect| take(&|part| part == effect.prefix()).is_some());
        let verb = Verb::ALL.into_iter().find(|verb| take(&|part| part == verb.as_str()).is_some());
        let role = Role::ALL.into_iter().find(|role| take(&|part| part == role.as_str()).is_some());
        let times = take(&|part| Times::parse(part).is_some()).and_then(Times::parse);
        if parts.next().is_some() {
            return Err(refused());
        }
        Ok(Self {
            effect: effect.unwrap_or(Effect::Fail),
            verb,
            role,
            times: times.unwrap_or(Times::Once(1)),
        })
    }
}

impl Times {
    fn parse(text: &str) -> Option<Self> {
        if text == "always" {
            return Some(Self::From(1));
        }
        let (digits, later) = match text.strip_suffix('+') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        // `parse` alone would take a sign.
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        let n = digits.parse().ok().filter(|n| plain && *n > 0)?;
        Some(if later { Self::From(n) } else { Self::Once(n) })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            Some(self.effect.prefix()).filter(|prefix| !prefix.is_empty()),
            self.verb.map(Verb::as_str),
            self.role.map(Role::as_str),
        ];
        for word in words.into_iter().flatten() {
            write!(f, "{word}:")?;
        }
        match self.times {
            Times::Once(n) => write!(f, "{n}"),
            Times::From(1) => f.write_str("always"),
            Times::From(n) => write!(f, "{n}+"),
        }
    }
}

/// The faults that are set, each with the number of matching calls so far.
#[derive(Debug, Default)]
pub(super) struct FaultPlan(Vec<(Fault, usize)>);

impl FaultPlan {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self(faults.into_iter().map(|fault| (fault, 0)).collect())
    }

    /// Counts a call; says what it comes to if it meets a fault. The fault that was set first wins.
    pub(super) fn meet(&mut self, verb: Verb, role: Option<Role>) -> Option<Effect> {
        let mut met = None;
        for (fault, calls) in self.0.iter_mut().filter(|(fault, _)| fault.matches(verb, role)) {
            *calls += 1;
            if fault.is_due(*calls) {
                met = met.or(Some(fault.effect));
            }
        }
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn fault(text: &str) -> Fault {
        text.parse().unwrap()
    }

    #[test]
    fn the_documented_forms_are_read() {
        let fail = Fault::new(Effect::Fail);
        assert_eq!(fault("ensure:tap:always"), fail.on(Verb::Ensure).of(Role::Tap).always());
        assert_eq!(fault("remove:3"), fail.on(Verb::Remove).nth(3));
        assert_eq!(fault("remove:vmm:2+"), fail.on(Verb::Remove).of(Role::Vmm).from_nth(2));
        assert_eq!(fault("7"), fail.nth(7));
        assert_eq!(fault("firewall"), fail.of(Role::Firewall));
        assert_eq!(fault("crash-after:5"), Fault::new(Effect::CrashAfter).nth(5));
        assert_eq!(fault("crash-before:boot"), Fault::new(Effect::CrashBefore).on(Verb::Boot));
        assert_eq!(fault("fail-after:tap"), Fault::new(Effect::FailAfter).of(Role::Tap));
        assert_eq!(fault("inventory:always"), fail.on(Verb::Inventory).always());
    }

    #[test]
    fn everything_else_is_refused_with_the_forms_named() {
        for text in ["", ":", "ensure:", "tap:ensure", "ensure:0", "+3", "ensure:-1", "ensure:x"] {
            let message = text.parse::<Fault>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("`{text}` is not a fault")), "{message}");
            for word in ["`ensure:tap:always`", "`crash-after`", "`signal`", "`root_cow`", "`n+`"] {
                assert!(message.contains(word), "{message}");
            }
        }
    }

    #[test]
    fn a_list_is_separated_by_commas_and_may_be_empty() {
        assert_eq!(Fault::parse_list(" ").unwrap(), []);
        assert_eq!(
            Fault::parse_list("remove:3, crash-after:5").unwrap(),
            [fault("remove:3"), fault("crash-after:5")]
        );
        assert_eq!(Fault::parse_list("remove:3,").unwrap_err().text, "");
    }

    fn met(text: &str, calls: &[(Verb, Role)]) -> Vec<usize> {
        let mut plan = FaultPlan::new(vec![fault(text)]);
        let numbered = calls.iter().enumerate();
        numbered
            .filter(|(_, (verb, role))| plan.meet(*verb, Some(*role)).is_some())
            .map(|(index, _)| index + 1)
            .collect()
    }

    #[test]
    fn calls_are_counted_over_what_the_fault_is_about() {
        use Role::{Tap, Vmm};
        use Verb::{Boot, Ensure, Remove};
        let calls = [
            (Ensure, Tap),
            (Ensure, Vmm),
            (Boot, Vmm),
            (Remove, Tap),
            (Remove, Vmm),
            (Ensure, Tap),
        ];
        assert_eq!(met("3", &calls), [4]);
        assert_eq!(met("ensure:3", &calls), [6]);
        assert_eq!(met("tap:2+", &calls), [4, 6]);
        assert_eq!(met("vmm:always", &calls), [2, 5]);
        assert_eq!(met("boot", &calls), [3]);
        assert_eq!(met("remove:vmm:2", &calls), [0; 0]);
    }

    #[test]
    fn the_fault_that_was_set_first_wins_and_both_count() {
        let mut plan = FaultPlan::new(vec![fault("2"), fault("crash-after:2+")]);
        let mut meet = || plan.meet(Verb::Ensure, Some(Role::Tap));
        assert_eq!([meet(), meet(), meet()], [None, Some(Effect::Fail), Some(Effect::CrashAfter)]);
    }

    proptest! {
        #[test]
        fn a_fault_is_shown_as_it_is_read(
            effect in select(vec![
                Effect::Fail, Effect::FailAfter, Effect::CrashBefore, Effect::CrashAfter,
            ]),
            verb in proptest::option::of(select(Verb::ALL.to_vec())),
            role in proptest::option::of(select(Role::ALL.to_vec())),
            n in 1usize..,
            later: bool,
        ) {
            let times = if later { Times::From(n) } else { Times::Once(n) };
            let fault = Fault { effect, verb, role, times };
            prop_assert_eq!(fault.to_string().parse::<Fault>().unwrap(), fault);
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "[a-z0-9:+-]{0,24}") {
            let _outcome = text.parse::<Fault>();
        }
    }
}
