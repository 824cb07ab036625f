//! Chains as `nft -j list ruleset` prints them (libnftables-json(5)).

use super::iptables::built_in;
use super::packet::{Hook, Packet, Truth, is_in};
use super::walk::{Chains, Fate, Rule, Then};
use serde_json::Value;
use std::net::Ipv4Addr;

/// A chain that the kernel calls by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) family: String,
    pub(super) table: String,
    pub(super) chain: String,
    pub(super) hook: Hook,
    pub(super) policy: Fate,
}

/// The chains that filter what is forwarded, and what is for the host, of IPv4.
pub(super) fn bases(document: &Value) -> Vec<Base> {
    objects(document, "chain").filter_map(base).collect()
}

fn base(chain: &Value) -> Option<Base> {
    let field = |key: &str| chain[key].as_str().map(str::to_owned);
    let hook = match chain["hook"].as_str()? {
        "forward" => Hook::Forward,
        "input" => Hook::Input,
        _ => return None,
    };
    let family = field("family")?;
    if !matches!(family.as_str(), "ip" | "inet") || chain["type"] != "filter" {
        return None;
    }
    // firewalld's chains name none, which means that they accept.
    let policy = if chain["policy"] == "drop" { Fate::Refused } else { Fate::Passes };
    Some(Base { family, table: field("table")?, chain: field("name")?, hook, policy })
}

/// The chains of one table, as far as they concern a packet.
pub(super) fn chains(document: &Value, base: &Base, packet: &Packet<'_>) -> Chains {
    let is_in_table =
        |object: &&Value| object["family"] == base.family && object["table"] == base.table;
    let mut chains = Chains::new();
    for chain in objects(document, "chain").filter(is_in_table) {
        chains.entry(text(&chain["name"])).or_default();
    }
    for object in objects(document, "rule").filter(is_in_table) {
        let statements = object["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
        chains.entry(text(&object["chain"])).or_default().push(rule(statements, packet));
    }
    chains
}

fn objects<'a>(document: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = document["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(move |object| object.get(kind))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn rule(statements: &[Value], packet: &Packet<'_>) -> Rule {
    let mut holds = Truth::Yes;
    for statement in statements.iter().filter_map(Value::as_object).flatten() {
        match does(statement, packet) {
            Does::Ask(truth) => holds = holds.and(truth),
            Does::Then(Then::GoOn) => {}
            Does::Then(then) => return Rule { holds, then },
        }
    }
    Rule { holds, then: Then::GoOn }
}

/// What a statement of a rule does.
enum Does {
    Ask(Truth),
    Then(Then),
}

fn does((kind, what): (&String, &Value), packet: &Packet<'_>) -> Does {
    match kind.as_str() {
        "match" => Does::Ask(holds(what, packet)),
        // A match or a target of iptables, which only iptables can read.
        "xt" if what["type"] == "target" => {
            Does::Then(built_in(what["name"].as_str().unwrap_or_default()))
        }
        "xt" | "limit" | "quota" | "ct count" => Does::Ask(Truth::Maybe),
        "vmap" => Does::Then(looked_up(what, packet)),
        "queue" | "synproxy" | "tproxy" => Does::Then(Then::Unknown),
        _ => Does::Then(verdict(kind, what)),
    }
}

fn verdict(kind: &str, what: &Value) -> Then {
    match kind {
        "accept" => Then::Accept,
        "drop" | "reject" => Then::Refuse,
        "return" => Then::Return,
        "jump" => Then::Jump(text(&what["target"])),
        "goto" => Then::Goto(text(&what["target"])),
        // It counts, logs, marks or changes the packet.
        _ => Then::GoOn,
    }
}

/// What a map of verdicts says.
fn looked_up(map: &Value, packet: &Packet<'_>) -> Then {
    let Some(entries) = map["data"]["set"].as_array() else { return Then::Unknown };
    for entry in entries {
        match fits(&map["key"], &entry[0], packet) {
            Truth::No => {}
            Truth::Maybe => return Then::Unknown,
            Truth::Yes => {
                let mut verdicts = entry[1].as_object().into_iter().flatten();
                return verdicts.next().map_or(Then::Unknown, |(kind, what)| verdict(kind, what));
            }
        }
    }
    Then::GoOn
}

fn holds(test: &Value, packet: &Packet<'_>) -> Truth {
    if is_of_another_kind(&test["left"], packet) {
        return Truth::No;
    }
    let truth = fits(&test["left"], &test["right"], packet);
    match test["op"].as_str() {
        Some("==" | "in") => truth,
        Some("!=") => truth.not(),
        _ => Truth::Maybe,
    }
}

/// Whether a field is asked for that the packet does not have: the rule then never fits.
fn is_of_another_kind(left: &Value, packet: &Packet<'_>) -> bool {
    match left["payload"]["protocol"].as_str() {
        Some("icmp" | "icmpv6" | "ip6" | "arp" | "sctp" | "dccp") => true,
        Some(transport @ ("tcp" | "udp")) => transport != packet.protocol.as_str(),
        _ => false,
    }
}

