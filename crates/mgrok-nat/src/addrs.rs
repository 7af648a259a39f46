//! Lists of addresses as messages carry them, read with care: the texts come from a stranger, and we send datagrams to what
//! they say.

use std::net::{Ipv4Addr, SocketAddrV4};

/// How many addresses of one list are used; frp sends 2 mapped and at most 10 local ones.
pub const MAX_ADDRS: usize = 16;

/// The first [`MAX_ADDRS`] usable addresses of a list, in its order; what is not `ip:port` with an IPv4 address that one host
/// can have is passed over.
pub fn read(texts: &[String]) -> Vec<SocketAddrV4> {
    texts
        .iter()
        .filter_map(|text| text.parse().ok())
        .filter(is_usable)
        .take(MAX_ADDRS)
        .collect()
}

/// A list as messages carry it.
pub fn write(addrs: &[SocketAddrV4]) -> Vec<String> {
    addrs.iter().map(SocketAddrV4::to_string).collect()
}

/// Whether a datagram can be sent there and reaches one host at most.
pub(crate) fn is_usable(addr: &SocketAddrV4) -> bool {
    // 0.0.0.0/8 is "this network": as a destination it means this very host.
    let ip = addr.ip();
    let first = ip.octets()[0];
    addr.port() != 0 && first != 0 && !ip.is_multicast() && *ip != Ipv4Addr::BROADCAST
}

/// The values without those seen before, in order.
pub(crate) fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_one_host_are_used() {
        let texts = [
            "192.0.2.1:4000",
            "",
            "192.0.2.1",
            "192.0.2.1:",
            "192.0.2.1:0",
            "192.0.2.1:65536",
            "192.0.2.1:-1",
            " 192.0.2.1:1",
            "192.0.2.1:1\n",
            "example.com:80",
            "[2001:db8::1]:80",
            "[::ffff:192.0.2.1]:80",
            "0.0.0.0:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "127.0.0.1:65535",
        ];
        let read = write(&read(&texts.map(String::from)));
        assert_eq!(read, ["192.0.2.1:4000", "127.0.0.1:65535"]);
    }

    #[test]
    fn a_long_list_is_cut() {
        let texts: Vec<String> = (1..100).map(|port| format!("192.0.2.1:{port}")).collect();
        assert_eq!(write(&read(&texts)), texts[..MAX_ADDRS]);
    }
}
