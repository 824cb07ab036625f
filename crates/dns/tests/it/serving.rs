//! UDP and TCP, swaps of the table, and those who do harm.

use crate::scene::{Asker, LONG, Scene, framed, query, read_frame};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn each_query_sees_the_table_of_its_moment() {
    let scene = Scene::start(&[("otter", 2)]).await;
    let asker = Asker::of(scene.address).await;
    assert_eq!(asker.address("otter.vm.").await, Ok(Ipv4Addr::new(172, 16, 0, 2)));
    scene.swap(&[("heron", 3)]);
    assert_eq!(asker.address("otter.vm.").await, Err(ResponseCode::NXDomain));
    assert_eq!(asker.address("app.heron.vm.").await, Ok(Ipv4Addr::new(172, 16, 0, 3)));
    scene.swap(&[]);
    assert_eq!(asker.address("heron.vm.").await, Err(ResponseCode::NXDomain));
    assert_eq!(scene.authority.answered(), 4);
    scene.end().await;
}

#[tokio::test]
async fn a_connection_takes_queries_one_after_the_other_and_in_pieces() {
    let scene = Scene::start(&[("otter", 2), ("heron", 3)]).await;
    let mut stream = TcpStream::connect(scene.address).await.unwrap();
    let both = [
        framed(&query(1, "otter.vm.", RecordType::A)),
        framed(&query(2, "heron.vm.", RecordType::AAAA)),
    ]
    .concat();
    let (first, rest) = both.split_at(7);
    stream.set_nodelay(true).unwrap();
    for part in [first, rest] {
        stream.write_all(part).await.unwrap();
        stream.flush().await.unwrap();
    }
    let [one, two] = [read_frame(&mut stream).await, read_frame(&mut stream).await];
    assert_eq!((one.metadata.id, one.answers.len()), (1, 1));
    assert_eq!((two.metadata.id, two.answers.len(), two.authorities.len()), (2, 0, 1));
    scene.end().await;
}

#[tokio::test]
async fn garbage_does_no_harm() {
    let scene = Scene::start(&[("otter", 2)]).await;
    let asker = Asker::of(scene.address).await;
    let good = query(1, "otter.vm.", RecordType::A);
    for length in 0..good.len() {
        asker.socket.send(&good[..length]).await.unwrap();
    }
    asker.socket.send(&[0xff; 2000]).await.unwrap();
    // All with a header that says query were told that they are malformed.
    for _ in 12..good.len() {
        let refusal = Message::from_vec(&asker.receive().await).unwrap();
        assert_eq!(refusal.metadata.response_code, ResponseCode::FormErr);
    }
    // A length that never comes, an empty message, and a connection that is dropped.
    let mut silent = TcpStream::connect(scene.address).await.unwrap();
    silent.write_all(&[0xff, 0xff, 0]).await.unwrap();
    let mut empty = TcpStream::connect(scene.address).await.unwrap();
    empty.write_all(&[0, 0]).await.unwrap();
    assert_eq!(timeout(LONG, empty.read_u8()).await.unwrap().ok(), None, "it is closed");
    drop(TcpStream::connect(scene.address).await.unwrap());

    assert_eq!(asker.address("otter.vm.").await, Ok(Ipv4Addr::new(172, 16, 0, 2)));
    drop(silent);
    scene.end().await;
}

#[tokio::test]
async fn more_connections_than_are_served_at_once_wait_for_their_turn() {
    let scene = Scene::start(&[("otter", 2)]).await;
    let mut streams = Vec::new();
    for _ in 0..80 {
        streams.push(TcpStream::connect(scene.address).await.unwrap());
    }
    let mut last = streams.pop().unwrap();
    last.write_all(&framed(&query(9, "otter.vm.", RecordType::A))).await.unwrap();
    drop(streams);
    let response = timeout(LONG, read_frame(&mut last)).await.unwrap();
    assert_eq!((response.metadata.id, response.answers.len()), (9, 1));
    scene.end().await;
}