/// Whether what is asked for is the value, or one of the values.
fn fits(left: &Value, right: &Value, packet: &Packet<'_>) -> Truth {
    let list = right.as_array().or_else(|| right["set"].as_array());
    match list {
        Some(list) => list.iter().map(|right| fits(left, right, packet)).fold(Truth::No, Truth::or),
        None => is(left, right.get("elem").map_or(right, |element| &element["val"]), packet),
    }
}

fn is(left: &Value, right: &Value, packet: &Packet<'_>) -> Truth {
    let word = match right {
        Value::String(word) => word.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    // The name of a set.
    if word.starts_with('@') {
        return Truth::Maybe;
    }
    if let Some(key) = left["meta"]["key"].as_str() {
        return match key {
            "iif" | "iifname" => packet.comes_in_at(&word, '*'),
            "oif" | "oifname" => packet.leaves_by(&word, '*'),
            "l4proto" => packet.is_of(&word),
            "nfproto" => Truth::of(word == "ipv4"),
            "protocol" => Truth::of(word == "ip"),
            _ => Truth::Maybe,
        };
    }
    if let Some(key) = left["ct"]["key"].as_str() {
        return match (key, word.as_str()) {
            ("state", state) => packet.is_in_state(state),
            ("status", "dnat") => packet.is_in_state("dnat"),
            _ => Truth::Maybe,
        };
    }
    let payload = &left["payload"];
    match (payload["protocol"].as_str(), payload["field"].as_str()) {
        (Some("ip"), Some("saddr")) => is_address(packet.from, right, &word),
        (Some("ip"), Some("daddr")) => is_address(packet.to, right, &word),
        (Some("ip"), Some("protocol")) => packet.is_of(&word),
        (Some("tcp" | "udp" | "th"), Some("dport")) => is_port(right, packet),
        _ => Truth::Maybe,
    }
}

fn is_address(address: Ipv4Addr, right: &Value, word: &str) -> Truth {
    if let Some(prefix) = right.get("prefix") {
        let network = prefix["addr"].as_str().unwrap_or_default();
        return is_in(address, &format!("{network}/{}", prefix["len"]));
    }
    if let Some([first, last]) = right["range"].as_array().map(Vec::as_slice) {
        let bound = |value: &Value| value.as_str()?.parse::<Ipv4Addr>().ok();
        return match (bound(first), bound(last)) {
            (Some(first), Some(last)) => Truth::of((first..=last).contains(&address)),
            _ => Truth::Maybe,
        };
    }
    is_in(address, word)
}

fn is_port(right: &Value, packet: &Packet<'_>) -> Truth {
    let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    let (first, last) = match right["range"].as_array().map(Vec::as_slice) {
        Some([first, last]) => (port(first), port(last)),
        _ => (port(right), port(right)),
    };
    match (first, last) {
        (Some(first), Some(last)) => packet.is_for(first, last),
        _ => Truth::Maybe,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::question;
    use super::super::walk::fate;
    use super::*;
    use Fate::{Passes, Refused, Unclear};
    use proptest::prelude::*;
    use serde_json::json;

    fn rule(chain: &str, statements: &Value) -> Value {
        let table = "firewalld";
        json!({ "rule": { "family": "inet", "table": table, "chain": chain, "expr": statements } })
    }

    fn chain(name: &str, hook: Option<&str>) -> Value {
        let mut chain = json!({ "family": "inet", "table": "firewalld", "name": name });
        if let Some(hook) = hook {
            chain["type"] = "filter".into();
            chain["hook"] = hook.into();
        }
        json!({ "chain": chain })
    }

    fn meta(key: &str, name: &str) -> Value {
        json!({ "match": { "op": "==", "left": { "meta": { "key": key } }, "right": name } })
    }

    fn ct(key: &str, right: &Value) -> Value {
        json!({ "match": { "op": "in", "left": { "ct": { "key": key } }, "right": right } })
    }

    /// The ways through firewalld 1.3's table, `extra` being rules of its zones.
    fn firewalld(extra: &[Value]) -> Value {
        let established = ct("state", &json!({ "set": ["established", "related"] }));
        let reject = json!({ "reject": { "type": "icmpx", "expr": "admin-prohibited" } });
        let mut all = vec![
            json!({ "metainfo": { "version": "1.0.6" } }),
            chain("filter_INPUT", Some("input")),
            chain("filter_FORWARD", Some("forward")),
            chain("filter_INPUT_ZONES", None),
            chain("filter_FORWARD_ZONES", None),
            chain("nat_PREROUTING", Some("prerouting")),
        ];
        for (base, zones) in
            [("filter_INPUT", "filter_INPUT_ZONES"), ("filter_FORWARD", "filter_FORWARD_ZONES")]
        {
            all.extend([
                rule(base, &json!([established, { "accept": null }])),
                rule(base, &json!([ct("status", &json!("dnat")), { "accept": null }])),
                rule(base, &json!([meta("iifname", "lo"), { "accept": null }])),
                rule(base, &json!([ct("state", &json!("invalid")), { "drop": null }])),
                rule(base, &json!([{ "jump": { "target": zones } }])),
                rule(base, &json!([reject])),
            ]);
        }
        all.extend(extra.iter().cloned());
        json!({ "nftables": all })
    }

    /// The fates of a call, its answer, and a query.
    fn fates(document: &Value) -> [Fate; 3] {
        let question = question();
        [
            Packet::call(&question, Some("eth0")),
            Packet::answer(&question, Some("eth0")),
            Packet::query(&question).unwrap(),
        ]
        .map(|packet| {
            let bases = bases(document);
            let base = bases.iter().find(|base| base.hook == packet.hook).unwrap();
            fate(&chains(document, base, &packet), &base.chain, base.policy)
        })
    }

    #[test]
    fn firewalld_rejects_an_unknown_interface_and_takes_what_was_turned() {
        assert_eq!(fates(&firewalld(&[])), [Refused, Passes, Passes]);
        let mut strict = firewalld(&[]);
        let rules = strict["nftables"].as_array_mut().unwrap();
        rules.retain(|object| !object.to_string().contains("dnat"));
        assert_eq!(fates(&strict), [Refused, Passes, Refused]);
    }

    #[test]
    fn a_zone_that_the_bridge_is_in_accepts_it() {
        let verdict = json!([meta("iifname", "banger*"), { "accept": null }]);
        let by_rule = firewalld(&[rule("filter_FORWARD_ZONES", &verdict)]);
        assert_eq!(fates(&by_rule)[0], Passes);
        let map = json!([{ "vmap": {
            "key": { "meta": { "key": "iifname" } },
            "data": { "set": [["eth0", { "drop": null }], ["banger0", { "accept": null }]] },
        } }]);
        assert_eq!(fates(&firewalld(&[rule("filter_FORWARD_ZONES", &map)]))[0], Passes);
    }

    #[test]
    fn addresses_ports_and_transports_are_compared() {
        let payload = |protocol: &str, field: &str, right: Value| {
            let left = json!({ "payload": { "protocol": protocol, "field": field } });
            json!({ "match": { "op": "==", "left": left, "right": right } })
        };
        for (test, fate) in [
            (
                payload("ip", "saddr", json!({ "prefix": { "addr": "172.16.0.0", "len": 12 } })),
                Passes,
            ),
            (payload("ip", "saddr", json!({ "range": ["10.0.0.1", "10.0.0.9"] })), Refused),
            (payload("ip", "daddr", json!("@known")), Unclear),
            (payload("tcp", "dport", json!({ "set": [80, { "range": [440, 450] }] })), Passes),
            (payload("udp", "dport", json!(443)), Refused),
            (payload("tcp", "flags", json!("syn")), Unclear),
            (payload("icmp", "type", json!("echo-request")), Refused),
            (payload("ip6", "saddr", json!("::1")), Refused),
            (json!({ "xt": { "type": "match", "name": "conntrack" } }), Unclear),
            (json!({ "counter": { "packets": 0, "bytes": 0 } }), Passes),
        ] {
            let rule = rule("filter_FORWARD_ZONES", &json!([test.clone(), { "accept": null }]));
            assert_eq!(fates(&firewalld(&[rule]))[0], fate, "{test}");
        }
    }

    #[test]
    fn a_policy_of_drop_refuses_and_other_families_and_hooks_are_no_gates() {
        let mut document = firewalld(&[]);
        let chains = document["nftables"].as_array_mut().unwrap();
        for family in ["ip6", "bridge", "netdev"] {
            let mut other = chain("forward", Some("forward"));
            other["chain"]["family"] = family.into();
            chains.push(other);
        }
        let mut ours = chain("mine", Some("forward"));
        ours["chain"]["policy"] = "drop".into();
        chains.push(ours);
        let bases = bases(&document);
        let names: Vec<_> = bases.iter().map(|base| (base.chain.as_str(), base.policy)).collect();
        let expected = [("filter_INPUT", Passes), ("filter_FORWARD", Passes), ("mine", Refused)];
        assert_eq!(names, expected);
    }

    proptest! {
        #[test]
        fn any_statement_is_read(kind in "[a-z]{1,6}|match|vmap|xt", word in ".{0,8}") {
            let odd = json!([{ kind.clone(): { "left": word, "right": [1, null], "key": {} } }]);
            let _fates = fates(&firewalld(&[rule("filter_FORWARD_ZONES", &odd)]));
        }
    }
}
