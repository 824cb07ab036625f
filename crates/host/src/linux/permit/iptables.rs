//! Rules in the tables of iptables, changed in one transaction by `iptables-restore`.
//!
//! What is accepted in `DOCKER-USER` never comes to Docker's own rules, which keep strangers out of its
//! networks. So what goes to one of those is handed back first, and Docker decides.

use super::{Permit, link};
use crate::cmd::{Cmd, CmdError};
use crate::facts::iptables_words;
use crate::{Change, HostError};
use banger_core::resource::Gatekeeper;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

/// How long to wait for whoever changes the tables right now, in seconds.
const PATIENCE: &str = "5";

pub(super) fn ensure(permit: &Permit<'_>) -> Result<Change, HostError> {
    let printed = print(permit.gatekeeper)?;
    let links = link::list().map_err(HostError::io("list the interfaces of", "the host"))?;
    let links: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    change(permit.gatekeeper, &printed, permit.mark, &wanted(&printed, &links, permit))
}

pub(super) fn remove(gatekeeper: Gatekeeper, mark: &str) -> Result<Change, HostError> {
    change(gatekeeper, &print(gatekeeper)?, mark, &[])
}

pub(super) fn is_there(gatekeeper: Gatekeeper, mark: &str) -> Result<bool, HostError> {
    match list(gatekeeper) {
        Ok(printed) => Ok(own(&printed, mark).next().is_some()),
        // Somebody else has put what only nft can print into the table. That is no reason to see
        // nothing of the host; who changes or removes a permit is told.
        Err(CmdError::Failed { stderr_tail, .. }) if stderr_tail.contains("is incompatible") => {
            tracing::warn!(program = gatekeeper.program(), stderr_tail, "cannot read the rules");
            Ok(false)
        }
        Err(error) => Err(unreadable(gatekeeper)(error)),
    }
}

fn print(gatekeeper: Gatekeeper) -> Result<String, HostError> {
    list(gatekeeper).map_err(unreadable(gatekeeper))
}

fn list(gatekeeper: Gatekeeper) -> Result<String, CmdError> {
    let printed = Cmd::new(gatekeeper.program()).args(["-w", PATIENCE, "-t", "filter", "-S"]);
    Ok(String::from_utf8_lossy(&printed.run()?.stdout).into_owned())
}

fn unreadable(gatekeeper: Gatekeeper) -> impl FnOnce(CmdError) -> HostError {
    HostError::program("read the rules of", gatekeeper.program())
}

fn change(
    gatekeeper: Gatekeeper,
    printed: &str,
    mark: &str,
    wanted: &[String],
) -> Result<Change, HostError> {
    let Some(script) = script(printed, mark, wanted) else { return Ok(Change::Unchanged) };
    let program = format!("{}-restore", gatekeeper.program());
    Cmd::new(&program)
        .args(["-w", PATIENCE, "--noflush"])
        .stdin_bytes(script.into_bytes())
        .run()
        .map_err(HostError::program("change the rules of", gatekeeper.program()))?;
    Ok(Change::Changed)
}

/// What makes the rules with the mark be the wanted ones, in front of all others; `None` if they
/// are.
fn script(printed: &str, mark: &str, wanted: &[String]) -> Option<String> {
    let found: Vec<&str> = own(printed, mark).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    if by_chain(&found) == by_chain(&wanted) {
        return None;
    }
    let gone = found.iter().filter_map(|rule| Some(format!("-D {}\n", rule.strip_prefix("-A ")?)));
    // Each goes in front of the one before.
    let new = wanted.iter().rev();
    let new = new.filter_map(|rule| Some(format!("-I {}\n", rule.strip_prefix("-A ")?)));
    let changes: String = gone.chain(new).collect();
    Some(format!("*filter\n{changes}COMMIT\n"))
}

/// Both kinds print the chains in an order of their own; within a chain it matters.
fn by_chain(rules: &[&str]) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut chains = BTreeMap::<_, Vec<_>>::new();
    for rule in rules {
        let words = iptables_words(rule);
        let chain = words.get(1).cloned().unwrap_or_default();
        chains.entry(chain).or_default().push(words);
    }
    chains
}

