//! The message by which a proxy is announced to the server.

use mgrok_proto::message::NewProxy;

use crate::bandwidth::BandwidthMode;
use crate::proxy::{ProxyConfig, ProxyKind};

/// The only multiplexer of `tcpmux`.
const HTTP_CONNECT: &str = "httpconnect";

impl ProxyConfig {
    /// The message that announces this proxy of `user` to the server.
    pub fn announcement(&self, user: &str) -> NewProxy {
        let (bandwidth_limit, bandwidth_limit_mode) = match &self.bandwidth {
            None => (String::new(), String::new()),
            Some(bandwidth) => {
                let mode = match bandwidth.mode {
                    // frp: the default is not written (pkg/config/v1/proxy.go#MarshalToMsg).
                    BandwidthMode::Client => "",
                    BandwidthMode::Server => "server",
                };
                (bandwidth.text.clone(), mode.to_owned())
            }
        };
        let (group, group_key) = match &self.group {
            None => Default::default(),
            Some(group) => (group.name.clone(), group.key.clone()),
        };
        let common = NewProxy {
            proxy_name: wire_name(user, &self.name),
            proxy_type: self.kind.as_str().to_owned(),
            use_encryption: self.use_encryption,
            use_compression: self.use_compression,
            bandwidth_limit,
            bandwidth_limit_mode,
            group,
            group_key,
            metas: self.metadatas.clone(),
            annotations: self.annotations.clone(),
            ..NewProxy::default()
        };
        with_kind(common, &self.kind)
    }
}

/// Adds what only a kind of proxy has.
fn with_kind(common: NewProxy, kind: &ProxyKind) -> NewProxy {
    match kind {
        ProxyKind::Tcp { remote_port } | ProxyKind::Udp { remote_port } => NewProxy {
            remote_port: i64::from(*remote_port),
            ..common
        },
        ProxyKind::Http(http) => NewProxy {
            custom_domains: http.domains.custom.clone(),
            subdomain: http.domains.subdomain.clone(),
            locations: http.locations.clone(),
            http_user: http.user.clone(),
            http_pwd: http.password.clone(),
            host_header_rewrite: http.host_header_rewrite.clone(),
            headers: http.request_headers.clone(),
            response_headers: http.response_headers.clone(),
            route_by_http_user: http.route_by_user.clone(),
            ..common
        },
        ProxyKind::Https(domains) => NewProxy {
            custom_domains: domains.custom.clone(),
            subdomain: domains.subdomain.clone(),
            ..common
        },
        ProxyKind::TcpMux(mux) => NewProxy {
            custom_domains: mux.domains.custom.clone(),
            subdomain: mux.domains.subdomain.clone(),
            http_user: mux.user.clone(),
            http_pwd: mux.password.clone(),
            route_by_http_user: mux.route_by_user.clone(),
            multiplexer: HTTP_CONNECT.to_owned(),
            ..common
        },
        ProxyKind::Stcp(private) | ProxyKind::Sudp(private) | ProxyKind::Xtcp { private, .. } => {
            NewProxy {
                sk: private.secret_key.clone(),
                allow_users: private.allow_users.clone(),
                ..common
            }
        }
    }
}

/// The name that the server knows a proxy by: it is unique over all users of the server.
pub fn wire_name(user: &str, name: &str) -> String {
    if user.is_empty() {
        name.to_owned()
    } else {
        format!("{user}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> ProxyConfig {
        ProxyConfig::new("ssh", ProxyKind::Tcp { remote_port: 6000 }, 22)
    }

    #[test]
    fn a_plain_proxy_is_announced_with_little() {
        let expect = NewProxy {
            proxy_name: "ssh".to_owned(),
            proxy_type: "tcp".to_owned(),
            remote_port: 6000,
            ..NewProxy::default()
        };
        assert_eq!(tcp().announcement(""), expect);
        let udp = ProxyConfig::new("dns", ProxyKind::Udp { remote_port: 53 }, 53);
        assert_eq!(udp.announcement("").proxy_type, "udp");
    }

    #[test]
    fn everything_the_server_must_know_is_announced() {
        let mut config = tcp();
        config.use_encryption = true;
        config.use_compression = true;
        config.metadatas.insert("a".to_owned(), "1".to_owned());
        config.annotations.insert("b".to_owned(), "2".to_owned());
        let got = config.announcement("");
        assert!(got.use_encryption && got.use_compression);
        assert_eq!(got.metas, config.metadatas);
        assert_eq!(got.annotations, config.annotations);
    }

    #[test]
    fn names_carry_the_user_on_the_wire() {
        assert_eq!(wire_name("", "ssh"), "ssh");
        assert_eq!(tcp().announcement("ada").proxy_name, "ada.ssh");
    }
}
