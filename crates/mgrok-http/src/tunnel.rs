//! CONNECT that is answered here: raw bytes follow, to and from a connection that is at hand.

use std::sync::Arc;

use hyper::{Request, Response, upgrade};
use mgrok_net::conn::Conn;
use tokio::sync::oneshot;

use crate::body::Body;
use crate::meter::Meter;
use crate::switch::Switch;
use crate::user::User;

/// Answers `request`, a CONNECT of `user`, by a success after which [`serve`](crate::serve) copies raw bytes between the user and
/// `service`. They are counted in `meter`.
pub fn tunnel(
    request: &mut Request<Body>,
    user: &User,
    service: Conn,
    meter: Arc<dyn Meter>,
) -> Response<Body> {
    let on_upgrade = upgrade::on(request);
    let (sender, receiver) = oneshot::channel();
    // The receiver is right here.
    let _ = sender.send(service);
    let switch = Switch::new(on_upgrade, receiver, user.half_close(), None, Some(meter));
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(switch);
    response
}
