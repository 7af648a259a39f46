//! A connection under TLS, once hands have been shaken.
//!
//! Bytes that arrive are opened where they lie and handed on as slices; many records are read, and many are sent, with
//! one call of the system. A waiting connection owns no buffer.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mgrok_mux::slab::Slabs;
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::ServerConnectionData;
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, Error, ExtractedSecrets,
    HandshakeType, InvalidMessage, PeerMisbehaved, ProtocolVersion,
};
use tokio::io::AsyncReadExt;

use super::record::{
    ALERT, APPLICATION_DATA, FULL_RECORD, HANDSHAKE, HEADER_LEN, MAX_ADDED, MAX_PLAIN, Protection,
};
use crate::conn::{ByteStream, Conn};

/// How many records are read or sent at a time.
const RECORDS: usize = 4;

/// The size of the slabs that records are read into and built in.
const SLAB_SIZE: usize = RECORDS * (MAX_PLAIN + MAX_ADDED);

/// How many slabs a thread keeps while slices of them are in use (2 MiB).
const SLABS_KEPT: usize = 32;

/// The most bytes of an unfinished handshake message (those of tickets and key updates are much shorter).
const MAX_HANDSHAKE: usize = 64 * 1024;

/// Levels of alerts.
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// Type and length of a handshake message.
const MESSAGE_HEADER: usize = 4;

/// The message that says that our keys change, and that the peer's need not (RFC 8446, section 4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

thread_local! {
    /// For what arrives.
    static READ_SLABS: Cell<Option<Slabs>> = const { Cell::new(None) };
    /// For what is sent, which is in use for a shorter time.
    static SEND_SLABS: Cell<Option<Slabs>> = const { Cell::new(None) };
}

/// A TLS connection over another.
pub(crate) struct TlsStream {
    below: Conn,
    session: Session,
    version: ProtocolVersion,
    opener: Protection,
    sealer: Protection,
    /// So many records may be sent with the same keys.
    records_per_key: u64,
    certificate: Option<CertificateDer<'static>>,
    server_name: Option<Box<str>>,
    /// The beginning of a record that has not arrived as a whole.
    partial: Bytes,
    /// What has arrived and was not handed on.
    plain: VecDeque<Bytes>,
    /// The beginning of a handshake message that has not arrived as a whole.
    message: Vec<u8>,
    /// The peer sends no more.
    has_ended: bool,
    /// The peer asked for another handshake, once (TLS 1.2).
    was_asked: bool,
    /// The peer wants our keys to change.
    owes_key_update: bool,
    /// What made it impossible to go on receiving.
    failed: Option<Error>,
    /// Records that the connection below has not taken.
    unsent: VecDeque<Bytes>,
    /// We said that we send no more.
    has_closed: bool,
}

/// What rustls still does once hands have been shaken: it changes keys, and keeps tickets.
pub(super) enum Session {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

/// The outcome of a handshake.
pub(super) struct Established {
    pub(super) secrets: ExtractedSecrets,
    pub(super) session: Session,
    /// The peer's certificate.
    pub(super) certificate: Option<CertificateDer<'static>>,
    /// Plaintext that came together with the end of the handshake.
    pub(super) early: Bytes,
    /// The peer has closed its direction already.
    pub(super) has_ended: bool,
    /// What arrived behind the handshake and was not opened.
    pub(super) unread: BytesMut,
}

impl TlsStream {
    pub(super) fn new(below: Conn, established: Established) -> Result<Self, Error> {
        let Established {
            secrets: ExtractedSecrets { tx, rx },
            session,
            certificate,
            early,
            has_ended,
            unread,
        } = established;
        let version = session.version();
        let mut stream = Self {
            below,
            version,
            opener: Protection::new(version, rx)?,
            sealer: Protection::new(version, tx)?,
            records_per_key: session.records_per_key(),
            session,
            certificate,
            server_name: None,
            partial: Bytes::new(),
            plain: VecDeque::new(),
            message: Vec::new(),
            has_ended,
            was_asked: false,
            owes_key_update: false,
            failed: None,
            unsent: VecDeque::new(),
            has_closed: false,
        };
        stream.keep(early);
        stream.take_records(unread);
        Ok(stream)
    }

