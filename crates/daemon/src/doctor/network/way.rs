//! Whether the kernel sends VMs' packets to the world, and what comes back to them.

use super::{SCOPE, broken};
use banger_api::Check;
use banger_host::facts::{Hop, NetworkFacts, NetworkQuestion, Obstructed, Ways};

const NAME: &str = "way";

pub(super) fn examine(network: &NetworkFacts) -> Vec<Check> {
    let question = &network.question;
    match &network.ways {
        Err(reason) => {
            let found = format!("the ways of packets are not known: {reason}");
            vec![Check::warn(SCOPE, NAME, found, "see that the daemon is root")]
        }
        // Said already, where it matters.
        Ok(Ways { guests: Some(Err(Obstructed::NotForwarded)), .. })
            if network.forwarding == Some(false) =>
        {
            Vec::new()
        }
        Ok(ways) => {
            let mut checks = vec![out(ways, question)];
            checks.extend(back(ways, question));
            checks
        }
    }
}

/// The way of a VM's packet to the world.
fn out(ways: &Ways, question: &NetworkQuestion) -> Check {
    let bridge = &question.bridge;
    match (&ways.guests, &ways.own) {
        (Some(Ok(hop)), Ok(own)) if own.link != hop.link => Check::warn(
            SCOPE,
            NAME,
            format!("VMs' packets leave by {}, and the host's own by {}", named(hop), named(own)),
            format!(
                "a VPN that is chosen by mark or by user takes the host's own packets alone; for VMs \
                 too, add a rule such as `ip rule add iif {bridge} lookup TABLE`"
            ),
        ),
        (Some(Ok(hop)), _) => {
            let found = format!("VMs' packets leave by {}, with its address", named(hop));
            Check::pass(SCOPE, NAME, found)
        }
        (Some(Err(Obstructed::NoRoute)) | None, Err(Obstructed::NoRoute)) => Check::warn(
            SCOPE,
            NAME,
            "the host itself has no way to the world",
            "connect the host, or give it a default route",
        ),
        (Some(Err(Obstructed::ReversePath)), _) => broken(
            NAME,
            format!("the reverse path filter drops what VMs send, where it comes in at `{bridge}`"),
            "another route leads to VMs' addresses, which the check `subnet` names: remove it",
        ),
        (Some(Err(why)), _) => {
            let found = format!("what VMs send to the world ends at `{bridge}`: {why}");
            broken(NAME, found, remedy(why, bridge.as_str()))
        }
        (None, Ok(own)) => {
            let found = format!("the host's packets leave by {}", named(own));
            Check::pass(SCOPE, NAME, format!("{found}; VMs' can be asked for while one runs"))
        }
        (None, Err(why)) => Check::warn(
            SCOPE,
            NAME,
            format!("the host itself does not reach the world: {why}"),
            "`ip route get 1.1.1.1` shows the kernel's answer",
        ),
    }
}

/// The way of the answer; nothing where it arrives.
fn back(ways: &Ways, question: &NetworkQuestion) -> Option<Check> {
    let bridge = question.bridge.as_str();
    let Some(Ok(came)) = &ways.guests else { return None };
    let from = &came.link;
    match ways.answers.as_ref()? {
        Ok(hop) if hop.link == bridge => None,
        Ok(hop) => Some(broken(
            "answers",
            format!("answers to VMs that come in at `{from}` leave by {}", named(hop)),
            format!("see which rule of `ip rule` leads them there instead of to `{bridge}`"),
        )),
        Err(why) => {
            let found = format!("answers to VMs end where they come in, at `{from}`: {why}");
            Some(broken("answers", found, remedy(why, from)))
        }
    }
}

fn named(hop: &Hop) -> String {
    match hop.what {
        Some(what) => format!("`{}` ({what})", hop.link),
        None => format!("`{}`", hop.link),
    }
}

fn remedy(why: &Obstructed, link: &str) -> String {
    match why {
        Obstructed::ReversePath => format!(
            "`sysctl -w net.ipv4.conf.{link}.rp_filter=2` has it accept what comes from anywhere that \
             a route leads to"
        ),
        Obstructed::NotForwarded => format!("`sysctl -w net.ipv4.conf.{link}.forwarding=1`"),
        Obstructed::NoRoute | Obstructed::Other(_) => {
            "`ip rule` and `ip route show table all` show what the kernel goes by".to_owned()
        }
    }
}
