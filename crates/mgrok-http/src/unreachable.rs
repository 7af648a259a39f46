//! What a client says to a server in place of a service that it cannot connect.
//!
//! frp's client closes the work connection, which looks like a service that has nothing to say. A client of ours answers for the
//! service, so that users of any server see what is wrong, and a server of ours can show its operator's page.

use hyper::header::HeaderName;

/// The header that tells such an answer from one of the service.
pub const UNREACHABLE: HeaderName = HeaderName::from_static("mgrok-unreachable");

/// The whole answer. The connection ends after it.
pub const UNREACHABLE_ANSWER: &str = "HTTP/1.1 502 Bad Gateway\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 30\r\n\
    Connection: close\r\n\
    Mgrok-Unreachable: service\r\n\
    \r\n\
    The service does not answer.\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_says_what_it_is_and_how_long() {
        let (head, body) = UNREACHABLE_ANSWER.split_once("\r\n\r\n").unwrap();
        let length = format!("Content-Length: {}", body.len());
        assert!(head.lines().any(|line| line == length), "{}", body.len());
        assert!(
            head.to_ascii_lowercase()
                .contains(&format!("\r\n{UNREACHABLE}: "))
        );
    }
}
