//! The record layer: authenticated encryption in both directions, for the control connections of v2.

use std::io;

use bytes::{Buf, Bytes};
use mgrok_mux::slab::with_local;
use mgrok_proto::record::{MAX_PLAIN_LEN, Opener, RecordKey, Sealer, random_nonce};

use super::coded::Codec;

/// Seals outgoing bytes and opens incoming records.
pub(super) struct Records {
    sealer: Sealer,
    opener: Opener,
}

impl Records {
    pub(super) fn new(sends: &RecordKey, receives: &RecordKey) -> Self {
        Self {
            sealer: Sealer::new(sends, random_nonce()),
            opener: Opener::new(receives),
        }
    }
}

impl Codec for Records {
    fn encode(&mut self, plain: &mut Bytes) -> io::Result<Bytes> {
        let piece = plain.split_to(plain.len().min(MAX_PLAIN_LEN));
        with_local(|slabs| {
            slabs.read_with(Sealer::sealed_len(piece.len()), |out| {
                self.sealer.seal(&piece, out).map_err(io::Error::other)?;
                Ok(out.split().freeze())
            })
        })
    }

    fn decode(&mut self, coded: &mut Bytes) -> io::Result<Option<Bytes>> {
        with_local(|slabs| {
            slabs.read_with(coded.len(), |out| {
                let mut input = &coded[..];
                let opened = self
                    .opener
                    .open(&mut input, out)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                let taken = coded.len() - input.len();
                coded.advance(taken);
                Ok(opened.then(|| out.split().freeze()))
            })
        })
    }

    fn may_end(&self) -> bool {
        self.opener.may_end()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use mgrok_proto::{
        auth::Secret,
        record::{Algorithm, OVERHEAD, RecordKeys},
    };
    use proptest::prelude::*;
    use tokio::runtime;

    use crate::{
        conn::Conn,
        layers::seal,
        testing::{memory_pair, pattern, read_all},
    };

    use super::*;

    fn keys(algorithm: Algorithm, token: &str) -> RecordKeys {
        RecordKeys::derive(algorithm, &Secret::new(token), b"client", b"server")
    }

    /// The two ends of a control connection, over a pipe in memory.
    fn sealed_pair(algorithm: Algorithm, room: usize, piece: usize) -> (Conn, Conn) {
        let (client, server) = memory_pair(room, piece);
        let keys = keys(algorithm, "token");
        let (up, down) = (&keys.client_to_server, &keys.server_to_client);
        (seal(client, up, down), seal(server, down, up))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn both_ways_arrive_however_they_are_cut(
            aes in any::<bool>(),
            up in proptest::collection::vec(0..100_000_usize, 0..4),
            room in 1..10_000_usize,
            piece in 1..3000_usize,
        ) {
            let runtime = runtime::Builder::new_current_thread().build().unwrap();
            let algorithm = match aes {
                true => Algorithm::Aes256Gcm,
                false => Algorithm::XChaCha20Poly1305,
            };
            runtime.block_on(async {
                let (mut client, mut server) = sealed_pair(algorithm, room, piece);
                let chunks: Vec<_> = up.iter().copied().map(pattern).collect();
                let sending = async {
                    for chunk in &chunks {
                        client.send(chunk.clone()).await.unwrap();
                    }
                    client.close().await.unwrap();
                    read_all(&mut client).await.unwrap()
                };
                let receiving = async {
                    let all = read_all(&mut server).await.unwrap();
                    server.send(Bytes::from_static(b"thanks")).await.unwrap();
                    server.close().await.unwrap();
                    all
                };
                let (down, up) = tokio::join!(sending, receiving);
                assert!(up == chunks.concat());
                assert_eq!(down, b"thanks");
            });
        }
    }

    #[tokio::test]
    async fn one_write_is_one_record_and_the_first_has_the_nonce() {
        let (client, mut below) = memory_pair(1024, 1024);
        let keys = keys(Algorithm::Aes256Gcm, "token");
        let mut client = seal(client, &keys.client_to_server, &keys.server_to_client);
        client.send(Bytes::from_static(b"hello")).await.unwrap();
        assert_eq!(below.recv().await.unwrap().len(), 12 + OVERHEAD + 5);
        client.send(Bytes::from_static(b"hello")).await.unwrap();
        assert_eq!(below.recv().await.unwrap().len(), OVERHEAD + 5);
    }

    #[tokio::test]
    async fn another_token_is_noticed() {
        let (client, server) = memory_pair(1024, 1024);
        let theirs = keys(Algorithm::Aes256Gcm, "token");
        let ours = keys(Algorithm::Aes256Gcm, "other token");
        let mut client = seal(client, &theirs.client_to_server, &theirs.server_to_client);
        let mut server = seal(server, &ours.server_to_client, &ours.client_to_server);
        client.send(Bytes::from_static(b"hello")).await.unwrap();
        let error = server.recv().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("different tokens"), "{error}");
        assert!(error.source().is_none());
    }

    #[tokio::test]
    async fn a_direction_that_sends_nothing_sends_no_byte() {
        let (client, mut below) = memory_pair(1024, 1024);
        let keys = keys(Algorithm::XChaCha20Poly1305, "token");
        let mut client = seal(client, &keys.client_to_server, &keys.server_to_client);
        client.send(Bytes::new()).await.unwrap();
        client.close().await.unwrap();
        assert_eq!(read_all(&mut below).await.unwrap(), b"");
        below.close().await.unwrap();
        assert!(client.recv().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_end_inside_a_record_is_noticed() {
        let keys = keys(Algorithm::Aes256Gcm, "token");
        let (client, mut below) = memory_pair(1024, 1024);
        let mut client = seal(client, &keys.client_to_server, &keys.server_to_client);
        client.send(Bytes::from_static(b"hello")).await.unwrap();
        let record = below.recv().await.unwrap();

        let (mut below, server) = memory_pair(1024, 1024);
        let mut server = seal(server, &keys.server_to_client, &keys.client_to_server);
        below.send(record.slice(..record.len() - 1)).await.unwrap();
        below.close().await.unwrap();
        let error = server.recv().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
