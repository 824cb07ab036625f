//! A packet's walk through chains of rules, and how it may end.

use super::packet::Truth;
use std::collections::BTreeMap;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It passes.
    Passes,
    /// It depends on what is not understood.
    Unclear,
    /// It is dropped or rejected.
    Refused,
}

/// What a rule does with a packet that it fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    Accept,
    Refuse,
    /// Back to where the chain was called from.
    Return,
    /// Through another chain, and on behind the rule.
    Jump(String),
    /// Through another chain, and then back to where this one was called from.
    Goto(String),
    GoOn,
    /// Any of these.
    Unknown,
}

/// A rule, as far as it concerns one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) holds: Truth,
    pub(super) then: Then,
}

/// The chains of one table by their names.
pub(super) type Chains = BTreeMap<String, Vec<Rule>>;

/// How a walk through a chain may end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ends {
    accepted: bool,
    refused: bool,
    /// At the chain's end.
    through: bool,
}

impl Ends {
    const ANY: Self = Self { accepted: true, refused: true, through: true };

    fn add(&mut self, other: Self) {
        self.accepted |= other.accepted;
        self.refused |= other.refused;
        self.through |= other.through;
    }
}

/// What becomes of the packet in a chain that the kernel calls by itself; `policy` is what becomes
/// of it at the chain's end.
pub(super) fn fate(chains: &Chains, base: &str, policy: Fate) -> Fate {
    let mut ends = walk(chains, base, &mut BTreeMap::new());
    if ends.through {
        ends.accepted |= policy == Fate::Passes;
        ends.refused |= policy == Fate::Refused;
    }
    match (ends.accepted, ends.refused) {
        (true, false) => Fate::Passes,
        (false, true) => Fate::Refused,
        _ => Fate::Unclear,
    }
}

/// Each chain is walked once, however often it is called. One that is met inside itself, which no
/// kernel lets happen, may do anything.
fn walk<'a>(chains: &'a Chains, name: &'a str, known: &mut BTreeMap<&'a str, Ends>) -> Ends {
    if let Some(ends) = known.get(name) {
        return *ends;
    }
    known.insert(name, Ends::ANY);
    let Some(rules) = chains.get(name) else { return Ends::ANY };
    let mut all = Ends::default();
    let mut goes_on = true;
    for rule in rules.iter().filter(|rule| rule.holds != Truth::No) {
        let (ends, stays) = step(chains, &rule.then, known);
        all.add(ends);
        goes_on = stays || rule.holds == Truth::Maybe;
        if !goes_on {
            break;
        }
    }
    all.through |= goes_on;
    known.insert(name, all);
    all
}

/// How a rule may end the walk through its chain, and whether the walk may go on behind it.
fn step<'a>(
    chains: &'a Chains,
    then: &'a Then,
    known: &mut BTreeMap<&'a str, Ends>,
) -> (Ends, bool) {
    let nothing = Ends::default();
    match then {
        Then::Accept => (Ends { accepted: true, ..nothing }, false),
        Then::Refuse => (Ends { refused: true, ..nothing }, false),
        Then::Return => (Ends { through: true, ..nothing }, false),
        Then::GoOn => (nothing, true),
        Then::Unknown => (Ends::ANY, true),
        Then::Goto(name) => (walk(chains, name, known), false),
        Then::Jump(name) => {
            let ends = walk(chains, name, known);
            (Ends { through: false, ..ends }, ends.through)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Truth::{Maybe, No, Yes};

    fn chains(lists: &[(&str, &[(Truth, Then)])]) -> Chains {
        let rule = |(holds, then): &(Truth, Then)| Rule { holds: *holds, then: then.clone() };
        lists
            .iter()
            .map(|(name, rules)| ((*name).to_owned(), rules.iter().map(rule).collect()))
            .collect()
    }

    fn with_policies(lists: &[(&str, &[(Truth, Then)])]) -> [Fate; 2] {
        [Fate::Passes, Fate::Refused].map(|policy| fate(&chains(lists), "base", policy))
    }

    #[test]
    fn without_a_rule_the_policy_decides() {
        assert_eq!(with_policies(&[("base", &[])]), [Fate::Passes, Fate::Refused]);
        assert_eq!(
            with_policies(&[("base", &[(No, Then::Accept), (Yes, Then::GoOn)])]),
            [Fate::Passes, Fate::Refused]
        );
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = [(No, Then::Refuse), (Yes, Then::Accept), (Yes, Then::Refuse)];
        assert_eq!(with_policies(&[("base", &rules)]), [Fate::Passes; 2]);
    }

    #[test]
    fn what_may_fit_leaves_both_ends_open() {
        let rules = [(Maybe, Then::Accept)];
        assert_eq!(with_policies(&[("base", &rules)]), [Fate::Passes, Fate::Unclear]);
        assert_eq!(with_policies(&[("base", &[(Yes, Then::Unknown)])]), [Fate::Unclear; 2]);
    }

    #[test]
    fn a_jump_comes_back_and_a_goto_does_not() {
        let other: (&str, &[(Truth, Then)]) = ("other", &[(Yes, Then::Return)]);
        let after = |then: Then| [(Yes, then), (Yes, Then::Accept)];
        let jump = after(Then::Jump("other".to_owned()));
        assert_eq!(with_policies(&[("base", &jump), other]), [Fate::Passes; 2]);
        let goto = after(Then::Goto("other".to_owned()));
        assert_eq!(with_policies(&[("base", &goto), other]), [Fate::Passes, Fate::Refused]);
    }

    #[test]
    fn a_chain_that_calls_itself_or_is_not_there_may_do_anything() {
        for name in ["base", "gone"] {
            let rules = [(Yes, Then::Jump(name.to_owned()))];
            assert_eq!(with_policies(&[("base", &rules)]), [Fate::Unclear; 2], "{name}");
        }
    }
}
