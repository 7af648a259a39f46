use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::testing::{memory_pair, read_all, tcp_pair};

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn addresses(source: &str, destination: &str) -> Addresses {
    Addresses {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn encoded(version: Version, protocol: TransportProtocol, addresses: &Addresses) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(version, protocol, addresses, &mut out);
    out.to_vec()
}

/// A version 2 header with the given version and command, family and protocol, and body.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    [V2, &[command, family], &len, body].concat()
}

#[test]
fn headers_are_these_bytes() {
    let v4 = addresses("1.2.3.4:5", "127.0.0.1:6");
    let golden = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x01\x02\x03\x04\x7f\0\0\x01\0\x05\0\x06";
    assert_eq!(encoded(Version::V2, TransportProtocol::Udp, &v4), golden);
    let tcp = encoded(Version::V2, TransportProtocol::Tcp, &v4);
    assert_eq!(tcp[13], 0x11);
    assert_eq!((&tcp[..13], &tcp[14..]), (&golden[..13], &golden[14..]));
    assert_eq!(
        encoded(Version::V1, TransportProtocol::Tcp, &v4),
        b"PROXY TCP4 1.2.3.4 127.0.0.1 5 6\r\n"
    );
    assert_eq!(
        encoded(Version::V1, TransportProtocol::Udp, &v4),
        b"PROXY UNKNOWN\r\n"
    );

    let v6 = addresses("[2001:db8::1]:65535", "[::1]:443");
    assert_eq!(
        encoded(Version::V1, TransportProtocol::Tcp, &v6),
        b"PROXY TCP6 2001:db8::1 ::1 65535 443\r\n"
    );
    let header = encoded(Version::V2, TransportProtocol::Tcp, &v6);
    assert_eq!(&header[..16], b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24");
    assert_eq!(&header[16..18], b"\x20\x01");
    assert_eq!(&header[48..], b"\xff\xff\x01\xbb");
}

#[test]
fn with_two_families_the_ipv4_address_is_mapped() {
    for (source, destination, line) in [
        (
            "[2001:db8::1]:5",
            "127.0.0.1:0",
            "TCP6 2001:db8::1 ::ffff:127.0.0.1 5 0",
        ),
        (
            "1.2.3.4:5",
            "[2001:db8::2]:6",
            "TCP6 ::ffff:1.2.3.4 2001:db8::2 5 6",
        ),
        // A mapped address is IPv4, so both have the same family.
        (
            "[::ffff:1.2.3.4]:5",
            "127.0.0.1:6",
            "TCP4 1.2.3.4 127.0.0.1 5 6",
        ),
    ] {
        let addresses = addresses(source, destination);
        let header = encoded(Version::V1, TransportProtocol::Tcp, &addresses);
        assert_eq!(
            String::from_utf8(header).unwrap(),
            format!("PROXY {line}\r\n")
        );
        let header = encoded(Version::V2, TransportProtocol::Udp, &addresses);
        let read = parse(&header).unwrap().unwrap();
        assert_eq!(read.addresses, Some(addresses.canonical()));
    }
}

#[track_caller]
fn check(bytes: &[u8], expect: Option<Addresses>) {
    let header = Header {
        addresses: expect,
        len: bytes.len(),
    };
    assert_eq!(parse(bytes), Ok(Some(header)));
    let followed = [bytes, b"PROXY and more"].concat();
    assert_eq!(parse(&followed), Ok(Some(header)));
    for cut in 0..bytes.len() {
        assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut} bytes");
    }
}

