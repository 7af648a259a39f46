//! Ports without a device: what becomes of packets, and of connections that bring none.

use super::*;

const HERE: [u8; 4] = [100, 86, 0, 1];
const THERE: [u8; 4] = [100, 86, 0, 2];

fn network() -> VirtualNetwork {
    let net = VirtualNet::parse("100.86.0.1/24").unwrap();
    VirtualNetwork::new(net, Arc::default())
}

fn packet(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0x45; 20];
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    packet
}

fn framed(packet: &[u8]) -> Bytes {
    let mut out = bytes::BytesMut::new();
    framing::put(packet, &mut out);
    out.freeze()
}

fn drops(network: &VirtualNetwork, why: PacketDrop) -> u64 {
    network.0.drops.of(why).get()
}

#[tokio::test]
async fn what_the_system_sends_takes_the_connection_that_leads_there() {
    let network = network();
    let (mut visitor, mut owner) = network.visit(THERE.into()).unwrap();
    let out = packet(HERE, THERE);
    network.0.forward(&out).await;
    assert_eq!(visitor.recv().await.unwrap(), framed(&out));
    network.0.forward(&packet(HERE, [100, 86, 0, 3])).await;
    assert_eq!(drops(&network, PacketDrop::NoRoute), 1);
    network.0.forward(&[0x10, 0]).await;
    assert_eq!(drops(&network, PacketDrop::Malformed), 1);
    drop(visitor);
    assert!(owner.ended().await, "it has carried something");
    network.0.forward(&out).await;
    assert_eq!(drops(&network, PacketDrop::NoRoute), 2);
}

#[tokio::test]
async fn answers_take_the_connection_that_the_visitor_came_by() {
    let network = network();
    let mut host = network.host().unwrap();
    let answer = packet(HERE, THERE);
    network.0.forward(&answer).await;
    assert_eq!(drops(&network, PacketDrop::NoRoute), 1);
    host.send(framed(&packet(THERE, HERE))).await.unwrap();
    // There is no device in this test.
    assert_eq!(drops(&network, PacketDrop::Device), 1);
    network.0.forward(&answer).await;
    assert_eq!(host.recv().await.unwrap(), framed(&answer));
}

#[tokio::test]
async fn a_visitor_claims_no_addresses() {
    let network = network();
    let (mut visitor, _owner) = network.visit(THERE.into()).unwrap();
    let elsewhere = [100, 86, 0, 3];
    visitor
        .send(framed(&packet(elsewhere, HERE)))
        .await
        .unwrap();
    network.0.forward(&packet(HERE, elsewhere)).await;
    assert_eq!(drops(&network, PacketDrop::NoRoute), 1);
}

#[tokio::test]
async fn a_length_that_is_none_ends_the_connection() {
    for bytes in [[0, 0, 0, 0], [1, 0, 16, 0]] {
        let network = network();
        let mut host = network.host().unwrap();
        let bytes = Bytes::copy_from_slice(&bytes);
        let error = host.send(bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn what_nobody_takes_is_dropped_and_counted() {
    let network = network();
    let (visitor, _owner) = network.visit(THERE.into()).unwrap();
    let mut out = packet(HERE, THERE);
    out.resize(1420, 0);
    for _ in 0..10_000 {
        network.0.forward(&out).await;
    }
    let queued = 10_000 - drops(&network, PacketDrop::Full);
    assert!((100..1000).contains(&queued), "{queued}");
    drop(visitor);
}

#[tokio::test]
async fn ports_end_with_their_owner_and_with_the_network() {
    let network = network();
    let (mut visitor, owner) = network.visit(THERE.into()).unwrap();
    drop(owner);
    assert!(visitor.recv().await.unwrap().is_empty());
    let mut host = network.host().unwrap();
    network.close();
    assert!(host.recv().await.unwrap().is_empty());
    assert!(network.host().is_none());
    let network = self::network();
    let (unused, mut owner) = network.visit(THERE.into()).unwrap();
    drop(unused);
    assert!(!owner.ended().await, "nobody has carried it");
    let mut host = network.host().unwrap();
    host.close().await.unwrap();
    assert!(host.recv().await.unwrap().is_empty(), "both ways end");
}
