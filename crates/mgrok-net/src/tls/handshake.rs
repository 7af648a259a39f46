//! Shakes hands by rustls, up to the keys that protect records; the rest is for [`TlsStream`].

use std::io;

use bytes::{Bytes, BytesMut};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CommonState, Error, ExtractedSecrets};

use super::stream::{Established, Session, TlsStream};
use crate::conn::Conn;

/// More bytes than this of an unfinished handshake are refused. rustls takes messages of up to 64 KiB, and a certificate chain can
/// come near that.
const MAX_UNFINISHED: usize = 256 * 1024;

/// One end of a handshake.
pub(super) trait Side: Send {
    type Data;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn common(&self) -> &CommonState;

    fn finish(self) -> Result<(ExtractedSecrets, Session), Error>;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn finish(self) -> Result<(ExtractedSecrets, Session), Error> {
        let (secrets, session) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Session::Client(session)))
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn finish(self) -> Result<(ExtractedSecrets, Session), Error> {
        let (secrets, session) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Session::Server(session)))
    }
}

/// What the handshake needs next.
enum Next {
    /// Another look at what has arrived.
    Look,
    Read,
    Write,
    Nothing,
}

/// Shakes hands over `conn`. `side` is boxed because its several kilobytes would be part of all futures that wait for this one. `output` is sent ahead of our first message, together with it; `input` has arrived already. Not cancel-safe.
///
/// # Errors
/// An [`Error`] of rustls as [`io::ErrorKind::InvalidData`], after the peer was told; [`io::ErrorKind::UnexpectedEof`] if the peer closes
/// in between; what the connection says.
pub(super) async fn shake_hands<S: Side>(
    mut side: Box<S>,
    mut conn: Conn,
    mut input: BytesMut,
    mut output: Vec<u8>,
) -> io::Result<Box<TlsStream>> {
    let mut early = Vec::new();
    let mut has_ended = false;
    loop {
        let (discarded, next) = step(
            &mut *side,
            &mut input,
            &mut output,
            &mut early,
            &mut has_ended,
        );
        let _ = input.split_to(discarded.min(input.len()));
        match next {
            Ok(Next::Look) => {}
            Ok(Next::Write) => conn.send(Bytes::from(std::mem::take(&mut output))).await?,
            Ok(Next::Read) => {
                if input.len() > MAX_UNFINISHED {
                    return Err(invalid(Error::PeerSentOversizedRecord));
                }
                arrive(&mut conn, &mut input).await?;
            }
            Ok(Next::Nothing) => break,
            Err(error) => {
                tell(&mut *side, &mut input, &mut output);
                // The peer may be gone; what is wrong is our own finding.
                let _ = conn.send(Bytes::from(output)).await;
                return Err(invalid(error));
            }
        }
    }
    establish(*side, conn, input, early, has_ended).map_err(invalid)
}

/// The connection that the handshake has come to.
fn establish<S: Side>(
    side: S,
    conn: Conn,
    unread: BytesMut,
    early: Vec<u8>,
    has_ended: bool,
) -> Result<Box<TlsStream>, Error> {
    let certificate = side.common().peer_certificates().and_then(|it| it.first());
    let certificate = certificate.map(|it| it.clone().into_owned());
    let (secrets, session) = side.finish()?;
    let established = Established {
        secrets,
        session,
        certificate,
        early: early.into(),
        has_ended,
        unread,
    };
    TlsStream::new(conn, established).map(Box::new)
}

/// Appends what arrives next to `input`.
pub(super) async fn arrive(conn: &mut Conn, input: &mut BytesMut) -> io::Result<()> {
    let arrived = conn.recv().await?;
    if arrived.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "tls handshake eof",
        ));
    }
    input.extend_from_slice(&arrived);
    Ok(())
}

/// One look at what has arrived: how much of it is done with, and what comes next.
fn step<S: Side>(
    side: &mut S,
    input: &mut [u8],
    output: &mut Vec<u8>,
    early: &mut Vec<u8>,
    has_ended: &mut bool,
) -> (usize, Result<Next, Error>) {
    let UnbufferedStatus { discard, state } = side.process(input);
    let next = state.and_then(|state| match state {
        ConnectionState::EncodeTlsData(mut data) => {
            append(output, |room| data.encode(room))?;
            Ok(Next::Look)
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Next::Write)
        }
        // It came together with the end of the handshake.
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                early.extend_from_slice(record?.payload);
            }
            Ok(Next::Look)
        }
        ConnectionState::PeerClosed => {
            *has_ended = true;
            Ok(Next::Look)
        }
        ConnectionState::BlockedHandshake => Ok(Next::Read),
        ConnectionState::WriteTraffic(_) | ConnectionState::Closed => Ok(Next::Nothing),
        _ => Err(Error::General(
            "an unknown state of the handshake".to_owned(),
        )),
    });
    (discard, next)
}

/// Has `encode` append to `output` as much as it needs room for.
fn append(
    output: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), Error> {
    let start = output.len();
    let failed = |error: EncodeError| Error::General(error.to_string());
    let written = match encode(&mut []) {
        Err(EncodeError::InsufficientSize(needed)) => {
            output.resize(start + needed.required_size, 0);
            encode(&mut output[start..]).map_err(failed)?
        }
        other => other.map_err(failed)?,
    };
    output.truncate(start + written);
    Ok(())
}

/// Appends the alert that tells the peer of our finding. `input` is what was found fault with: rustls remembers places in it, and
/// would find fault with it once more if it were asked for more than the alert.
fn tell<S: Side>(side: &mut S, input: &mut [u8], output: &mut Vec<u8>) {
    if let Ok(ConnectionState::EncodeTlsData(mut data)) = side.process(input).state {
        // Without room for it, the peer only sees that the connection ends.
        let _ = append(output, |room| data.encode(room));
    }
}

pub(super) fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