/// The rules with the mark, as they are printed.
fn own<'a>(printed: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
    printed.lines().filter(move |line| {
        let words = iptables_words(line);
        words.windows(2).any(|pair| pair[0] == "--comment" && pair[1] == mark)
    })
}

/// The rules in the form in which iptables prints them, on a host with these interfaces.
fn wanted(printed: &str, links: &[&str], permit: &Permit<'_>) -> Vec<String> {
    let Permit { mark, bridge, dns, .. } = permit;
    let marked = format!("-m comment --comment {mark}");
    // Docker's own chain for others, if packets come by it.
    let is_called = printed.lines().any(|line| line == "-A FORWARD -j DOCKER-USER");
    let (chain, networks) = if is_called {
        ("DOCKER-USER", docker_networks(printed, links, bridge.as_str()))
    } else {
        ("FORWARD", Vec::new())
    };
    let hand_back =
        |network: String| format!("-A {chain} -i {bridge} -o {network} {marked} -j RETURN");
    let answers = "-m conntrack --ctstate RELATED,ESTABLISHED";
    let forward = [
        format!("-A {chain} -i {bridge} {marked} -j ACCEPT"),
        format!("-A {chain} -o {bridge} {answers} {marked} -j ACCEPT"),
    ];
    let query = |address: SocketAddrV4, protocol: &str| {
        let (ip, port) = (address.ip(), address.port());
        let what = format!("-d {ip}/32 -i {bridge} -p {protocol} -m {protocol} --dport {port}");
        format!("-A INPUT {what} {marked} -j ACCEPT")
    };
    let names = dns.iter().flat_map(|address| ["udp", "tcp"].map(|by| query(*address, by)));
    networks.into_iter().map(hand_back).chain(forward).chain(names).collect()
}

/// The interfaces of Docker's networks, as its own rules name them. Those to come are called `br-` and
/// a number; where somebody else's interface has such a name too, only those that are there count.
fn docker_networks(printed: &str, links: &[&str], bridge: &str) -> Vec<String> {
    let mut known: BTreeSet<String> = printed.lines().filter_map(network_of).collect();
    let is_foreign = |name: &&str| name.starts_with(USER_NETWORK) && !known.contains::<str>(name);
    if !links.iter().chain([&bridge]).any(is_foreign) {
        known.retain(|name| !name.starts_with(USER_NETWORK));
        known.insert(format!("{USER_NETWORK}+"));
    }
    known.into_iter().collect()
}

/// How the interfaces of the networks begin that users of Docker make.
const USER_NETWORK: &str = "br-";

