//! QUIC datagrams (RFC 9221), each of which belongs to a stream.
//!
//! A datagram begins with the id of its stream ([`quarter_id`]). One task per connection reads all datagrams and puts
//! each into the queue of its [`Flow`]; the task starts with the first flow, so a connection without flows has no such
//! task. A datagram without a flow is dropped, and so is a new datagram whose flow's queue is full. Datagrams for a
//! future flow are not kept: each end announces its flow to the other on the stream ([`mgrok_proto::udp::binary`]).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use mgrok_proto::udp::quarter_id;
use quinn::SendDatagramError;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tracing::debug;

/// The most datagrams that one flow queues. Each fits one packet.
const MAX_QUEUED: usize = 1024;

/// The bytes that quinn counts for each queued outgoing datagram on top of its payload, rounded up.
const OVERHEAD_PER_DATAGRAM: usize = 64;

/// How long closing a connection waits for its last packets to arrive, one retransmission included.
// frp: waits this long when it is stopped (cmd/frpc/sub/root.go)
const MAX_SETTLE_TIME: Duration = Duration::from_millis(500);

/// The fewest and the most bytes that a connection keeps until they are acknowledged: 2.5 Gbit/s at a round trip of 100 ms. Between them it
/// is twice what the path may have under way, so that as much is ready again when an acknowledgement comes. It does fill up, whenever we
/// write faster than the network sends.
pub(crate) const LEAST_SEND_WINDOW: u64 = 2 * 1024 * 1024;
const MOST_SEND_WINDOW: u64 = 32 * 1024 * 1024;

/// The longest that the peer may delay an acknowledgement.
const ACKNOWLEDGEMENT_DELAY: Duration = Duration::from_millis(25);

/// All flows of a connection. Every holder of this value keeps the connection open. When the last one drops it, the
/// connection is closed after sent data has had time to arrive.
#[derive(Debug)]
pub(crate) struct Flows {
    connection: quinn::Connection,
    table: Arc<Table>,
    reader: OnceLock<AbortHandle>,
    /// How many bytes may wait for their acknowledgement.
    send_window: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    by_id: Mutex<HashMap<u64, Arc<Queue>>>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Bytes>,
    waker: Option<Waker>,
    /// How many datagrams were dropped since the last call of `poll_recv`.
    missed: u64,
}

impl Flows {
    pub(crate) fn new(connection: quinn::Connection) -> Arc<Self> {
        Arc::new(Self {
            connection,
            table: Arc::default(),
            reader: OnceLock::new(),
            send_window: AtomicU64::new(LEAST_SEND_WINDOW),
        })
    }

    /// Has the connection keep more bytes, or fewer, as the path carries more or less than before. For a stream that waits for room; its
    /// task is woken if there is some now.
    pub(super) fn fit_send_window(&self) {
        let fits = send_window(self.connection.stats().path.cwnd);
        let is = self.send_window.load(Ordering::Relaxed);
        // Two streams that wait at the same time may both get here; they then set about the same.
        if fits > is + is / 4 || fits < is / 2 {
            self.send_window.store(fits, Ordering::Relaxed);
            self.connection.set_send_window(fits);
        }
    }

    /// The flow of the stream whose id, divided by four, is `id`. There must be none yet.
    pub(super) fn open(self: &Arc<Self>, id: u64) -> Flow {
        let queue = Arc::<Queue>::default();
        self.table.by_id().insert(id, queue.clone());
        self.start_reading();
        Flow {
            flows: self.clone(),
            id,
            queue,
        }
    }
}

impl Flows {
    /// Starts reading datagrams even without a flow that wants any: quinn would otherwise buffer a megabyte of them.
    pub(crate) fn start_reading(&self) {
        self.reader.get_or_init(|| {
            let reading = read(self.connection.clone(), self.table.clone());
            tokio::spawn(reading).abort_handle()
        });
    }
}

/// The window for a path that may have `under_way` bytes at a time.
fn send_window(under_way: u64) -> u64 {
    under_way
        .saturating_mul(2)
        .clamp(LEAST_SEND_WINDOW, MOST_SEND_WINDOW)
}

