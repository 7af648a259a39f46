use std::sync::LazyLock;
use std::time::Duration;

use mgrok_net::resolver::Resolver;
use proptest::prelude::*;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

static OPTIONS: LazyLock<DialOptions> = LazyLock::new(|| DialOptions {
    timeout: Duration::from_secs(20),
    keepalive: None,
    local_ip: None,
    resolver: Resolver::default(),
});

/// A service that sends one of `responses` on each connection. Its task returns the requests.
async fn service<T>(responses: T) -> (u16, JoinHandle<Vec<String>>)
where
    T: IntoIterator<Item = Vec<u8>, IntoIter: Send> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let responses = responses.into_iter();
    let requests = tokio::spawn(async move {
        let mut requests = Vec::new();
        for response in responses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            requests.push(String::from_utf8(request).unwrap());
            // Fails if the client has read enough and closed.
            let _ = stream.write_all(&response).await;
        }
        requests
    });
    (port, requests)
}

async fn ask(responses: &[&str]) -> Result<(), HttpError> {
    let responses: Vec<_> = responses.iter().map(|it| it.as_bytes().to_vec()).collect();
    let (port, _requests) = service(responses).await;
    get("127.0.0.1", port, "/", &[], &OPTIONS).await
}

#[tokio::test]
async fn any_2xx_is_healthy() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        "HTTP/1.0 299 \r\n\r\n",
        "HTTP/1.1 204\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 200 OK\r\nX : a\r\n b\r\nno header\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        ask(&[response]).await.unwrap();
    }
}

#[tokio::test]
async fn any_other_response_is_a_failure_with_a_reason() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1024 * 1024));
    for (response, expect) in [
        (
            "HTTP/1.1 503 Unwell\r\n\r\n",
            "the response has status 503, which is not 2xx",
        ),
        (
            "HTTP/1.1 101 Switching\r\n\r\n",
            "the response has status 101, which is not 2xx",
        ),
        (
            "HTTP/1.1 302 Nowhere\r\nLocation:\r\n\r\n",
            "the response has status 302, which is not 2xx",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\n\r\n",
            "the response leads to `https://127.0.0.1/`, and only plain HTTP to the same host is followed",
        ),
        (
            "SSH-2.0-OpenSSH_9.9\r\n",
            "the response begins with \"SSH-2.0-OpenSSH_\", which is not HTTP/1",
        ),
        (
            "HTTP/1.1 2000\r\n\r\n",
            "the response begins with \"HTTP/1.1 2000\\r\\n\\r\", which is not HTTP/1",
        ),
        (
            "HTTP/1.\r\n\r\n",
            "the response begins with \"HTTP/1.\\r\\n\\r\\n\", which is not HTTP/1",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-",
            "the service closed the connection before its response was complete",
        ),
        (
            "",
            "the service closed the connection before its response was complete",
        ),
        (
            &long,
            "the header of the response has more than 1048576 bytes",
        ),
    ] {
        let error = ask(&[response]).await.unwrap_err();
        assert_eq!(error.to_string(), expect);
    }
}

