//! Each situation by value; crates/host has them on a real kernel.

use super::super::tests::{amiss, complete};
use super::*;
use banger_core::names::Layout;
use banger_core::resource::Gatekeeper;
use banger_host::facts::{Concern, Fate, Gate, Hop, NetworkQuestion, Obstructed};
use std::num::NonZeroU16;

fn with(change: impl FnOnce(&mut NetworkFacts)) -> Facts {
    let layout = Layout::new("/state".into(), "/run/b".into()).unwrap();
    let mut network = NetworkFacts::open(NetworkQuestion {
        bridge: "banger0".to_owned().try_into().unwrap(),
        subnet: "172.16.0.1/24".parse().unwrap(),
        dns_port: NonZeroU16::new(42_069),
        table: layout.nft_table(),
    });
    change(&mut network);
    Facts { network: Some(network), nat_guests: 1, ..complete() }
}

fn hop(link: &str) -> Hop {
    Hop { link: link.to_owned(), what: None }
}

fn gate(owner: &str, gatekeeper: Option<Gatekeeper>, chain: &str, concern: Concern) -> Gate {
    let (owner, chain) = (owner.to_owned(), chain.to_owned());
    let table = match gatekeeper {
        Some(Gatekeeper::Firewalld) => "inet firewalld",
        Some(gatekeeper) => gatekeeper.program(),
        None => "inet filter",
    };
    Gate { owner, gatekeeper, table: table.to_owned(), chain, concern, fate: Fate::Refused }
}

fn with_gates(gates: Vec<Gate>) -> String {
    amiss(&with(|network| network.gates = Ok(gates)))
}

