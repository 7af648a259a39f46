//! What the admin port tells, and does when it is told to. It reads snapshots of the directory and acts by its commands; nothing here
//! keeps a second truth.

// Lowest layer first.
mod context;
mod filters;

mod clients;

mod acting;
mod bans;
mod events;
mod v1;
mod v2;

use mgrok_admin::{Dashboard, Routes};

pub(crate) use self::context::AdminContext;

// frp: these words
const NO_PROXY: &str = "no proxy info found";
/// Why something is done, for the log.
const WHY: &str = "by the admin port";

/// What can be asked for.
pub(crate) fn routes(context: &AdminContext) -> Routes {
    let routes = Routes::default().dashboard(Dashboard::Server);
    let routes = v1::add(routes, context);
    let routes = v2::add(routes, context);
    let routes = acting::add(routes, context);
    let routes = bans::add(routes, context);
    events::add(routes, context)
}
