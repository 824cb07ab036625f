//! The chains of other firewalls that guests' packets meet, and what becomes of them there.

use super::packet::{Hook, Packet};
use super::walk::{Fate, fate};
use super::{NetworkQuestion, iptables, nft};
use crate::cmd::{Cmd, CmdError, find_program};
use crate::linux::has_filter_table;
use banger_core::resource::Gatekeeper;
use serde_json::Value;

/// What a guest wants when its packets meet a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// To reach the world, and to have its answer.
    Beyond,
    /// To have its DNS queries answered at the bridge's address.
    Names,
}

/// A chain of somebody else's, and what becomes of guests' packets in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Whose it is, in words: `Docker`, `ufw`, `the nft table inet filter`.
    pub owner: String,
    /// Who can be told to let guests through; `None` for a table that its owner must change.
    pub gatekeeper: Option<Gatekeeper>,
    /// The table that the chain is in: `inet filter`; with iptables, the program that lists it.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// What is at stake.
    pub concern: Concern,
    /// What becomes of it.
    pub fate: Fate,
}

/// Looks at every chain; `leaves` is the interface by which guests' packets leave, if it is known.
pub(super) fn gather(
    question: &NetworkQuestion,
    leaves: Option<&str>,
) -> Result<Vec<Gate>, String> {
    let document = list().map_err(|error| match error.stderr_tail() {
        Some(said) if !said.is_empty() => format!("{error}: {said}"),
        _ => error.to_string(),
    })?;
    let packets = Packets { question, leaves };
    let mut gates = Vec::new();
    let bases = nft::bases(&document);
    let is_xtables = |base: &nft::Base| base.family == "ip" && base.table == "filter";
    let through_iptables =
        bases.iter().any(is_xtables) && find_program(Gatekeeper::IptablesNft.program()).is_some();
    if through_iptables {
        gates.extend(packets.saved(Gatekeeper::IptablesNft)?);
    }
    if has_legacy_filter() {
        gates.extend(packets.saved(Gatekeeper::IptablesLegacy)?);
    }
    for base in bases {
        let is_read = through_iptables && is_xtables(&base);
        if !is_read && base.table != question.table.as_str() {
            gates.extend(packets.in_table(&document, &base));
        }
    }
    Ok(gates)
}

fn list() -> Result<Value, CmdError> {
    let answer = Cmd::new("nft").args(["-j", "list", "ruleset"]).run()?;
    // An empty rule set and a broken document are the same to who looks for chains.
    Ok(serde_json::from_slice(&answer.stdout).unwrap_or_default())
}

fn has_legacy_filter() -> bool {
    let gatekeeper = Gatekeeper::IptablesLegacy;
    has_filter_table(gatekeeper).unwrap_or(false) && find_program(gatekeeper.program()).is_some()
}

/// The packets of guests.
struct Packets<'a> {
    question: &'a NetworkQuestion,
    leaves: Option<&'a str>,
}

impl<'a> Packets<'a> {
    fn all(&self) -> Vec<(Concern, Packet<'a>)> {
        let call = Packet::call(self.question, self.leaves);
        let answer = Packet::answer(self.question, self.leaves);
        let query = Packet::query(self.question).map(|query| (Concern::Names, query));
        [(Concern::Beyond, call), (Concern::Beyond, answer)].into_iter().chain(query).collect()
    }

    /// The chains of one kind of iptables.
    fn saved(&self, gatekeeper: Gatekeeper) -> Result<Vec<Gate>, String> {
        let program = gatekeeper.program();
        let printed = Cmd::new(program).args(["-w", "5", "-t", "filter", "-S"]).run();
        let text = match printed {
            Ok(printed) => String::from_utf8_lossy(&printed.stdout).into_owned(),
            Err(error) => return Err(format!("`{program} -S` failed: {error}")),
        };
        let mut gates = Vec::new();
        for (concern, packet) in self.all() {
            let chain = match packet.hook {
                Hook::Forward => "FORWARD",
                Hook::Input => "INPUT",
            };
            let saved = iptables::read(&text, &packet);
            let Some(policy) = saved.policies.get(chain) else { continue };
            let fate = fate(&saved.chains, chain, *policy);
            let has = |name: &str| saved.chains.contains_key(name);
            let owner = match (has("DOCKER-USER"), has("ufw-before-forward")) {
                (true, true) => "Docker and ufw",
                (true, false) => "Docker",
                (false, true) => "ufw",
                (false, false) => program,
            };
            let gate = Gate {
                owner: owner.to_owned(),
                gatekeeper: Some(gatekeeper),
                table: program.to_owned(),
                chain: chain.to_owned(),
                concern,
                fate,
            };
            add(&mut gates, gate);
        }
        Ok(gates)
    }

    /// A chain of nft's.
    fn in_table(&self, document: &Value, base: &nft::Base) -> Vec<Gate> {
        let (family, table) = (&base.family, &base.table);
        let is_firewalld = table == "firewalld";
        let owner = if is_firewalld {
            "firewalld".to_owned()
        } else {
            format!("the nft table {family} {table}")
        };
        let mut gates = Vec::new();
        for (concern, packet) in self.all() {
            if packet.hook == base.hook {
                let chains = nft::chains(document, base, &packet);
                let gate = Gate {
                    owner: owner.clone(),
                    gatekeeper: is_firewalld.then_some(Gatekeeper::Firewalld),
                    table: format!("{family} {table}"),
                    chain: base.chain.clone(),
                    concern,
                    fate: fate(&chains, &base.chain, base.policy),
                };
                add(&mut gates, gate);
            }
        }
        gates
    }
}

/// Adds a gate, or what is worse about one that is there.
fn add(gates: &mut Vec<Gate>, gate: Gate) {
    let same = |known: &&mut Gate| known.chain == gate.chain && known.concern == gate.concern;
    match gates.iter_mut().find(same) {
        Some(known) => known.fate = known.fate.max(gate.fate),
        None => gates.push(gate),
    }
}
