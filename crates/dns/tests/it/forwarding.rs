//! A listener for guests: names of others come from elsewhere.

use crate::scene::{Asker, LONG, Scene, entry, framed, read_frame};
use banger_core::dns::{Entry, Scope};
use banger_dns::{Audience, Forwarder, Upstreams};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{RData, Record, RecordType};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Servers that a test changes.
#[derive(Debug, Default)]
struct Servers(Mutex<Vec<SocketAddr>>);

impl Upstreams for Servers {
    fn servers(&self) -> Vec<SocketAddr> {
        self.0.lock().unwrap().clone()
    }
}

/// A listener for guests, who are the loopback interface's.
async fn guests(servers: &Arc<Servers>) -> Scene {
    let forwarder = Forwarder::new(Arc::clone(servers) as _);
    let addresses = Ipv4Addr::LOCALHOST..=Ipv4Addr::new(127, 0, 0, 99);
    Scene::start_for(Audience::Guests { addresses, forwarder }, otter_and_asker(Scope::All)).await
}

/// `otter`, and the guest who asks.
fn otter_and_asker(asker: Scope) -> Vec<Entry> {
    let otter = entry("otter", [172, 16, 0, 2].into(), Scope::Ours);
    vec![otter, entry("asker", Ipv4Addr::LOCALHOST, asker)]
}

/// A server elsewhere.
struct Elsewhere {
    address: SocketAddr,
    /// The ids of the queries, and the ports that they came from.
    seen: Arc<Mutex<BTreeSet<(u16, u16)>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Elsewhere {
    /// Answers each query by what `answer` makes of it, by UDP and by TCP; it may say nothing.
    async fn start(answer: fn(&Message, Way) -> Vec<Message>) -> Self {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).await.unwrap();
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let noted = Arc::clone(&seen);
        let datagrams = tokio::spawn(async move {
            let mut packet = vec![0; 4096];
            loop {
                let (length, asker) = udp.recv_from(&mut packet).await.unwrap();
                let query = Message::from_vec(&packet[..length]).unwrap();
                noted.lock().unwrap().insert((query.metadata.id, asker.port()));
                for response in answer(&query, Way::Udp) {
                    udp.send_to(&response.to_vec().unwrap(), asker).await.unwrap();
                }
            }
        });
        let connections = tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let query = read_frame(&mut stream).await;
                for response in answer(&query, Way::Tcp) {
                    stream.write_all(&framed(&response.to_vec().unwrap())).await.unwrap();
                }
            }
        });
        Self { address, seen, tasks: [datagrams, connections] }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Udp,
    Tcp,
}

fn reply(query: &Message, code: ResponseCode, records: Vec<RData>) -> Message {
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.queries.clone_from(&query.queries);
    response.metadata.response_code = code;
    for data in records {
        response.add_answer(Record::from_rdata(query.queries[0].name.clone(), 60, data));
    }
    response
}

const THERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

fn knows(query: &Message, _: Way) -> Vec<Message> {
    vec![reply(query, ResponseCode::NoError, vec![RData::A(A(THERE))])]
}

fn fails(query: &Message, _: Way) -> Vec<Message> {
    vec![reply(query, ResponseCode::ServFail, Vec::new())]
}

fn is_silent(_: &Message, _: Way) -> Vec<Message> {
    Vec::new()
}

/// First what others would send who want to be believed.
fn is_forged_first(query: &Message, way: Way) -> Vec<Message> {
    let forged = |change: fn(&mut Message)| {
        let mut response = reply(query, ResponseCode::NoError, vec![RData::A(A([6; 4].into()))]);
        change(&mut response);
        response
    };
    let mut all = vec![
        forged(|response| response.metadata.id ^= 1),
        forged(|response| response.queries[0].query_type = RecordType::TXT),
    ];
    all.extend(knows(query, way));
    all
}

/// What fits into no datagram.
fn is_long(query: &Message, way: Way) -> Vec<Message> {
    let text = || RData::TXT(TXT::new(vec!["x".repeat(200)]));
    let whole = reply(query, ResponseCode::NoError, (0..20).map(|_| text()).collect());
    vec![if way == Way::Udp { whole.truncate() } else { whole }]
}