#[test]
fn lines_are_read() {
    let v4 = addresses("192.0.2.1:56324", "192.0.2.2:443");
    check(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", Some(v4));
    let v6 = addresses("[2001:db8::1]:0", "[::1]:65535");
    check(b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", Some(v6));
    check(
        b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 56324 443\r\n",
        Some(v4),
    );
    check(b"PROXY UNKNOWN\r\n", None);
    check(b"PROXY UNKNOWN whatever this means\r\n", None);
    let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {all} {all} 65535 65535\r\n");
    assert_eq!(longest.len(), MAX_V1_LEN);
    check(longest.as_bytes(), None);
}

#[test]
fn binary_headers_are_read() {
    let v4 = addresses("1.2.3.4:5", "127.0.0.1:6");
    let body = b"\x01\x02\x03\x04\x7f\0\0\x01\0\x05\0\x06";
    check(&v2(0x21, 0x11, body), Some(v4));
    check(&v2(0x21, 0x12, body), Some(v4));
    let extended = [&body[..], b"\x04\0\x03abc\x05\0\0"].concat();
    check(&v2(0x21, 0x11, &extended), Some(v4));
    let longest = [&body[..], &vec![0; MAX_V2_LEN - 16 - 12]].concat();
    check(&v2(0x21, 0x11, &longest), Some(v4));

    // The command LOCAL names no user, whatever else the header contains.
    check(&v2(0x20, 0x00, b""), None);
    check(&v2(0x20, 0x11, body), None);
    check(&v2(0x20, 0xff, b"x"), None);
    check(&v2(0x21, 0x00, b"unspecified"), None);
    check(&v2(0x21, 0x31, &[b'/'; 216]), None);
    check(&v2(0x21, 0x32, &[b'/'; 216]), None);
}

#[test]
fn other_input_is_no_header() {
    let line = ParseError::Line;
    let family = line("no IP address of its family");
    let kind = line("neither TCP4 nor TCP6 nor UNKNOWN");
    let port = line("no port number");
    let cases: &[(&[u8], ParseError)] = &[
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n",
            line("no carriage return at its end"),
        ),
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 \r\n",
            line("more than two addresses and ports"),
        ),
        (
            b"PROXY TCP4  192.0.2.1 192.0.2.2 56324 443\r\n",
            family.clone(),
        ),
        (
            b"PROXY TCP4 192.0.2.01 192.0.2.2 56324 443\r\n",
            family.clone(),
        ),
        (b"PROXY TCP4 ::1 ::1 56324 443\r\n", family.clone()),
        (
            b"PROXY TCP6 192.0.2.1 192.0.2.2 56324 443\r\n",
            family.clone(),
        ),
        (b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", family.clone()),
        (b"PROXY TCP4\r\n", family),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n", port.clone()),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 443\r\n", port.clone()),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 01 443\r\n", port.clone()),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n", port),
        (b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n", kind.clone()),
        (b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", kind.clone()),
        (b"PROXY UNKNOWNS\r\n", kind.clone()),
        (b"PROXY \r\n", kind),
        (b"PROXY TCP4 \xff\r\n", line("bytes that are no text")),
        (
            &[b"PROXY UNKNOWN".as_slice(), &[b' '; 100]].concat(),
            ParseError::TooLong { limit: 107 },
        ),
        (&[V2, b"\x11"].concat(), ParseError::Version(1)),
        (&[V2, b"\x22"].concat(), ParseError::Command(2)),
        (&v2(0x21, 0x13, &[0; 12]), ParseError::Family(0x13)),
        (&v2(0x21, 0x41, &[0; 12]), ParseError::Family(0x41)),
        (
            &v2(0x21, 0x11, &[0; 11]),
            ParseError::AddressesCut { len: 11 },
        ),
        (
            &v2(0x21, 0x21, &[0; 35]),
            ParseError::AddressesCut { len: 35 },
        ),
        (
            &[V2, b"\x21\x11\x0f\xf1"].concat(),
            ParseError::TooLong { limit: 4096 },
        ),
    ];
    for (bytes, expect) in cases {
        let refused = parse(bytes);
        assert_eq!(refused.as_ref(), Err(expect), "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_error_for_a_missing_header_shows_the_input() {
    for (bytes, begins) in [
        (
            &b"GET / HTTP/1.1\r\nHost: example.com"[..],
            "GET / HTTP/1.1\\r\\n",
        ),
        (b"\x16\x03\x01", "\\x16\\x03\\x01"),
        (b"PROXX", "PROXX"),
        (b"\r\n\r\n\r", "\\r\\n\\r\\n\\r"),
    ] {
        let error = parse(bytes).unwrap_err();
        let expect = format!("a PROXY protocol header is required here, but \"{begins}\" came");
        assert_eq!(error.to_string(), expect);
    }
}

#[tokio::test]
async fn a_header_is_removed_and_the_rest_stays() {
    let user = addresses("1.2.3.4:5", "127.0.0.1:6");
    for version in [Version::V1, Version::V2] {
        let mut sent = BytesMut::new();
        encode(version, TransportProtocol::Tcp, &user, &mut sent);
        sent.extend_from_slice(b"PROXY is what I say");
        for piece in [1, 7, 1000] {
            let (mut near, mut far) = memory_pair(1000, piece);
            near.send(sent.clone().freeze()).await.unwrap();
            near.close().await.unwrap();
            assert_eq!(read(&mut far).await.unwrap(), Some(user));
            assert_eq!(read_all(&mut far).await.unwrap(), b"PROXY is what I say");
        }
    }
}

#[tokio::test]
async fn a_header_is_not_waited_for_longer_than_it_is() {
    let (mut near, far) = tcp_pair().await;
    near.write_all(b"PROXY UNKNOWN\r\n").await.unwrap();
    let mut far = Conn::from(far);
    assert_eq!(read(&mut far).await.unwrap(), None);
    // No unread byte is left in front of the socket.
    assert!(far.bare_tcp().is_some());
}

#[tokio::test]
async fn an_end_is_no_header() {
    for sent in [&b""[..], b"PROXY TCP4 1.2.3"] {
        let (mut near, far) = tcp_pair().await;
        near.write_all(sent).await.unwrap();
        drop(near);
        let error = read(&mut far.into()).await.unwrap_err();
        assert!(matches!(error, ProxyProtocolError::Closed), "{error}");
    }
}

fn any_addresses() -> impl Strategy<Value = Addresses> {
    let any_addr = || (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from);
    (any_addr(), any_addr()).prop_map(|(source, destination)| Addresses {
        source,
        destination,
    })
}

/// Bytes that begin like a header.
fn almost_a_header() -> impl Strategy<Value = Vec<u8>> {
    let junk = proptest::collection::vec(any::<u8>(), 0..300);
    let text = "(PROXY )?(TCP[46]|UNKNOWN)?( [0-9a-f:.]{0,40}){0,5}(\r|\n|\r\n)?.{0,9}";
    let binary =
        (any::<(u8, u8, u8)>(), junk.clone()).prop_map(|((command, family, len), junk)| {
            [V2, &[0x20 | command & 3, family, 0, len], &junk].concat()
        });
    prop_oneof![junk, text.prop_map(String::into_bytes), binary]
}

proptest! {
    #[test]
    fn written_headers_can_be_read(addresses in any_addresses(), v2: bool, udp: bool) {
        let version = if v2 { Version::V2 } else { Version::V1 };
        let protocol = if udp { TransportProtocol::Udp } else { TransportProtocol::Tcp };
        let mut bytes = encoded(version, protocol, &addresses);
        let header = Header {
            addresses: (v2 || !udp).then(|| addresses.canonical()),
            len: bytes.len(),
        };
        bytes.extend_from_slice(b"rest");
        prop_assert_eq!(parse(&bytes), Ok(Some(header)));
    }

    /// However bytes are split, the result is the same; and once there is a result, more bytes do not change it.
    #[test]
    fn the_result_does_not_depend_on_how_bytes_are_split(bytes in almost_a_header()) {
        let whole = parse(&bytes);
        for cut in 0..bytes.len() {
            match parse(&bytes[..cut]) {
                Ok(None) => {}
                // The error shows more or less of the input.
                Err(ParseError::Missing { .. }) => {
                    let same = matches!(whole, Err(ParseError::Missing { .. }));
                    prop_assert!(same, "{:?}", whole);
                }
                told => prop_assert_eq!(&told, &whole),
            }
        }
        if let Ok(Some(header)) = whole {
            prop_assert!(header.len <= bytes.len());
        }
    }
}

/// The addresses in the form of `ppp`.
fn theirs(addresses: &Addresses) -> (SocketAddr, SocketAddr) {
    (addresses.source, addresses.destination)
}

/// Both addresses in the one family that a header gives them.
fn of_one_family(addresses: &Addresses) -> Addresses {
    let Addresses {
        source,
        destination,
    } = addresses.canonical();
    if source.is_ipv4() == destination.is_ipv4() {
        return addresses.canonical();
    }
    let mapped = |addr: SocketAddr| SocketAddr::new(mapped(addr.ip()).into(), addr.port());
    Addresses {
        source: mapped(source),
        destination: mapped(destination),
    }
}

// `ppp` shares no code with this module, so a misreading of the specification is not on both sides of the comparison.
proptest! {
    #[test]
    fn another_implementation_reads_our_headers(addresses in any_addresses(), udp: bool) {
        let protocol = if udp { TransportProtocol::Udp } else { TransportProtocol::Tcp };
        let expect = of_one_family(&addresses);

        let bytes = encoded(Version::V1, protocol, &addresses);
        let header = ppp::v1::Header::try_from(&bytes[..]).unwrap();
        let expect_v1 = match udp {
            true => ppp::v1::Addresses::Unknown,
            false => theirs(&expect).into(),
        };
        prop_assert_eq!(header.addresses, expect_v1);

        let bytes = encoded(Version::V2, protocol, &addresses);
        let header = ppp::v2::Header::try_from(&bytes[..]).unwrap();
        prop_assert_eq!(header.len(), bytes.len());
        prop_assert_eq!(header.command, ppp::v2::Command::Proxy);
        let expect_protocol = match udp {
            true => ppp::v2::Protocol::Datagram,
            false => ppp::v2::Protocol::Stream,
        };
        prop_assert_eq!(header.protocol, expect_protocol);
        prop_assert_eq!(header.addresses, ppp::v2::Addresses::from(theirs(&expect)));
    }

    #[test]
    fn headers_of_another_implementation_are_read(
        addresses in any_addresses(),
        udp: bool,
        local: bool,
        tlv in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        use ppp::v2::{Builder, Command, Protocol, Type};

        let one_family = of_one_family(&addresses);
        let line = ppp::v1::Addresses::from(theirs(&one_family)).to_string();
        let expect = Header { addresses: Some(addresses.canonical()), len: line.len() };
        prop_assert_eq!(parse(line.as_bytes()), Ok(Some(expect)));

        let command = if local { Command::Local } else { Command::Proxy };
        let protocol = if udp { Protocol::Datagram } else { Protocol::Stream };
        let version = ppp::v2::Version::Two | command;
        let bytes = Builder::with_addresses(version, protocol, theirs(&one_family))
            .write_tlv(Type::NoOp, &tlv)
            .and_then(Builder::build)
            .unwrap();
        let expect = Header {
            addresses: (!local).then(|| addresses.canonical()),
            len: bytes.len(),
        };
        prop_assert_eq!(parse(&bytes), Ok(Some(expect)));
    }
}