    /// Takes note of the name that the client has sent (SNI).
    pub(super) fn set_server_name(&mut self, name: Option<&str>) {
        self.server_name = name.map(Into::into);
    }

    /// The name that the client has sent (SNI), at the server's end.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The peer's certificate, without its chain.
    pub(crate) fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    /// The connection below.
    pub(crate) fn below(&self) -> &Conn {
        &self.below
    }

    /// Reads once, and opens the records that are complete.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let read = match self.below.bare_tcp_mut() {
            Some(socket) => {
                // An idle socket takes no memory from the slabs.
                ready!(socket.poll_read_ready(cx))?;
                with_slabs(&READ_SLABS, |slabs| {
                    slabs.read_with(self.partial.len() + FULL_RECORD, |slab| {
                        slab.put_slice(&self.partial);
                        // As many full records as have room, so that none of them is read in two parts.
                        let room = slab.capacity() / FULL_RECORD * FULL_RECORD;
                        let mut room = slab.limit(room.saturating_sub(self.partial.len()).max(1));
                        // The future keeps no state between polls.
                        let count = ready!(pin!(socket.read_buf(&mut room)).poll(cx))?;
                        Poll::Ready(io::Result::Ok((count > 0).then(|| slab.split())))
                    })
                })
            }
            None => {
                let arrived = ready!(self.below.poll_recv(cx))?;
                let read = with_slabs(&READ_SLABS, |slabs| {
                    slabs.read_with(self.partial.len() + arrived.len(), |slab| {
                        slab.put_slice(&self.partial);
                        slab.put_slice(&arrived);
                        (!arrived.is_empty()).then(|| slab.split())
                    })
                });
                Poll::Ready(Ok(read))
            }
        };
        match ready!(read)? {
            Some(records) => self.take_records(records),
            None => {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "peer closed connection without sending TLS close_notify",
                )));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Opens the records that are complete, and keeps the rest.
    fn take_records(&mut self, mut records: BytesMut) {
        self.partial = Bytes::new();
        while self.failed.is_none() && !self.has_ended {
            match self.next_record(&mut records) {
                Ok(Some(record)) => {
                    if let Err(error) = self.take_record(record) {
                        self.fail(error);
                    }
                }
                Ok(None) => {
                    // Copied, because little of it would keep the whole slab from being used again.
                    self.partial = Bytes::copy_from_slice(&records);
                    return;
                }
                Err(error) => self.fail(error),
            }
        }
    }

    fn next_record(&self, records: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        let Some(&[_, major, _, high, low]) = records.first_chunk() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if major != 3 {
            return Err(InvalidMessage::UnknownProtocolVersion.into());
        }
        if len > self.opener.max_sealed() {
            return Err(Error::PeerSentOversizedRecord);
        }
        let whole = HEADER_LEN + len;
        Ok((records.len() >= whole).then(|| records.split_to(whole)))
    }

    fn take_record(&mut self, record: BytesMut) -> Result<(), Error> {
        let outer = record[0];
        if self.is_tls13() && outer != APPLICATION_DATA {
            return Err(unexpected(outer));
        }
        let (content_type, plain) = self.opener.open(record)?;
        if content_type != HANDSHAKE && !self.message.is_empty() {
            return Err(PeerMisbehaved::MessageInterleavedWithHandshakeMessage.into());
        }
        match content_type {
            APPLICATION_DATA => self.keep(plain),
            ALERT => self.take_alert(&plain)?,
            HANDSHAKE => self.take_handshake(&plain)?,
            other => return Err(unexpected(other)),
        }
        Ok(())
    }

    fn keep(&mut self, plain: Bytes) {
        if !plain.is_empty() {
            self.plain.push_back(plain);
        }
    }

    fn take_alert(&mut self, alert: &[u8]) -> Result<(), Error> {
        let &[level, description] = alert else {
            return Err(InvalidMessage::TrailingData("Alert").into());
        };
        let description = AlertDescription::from(description);
        match (level, description) {
            (_, AlertDescription::CloseNotify) => self.has_ended = true,
            // A warning says nothing that would have to be done.
            (WARNING, AlertDescription::UserCanceled) => {}
            (WARNING, _) if !self.is_tls13() => {}
            _ => return Err(Error::AlertReceived(description)),
        }
        Ok(())
    }

    fn take_handshake(&mut self, plain: &[u8]) -> Result<(), Error> {
        if !self.is_tls13() {
            // A server may ask for a handshake within the connection, and we may say no (RFC 5246, section 7.4.1.1).
            if std::mem::replace(&mut self.was_asked, true) {
                return Err(PeerMisbehaved::TooManyRenegotiationRequests.into());
            }
            return self.queue(ALERT, &[WARNING, AlertDescription::NoRenegotiation.into()]);
        }
        self.message.extend_from_slice(plain);
        while let Some((&[kind, a, b, c], rest)) = self.message.split_first_chunk() {
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            if len > MAX_HANDSHAKE {
                return Err(InvalidMessage::HandshakePayloadTooLarge.into());
            }
            let Some(payload) = rest.get(..len) else {
                break;
            };
            match (HandshakeType::from(kind), &mut self.session) {
                (HandshakeType::NewSessionTicket, Session::Client(session)) => {
                    session.handle_new_session_ticket(payload)?;
                }
                (HandshakeType::KeyUpdate, session) => {
                    if rest.len() > len {
                        return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
                    }
                    match payload {
                        [0] => {}
                        [1] => self.owes_key_update = true,
                        _ => return Err(InvalidMessage::InvalidKeyUpdate.into()),
                    }
                    self.opener = Protection::new(self.version, session.next_opening_keys()?)?;
                }
                (other, _) => {
                    return Err(Error::InappropriateHandshakeMessage {
                        expect_types: vec![HandshakeType::KeyUpdate],
                        got_type: other,
                    });
                }
            }
            self.message.drain(..MESSAGE_HEADER + len);
        }
        if self.message.is_empty() {
            self.message = Vec::new();
        }
        Ok(())
    }

    /// Nothing can be received any more; the peer is told why.
    fn fail(&mut self, error: Error) {
        if let Some(alert) = alert_for(&error) {
            // If it cannot be told, it has to do without.
            let _ = self.queue(ALERT, &[FATAL, alert.into()]);
            self.has_closed = true;
        }
        self.failed = Some(error);
    }

    /// Appends a record of our own.
    fn queue(&mut self, content_type: u8, content: &[u8]) -> Result<(), Error> {
        let mut record = BytesMut::with_capacity(content.len() + MAX_ADDED);
        self.sealer
            .seal(content_type, &mut record, |out| out.put_slice(content))?;
        self.unsent.push_back(record.freeze());
        Ok(())
    }

    /// Changes our keys if they have been used enough, or the peer wants it.
    fn renew_keys(&mut self) -> Result<(), Error> {
        let is_due = self.sealer.sequence() >= self.records_per_key;
        if !is_due && !self.owes_key_update {
            return Ok(());
        }
        if !self.is_tls13() {
            // There is no other way to keep the keys safe.
            return Err(Error::EncryptError);
        }
        self.queue(HANDSHAKE, &KEY_UPDATE)?;
        self.sealer = Protection::new(self.version, self.session.next_sealing_keys()?)?;
        self.owes_key_update = false;
        Ok(())
    }

    /// Protects bytes from the front of `chunks`, as much as is sent at a time; how many.
    fn seal(&mut self, chunks: &[IoSlice<'_>]) -> Result<usize, Error> {
        let offered: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        let total = offered.min(RECORDS * MAX_PLAIN);
        let records = total.div_ceil(MAX_PLAIN);
        let mut source = Gather { chunks, at: 0 };
        let mut done = 0;
        with_slabs(&SEND_SLABS, |slabs| {
            slabs.read_with(total + records * MAX_ADDED, |slab| {
                while done < total {
                    let unsent = self.unsent.len();
                    self.renew_keys()?;
                    if self.unsent.len() > unsent && !slab.is_empty() {
                        // What was protected so far goes ahead of the change of keys.
                        self.unsent.insert(unsent, slab.split().freeze());
                    }
                    let count = (total - done).min(MAX_PLAIN);
                    self.sealer
                        .seal(APPLICATION_DATA, slab, |out| source.copy_to(count, out))?;
                    done += count;
                }
                self.unsent.push_back(slab.split().freeze());
                Ok(total)
            })
        })
    }

    /// Ready once the connection below has taken all records.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.below.poll_send_many(cx, &mut self.unsent)
    }

    /// Accepts bytes from the front of `chunks`, at least one unless there is none; how many.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(cx))?;
        if self.has_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if chunks.iter().all(|chunk| chunk.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let count = self.seal(chunks).map_err(invalid)?;
        // What is not taken now is sent with the next call. An error comes again then.
        let _ = self.poll_unsent(cx)?;
        Poll::Ready(Ok(count))
    }

    fn is_tls13(&self) -> bool {
        self.version == ProtocolVersion::TLSv1_3
    }
}