async fn serve(answer: fn(&Message, Way) -> Vec<Message>) -> (Elsewhere, Arc<Servers>) {
    let elsewhere = Elsewhere::start(answer).await;
    let servers = Arc::new(Servers(Mutex::new(vec![elsewhere.address])));
    (elsewhere, servers)
}

#[tokio::test]
async fn own_names_are_answered_here_and_all_others_elsewhere() {
    let (elsewhere, servers) = serve(knows).await;
    let scene = guests(&servers).await;
    let asker = Asker::of(scene.address).await;
    assert_eq!(asker.address("otter.vm.").await, Ok(Ipv4Addr::new(172, 16, 0, 2)));
    assert_eq!(asker.address("lynx.vm.").await, Err(ResponseCode::NXDomain));
    assert!(asker.ask("vm.", RecordType::A).await.metadata.recursion_available);
    let refused = asker.ask("example.org.", RecordType::AXFR).await;
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    assert!(elsewhere.seen.lock().unwrap().is_empty(), "nothing of this is asked for elsewhere");
    for _ in 0..20 {
        assert_eq!(asker.address("Example.ORG.").await, Ok(THERE));
    }
    // The asker's id is always 1.
    let seen = elsewhere.seen.lock().unwrap().clone();
    let ids: BTreeSet<u16> = seen.iter().map(|(id, _)| *id).collect();
    let ports: BTreeSet<u16> = seen.iter().map(|(_, port)| *port).collect();
    assert!(ids.len() > 15 && ports.len() > 15, "{seen:?}");
    scene.end().await;
}

#[tokio::test]
async fn who_is_not_in_the_subnet_is_not_answered() {
    let forwarder = Forwarder::new(Arc::new(Servers::default()));
    let subnet = "172.16.0.1/24".parse().unwrap();
    let audience = Audience::guests(subnet, forwarder);
    let scene = Scene::start_for(audience, otter_and_asker(Scope::All)).await;
    let asker = Asker::of(scene.address).await;
    asker.send("otter.vm.", RecordType::A).await;
    // What is sent later through a connection is closed unanswered, so the datagram was passed over.
    let mut stream = TcpStream::connect(scene.address).await.unwrap();
    let mut end = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut end);
    assert!(timeout(LONG, closed).await.unwrap().is_ok_and(|length| length == 0));
    assert_eq!(scene.authority.answered(), 0);
    scene.end().await;
}

#[tokio::test]
async fn who_may_not_have_others_names_is_refused_them_from_the_next_query_on() {
    let (elsewhere, servers) = serve(knows).await;
    let scene = guests(&servers).await;
    let asker = Asker::of(scene.address).await;
    let mut stream = TcpStream::connect(scene.address).await.unwrap();
    let query = crate::scene::query(9, "example.org.", RecordType::A);
    for scope in [Scope::Ours, Scope::All, Scope::Ours] {
        scene.swap_entries(otter_and_asker(scope));
        elsewhere.seen.lock().unwrap().clear();
        let expected = if scope == Scope::All { Ok(THERE) } else { Err(ResponseCode::Refused) };
        assert_eq!(asker.address("example.org.").await, expected);
        stream.write_all(&framed(&query)).await.unwrap();
        let through = timeout(LONG, read_frame(&mut stream)).await.unwrap();
        assert_eq!(through.answers.len(), usize::from(scope == Scope::All));
        assert_eq!(elsewhere.seen.lock().unwrap().is_empty(), scope == Scope::Ours);
        assert_eq!(asker.address("otter.vm.").await, Ok(Ipv4Addr::new(172, 16, 0, 2)));
    }
    scene.end().await;
}

