//! An idle connection without what it takes to speak HTTP: the buffers and the state of that are some ten kilobytes.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;

use mgrok_net::conn::{ByteStream, Conn};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::{CLOSE_TIME, Idle, IdleConn, Look, Pool, Task};

/// A connection at rest. Its task ends with it.
#[derive(Debug)]
pub(super) struct Resting {
    conn: Arc<Mutex<Option<Conn>>>,
    task: Task,
}

/// What a connection that comes to rest keeps of its idleness.
pub(super) struct Since {
    id: u64,
    since: Instant,
    until: Instant,
    task: AbortHandle,
}

impl From<Idle> for Since {
    fn from(idle: Idle) -> Self {
        let Idle {
            id,
            since,
            until,
            conn,
        } = idle;
        let task = match conn {
            IdleConn::Resting(resting) => resting.task.handle.clone(),
            IdleConn::Spoken(backend) => backend.task.handle.clone(),
        };
        Self {
            id,
            since,
            until,
            task,
        }
    }
}

impl Resting {
    /// Lets the task end the connection.
    pub(super) fn leave_to_task(mut self) {
        self.task.is_in_use = false;
    }

    /// The connection, unless it has ended.
    pub(super) fn take(self) -> Option<Conn> {
        take(&self.conn)
    }
}

fn take(conn: &Mutex<Option<Conn>>) -> Option<Conn> {
    conn.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Rests until the connection is taken, ends, says something unasked, or has rested for long enough.
pub(super) async fn rest(conn: Conn, since: Since, pool: &Weak<Pool>) {
    let id = since.id;
    let conn = Arc::new(Mutex::new(Some(conn)));
    {
        let Some(pool) = pool.upgrade() else { return };
        pool.push(Idle {
            id,
            since: since.since,
            until: since.until,
            conn: IdleConn::Resting(Resting {
                conn: Arc::clone(&conn),
                task: Task {
                    handle: since.task,
                    is_in_use: true,
                },
            }),
        });
    }
    let mut look = std::pin::pin!(sleep_until(since.until));
    loop {
        let said = poll_fn(
            |cx| match &mut *conn.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(conn) => conn.poll_recv(cx).map(drop),
                None => Poll::Ready(()),
            },
        );
        tokio::select! {
            () = said => break,
            () = &mut look => {}
        }
        let looked = pool.upgrade().map(|pool| pool.look(id, Instant::now()));
        match looked {
            Some(Look::Again(at)) => look.as_mut().reset(at),
            Some(Look::Close | Look::Rest(_)) | None => break,
        }
    }
    let ended = take(&conn);
    if let Some(pool) = pool.upgrade() {
        pool.forget(id);
    }
    if let Some(mut conn) = ended {
        let _farewell = timeout(CLOSE_TIME, conn.close()).await;
    }
}