impl ByteStream for TlsStream {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        loop {
            if let Some(plain) = self.plain.pop_front() {
                return Poll::Ready(Ok(plain));
            }
            if let Some(error) = &self.failed {
                let error = error.clone();
                return Poll::Ready(Err(invalid(error)));
            }
            if self.has_ended {
                return Poll::Ready(Ok(Bytes::new()));
            }
            ready!(self.poll_fill(cx))?;
            if !self.unsent.is_empty() {
                // Among it may be an answer of ours. If it cannot be sent, the next to send hears of it.
                let _ = self.poll_unsent(cx);
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        while !chunk.is_empty() {
            let count = ready!(self.poll_write(cx, &[IoSlice::new(chunk)]))?;
            chunk.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        self.below.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.has_closed, true) {
            self.queue(ALERT, &[WARNING, AlertDescription::CloseNotify.into()])
                .map_err(invalid)?;
        }
        ready!(self.poll_unsent(cx))?;
        self.below.poll_close(cx)
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("version", &self.version)
            .field("below", &self.below)
            .finish_non_exhaustive()
    }
}

impl Session {
    fn version(&self) -> ProtocolVersion {
        match self {
            Self::Client(session) => session.protocol_version(),
            Self::Server(session) => session.protocol_version(),
        }
    }

