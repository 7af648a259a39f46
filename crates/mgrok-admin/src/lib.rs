//! The admin port of either end: HTTP for the operator and the operator's programs.
//!
//! An [`AdminPort`] has what is the same on both ends: access control, logging, the form of answers and refusals,
//! and every limit. The resources of an end are in the [`Routes`] that it brings.
//!
//! ```
//! use mgrok_admin::{AdminPort, Answer, Method, Routes};
//! use mgrok_config::WebServer;
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let port = AdminPort::bind(&WebServer::default()).await?;
//! let routes = Routes::default().with(Method::GET, "/api/users", async || Answer::json(&["ada", "bob"]));
//! port.run(routes, CancellationToken::new()).await;
//! # Ok(())
//! # }
//! ```
//!
//! Requests are matched before anybody is asked for credentials, as in frp: what is not there is
//! 404 and a wrong method is 405 for everybody. HEAD is a method like any other, not a kind of GET.
//!
//! Modules are in order, lowest first.

mod answer;
mod attempts;
mod dashboard;
mod deadline;
mod path;
mod tls;

mod access;

mod events;
mod extract;

mod list;
mod routes;

mod log_routes;
mod metrics;

mod guard;
mod program;

mod port;

pub use access::{AdminAccess, NextAdminAccess};
pub use answer::{Answer, Refusal};
pub use axum::extract::Request;
pub use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
pub use axum::response::Response;
pub use dashboard::Dashboard;
pub use events::{EventStream, ServerEvent};
pub use extract::{Caller, JsonBody, Path, Query, is_true, read_body};
pub use list::{Column, ListQuery, Page};
pub use log_routes::with_log;
pub use metrics::expose_runtime;
pub use port::{AdminPort, OpenError};
pub use program::{AdminRequest, AdminRequests, ProgramLink, ReloadFailure, ReloadQuery};
pub use routes::Routes;
