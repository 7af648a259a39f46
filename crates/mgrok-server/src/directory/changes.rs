//! The feed of changes: what comes and goes in the directory, for those who follow it.
//!
//! A writer changes the table first and publishes then. A reader subscribes first and takes a snapshot then. So a change is in the
//! snapshot or in the feed, and may be in both.

use std::net::SocketAddr;
use std::sync::Arc;

use mgrok_net::connections::ConnectionInfo;
use mgrok_net::feed::{Feed, FeedReader};
use mgrok_proto::RunId;

/// Something came or went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// A client has logged in.
    SessionStarted {
        /// Its session.
        run_id: RunId,
        /// What clients are told apart by; see [`SessionInfo::key`](crate::SessionInfo::key).
        key: String,
    },
    /// A session is over.
    SessionEnded {
        /// The session.
        run_id: RunId,
        /// As when it started.
        key: String,
    },
    /// A proxy lets users in.
    ProxyStarted {
        /// Tells it from a later proxy of the same name.
        id: u64,
        /// Its name.
        name: Arc<str>,
    },
    /// A proxy lets nobody in any more. The connections of its users may go on.
    ProxyStopped {
        /// The `id` it started with.
        id: u64,
        /// Its name.
        name: Arc<str>,
    },
    /// Users of a proxy are turned away until it is enabled again.
    ProxyDisabled {
        /// Its name.
        name: Arc<str>,
    },
    /// A proxy that was disabled takes users again.
    ProxyEnabled {
        /// Its name.
        name: Arc<str>,
    },
    /// A user's connection reached its service.
    ConnectionOpened {
        /// The connection.
        id: u64,
        /// The name of its proxy.
        proxy: Arc<str>,
        /// Where the user comes from.
        from: SocketAddr,
    },
    /// A user's connection is over.
    ConnectionClosed {
        /// The connection, as it was at the end.
        connection: ConnectionInfo,
    },
}

/// The writers' end.
pub(super) type Changes = Feed<Change>;

/// A reader of the feed; see [`Directory::subscribe`](crate::Directory::subscribe).
pub type ChangeFeed = FeedReader<Change>;