    fn records_per_key(&self) -> u64 {
        let suite = match self {
            Self::Client(session) => session.negotiated_cipher_suite(),
            Self::Server(session) => session.negotiated_cipher_suite(),
        };
        match suite {
            rustls::SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
            rustls::SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
        }
    }

    fn next_opening_keys(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match self {
            Self::Client(session) => session.update_rx_secret(),
            Self::Server(session) => session.update_rx_secret(),
        }
    }

    fn next_sealing_keys(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match self {
            Self::Client(session) => session.update_tx_secret(),
            Self::Server(session) => session.update_tx_secret(),
        }
    }
}

/// Copies bytes from chunk after chunk.
struct Gather<'a, 'b> {
    chunks: &'a [IoSlice<'b>],
    /// Bytes of the first chunk that have been copied.
    at: usize,
}

impl Gather<'_, '_> {
    /// Copies `count` bytes, or fewer if there are no more.
    fn copy_to(&mut self, mut count: usize, out: &mut BytesMut) {
        while count > 0
            && let Some((chunk, rest)) = self.chunks.split_first()
        {
            let left = &chunk[self.at..];
            let taken = left.len().min(count);
            out.put_slice(&left[..taken]);
            count -= taken;
            self.at += taken;
            if self.at == chunk.len() {
                (self.chunks, self.at) = (rest, 0);
            }
        }
    }
}

fn with_slabs<R>(
    slabs: &'static std::thread::LocalKey<Cell<Option<Slabs>>>,
    f: impl FnOnce(&mut Slabs) -> R,
) -> R {
    let mut own = slabs
        .take()
        .unwrap_or_else(|| Slabs::new(SLAB_SIZE, SLABS_KEPT));
    let result = f(&mut own);
    slabs.set(Some(own));
    result
}

fn unexpected(content_type: u8) -> Error {
    Error::InappropriateMessage {
        expect_types: vec![ContentType::ApplicationData],
        got_type: content_type.into(),
    }
}

/// The alert that says what the peer did wrong; none if that was an alert.
fn alert_for(error: &Error) -> Option<AlertDescription> {
    match error {
        Error::AlertReceived(_) => None,
        Error::DecryptError => Some(AlertDescription::BadRecordMac),
        Error::PeerSentOversizedRecord => Some(AlertDescription::RecordOverflow),
        Error::InvalidMessage(_) => Some(AlertDescription::DecodeError),
        Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_) => Some(AlertDescription::UnexpectedMessage),
        _ => Some(AlertDescription::InternalError),
    }
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
