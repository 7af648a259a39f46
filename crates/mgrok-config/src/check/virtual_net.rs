//! The client's `virtualNet`, and whether its proxies and visitors fit.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::client_plugin::Plugin;
use crate::proxy::{ProxyConfig, ProxyKind};
use crate::section::Section;
use crate::virtual_net::{VirtualNet, VisitorPlugin};
use crate::visitor::VisitorConfig;

/// The virtual network, and the gate that frp has before it.
pub(super) fn virtual_net(root: &mut Section<'_>) -> Option<VirtualNet> {
    let mut gates = root.section("featureGates");
    let gate = gates.boolean("VirtualNet");
    drop(gates);
    let mut section = root.section("virtualNet");
    let key = "address";
    let text = section.text(key)?;
    let net = VirtualNet::parse(&text);
    if net.is_none() {
        section.invalid(
            key,
            format!(
                "must be this client's address in the virtual network, with the length of its prefix, like \"100.86.0.1/24\", not {text:?}"
            ),
        );
    } else if gate != Some(true) {
        // frp: the beginning of this wording
        section.invalid(
            key,
            "VirtualNet feature is not enabled; enable it with `featureGates = { VirtualNet = true }`",
        );
    } else if !cfg!(target_os = "linux") {
        section.unsupported(key, "`virtualNet.address` on anything but Linux");
    }
    net
}

/// Warns of proxies and visitors that have no use without a virtual network, or in this one.
pub(super) fn warn_of_virtual_net(
    root: &Section<'_>,
    net: Option<VirtualNet>,
    proxies: &[ProxyConfig],
    visitors: &[VisitorConfig],
) {
    let key = "virtualNet";
    let mut is_used = false;
    for proxy in proxies {
        let Some(Plugin::VirtualNet) = proxy.plugin else {
            continue;
        };
        is_used = true;
        let name = &proxy.name;
        if net.is_none() {
            root.warn(key, format!("the proxy {name:?} has the plugin `virtual_net`, which does not start without `virtualNet.address`"));
        }
        if proxy.proxy_protocol.is_some() {
            root.warn(key, format!("the proxy {name:?} has `transport.proxyProtocolVersion`, which does nothing with the plugin `virtual_net`"));
        }
        if !matches!(proxy.kind, ProxyKind::Stcp(_) | ProxyKind::Xtcp { .. }) {
            let kind = proxy.kind.as_str();
            root.warn(key, format!("the proxy {name:?} of type `{kind}` lets anybody who gets to it into the virtual network: use `stcp` or `xtcp`, whose visitors know its `secretKey`"));
        }
    }
    let mut owners: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for visitor in visitors {
        let Some(VisitorPlugin::VirtualNet { destination }) = visitor.plugin else {
            continue;
        };
        is_used = true;
        let name = &visitor.name;
        match net {
            None => root.warn(key, format!("the visitor {name:?} has the plugin `virtual_net`, which does not start without `virtualNet.address`")),
            Some(net) if net.addr() == destination => root.warn(key, format!("the visitor {name:?} leads to {destination}, which is this client's own address, so that nothing takes this way")),
            Some(net) if !net.contains(destination) => root.warn(key, format!("the visitor {name:?} leads to {destination}, which is not in {net}: the system sends nothing there without a route of your own")),
            Some(_) => {}
        }
        if let Some(other) = owners.insert(destination, name) {
            root.warn(key, format!("the visitors {other:?} and {name:?} both lead to {destination}: of the two, the one that connected last is used"));
        }
    }
    // Those of a store come later.
    if net.is_some() && !is_used && !root.says("store") {
        root.warn(key, "no proxy or visitor in use has the plugin `virtual_net`, so that the virtual network has no other member");
    }
}
