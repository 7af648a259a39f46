//! What an SSH client has sent on its channels and users have not taken yet.
//!
//! russh opens a channel's window again as data arrives, not as it is taken, so the windows alone bound nothing. Here each channel has
//! room for so much; beyond it nothing more is read of the client's connection until its user has taken something. A user who takes
//! nothing would hold all others of the client up that way, and is parted from its service soon.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use russh::ChannelId;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// How much may wait for one user, in bytes: as much as is under way on a fast and long path, so that it never runs dry.
const MAX_QUEUED: usize = 2 * 1024 * 1024;

/// How much may wait for all users of a client, in bytes.
const MAX_QUEUED_IN_ALL: usize = 32 * 1024 * 1024;

/// How long the client is kept waiting for users of whom none takes anything.
const STALL: Duration = Duration::from_secs(5);

/// All channels of one client to its local service. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Inboxes {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    table: Mutex<Table>,
    /// Told when a user takes something or leaves.
    taken: Notify,
}

#[derive(Debug, Default)]
struct Table {
    by_channel: HashMap<ChannelId, Inbox>,
    /// Bytes in all of them.
    queued: usize,
    /// How often something was taken.
    takes: u64,
    /// The client is gone.
    is_over: bool,
    /// Channels that nobody reads any more, and who waits until the client has closed them.
    leaving: HashMap<ChannelId, oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
struct Inbox {
    data: BytesMut,
    end: Option<End>,
    /// Whether the handler of the connection knows of the channel, so that data may come.
    is_open: bool,
    /// Whether the one who was to read it has left before that.
    is_abandoned: bool,
    /// Who waits for data.
    reader: Option<Waker>,
    /// Who waits until it can send.
    writer: Option<Waker>,
}

/// Why nothing more comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// The client has sent all.
    Finished,
    /// The channel is closed, so that nothing can be sent either.
    Closed,
    /// The user took nothing while others waited.
    Stalled,
}

/// One channel, for whoever reads it. When it is dropped, what comes for it is thrown away.
#[derive(Debug)]
pub(super) struct Reader {
    inboxes: Inboxes,
    channel: ChannelId,
}

impl Inboxes {
    /// Data may come on `channel` from now on. Who is to read it learns of the channel at the same time, and may be first.
    pub(super) fn open(&self, channel: ChannelId) {
        let mut table = self.table();
        let inbox = table.by_channel.entry(channel).or_default();
        inbox.is_open = true;
        if inbox.is_abandoned {
            table.by_channel.remove(&channel);
        }
    }

    /// For the one who reads `channel`.
    pub(super) fn reader(&self, channel: ChannelId) -> Reader {
        let mut table = self.table();
        let is_over = table.is_over;
        let inbox = table.by_channel.entry(channel).or_default();
        if is_over {
            inbox.end(End::Closed);
        }
        drop(table);
        Reader {
            inboxes: self.clone(),
            channel,
        }
    }

    /// Takes `data` in, after a wait for room. Data of channels that nobody reads is thrown away.
    pub(super) async fn push(&self, channel: ChannelId, data: &[u8]) {
        loop {
            let taken = self.inner.taken.notified();
            let takes = {
                let mut table = self.table();
                if table.push(channel, data) {
                    return;
                }
                table.takes
            };
            // Who has come here in time is woken, because `notified` was called ahead of the look.
            if timeout(STALL, taken).await.is_err() {
                let mut table = self.table();
                if table.takes == takes {
                    table.part_the_slowest();
                }
            }
        }
    }

    /// The client sends nothing more on `channel`.
    pub(super) fn finish(&self, channel: ChannelId) {
        self.end(channel, End::Finished);
    }

    /// The client has closed `channel`.
    pub(super) fn close(&self, channel: ChannelId) {
        // Whoever waits hears of it by the drop.
        self.table().leaving.remove(&channel);
        self.end(channel, End::Closed);
    }

    /// The client is gone.
    pub(super) fn close_all(&self) {
        let mut table = self.table();
        table.is_over = true;
        table.leaving.clear();
        for inbox in table.by_channel.values_mut() {
            inbox.end(End::Closed);
        }
        drop(table);
        // Whoever waits for room need not.
        self.inner.taken.notify_waiters();
    }

