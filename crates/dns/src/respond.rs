//! From a packet to its answer: a pure function over the table.

use banger_core::dns::{Answer, Apex, RecordKind, Scope, Table, ZONE};
use banger_core::net::GuestIp;
use banger_core::vm_name::VmName;
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, NS, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// The largest UDP answer that we send to who can take it: it is never cut into fragments on the
/// way (DNS flag day 2020).
const MAX_UDP: u16 = 1232;
/// The largest one for who says nothing (RFC 1035, section 4.2.1).
const MIN_UDP: u16 = 512;
/// The length of a message's header.
pub(crate) const HEADER: usize = 12;

/// How long others may keep an answer, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// A record.
    pub positive: u32,
    /// That there is none (RFC 2308).
    pub negative: u32,
}

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// As a datagram; the answer has to fit into one.
    Udp,
    /// Through a connection.
    Tcp,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Somebody who asks us for our names alone.
    Host,
    /// The guest with this address, who may ask us for all names if the table says so.
    Guest(GuestIp),
}

impl Asker {
    fn scope(self, table: &Table) -> Scope {
        match self {
            Self::Host => Scope::Ours,
            Self::Guest(guest) => table.scope(guest),
        }
    }
}

/// What comes of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// This is sent.
    Answer(Vec<u8>),
    /// Others are asked, since the name lies in no zone of ours. This is the refusal that it would
    /// be otherwise.
    Elsewhere(Vec<u8>),
}

/// In which way a query was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// With what was asked for.
    Found,
    /// The name is there and has no such record.
    NoData,
    /// There is no such name.
    NoName,
    /// It is asked elsewhere, for a guest.
    PassedOn,
    /// It lies in no zone of ours, or is a transfer.
    Refused,
    /// It cannot be read, or asks for what no server here does.
    Faulty,
}

impl Verdict {
    /// Every way.
    pub const ALL: [Self; 6] =
        [Self::Found, Self::NoData, Self::NoName, Self::PassedOn, Self::Refused, Self::Faulty];

    /// The word in the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::NoData => "no_data",
            Self::NoName => "no_name",
            Self::PassedOn => "passed_on",
            Self::Refused => "refused",
            Self::Faulty => "faulty",
        }
    }
}

/// What an answer of ours says, by its header (RFC 1035, section 4.1.1).
pub(crate) fn verdict(response: &[u8]) -> Verdict {
    let Some(header) = response.first_chunk::<HEADER>() else { return Verdict::Faulty };
    // An answer that is too long for its way is one, and has none of its records.
    let has_answer = header[6..8] != [0, 0] || header[2] & 2 != 0;
    let has_authority = header[8..10] != [0, 0];
    match header[3] & 0xf {
        0 if has_answer => Verdict::Found,
        0 if has_authority => Verdict::NoData,
        // BADVERS, whose low bits are 0.
        0 => Verdict::Faulty,
        3 => Verdict::NoName,
        5 => Verdict::Refused,
        _ => Verdict::Faulty,
    }
}

/// What comes of a packet. `None` for what is no query at all: a packet that is too short to have a
/// header, or one that is itself an answer, so that two servers never answer each other.
pub fn respond(
    packet: &[u8],
    table: &Table,
    lifetimes: Lifetimes,
    asker: Asker,
    transport: Transport,
) -> Option<Reply> {
    let header = packet.first_chunk::<HEADER>()?;
    if header[2] & 0x80 != 0 {
        return None;
    }
    let scope = asker.scope(table);
    let Ok(request) = Message::from_vec(packet) else {
        return Some(Reply::Answer(malformed(header, scope)));
    };
    let (mut response, whose) = answer(&request, table, lifetimes);
    // Names that are not ours are asked for elsewhere (RFC 1035, section 4.1.1: RA).
    response.metadata.recursion_available = scope == Scope::All;
    let encoded = response.to_vec().ok()?;
    let limit = match transport {
        Transport::Udp => usize::from(request.max_payload().clamp(MIN_UDP, MAX_UDP)),
        Transport::Tcp => usize::from(u16::MAX),
    };
    let response =
        if encoded.len() <= limit { encoded } else { response.truncate().to_vec().ok()? };
    Some(match whose {
        Whose::Others if scope == Scope::All => Reply::Elsewhere(response),
        Whose::Ours | Whose::Others => Reply::Answer(response),
    })
}