#[tokio::test]
async fn a_change_of_servers_is_followed_by_the_next_query() {
    let servers = Arc::new(Servers::default());
    let scene = guests(&servers).await;
    let asker = Asker::of(scene.address).await;
    assert_eq!(asker.address("example.org.").await, Err(ResponseCode::ServFail), "there is none");
    let elsewhere = Elsewhere::start(knows).await;
    *servers.0.lock().unwrap() = vec![elsewhere.address];
    assert_eq!(asker.address("example.org.").await, Ok(THERE));
    servers.0.lock().unwrap().clear();
    assert_eq!(asker.address("example.org.").await, Err(ResponseCode::ServFail));
    scene.end().await;
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_fails_or_is_silent() {
    let (good, servers) = serve(knows).await;
    let scene = guests(&servers).await;
    let asker = Asker::of(scene.address).await;
    let gone = Elsewhere::start(knows).await.address;
    let (failing, silent) = (Elsewhere::start(fails).await, Elsewhere::start(is_silent).await);
    for first in [gone, failing.address, silent.address] {
        *servers.0.lock().unwrap() = vec![first, good.address];
        assert_eq!(asker.address("example.org.").await, Ok(THERE));
    }
    *servers.0.lock().unwrap() = vec![silent.address, failing.address];
    let begun = Instant::now();
    assert_eq!(asker.address("example.org.").await, Err(ResponseCode::ServFail));
    assert!(begun.elapsed().as_secs() < 5, "before the asker gives up");
    scene.end().await;
}

#[tokio::test]
async fn what_answers_another_question_is_not_believed() {
    let (_elsewhere, servers) = serve(is_forged_first).await;
    let scene = guests(&servers).await;
    assert_eq!(Asker::of(scene.address).await.address("example.org.").await, Ok(THERE));
    scene.end().await;
}

#[tokio::test]
async fn a_long_answer_comes_cut_by_udp_and_whole_through_a_connection() {
    let (_elsewhere, servers) = serve(is_long).await;
    let scene = guests(&servers).await;
    let asker = Asker::of(scene.address).await;
    let cut = asker.ask("example.org.", RecordType::TXT).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let mut stream = TcpStream::connect(scene.address).await.unwrap();
    let query = crate::scene::query(9, "example.org.", RecordType::TXT);
    stream.write_all(&framed(&query)).await.unwrap();
    let whole = timeout(LONG, read_frame(&mut stream)).await.unwrap();
    assert_eq!((whole.metadata.id, whole.metadata.truncation, whole.answers.len()), (9, false, 20));
    scene.end().await;
}

#[tokio::test]
async fn one_guest_does_not_take_all_connections() {
    let servers = Arc::new(Servers::default());
    let scene = guests(&servers).await;
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.push(TcpStream::connect(scene.address).await.unwrap());
    }
    // Those that are too many are closed, each in its turn, and so the last one is.
    let last = streams.last_mut().unwrap();
    let closed = timeout(LONG, tokio::io::AsyncReadExt::read_u8(last)).await.unwrap();
    assert_eq!(closed.ok(), None);
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(scene.address).await.unwrap();
    let query = crate::scene::query(9, "otter.vm.", RecordType::A);
    for stream in [&mut other, &mut streams[0]] {
        stream.write_all(&framed(&query)).await.unwrap();
        let response = timeout(LONG, read_frame(stream)).await.unwrap();
        assert_eq!(response.answers.len(), 1);
    }
    // Connections that end make room.
    drop(streams);
    let answered = async {
        loop {
            let mut stream = TcpStream::connect(scene.address).await.unwrap();
            stream.write_all(&framed(&query)).await.ok();
            if tokio::io::AsyncReadExt::read_u8(&mut stream).await.is_ok() {
                break;
            }
        }
    };
    timeout(LONG, answered).await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn silence_elsewhere_keeps_nobody_waiting_for_own_names() {
    let (_elsewhere, servers) = serve(is_silent).await;
    let scene = guests(&servers).await;
    let (patient, other) = (Asker::of(scene.address).await, Asker::of(scene.address).await);
    for _ in 0..200 {
        patient.send("example.org.", RecordType::A).await;
    }
    // More than may wait: they are told at once.
    let told = Message::from_vec(&patient.receive().await).unwrap();
    assert_eq!(told.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(other.address("otter.vm.").await, Ok(Ipv4Addr::new(172, 16, 0, 2)));
    scene.end().await;
}