    fn end(&self, channel: ChannelId, end: End) {
        if let Some(inbox) = self.table().by_channel.get_mut(&channel) {
            inbox.end(end);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        let table = self.inner.table.lock();
        table.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Whether there was room, or nobody who wants it.
    fn push(&mut self, channel: ChannelId, data: &[u8]) -> bool {
        let Some(inbox) = self.by_channel.get_mut(&channel) else {
            return true;
        };
        if inbox.end.is_some() {
            return true;
        }
        let has_room = inbox.data.len() < MAX_QUEUED && self.queued < MAX_QUEUED_IN_ALL;
        if has_room {
            inbox.data.extend_from_slice(data);
            self.queued += data.len();
            inbox.wake();
        }
        has_room
    }

    /// Nobody reads `channel` any more.
    fn forget(&mut self, channel: ChannelId) {
        match self.by_channel.get_mut(&channel) {
            Some(inbox) if !inbox.is_open => inbox.is_abandoned = true,
            Some(inbox) => {
                let len = inbox.data.len();
                self.by_channel.remove(&channel);
                self.queued -= len;
                self.takes += 1;
            }
            None => {}
        }
    }

    /// Nobody takes anything: the one for whom most waits is parted from its service.
    fn part_the_slowest(&mut self) {
        let slowest = self.by_channel.values_mut().max_by_key(|it| it.data.len());
        if let Some(inbox) = slowest {
            self.queued -= inbox.data.len();
            inbox.data = BytesMut::new();
            inbox.end(End::Stalled);
        }
    }
}

impl Inbox {
    fn end(&mut self, end: End) {
        match self.end {
            // What is worse than the end of the data stays.
            Some(End::Closed | End::Stalled) => {}
            None | Some(End::Finished) => self.end = Some(end),
        }
        self.wake();
    }

    fn wake(&mut self) {
        let waiting = [self.reader.take(), self.writer.take()];
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Reader {
    /// What has come; empty at the end.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut table = self.inboxes.table();
        let Some(inbox) = table.by_channel.get_mut(&self.channel) else {
            return Poll::Ready(Ok(Bytes::new()));
        };
        if inbox.data.is_empty() {
            return match inbox.end {
                None => {
                    inbox.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
                Some(End::Finished | End::Closed) => Poll::Ready(Ok(Bytes::new())),
                Some(End::Stalled) => Poll::Ready(Err(stalled())),
            };
        }
        let data = inbox.data.split().freeze();
        table.queued -= data.len();
        table.takes += 1;
        drop(table);
        self.inboxes.inner.taken.notify_waiters();
        Poll::Ready(Ok(data))
    }

    /// Ends when the client has closed the channel, or is gone; `None` if it has closed it already. What still comes is thrown away.
    pub(super) fn leave(&mut self) -> Option<oneshot::Receiver<()>> {
        let mut table = self.inboxes.table();
        let is_over = table.is_over;
        let end = table.by_channel.get(&self.channel).map(|it| it.end);
        let left = match end {
            Some(end) if !is_over && end != Some(End::Closed) => {
                let (sender, receiver) = oneshot::channel();
                table.leaving.insert(self.channel, sender);
                Some(receiver)
            }
            Some(_) | None => None,
        };
        table.forget(self.channel);
        drop(table);
        self.inboxes.inner.taken.notify_waiters();
        left
    }

    /// Fails once nothing can be sent any more; the task is told when that happens.
    pub(super) fn check_open(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut table = self.inboxes.table();
        let inbox = table.by_channel.get_mut(&self.channel);
        match inbox {
            Some(inbox) if !matches!(inbox.end, Some(End::Closed | End::Stalled)) => {
                inbox.writer = Some(cx.waker().clone());
                Ok(())
            }
            Some(Inbox {
                end: Some(End::Stalled),
                ..
            }) => Err(stalled()),
            Some(_) | None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut table = self.inboxes.table();
        table.forget(self.channel);
        drop(table);
        self.inboxes.inner.taken.notify_waiters();
    }
}

fn stalled() -> io::Error {
    let seconds = STALL.as_secs();
    let why =
        format!("took nothing for {seconds} s while the SSH client had more for it and others");
    io::Error::new(io::ErrorKind::TimedOut, why)
}

#[cfg(test)]
mod tests;
