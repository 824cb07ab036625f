//! Chains as `iptables -S` prints them.

use super::packet::{Hook, Packet, Truth, is_in};
use super::walk::{Chains, Fate, Rule, Then};
use std::collections::BTreeMap;

/// What a table has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) chains: Chains,
    /// What becomes of a packet at the end of a chain that the kernel calls.
    pub(super) policies: BTreeMap<String, Fate>,
}

/// Modules that add options alone, and no condition of their own.
const MODULES: [&str; 7] = ["addrtype", "comment", "conntrack", "multiport", "state", "tcp", "udp"];

/// Reads what concerns one packet. A line that is none is passed over.
pub(super) fn read(text: &str, packet: &Packet<'_>) -> Saved {
    let lines: Vec<Vec<String>> = text.lines().map(words).collect();
    let mut saved = Saved { chains: Chains::new(), policies: BTreeMap::new() };
    for line in &lines {
        match line.as_slice() {
            [verb, chain] if verb == "-N" => {
                saved.chains.entry(chain.clone()).or_default();
            }
            [verb, chain, policy] if verb == "-P" => {
                saved.chains.entry(chain.clone()).or_default();
                let fate = if policy == "ACCEPT" { Fate::Passes } else { Fate::Refused };
                saved.policies.insert(chain.clone(), fate);
            }
            _ => {}
        }
    }
    let names = saved.chains.clone();
    for line in &lines {
        if let [verb, chain, rest @ ..] = line.as_slice()
            && verb == "-A"
        {
            let rule = rule(rest, packet, &names);
            saved.chains.entry(chain.clone()).or_default().push(rule);
        }
    }
    saved
}

/// The words of a line. One in double quotes may have spaces, and a backslash before a character
/// that would otherwise end it.
pub(crate) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted, mut has_word) =
        (Vec::new(), String::new(), false, false);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => (is_quoted, has_word) = (!is_quoted, true),
            '\\' if is_quoted => word.extend(characters.next()),
            ' ' if !is_quoted => {
                if has_word {
                    words.push(std::mem::take(&mut word));
                }
                has_word = false;
            }
            other => {
                word.push(other);
                has_word = true;
            }
        }
    }
    if has_word {
        words.push(word);
    }
    words
}

fn rule(words: &[String], packet: &Packet<'_>, chains: &Chains) -> Rule {
    let mut words = words.iter().map(String::as_str);
    let (mut holds, mut is_inverted) = (Truth::Yes, false);
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap_or_default();
        let truth = match word {
            "!" => {
                is_inverted = true;
                continue;
            }
            "-j" => return Rule { holds, then: target(next(), chains, Then::Jump) },
            "-g" => return Rule { holds, then: target(next(), chains, Then::Goto) },
            "-m" if MODULES.contains(&next()) => continue,
            "-i" => packet.comes_in_at(next(), '+'),
            "-o" => packet.leaves_by(next(), '+'),
            "-s" => is_in(packet.from, next()),
            "-d" => is_in(packet.to, next()),
            "-p" => match next() {
                "all" => Truth::Yes,
                protocol => packet.is_of(protocol),
            },
            "--dport" | "--dports" => any(next(), |ports| is_for(packet, ports)),
            "--ctstate" | "--state" => any(next(), |state| packet.is_in_state(state)),
            "--dst-type" => any(next(), |kind| is_to(packet, kind)),
            "--comment" => {
                next();
                Truth::Yes
            }
            _ => Truth::Maybe,
        };
        holds = holds.and(if is_inverted { truth.not() } else { truth });
        is_inverted = false;
    }
    Rule { holds, then: Then::GoOn }
}

/// Whether one of a list, with commas, holds.
fn any(list: &str, holds: impl Fn(&str) -> Truth) -> Truth {
    list.split(',').map(holds).fold(Truth::No, Truth::or)
}

fn is_for(packet: &Packet<'_>, ports: &str) -> Truth {
    let (first, last) = ports.split_once(':').unwrap_or((ports, ports));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) => packet.is_for(first, last),
        _ => Truth::Maybe,
    }
}

/// The kinds of addresses in iptables-extensions(8). What is asked about is for one host.
fn is_to(packet: &Packet<'_>, kind: &str) -> Truth {
    match (kind, packet.hook) {
        ("LOCAL", hook) => Truth::of(hook == Hook::Input),
        ("UNICAST", hook) => Truth::of(hook == Hook::Forward),
        ("BROADCAST" | "MULTICAST" | "ANYCAST", _) => Truth::No,
        _ => Truth::Maybe,
    }
}