impl Drop for Flows {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.get() {
            // The reader task holds the connection, too.
            reader.abort();
        }
        if self.connection.close_reason().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            // A stream may have ended just now, and quinn closes the connection at once with its last handle.
            let connection = self.connection.clone();
            runtime.spawn(async move { settle(&connection).await });
        }
    }
}

/// Waits until sent data has most probably arrived, for half a second at most. quinn reports no acknowledgement for a
/// stream that has ended.
pub(crate) async fn settle(connection: &quinn::Connection) {
    // Time for one lost packet and its retransmission.
    let once = connection.rtt() * 3 + ACKNOWLEDGEMENT_DELAY;
    tokio::select! {
        () = sleep((once * 2).min(MAX_SETTLE_TIME)) => {}
        _ = connection.closed() => {}
    }
}

/// Delivers every datagram to its flow until the connection is closed.
async fn read(connection: quinn::Connection, table: Arc<Table>) {
    while let Ok(datagram) = connection.read_datagram().await {
        table.deliver(datagram);
        tokio::task::consume_budget().await;
    }
}

impl Table {
    fn by_id(&self) -> MutexGuard<'_, HashMap<u64, Arc<Queue>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, mut datagram: Bytes) {
        let Some((id, len)) = quarter_id::decode(&datagram) else {
            return;
        };
        let Some(queue) = self.by_id().get(&id).cloned() else {
            return;
        };
        datagram.advance(len);
        let waker = {
            let mut state = queue.state();
            if state.waiting.len() >= MAX_QUEUED {
                state.missed += 1;
                return;
            }
            state.waiting.push_back(datagram);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The datagrams that belong to one stream.
#[derive(Debug)]
pub(crate) struct Flow {
    flows: Arc<Flows>,
    id: u64,
    queue: Arc<Queue>,
}

impl Flow {
    /// Appends all datagrams that have arrived to `arrived`, without their ids, and returns how many were dropped
    /// before because the queue was full.
    pub(crate) fn poll_recv(&self, cx: &Context<'_>, arrived: &mut VecDeque<Bytes>) -> Poll<u64> {
        let mut state = self.queue.state();
        if state.waiting.is_empty() {
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => state.waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        if arrived.is_empty() {
            std::mem::swap(&mut state.waiting, arrived);
        } else {
            arrived.append(&mut state.waiting);
        }
        Poll::Ready(std::mem::take(&mut state.missed))
    }

    /// A sender for the same flow at the other end.
    pub(crate) fn sender(&self) -> FlowSender {
        let mut prefix = BytesMut::new();
        quarter_id::encode(self.id, &mut prefix);
        FlowSender {
            connection: self.flows.connection.clone(),
            prefix: prefix.freeze(),
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.flows.table.by_id().remove(&self.id);
    }
}

/// Sends datagrams that belong to one stream.
#[derive(Debug)]
pub(crate) struct FlowSender {
    connection: quinn::Connection,
    prefix: Bytes,
}

impl FlowSender {
    /// The bytes that every datagram of this flow begins with.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The most bytes that a datagram may have now, prefix included.
    pub(crate) fn max_len(&self) -> usize {
        self.connection.max_datagram_size().unwrap_or(0)
    }

    /// How many more bytes of datagrams may be queued, where each counts for [`FlowSender::cost`].
    pub(crate) fn room(&self) -> usize {
        self.connection.datagram_send_buffer_space()
    }

    /// How much of the room a datagram of `len` bytes takes.
    pub(crate) fn cost(len: usize) -> usize {
        len + OVERHEAD_PER_DATAGRAM
    }

    /// Sends one datagram, which begins with the prefix, without waiting. If there is no room, the connection drops
    /// older datagrams for it.
    pub(crate) fn send(&self, datagram: Bytes) {
        match self.connection.send_datagram(datagram) {
            // The stream reports a lost connection.
            Ok(()) | Err(SendDatagramError::ConnectionLost(_)) => {}
            Err(
                error @ (SendDatagramError::Disabled
                | SendDatagramError::TooLarge
                | SendDatagramError::UnsupportedByPeer),
            ) => debug!("a datagram was dropped: {error}"),
        }
    }
}