#[tokio::test]
async fn the_request_is_what_the_configuration_says() {
    let ok = || b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let (port, requests) = service(vec![ok(), ok()]).await;
    get("127.0.0.1", port, "/healthz?deep=1", &[], &OPTIONS)
        .await
        .unwrap();
    let headers = [
        ("X-Check", "1"),
        ("host", "example.com"),
        ("user-agent", "me"),
        ("X-Check", "2"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    get("127.0.0.1", port, "/", &headers, &OPTIONS)
        .await
        .unwrap();
    let expect = [
        format!(
            "GET /healthz?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: mgrok\r\n\
             Connection: close\r\n\r\n"
        ),
        "GET / HTTP/1.1\r\nHost: example.com\r\nX-Check: 1\r\nuser-agent: me\r\nX-Check: 2\r\n\
         Connection: close\r\n\r\n"
            .to_owned(),
    ];
    assert_eq!(requests.await.unwrap(), expect);
}

#[tokio::test]
async fn redirects_are_followed_but_not_for_ever() {
    let to = |location: &str| format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\n\r\n");
    let responses = [
        to("/login").into_bytes(),
        to("http://EXAMPLE.com:80/in?x").into_bytes(),
        b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
    ];
    let (port, requests) = service(responses).await;
    let headers = [("Host".to_owned(), "example.com".to_owned())];
    get("127.0.0.1", port, "/", &headers, &OPTIONS)
        .await
        .unwrap();
    let requests = requests.await.unwrap();
    let paths: Vec<_> = requests
        .iter()
        .map(|it| it.split(' ').nth(1).unwrap())
        .collect();
    assert_eq!(paths, ["/", "/login", "/in?x"]);

    let circle = std::iter::repeat_n(to("/").into_bytes(), MAX_REDIRECTS + 1);
    let (port, requests) = service(circle).await;
    let error = get("127.0.0.1", port, "/", &[], &OPTIONS)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "the service has led on 10 times");
    assert_eq!(requests.await.unwrap().len(), MAX_REDIRECTS + 1);
}

#[test]
fn locations_are_resolved() {
    for (location, expect) in [
        ("/b", Some("/b")),
        ("/b?q#part", Some("/b?q")),
        ("b", Some("/a/b")),
        ("b/c?d=e:f", Some("/a/b/c?d=e:f")),
        ("?q", Some("/a/x?q")),
        ("#part", Some("/a/x?y=/z")),
        ("http://example.com:8080", Some("/")),
        ("http://Example.com:8080?q", Some("/?q")),
        ("//example.com:8080/b", Some("/b")),
        ("http://example.com/b", None),
        ("http://example.com:8080.evil.com/b", None),
        ("https://example.com:8080/b", None),
        ("mailto:me", None),
        ("/b c", None),
        ("/b\u{1b}", None),
        ("/ü", None),
        ("http:/", None),
    ] {
        let path = follow("example.com:8080", "/a/x?y=/z", location);
        assert_eq!(path.as_deref(), expect, "{location}");
    }
}

#[test]
fn the_end_of_a_header_is_found_however_it_arrives() {
    for head in [
        "HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
        "HTTP/1.1 200 OK\nA: b\n\n",
    ] {
        for len in 0..head.len() {
            assert_eq!(Response::parse(&head.as_bytes()[..len]).unwrap(), None);
        }
        let (response, len) = Response::parse(head.as_bytes()).unwrap().unwrap();
        assert_eq!((response.status, len), (200, head.len()));
    }
}

#[test]
fn headers_may_be_many() {
    let many = "X: y\r\n".repeat(2000);
    let head = format!("HTTP/1.1 302 Found\r\n{many}Location: /a\r\n\r\n");
    let (response, _) = Response::parse(head.as_bytes()).unwrap().unwrap();
    assert_eq!(response.location.as_deref(), Some("/a"));
}

proptest! {
    #[test]
    fn any_header_is_read_or_refused(
        line in "HTTP/1.{0,3}[ 0-9]{0,5}.{0,9}",
        rest in proptest::collection::vec(any::<u8>(), 0..99),
    ) {
        let head = [line.as_bytes(), b"\r\n", &rest].concat();
        if let Ok(Some((response, len))) = Response::parse(&head) {
            prop_assert!(response.status < 1000);
            prop_assert!(head[..len].ends_with(b"\n"));
        }
    }

    #[test]
    fn any_location_resolves_to_a_path(
        location in "(http://|//|/|\\?)?(example.com)?.{0,30}",
    ) {
        if let Some(path) = follow("example.com", "/a", &location) {
            prop_assert!(path.starts_with('/'), "{}", path);
            prop_assert!(path.bytes().all(|it| it.is_ascii_graphic()), "{}", path);
        }
    }
}
