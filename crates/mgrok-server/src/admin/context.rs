//! What the routes of the admin port read and act on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use mgrok_config::ServerConfig;
use mgrok_proto::FRP_VERSION;

use crate::directory::{Directory, Totals};
use crate::policy::CurrentPolicy;

/// What the routes of the admin port read and act on. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct AdminContext {
    pub(crate) directory: Directory,
    pub(crate) policy: CurrentPolicy,
}

/// What frp's own routes tell of a server.
#[derive(Debug)]
pub(super) struct ServerInfo {
    pub(super) version: &'static str,
    pub(super) bind_port: u16,
    pub(super) vhost_http_port: u16,
    pub(super) vhost_https_port: u16,
    pub(super) tcpmux_port: u16,
    pub(super) kcp_port: u16,
    pub(super) quic_port: u16,
    pub(super) subdomain_host: String,
    pub(super) max_pool_count: u32,
    pub(super) max_ports_per_client: u32,
    /// In seconds; -1 if heartbeats are not awaited.
    pub(super) heartbeat_timeout: i64,
    /// Empty if all ports are allowed.
    pub(super) allow_ports: String,
    pub(super) tls_force: bool,
    pub(super) totals: Totals,
}

/// Local time of this machine.
#[derive(Clone, Debug)]
pub(super) struct LocalTime(TimeZone);

impl AdminContext {
    pub(super) fn server_info(&self) -> ServerInfo {
        let policy = self.policy.now();
        let ServerConfig {
            transport, vhost, ..
        } = &policy.config;
        let config = &policy.config;
        let port = |port: Option<u16>| port.unwrap_or_default();
        let allow_ports = match config.allow_ports.is_unrestricted() {
            true => String::new(),
            false => config.allow_ports.to_string(),
        };
        ServerInfo {
            version: FRP_VERSION,
            bind_port: config.bind_port,
            vhost_http_port: port(vhost.http_port),
            vhost_https_port: port(vhost.https_port),
            tcpmux_port: port(vhost.tcpmux_port),
            kcp_port: port(config.kcp_bind_port),
            quic_port: port(config.quic_bind_port),
            subdomain_host: vhost.sub_domain_host.clone(),
            max_pool_count: transport.max_pool_count,
            max_ports_per_client: config.max_ports_per_client.map_or(0, Into::into),
            heartbeat_timeout: transport.heartbeat_timeout.map_or(-1, whole_seconds),
            allow_ports,
            tls_force: transport.tls.force,
            totals: self.directory.totals(),
        }
    }
}

impl LocalTime {
    pub(super) fn new() -> Self {
        Self(TimeZone::system())
    }

    /// `MM-DD hh:mm:ss`, as frp has it.
    pub(super) fn show(&self, at: SystemTime) -> String {
        let at = Timestamp::try_from(at).unwrap_or_default();
        self.0
            .to_datetime(at)
            .strftime("%m-%d %H:%M:%S")
            .to_string()
    }

    /// The day that was `age` days ago.
    pub(super) fn day(&self, age: usize) -> Date {
        let today = self.0.to_datetime(Timestamp::now()).date();
        let age = i64::try_from(age).unwrap_or(0);
        today.saturating_sub(age.days())
    }
}

/// In Unix seconds.
pub(super) fn unix(at: SystemTime) -> i64 {
    whole_seconds(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
