//! From a packet to its answer: everything that the DNS server makes of bytes, whoever sends them.

#![no_main]

use banger_core::dns::{Entry, Scope, Table};
use banger_dns::{Asker, Lifetimes, Reply, Transport, respond};
use hickory_proto::op::{Message, MessageType, ResponseCode};
use libfuzzer_sys::fuzz_target;
use std::net::Ipv4Addr;
use std::sync::LazyLock;

const LIFETIMES: Lifetimes = Lifetimes { positive: 5, negative: 0 };
/// The longest UDP answers: for who says nothing, and for who says what it can take.
const MIN_UDP: usize = 512;
const MAX_UDP: usize = 1232;

/// Two VMs: one whose guest may ask for all names, and one with the longest name that there is.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let running = [("otter".to_owned(), 2, Scope::All), ("h".repeat(63), 3, Scope::Ours)];
    let running = running.map(|(name, last, scope)| {
        let name = name.parse().expect("it is a VM's name");
        Entry { name, ip: Ipv4Addr::new(172, 16, 0, last).into(), scope }
    });
    Table::new("172.16.0.1/24".parse().expect("it is a subnet"), 7, running)
});

fuzz_target!(|packet: &[u8]| {
    let query = Message::from_vec(packet).ok();
    let guests = [2, 3].map(|last| Asker::Guest(Ipv4Addr::new(172, 16, 0, last).into()));
    for asker in [Asker::Host, guests[0], guests[1]] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let reply = respond(packet, &TABLE, LIFETIMES, asker, transport);
            let is_query = packet.len() >= 12 && packet[2] & 0x80 == 0;
            assert_eq!(reply.is_some(), is_query, "queries are answered, and nothing else is");
            let Some(reply) = reply else { continue };
            let response = match &reply {
                Reply::Answer(response) => response,
                Reply::Elsewhere(refusal) => {
                    assert_eq!(asker, guests[0], "nobody else is answered from elsewhere");
                    refusal
                }
            };
            check(response, packet, query.as_ref(), transport);
            let is_refused = read(response).metadata.response_code == ResponseCode::Refused;
            assert!(is_refused || matches!(reply, Reply::Answer(_)));
            let again = respond(response, &TABLE, LIFETIMES, asker, transport);
            assert_eq!(again, None, "two servers would answer each other for ever");
        }
    }
});

fn check(response: &[u8], packet: &[u8], query: Option<&Message>, transport: Transport) {
    let limit = match (transport, query.and_then(|query| query.edns.as_ref())) {
        (Transport::Udp, None) => MIN_UDP,
        (Transport::Udp, Some(edns)) => usize::from(edns.max_payload()).clamp(MIN_UDP, MAX_UDP),
        (Transport::Tcp, _) => usize::from(u16::MAX),
    };
    assert!(response.len() <= limit, "{} bytes, more than {limit}", response.len());
    assert_eq!(response[..2], packet[..2], "the id is the query's");
    let read = read(response);
    assert_eq!(read.metadata.message_type, MessageType::Response);
    match query.map(|query| query.queries.as_slice()) {
        Some([asked]) => {
            assert_eq!(read.queries.as_slice(), std::slice::from_ref(asked), "it comes back");
        }
        Some(_) => assert!(read.queries.is_empty(), "there is not one that can be answered"),
        None => assert_eq!(read.metadata.response_code, ResponseCode::FormErr),
    }
}

fn read(response: &[u8]) -> Message {
    Message::from_vec(response).expect("what is sent can be read")
}