/// The interface in a rule by which Docker has its chain for published ports called.
fn network_of(rule: &str) -> Option<String> {
    let words = iptables_words(rule);
    let [verb, _, by, name, jump, chain] = words.as_slice() else { return None };
    let is_it = [verb, by, jump, chain] == ["-A", "-o", "-j", "DOCKER"];
    is_it.then(|| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = "\
-P INPUT ACCEPT
-P FORWARD DROP
-N DOCKER
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -o br-0f1e2d3c4b5a -j DOCKER
-A DOCKER-USER -j RETURN
";

    fn rules(printed: &str, dns: Option<&str>) -> Vec<String> {
        rules_beside(printed, dns, &["lo", "eth0", "banger0", "docker0", "br-0f1e2d3c4b5a"])
    }

    fn rules_beside(printed: &str, dns: Option<&str>, links: &[&str]) -> Vec<String> {
        let bridge = "banger0".to_owned().try_into().unwrap();
        let dns = dns.map(|address| address.parse().unwrap());
        let gatekeeper = Gatekeeper::IptablesNft;
        wanted(printed, links, &Permit { gatekeeper, mark: "banger:v3r02", bridge: &bridge, dns })
    }

    #[test]
    fn rules_go_in_front_of_dockers_chain_in_one_transaction() {
        let script = script(DOCKER, "banger:v3r02", &rules(DOCKER, Some("172.16.0.1:42069")));
        insta::assert_snapshot!(script.unwrap(), @r"
        *filter
        -I INPUT -d 172.16.0.1/32 -i banger0 -p tcp -m tcp --dport 42069 -m comment --comment banger:v3r02 -j ACCEPT
        -I INPUT -d 172.16.0.1/32 -i banger0 -p udp -m udp --dport 42069 -m comment --comment banger:v3r02 -j ACCEPT
        -I DOCKER-USER -o banger0 -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment banger:v3r02 -j ACCEPT
        -I DOCKER-USER -i banger0 -m comment --comment banger:v3r02 -j ACCEPT
        -I DOCKER-USER -i banger0 -o docker0 -m comment --comment banger:v3r02 -j RETURN
        -I DOCKER-USER -i banger0 -o br-+ -m comment --comment banger:v3r02 -j RETURN
        COMMIT
        ");
    }

    #[test]
    fn a_strangers_interface_with_a_name_like_dockers_is_none_of_its_networks() {
        let handed_back = |links: &[&str]| -> Vec<String> {
            let rules = rules_beside(DOCKER, None, links);
            let networks = rules.iter().filter(|rule| rule.ends_with("RETURN"));
            networks.map(|rule| iptables_words(rule)[5].clone()).collect()
        };
        assert_eq!(handed_back(&["eth0"]), ["br-+", "docker0"]);
        assert_eq!(handed_back(&["br-lan"]), ["br-0f1e2d3c4b5a", "docker0"]);
    }

    #[test]
    fn without_dockers_chain_or_a_way_to_it_they_are_in_forward() {
        for printed in ["-P FORWARD DROP\n", "-P FORWARD DROP\n-N DOCKER-USER\n"] {
            let rules = rules(printed, None);
            assert!(rules.iter().all(|rule| rule.starts_with("-A FORWARD ")), "{rules:?}");
            assert_eq!(rules.len(), 2);
        }
    }

    #[test]
    fn what_is_there_is_left_alone_and_what_is_old_or_in_another_order_goes() {
        let with = |rules: &[String]| {
            let own = rules.join("\n").replace("banger:v3r02", "\"banger:v3r02\"");
            DOCKER.replace("-A DOCKER-USER -j RETURN", &format!("{own}\n-A DOCKER-USER -j RETURN"))
        };
        let rules = rules(DOCKER, None);
        assert_eq!(script(&with(&rules), "banger:v3r02", &rules), None);
        assert_eq!(script(DOCKER, "banger:v3r02", &[]), None);
        let old = rules.iter().map(|rule| rule.replace("banger0", "br9")).collect::<Vec<_>>();
        insta::assert_snapshot!(script(&with(&old), "banger:v3r02", &rules).unwrap(), @r#"
        *filter
        -D DOCKER-USER -i br9 -o br-+ -m comment --comment "banger:v3r02" -j RETURN
        -D DOCKER-USER -i br9 -o docker0 -m comment --comment "banger:v3r02" -j RETURN
        -D DOCKER-USER -i br9 -m comment --comment "banger:v3r02" -j ACCEPT
        -D DOCKER-USER -o br9 -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment "banger:v3r02" -j ACCEPT
        -I DOCKER-USER -o banger0 -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment banger:v3r02 -j ACCEPT
        -I DOCKER-USER -i banger0 -m comment --comment banger:v3r02 -j ACCEPT
        -I DOCKER-USER -i banger0 -o docker0 -m comment --comment banger:v3r02 -j RETURN
        -I DOCKER-USER -i banger0 -o br-+ -m comment --comment banger:v3r02 -j RETURN
        COMMIT
        "#);
        let reversed: Vec<String> = rules.iter().rev().cloned().collect();
        assert!(script(&with(&reversed), "banger:v3r02", &rules).is_some());
        // Another instance's are not ours.
        assert_eq!(script(&with(&rules), "banger:other", &[]), None);
    }
}