#[test]
fn on_an_open_host_each_check_passes() {
    let facts = with(|_| {});
    assert_eq!(amiss(&facts), "");
    let found: Vec<String> =
        examine(&facts).iter().map(|check| format!("{}: {}", check.name, check.found[0])).collect();
    insta::assert_snapshot!(found.join("\n"), @r"
    forwarding: the host forwards packets
    firewall: no other firewall looks at VMs' packets
    way: VMs' packets leave by `eth0`, with its address
    subnet: no other network has addresses of 172.16.0.1/24
    ");
}

#[test]
fn docker_is_told_by_its_own_chain() {
    let docker = gate("Docker", Some(Gatekeeper::IptablesNft), "FORWARD", Concern::Beyond);
    insta::assert_snapshot!(with_gates(vec![docker]), @r"
    network firewall: FAIL network_conflict
      Docker drops what VMs on `banger0` exchange with the world, in the chain FORWARD of iptables-nft
      hint: `banger doctor network --fix` has it let them through, and `--undo` undoes that
      hint: by hand: `iptables-nft -I DOCKER-USER -i banger0 -j ACCEPT` and `iptables-nft -I DOCKER-USER -o banger0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`, by which VMs reach containers too
    ");
}

#[test]
fn ufw_refuses_the_way_out_and_the_queries() {
    let ufw = |chain, concern| gate("ufw", Some(Gatekeeper::IptablesNft), chain, concern);
    let gates = vec![ufw("FORWARD", Concern::Beyond), ufw("INPUT", Concern::Names)];
    insta::assert_snapshot!(with_gates(gates), @r"
    network firewall: FAIL network_conflict
      ufw drops what VMs on `banger0` exchange with the world, in the chain FORWARD of iptables-nft
      ufw drops what VMs ask of DNS at 172.16.0.1, in the chain INPUT of iptables-nft
      hint: `banger doctor network --fix` has it let them through, and `--undo` undoes that
      hint: by hand: `iptables-nft -I FORWARD -i banger0 -j ACCEPT` and `iptables-nft -I FORWARD -o banger0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`
      hint: for good: `ufw route allow in on banger0`
      hint: by hand: `iptables-nft -I INPUT -i banger0 -d 172.16.0.1 -p udp --dport 42069 -j ACCEPT` and `iptables-nft -I INPUT -i banger0 -d 172.16.0.1 -p tcp --dport 42069 -j ACCEPT`
      hint: for good: `ufw allow in on banger0 to 172.16.0.1 port 42069`
    ");
}

#[test]
fn firewalld_is_told_once_for_both() {
    let zone = |chain, concern| gate("firewalld", Some(Gatekeeper::Firewalld), chain, concern);
    let gates = vec![zone("filter_FORWARD", Concern::Beyond), zone("filter_INPUT", Concern::Names)];
    insta::assert_snapshot!(with_gates(gates), @r"
    network firewall: FAIL network_conflict
      firewalld drops what VMs on `banger0` exchange with the world, in the chain filter_FORWARD of the nft table inet firewalld
      firewalld drops what VMs ask of DNS at 172.16.0.1, in the chain filter_INPUT of the nft table inet firewalld
      hint: `banger doctor network --fix` has it let them through, and `--undo` undoes that
      hint: by hand: `firewall-cmd --zone=trusted --add-interface=banger0`
    ");
}

#[test]
fn a_table_of_somebodys_own_is_named_with_its_remedy_and_what_is_not_understood_is_a_warning() {
    let own = |chain, concern| gate("the nft table inet filter", None, chain, concern);
    let gates = vec![own("forward", Concern::Beyond), own("input", Concern::Names)];
    insta::assert_snapshot!(with_gates(gates), @r"
    network firewall: FAIL network_conflict
      the nft table inet filter drops what VMs on `banger0` exchange with the world, in its chain forward
      the nft table inet filter drops what VMs ask of DNS at 172.16.0.1, in its chain input
      hint: have it accept them, as `nft insert rule inet filter forward iifname banger0 accept` and `nft insert rule inet filter forward oifname banger0 ct state established,related accept` do until its rules are laid anew
      hint: have it accept them, as `nft insert rule inet filter input iifname banger0 ip daddr 172.16.0.1 accept` does until its rules are laid anew
    ");
    let unclear = Gate { fate: Fate::Unclear, ..own("forward", Concern::Beyond) };
    let passes = Gate { fate: Fate::Passes, ..own("input", Concern::Names) };
    insta::assert_snapshot!(with_gates(vec![unclear, passes]), @r"
    network firewall: warn
      the nft table inet filter has rules that banger does not understand
      it is not clear whether they let through what VMs on `banger0` exchange with the world, in its chain forward
      hint: see whether a VM reaches the world; `nft list ruleset` shows the rules
    ");
    let unread = with(|network| network.gates = Err("`nft` is not installed".to_owned()));
    insta::assert_snapshot!(amiss(&unread), @r"
    network firewall: warn
      the host's firewalls cannot be read: `nft` is not installed
      hint: see that the daemon is root, and that nftables is installed
    ");
}

#[test]
fn forwarding_that_somebody_switched_off_fails_while_vms_with_nat_run() {
    let mut facts = with(|network| network.forwarding = Some(false));
    insta::assert_snapshot!(amiss(&facts), @r"
    network forwarding: FAIL network_conflict
      it is off, though VMs with NAT run: something has switched it off since
      hint: `banger doctor network --fix` switches it on again; see which file in `/etc/sysctl.d` says otherwise
    ");
    facts.nat_guests = 0;
    let ways = facts.network.as_mut().unwrap().ways.as_mut().unwrap();
    (ways.guests, ways.answers) = (Some(Err(Obstructed::NotForwarded)), None);
    assert_eq!(amiss(&facts), "", "none of them wants to be forwarded");
}

fn with_ways(change: impl FnOnce(&mut banger_host::facts::Ways)) -> String {
    amiss(&with(|network| change(network.ways.as_mut().unwrap())))
}

#[test]
fn a_vpn_that_takes_the_hosts_packets_alone_is_warned_of() {
    let what = Some("a WireGuard interface");
    let own = Ok(Hop { what, ..hop("wg0") });
    insta::assert_snapshot!(with_ways(|ways| ways.own = own), @r"
    network way: warn
      VMs' packets leave by `eth0`, and the host's own by `wg0` (a WireGuard interface)
      hint: a VPN that is chosen by mark or by user takes the host's own packets alone; for VMs too, add a rule such as `ip rule add iif banger0 lookup TABLE`
    ");
}

#[test]
fn a_bond_and_a_vpn_are_named_where_all_is_well() {
    let bond = Hop { link: "bond0".to_owned(), what: Some("a bond") };
    let facts = with(|network| {
        let ways = network.ways.as_mut().unwrap();
        (ways.own, ways.guests) = (Ok(bond.clone()), Some(Ok(bond)));
    });
    let way = examine(&facts).into_iter().find(|check| check.name == "way").unwrap();
    assert_eq!(way.found, ["VMs' packets leave by `bond0` (a bond), with its address"]);
}

#[test]
fn what_the_kernel_would_drop_is_told_with_the_switch_for_it() {
    let answers = with_ways(|ways| ways.answers = Some(Err(Obstructed::ReversePath)));
    insta::assert_snapshot!(answers, @r"
    network answers: FAIL network_conflict
      answers to VMs end where they come in, at `eth0`: the reverse path filter drops it
      hint: `sysctl -w net.ipv4.conf.eth0.rp_filter=2` has it accept what comes from anywhere that a route leads to
    ");
    let guests = with_ways(|ways| {
        (ways.guests, ways.answers) = (Some(Err(Obstructed::NotForwarded)), None);
    });
    insta::assert_snapshot!(guests, @r"
    network way: FAIL network_conflict
      what VMs send to the world ends at `banger0`: the host forwards nothing that comes in there
      hint: `sysctl -w net.ipv4.conf.banger0.forwarding=1`
    ");
    let unheard = with_ways(|ways| {
        (ways.guests, ways.answers) = (Some(Err(Obstructed::ReversePath)), None);
    });
    insta::assert_snapshot!(unheard, @r"
    network way: FAIL network_conflict
      the reverse path filter drops what VMs send, where it comes in at `banger0`
      hint: another route leads to VMs' addresses, which the check `subnet` names: remove it
    ");
    let astray = with_ways(|ways| ways.answers = Some(Ok(hop("tun0"))));
    insta::assert_snapshot!(astray, @r"
    network answers: FAIL network_conflict
      answers to VMs that come in at `eth0` leave by `tun0`
      hint: see which rule of `ip rule` leads them there instead of to `banger0`
    ");
}

#[test]
fn a_host_without_a_way_is_no_failure_of_bangers() {
    let alone = with_ways(|ways| {
        let none = || Err(Obstructed::NoRoute);
        (ways.own, ways.guests, ways.answers) = (none(), Some(none()), None);
    });
    insta::assert_snapshot!(alone, @r"
    network way: warn
      the host itself has no way to the world
      hint: connect the host, or give it a default route
    ");
}

#[test]
fn a_network_with_the_subnets_addresses_is_told_wide_or_narrow() {
    let rival = |prefix, table| Rival {
        to: "172.16.0.0".parse().unwrap(),
        prefix,
        link: "tun0".to_owned(),
        table,
    };
    let wide = with(|network| network.rivals = vec![rival(12, 254)]);
    insta::assert_snapshot!(amiss(&wide), @r"
    network subnet: warn
      172.16.0.0/12 is routed to `tun0`, and has addresses of 172.16.0.1/24
      hint: set another `subnet` in the configuration file; a VM keeps the address that it has, so make them anew
    ");
    let narrow = with(|network| {
        network.rivals = vec![rival(25, 52)];
        network.ways.as_mut().unwrap().home = Some(Ok(hop("tun0")));
    });
    insta::assert_snapshot!(amiss(&narrow), @r"
    network subnet: FAIL network_conflict
      what the host sends to VMs in 172.16.0.1/24 leaves by `tun0`
      172.16.0.0/25 is routed to `tun0` in table 52, and has addresses of 172.16.0.1/24
      hint: set another `subnet` in the configuration file; a VM keeps the address that it has, so make them anew
    ");
}