fn target(name: &str, chains: &Chains, call: fn(String) -> Then) -> Then {
    if chains.contains_key(name) { call(name.to_owned()) } else { built_in(name) }
}

/// What a target that is no chain does.
pub(super) fn built_in(name: &str) -> Then {
    match name {
        "ACCEPT" => Then::Accept,
        "DROP" | "REJECT" => Then::Refuse,
        "RETURN" => Then::Return,
        "NFQUEUE" | "QUEUE" | "SYNPROXY" | "TPROXY" => Then::Unknown,
        // It logs, marks or changes the packet.
        _ => Then::GoOn,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::question;
    use super::super::walk::fate;
    use super::*;
    use proptest::prelude::*;

    /// What Docker 27 lays on a host with one network of its own.
    pub(crate) const DOCKER: &str = "\
-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N DOCKER
-N DOCKER-ISOLATION-STAGE-1
-N DOCKER-ISOLATION-STAGE-2
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
";

    /// The part of ufw's rules that a guest's packets meet.
    const UFW: &str = "\
-P INPUT DROP
-P FORWARD DROP
-N ufw-before-forward
-N ufw-before-input
-N ufw-before-logging-forward
-N ufw-not-local
-N ufw-user-forward
-N ufw-user-input
-A INPUT -j ufw-before-input
-A FORWARD -j ufw-before-logging-forward
-A FORWARD -j ufw-before-forward
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-before-logging-forward -m limit --limit 3/min -j LOG --log-prefix \"[UFW AUDIT] \"
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j DROP
-A ufw-not-local -j DROP
";

    /// The fates of a call, its answer, and a query.
    fn fates(text: &str) -> [Fate; 3] {
        let question = question();
        [
            (Packet::call(&question, Some("eth0")), "FORWARD"),
            (Packet::answer(&question, Some("eth0")), "FORWARD"),
            (Packet::query(&question).unwrap(), "INPUT"),
        ]
        .map(|(packet, chain)| {
            let saved = read(text, &packet);
            fate(&saved.chains, chain, saved.policies[chain])
        })
    }

    use Fate::{Passes, Refused, Unclear};

    #[test]
    fn docker_refuses_both_directions_until_its_own_chain_lets_them_through() {
        assert_eq!(fates(DOCKER), [Refused, Refused, Passes]);
        let rules = "\
-A DOCKER-USER -i banger0 -m comment --comment \"banger:v3r02\" -j ACCEPT
-A DOCKER-USER -o banger0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-USER -j RETURN";
        let mended = DOCKER.replace("-A DOCKER-USER -j RETURN", rules);
        assert_eq!(fates(&mended), [Passes; 3]);
    }

    #[test]
    fn ufw_lets_answers_through_and_nothing_else() {
        assert_eq!(fates(UFW), [Refused, Passes, Refused]);
        let port = "-A ufw-user-input -i banger0 -p udp -m udp --dport 42000:42100 -j ACCEPT\n";
        assert_eq!(fates(&format!("{UFW}{port}")), [Refused, Passes, Passes]);
        let route = "-A ufw-user-forward -i banger+ -m multiport --dports 80,443 -j ACCEPT\n";
        assert_eq!(fates(&format!("{UFW}{route}")), [Passes, Passes, Refused]);
    }

    #[test]
    fn a_condition_that_is_not_understood_leaves_it_open() {
        let text =
            "-P FORWARD DROP\n-P INPUT ACCEPT\n-A FORWARD -m set --match-set s src -j ACCEPT";
        assert_eq!(fates(text), [Unclear, Unclear, Passes]);
        let text = "-P FORWARD ACCEPT\n-P INPUT ACCEPT\n-A FORWARD -i banger0 -j NFQUEUE";
        assert_eq!(fates(text), [Unclear, Passes, Passes]);
    }

    #[test]
    fn an_exclamation_mark_inverts_the_one_that_follows() {
        let text = "-P FORWARD ACCEPT\n-P INPUT ACCEPT\n-A FORWARD ! -i eth+ -o eth0 -j DROP";
        assert_eq!(fates(text), [Refused, Passes, Passes]);
    }

    #[test]
    fn a_comment_may_have_spaces_and_quotes() {
        assert_eq!(
            words("-A X  --comment \"it's \\\"mine\\\"\" -j \"\""),
            ["-A", "X", "--comment", "it's \"mine\"", "-j", ""]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(-[ANP] |[a-z0-9\"!\\\\ -]{0,12}|\n){0,12}") {
            let _saved = read(&text, &Packet::call(&question(), None));
        }
    }
}
