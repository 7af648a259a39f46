//! An xtcp proxy: the server announces a visitor on a work connection, and the visitor connects through a tunnel past the server.

use std::sync::Arc;
use std::time::Duration;

use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::message::{MessageConn, RecvError};
use mgrok_net::relay::HalfClose;
use mgrok_proto::message::{Message, StartWorkConn};
use tracing::{Instrument, Span, debug, warn};

use crate::handle::SessionHandle;
use crate::hole::{HostRequest, Puncher};
use crate::proxy::Proxy;
use crate::tasks::Tasks;
use crate::tcp;

/// How long the server may take to name the attempt.
const ANNOUNCEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the visitor does not connect.
#[derive(Debug, thiserror::Error)]
enum AnnouncementError {
    #[error("the server said nothing of a visitor")]
    Closed,
    #[error("cannot receive what the server says of a visitor")]
    Receive(#[from] RecvError),
    #[error("the server said nothing of a visitor within {} s", ANNOUNCEMENT_TIMEOUT.as_secs())]
    Timeout,
    #[error("the server sent {0} instead of announcing a visitor")]
    Unexpected(&'static str),
}

/// Serves the visitor that is announced on `work`, until its tunnel ends or the proxy is removed.
pub(crate) async fn serve(
    proxy: &Arc<Proxy>,
    start: &StartWorkConn,
    work: MessageConn,
    session: &SessionHandle,
    puncher: &Puncher,
    tasks: &Tasks,
) {
    // Its buffers are empty: what is read next may be framed in another way.
    let work = MessageConn::new(work.into_conn(), session.negotiated().payload);
    let sid = match announced_sid(work).await {
        Ok(sid) => sid,
        Err(error) => return warn!(per_session = true, "xtcp: {}", Chain(&error)),
    };
    let Some((key, disable_assisted_addrs)) = proxy.hole() else {
        return;
    };
    let request = HostRequest {
        proxy_name: &start.proxy_name,
        sid: &sid,
        key,
        disable_assisted_addrs,
    };
    let mut tunnel = match puncher.host(session, &request).await {
        Ok(tunnel) => tunnel,
        Err(error) => {
            return warn!(
                per_session = true,
                "no tunnel for a visitor: {}",
                Chain(&error)
            );
        }
    };
    while let Some(user) = tunnel.next().await {
        let user = carry(proxy.clone(), Box::new(user), tasks.clone());
        tasks.spawn(user.instrument(Span::current()));
    }
    debug!(per_session = true, "the tunnel of a visitor has ended");
}

/// One user of a tunnel. Nobody says where it comes from, nor whether the other client can carry a half-close.
async fn carry(proxy: Arc<Proxy>, user: Box<Conn>, tasks: Tasks) {
    let _counted = tasks.user();
    let nobody = Box::default();
    // The tunnel and its plugins outlive the session.
    let stop = tasks.part();
    tokio::select! {
        () = tcp::serve(&proxy, nobody, user, HalfClose::EndsBoth, &stop) => {}
        () = tasks.is_cut() => {}
    }
}

async fn announced_sid(mut work: MessageConn) -> Result<String, AnnouncementError> {
    let received = tokio::time::timeout(ANNOUNCEMENT_TIMEOUT, work.recv()).await;
    match received.map_err(|_| AnnouncementError::Timeout)?? {
        Some(Message::NatHoleSid(sid)) => Ok(sid.sid),
        Some(other) => Err(AnnouncementError::Unexpected(other.name())),
        None => Err(AnnouncementError::Closed),
    }
}