/// Makes a refusal say that nobody could be asked: the same with SERVFAIL.
pub(crate) fn fail(mut refusal: Vec<u8>) -> Vec<u8> {
    if let Some(byte) = refusal.get_mut(3) {
        *byte = *byte & 0xf0 | ResponseCode::ServFail.low();
    }
    refusal
}

/// Who knows the name of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Others,
}

/// The answer to what has a header and cannot be read beyond it: the same with FORMERR.
fn malformed(header: &[u8; HEADER], scope: Scope) -> Vec<u8> {
    let [id_high, id_low, flags, ..] = *header;
    let recursion = if scope == Scope::All { 0x80 } else { 0 };
    // Operation and RD are the asker's; QR is set, and all counts are 0.
    let mut response = vec![id_high, id_low, 0x80 | flags & 0x79, recursion | 1];
    response.resize(HEADER, 0);
    response
}

fn answer(request: &Message, table: &Table, lifetimes: Lifetimes) -> (Message, Whose) {
    let mut response = Message::new(request.metadata.id, MessageType::Response, OpCode::Query);
    response.metadata = Metadata::response_from_request(&request.metadata);
    // Of more than one none comes back: the answer would be as long as the query, or longer.
    if let [query] = request.queries.as_slice() {
        response.add_query(query.clone());
    }
    if let Some(edns) = &request.edns {
        let mut ours = Edns::new();
        ours.set_max_payload(MAX_UDP).set_dnssec_ok(edns.flags().dnssec_ok);
        response.set_edns(ours);
    }
    let query = match check(request) {
        Ok(query) => query,
        Err(code) => {
            response.metadata.response_code = code;
            return (response, Whose::Ours);
        }
    };
    let kind = kind(query.query_type);
    let known = table.lookup(query.name.iter(), kind);
    let is_ours = known != Answer::Refused || kind == RecordKind::Transfer;
    Filling { name: &query.name, serial: table.serial(), lifetimes }.fill(&mut response, known);
    (response, if is_ours { Whose::Ours } else { Whose::Others })
}

/// The one question of a request that we can answer.
fn check(request: &Message) -> Result<&Query, ResponseCode> {
    if request.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    if request.version() != 0 {
        return Err(ResponseCode::BADVERS);
    }
    match request.queries.as_slice() {
        [query] if query.query_class == DNSClass::IN => Ok(query),
        [_] => Err(ResponseCode::Refused),
        _ => Err(ResponseCode::FormErr),
    }
}

const fn kind(of: RecordType) -> RecordKind {
    match of {
        RecordType::A => RecordKind::A,
        RecordType::PTR => RecordKind::Ptr,
        RecordType::SOA => RecordKind::Soa,
        RecordType::NS => RecordKind::Ns,
        RecordType::ANY => RecordKind::Any,
        RecordType::AXFR | RecordType::IXFR => RecordKind::Transfer,
        _ => RecordKind::Other,
    }
}

/// What the records of an answer are made from.
struct Filling<'a> {
    /// The name that was asked for, as it was written.
    name: &'a Name,
    serial: u32,
    lifetimes: Lifetimes,
}

