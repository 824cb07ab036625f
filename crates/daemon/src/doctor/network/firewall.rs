//! Whether other firewalls of the host let VMs' packets through.
//!
//! An `accept` of banger's own tables cannot undo a `drop` of theirs, so each has to be told itself.

use super::{SCOPE, broken};
use banger_api::Check;
use banger_core::resource::Gatekeeper;
use banger_host::facts::{Concern, Fate, Gate, NetworkFacts, NetworkQuestion};

const NAME: &str = "firewall";

pub(super) fn examine(network: &NetworkFacts) -> Vec<Check> {
    let gates = match &network.gates {
        Ok(gates) => gates,
        Err(reason) => {
            let found = format!("the host's firewalls cannot be read: {reason}");
            let hint = "see that the daemon is root, and that nftables is installed";
            return vec![Check::warn(SCOPE, NAME, found, hint)];
        }
    };
    let mut owners: Vec<(&str, &str)> = Vec::new();
    for gate in gates {
        let owner = (gate.owner.as_str(), gate.table.as_str());
        if !owners.contains(&owner) {
            owners.push(owner);
        }
    }
    if owners.is_empty() {
        return vec![Check::pass(SCOPE, NAME, "no other firewall looks at VMs' packets")];
    }
    let of = |(owner, table): (&str, &str)| -> Vec<&Gate> {
        gates
            .iter()
            .filter(|gate| (gate.owner.as_str(), gate.table.as_str()) == (owner, table))
            .collect()
    };
    owners.into_iter().map(|owner| check(&of(owner), &network.question)).collect()
}

/// All that is said of one firewall.
fn check(gates: &[&Gate], question: &NetworkQuestion) -> Check {
    let owner = &gates[0].owner;
    let worst = gates.iter().map(|gate| gate.fate).max().unwrap_or(Fate::Passes);
    let with = |fate| gates.iter().filter(move |gate| gate.fate == fate);
    match worst {
        Fate::Passes => Check::pass(SCOPE, NAME, format!("{owner} lets VMs' packets through")),
        Fate::Unclear => {
            let mut check = Check::warn(
                SCOPE,
                NAME,
                format!("{owner} has rules that banger does not understand"),
                "see whether a VM reaches the world; `nft list ruleset` shows the rules",
            );
            check.found.extend(with(Fate::Unclear).map(|gate| {
                format!("it is not clear whether they let through {}", what(gate, question))
            }));
            check
        }
        Fate::Refused => {
            let refused: Vec<&Gate> = with(Fate::Refused).copied().collect();
            let mut check = broken(NAME, String::new(), String::new());
            check.found = refused
                .iter()
                .map(|gate| format!("{owner} drops {}", what(gate, question)))
                .collect();
            let fix = gates[0].gatekeeper.map(|_| {
                "`banger doctor network --fix` has it let them through, and `--undo` undoes that"
                    .to_owned()
            });
            let by_hand = refused.iter().flat_map(|gate| by_hand(gate, question));
            check.hints = fix.into_iter().chain(by_hand).collect();
            // One for both concerns, where the remedy is the same.
            check.hints.dedup();
            check
        }
    }
}

/// What is at stake in a chain, and where that is.
fn what(gate: &Gate, question: &NetworkQuestion) -> String {
    let place = match gate.gatekeeper {
        Some(Gatekeeper::IptablesNft | Gatekeeper::IptablesLegacy) => {
            format!("the chain {} of {}", gate.chain, gate.table)
        }
        Some(Gatekeeper::Firewalld) => {
            format!("the chain {} of the nft table {}", gate.chain, gate.table)
        }
        None => format!("its chain {}", gate.chain),
    };
    match gate.concern {
        Concern::Beyond => {
            format!("what VMs on `{}` exchange with the world, in {place}", question.bridge)
        }
        Concern::Names => {
            format!("what VMs ask of DNS at {}, in {place}", question.subnet.gateway())
        }
    }
}

/// Commands that mend it until the next boot, or until its owner lays its rules anew.
fn by_hand(gate: &Gate, question: &NetworkQuestion) -> Vec<String> {
    let NetworkQuestion { bridge, subnet, dns_port, .. } = question;
    let gateway = subnet.gateway();
    let port = dns_port.map_or(53, std::num::NonZeroU16::get);
    let Gate { table, chain, .. } = gate;
    match (gate.gatekeeper, gate.concern) {
        (Some(Gatekeeper::Firewalld), _) => {
            vec![format!("by hand: `firewall-cmd --zone=trusted --add-interface={bridge}`")]
        }
        (Some(Gatekeeper::IptablesNft | Gatekeeper::IptablesLegacy), Concern::Beyond) => {
            let (chain, warning) = if gate.owner.contains("Docker") {
                ("DOCKER-USER", ", by which VMs reach containers too")
            } else {
                (chain.as_str(), "")
            };
            let into = format!("{table} -I {chain}");
            let mut hints = vec![format!(
                "by hand: `{into} -i {bridge} -j ACCEPT` and `{into} -o {bridge} -m conntrack \
                 --ctstate RELATED,ESTABLISHED -j ACCEPT`{warning}"
            )];
            if gate.owner.contains("ufw") {
                hints.push(format!("for good: `ufw route allow in on {bridge}`"));
            }
            hints
        }
        (Some(Gatekeeper::IptablesNft | Gatekeeper::IptablesLegacy), Concern::Names) => {
            let rule = |protocol: &str| {
                let match_port = format!("-p {protocol} --dport {port}");
                format!("`{table} -I {chain} -i {bridge} -d {gateway} {match_port} -j ACCEPT`")
            };
            let mut hints = vec![format!("by hand: {} and {}", rule("udp"), rule("tcp"))];
            if gate.owner.contains("ufw") {
                let rule = format!("ufw allow in on {bridge} to {gateway} port {port}");
                hints.push(format!("for good: `{rule}`"));
            }
            hints
        }
        (None, Concern::Beyond) => {
            let into = format!("nft insert rule {table} {chain}");
            let answers = "ct state established,related accept";
            vec![format!(
                "have it accept them, as `{into} iifname {bridge} accept` and `{into} oifname \
                 {bridge} {answers}` do until its rules are laid anew"
            )]
        }
        (None, Concern::Names) => {
            let into = format!("nft insert rule {table} {chain} iifname {bridge}");
            vec![format!(
                "have it accept them, as `{into} ip daddr {gateway} accept` does until its rules \
                 are laid anew"
            )]
        }
    }
}