impl Filling<'_> {
    fn fill(&self, response: &mut Message, known: Answer<'_>) {
        response.metadata.authoritative = known != Answer::Refused;
        match known {
            Answer::Address(ip) => {
                response.add_answer(self.record(RData::A(A(ip.address()))));
            }
            Answer::Pointer(vm) => {
                response.add_answer(self.record(RData::PTR(PTR(vm_name(vm)))));
            }
            Answer::Soa(apex) => {
                response.add_answer(self.soa(apex, self.lifetimes.positive));
            }
            Answer::Ns(apex) => {
                response.add_answer(self.ns(apex));
            }
            Answer::Head(apex) => {
                let soa = self.soa(apex, self.lifetimes.positive);
                response.add_answer(soa).add_answer(self.ns(apex));
            }
            Answer::NoData(apex) => {
                response.add_authority(self.soa(apex, self.lifetimes.negative));
            }
            Answer::NoName(apex) => {
                response.metadata.response_code = ResponseCode::NXDomain;
                response.add_authority(self.soa(apex, self.lifetimes.negative));
            }
            Answer::Refused => response.metadata.response_code = ResponseCode::Refused,
        }
    }

    fn record(&self, data: RData) -> Record {
        Record::from_rdata(self.name.clone(), self.lifetimes.positive, data)
    }

    /// The zone's name, in the asker's own letters.
    fn apex(&self, apex: Apex) -> Name {
        self.name.trim_to(apex.labels.into())
    }

    /// A zone that is served on one machine alone needs no name server with an address, nor
    /// anybody to write to: it names itself and nobody (RFC 6303, section 3).
    fn soa(&self, apex: Apex, ttl: u32) -> Record {
        let zone = self.apex(apex);
        let nobody = Name::from_labels([&b"nobody"[..], b"invalid"]).expect("two short labels");
        let data = SOA::new(
            zone.clone(),
            nobody,
            self.serial,
            3600,
            1200,
            604_800,
            self.lifetimes.negative,
        );
        Record::from_rdata(zone, ttl, RData::SOA(data))
    }

    fn ns(&self, apex: Apex) -> Record {
        let zone = self.apex(apex);
        Record::from_rdata(zone.clone(), self.lifetimes.positive, RData::NS(NS(zone)))
    }
}

fn vm_name(vm: &VmName) -> Name {
    Name::from_labels([vm.as_str(), ZONE]).expect("a VM's name is a label")
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::dns::Entry;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const LIFETIMES: Lifetimes = Lifetimes { positive: 5, negative: 0 };

    /// `otter` is told all names, and `heron` ours.
    fn table() -> Table {
        let running = [("otter", 2, Scope::All), ("heron", 3, Scope::Ours)];
        let running = running.map(|(name, last, scope)| Entry {
            name: name.parse().unwrap(),
            ip: guest(last),
            scope,
        });
        Table::new("172.16.0.1/24".parse().unwrap(), 7, running)
    }

    fn guest(last: u8) -> GuestIp {
        Ipv4Addr::new(172, 16, 0, last).into()
    }

    fn request(name: &str, of: RecordType) -> Message {
        let mut request = Message::new(0x1234, MessageType::Query, OpCode::Query);
        request.add_query(Query::query(Name::from_ascii(name).unwrap(), of));
        request.metadata.recursion_desired = true;
        request
    }

    fn answer_to(packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
        respond(packet, &table(), LIFETIMES, Asker::Host, transport).map(|reply| match reply {
            Reply::Answer(response) => response,
            Reply::Elsewhere(_) => panic!("the host asks its other servers itself"),
        })
    }

    fn ask(request: &Message) -> Message {
        let packet = request.to_vec().unwrap();
        Message::from_vec(&answer_to(&packet, Transport::Udp).unwrap()).unwrap()
    }

    /// An answer in the words of a zone file.
    fn shown(response: &Message) -> String {
        let records = response.answers.iter().map(|record| format!("\nanswer {record}"));
        let head = response.authorities.iter().map(|record| format!("\nauthority {record}"));
        let meta = &response.metadata;
        let aa = if meta.authoritative { "aa " } else { "" };
        let code = meta.response_code.to_str();
        format!("{aa}{code}") + &records.chain(head).collect::<String>()
    }

    fn answered(name: &str, of: RecordType) -> String {
        shown(&ask(&request(name, of)))
    }

    #[test]
    fn each_kind_of_answer_reads_as_it_should() {
        let all = [
            ("otter.vm.", RecordType::A),
            ("App.oTTer.VM.", RecordType::A),
            ("otter.vm.", RecordType::ANY),
            ("otter.vm.", RecordType::AAAA),
            ("lynx.vm.", RecordType::A),
            ("vm.", RecordType::SOA),
            ("vm.", RecordType::ANY),
            ("2.0.16.172.in-addr.arpa.", RecordType::PTR),
            ("0.16.172.in-addr.arpa.", RecordType::NS),
            ("9.0.16.172.in-addr.arpa.", RecordType::PTR),
            ("example.org.", RecordType::A),
            ("vm.", RecordType::AXFR),
        ];
        let all = all.map(|(name, of)| format!("{name} {of}: {}", answered(name, of)));
        insta::assert_snapshot!(all.join("\n"), @r"
        otter.vm. A: aa No Error
        answer otter.vm. 5 IN A 172.16.0.2
        App.oTTer.VM. A: aa No Error
        answer App.oTTer.VM. 5 IN A 172.16.0.2
        otter.vm. ANY: aa No Error
        answer otter.vm. 5 IN A 172.16.0.2
        otter.vm. AAAA: aa No Error
        authority vm. 0 IN SOA vm. nobody.invalid. 7 3600 1200 604800 0
        lynx.vm. A: aa Non-Existent Domain
        authority vm. 0 IN SOA vm. nobody.invalid. 7 3600 1200 604800 0
        vm. SOA: aa No Error
        answer vm. 5 IN SOA vm. nobody.invalid. 7 3600 1200 604800 0
        vm. ANY: aa No Error
        answer vm. 5 IN SOA vm. nobody.invalid. 7 3600 1200 604800 0
        answer vm. 5 IN NS vm.
        2.0.16.172.in-addr.arpa. PTR: aa No Error
        answer 2.0.16.172.in-addr.arpa. 5 IN PTR otter.vm.
        0.16.172.in-addr.arpa. NS: aa No Error
        answer 0.16.172.in-addr.arpa. 5 IN NS 0.16.172.in-addr.arpa.
        9.0.16.172.in-addr.arpa. PTR: aa Non-Existent Domain
        authority 0.16.172.in-addr.arpa. 0 IN SOA 0.16.172.in-addr.arpa. nobody.invalid. 7 3600 1200 604800 0
        example.org. A: Query Refused
        vm. AXFR: Query Refused
        ");
    }

    #[test]
    fn each_answer_counts_as_what_it_is() {
        let of = |request: &Message| {
            let packet = request.to_vec().unwrap();
            verdict(&answer_to(&packet, Transport::Udp).unwrap())
        };
        assert_eq!(of(&request("otter.vm.", RecordType::A)), Verdict::Found);
        assert_eq!(of(&request("otter.vm.", RecordType::AAAA)), Verdict::NoData);
        assert_eq!(of(&request("lynx.vm.", RecordType::A)), Verdict::NoName);
        assert_eq!(of(&request("example.org.", RecordType::A)), Verdict::Refused);
        let mut later = request("otter.vm.", RecordType::A);
        later.set_edns(Edns::new().set_version(1).clone());
        assert_eq!(of(&later), Verdict::Faulty);
        let mut update = request("otter.vm.", RecordType::A);
        update.metadata.op_code = OpCode::Update;
        assert_eq!(of(&update), Verdict::Faulty);
        assert_eq!(verdict(&[]), Verdict::Faulty);
    }

    #[test]
    fn a_guest_is_sent_elsewhere_for_others_names_only_where_the_table_allows_it() {
        let reply = |asker, name| {
            let packet = request(name, RecordType::A).to_vec().unwrap();
            let reply = respond(&packet, &table(), LIFETIMES, asker, Transport::Udp).unwrap();
            let (whose, bytes) = match &reply {
                Reply::Answer(bytes) => ("answer", bytes),
                Reply::Elsewhere(bytes) => ("elsewhere", bytes),
            };
            let read = Message::from_vec(bytes).unwrap();
            let ra = if read.metadata.recursion_available { " ra" } else { "" };
            format!("{whose}{ra} {}", read.metadata.response_code.to_str())
        };
        let [with, without, nobody] = [2, 3, 9].map(|last| Asker::Guest(guest(last)));
        assert_eq!(reply(with, "example.org."), "elsewhere ra Query Refused");
        assert_eq!(reply(with, "heron.vm."), "answer ra No Error");
        for asker in [without, nobody, Asker::Host] {
            assert_eq!(reply(asker, "example.org."), "answer Query Refused", "{asker:?}");
            assert_eq!(reply(asker, "otter.vm."), "answer No Error", "{asker:?}");
        }
    }

    #[test]
    fn the_question_comes_back_as_it_was_written() {
        let asked = request("App.oTTer.VM.", RecordType::A);
        let response = ask(&asked);
        assert!(response.queries[0].name.eq_case(&asked.queries[0].name));
        assert!(response.answers[0].name.eq_case(&asked.queries[0].name));
        assert_eq!(response.metadata.id, 0x1234);
        assert!(response.metadata.recursion_desired && !response.metadata.recursion_available);
    }

    #[test]
    fn who_speaks_edns_is_answered_in_it_and_a_later_version_is_refused() {
        let mut asked = request("otter.vm.", RecordType::A);
        assert_eq!(ask(&asked).edns, None);
        let mut edns = Edns::new();
        asked.set_edns(edns.set_max_payload(4096).set_dnssec_ok(true).clone());
        let response = ask(&asked);
        let ours = response.edns.as_ref().unwrap();
        assert_eq!((ours.max_payload(), ours.flags().dnssec_ok), (MAX_UDP, true));
        assert_eq!(response.answers.len(), 1);
        asked.set_edns(edns.set_version(1).clone());
        let refusal = ask(&asked);
        assert_eq!(refusal.edns.as_ref().unwrap().version(), 0);
        let high = refusal.edns.as_ref().unwrap().rcode_high();
        assert_eq!((high, refusal.answers.len()), (1, 0), "BADVERS is 16");
    }

    #[test]
    fn what_is_no_plain_query_is_answered_with_its_code() {
        let mut asked = request("otter.vm.", RecordType::A);
        asked.queries[0].query_class = DNSClass::CH;
        assert_eq!(ask(&asked).metadata.response_code, ResponseCode::Refused);
        asked.metadata.op_code = OpCode::Update;
        assert_eq!(ask(&asked).metadata.response_code, ResponseCode::NotImp);
        let mut asked = request("otter.vm.", RecordType::A);
        asked.add_query(asked.queries[0].clone());
        assert_eq!(ask(&asked).metadata.response_code, ResponseCode::FormErr);
        assert_eq!(ask(&asked).queries, []);
        asked.queries.clear();
        assert_eq!(ask(&asked).metadata.response_code, ResponseCode::FormErr);
    }

    #[test]
    fn many_questions_get_a_short_answer() {
        let mut asked = request("otter.vm.", RecordType::A);
        asked.queries = vec![asked.queries[0].clone(); 600];
        let packet = asked.to_vec().unwrap();
        let answer = answer_to(&packet, Transport::Udp).unwrap();
        assert_eq!((packet.len() > 3000, answer.len()), (true, HEADER));
    }

    #[test]
    fn garbage_with_a_header_is_a_format_error_and_an_answer_is_left_alone() {
        let mut packet = request("otter.vm.", RecordType::A).to_vec().unwrap();
        let cut = answer_to(&packet[..15], Transport::Udp).unwrap();
        assert_eq!(cut, [0x12, 0x34, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(answer_to(&packet[..11], Transport::Udp), None);
        packet[2] |= 0x80;
        assert_eq!(answer_to(&packet, Transport::Udp), None);
    }

    /// Packets that are nearly queries: a good one with some of its bytes changed.
    fn damaged() -> impl Strategy<Value = Vec<u8>> {
        let name = prop::sample::select(vec!["otter.vm.", "vm.", "2.0.16.172.in-addr.arpa.", "a."]);
        let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
        (name, any::<u16>(), damage, 0usize..80).prop_map(|(name, of, damage, longer)| {
            let mut asked = request(name, of.into());
            asked.set_edns(Edns::new());
            let mut packet = asked.to_vec().unwrap();
            packet.resize(packet.len() + longer, 0);
            for (index, byte) in damage {
                let at = index.index(packet.len());
                packet[at] = byte;
            }
            packet
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

        #[test]
        fn whatever_comes_is_answered_to_its_asker_or_not_at_all(
            packet in prop_oneof![prop::collection::vec(any::<u8>(), 0..600), damaged()],
        ) {
            for transport in [Transport::Udp, Transport::Tcp] {
                let Some(response) = answer_to(&packet, transport) else {
                    prop_assert!(packet.len() < HEADER || packet[2] & 0x80 != 0);
                    continue;
                };
                prop_assert_eq!(&response[..2], &packet[..2]);
                prop_assert!(response[2] & 0x80 != 0);
                prop_assert!(transport == Transport::Tcp || response.len() <= usize::from(MAX_UDP));
            }
        }
    }
}
