use mgrok_net::message::MessageConn;
use mgrok_proto::WireVersion;
use mgrok_proto::message::{NewVisitorConnResp, Ping};
use tokio::time::Instant;

use super::*;
use crate::visitor::tests::{Lab, stcp};

impl Lab {
    fn target(&self, config: &VisitorConfig) -> Target {
        Target::new(config, &self.context())
    }
}

/// The result of a visit that the server answers with `answer`.
async fn outcome(answer: Option<Message>) -> Result<Conn, VisitError> {
    let lab = Lab::new();
    let server = lab.server().await;
    let target = lab.target(&stcp("to-db"));
    let play = async {
        let (stream, _) = server.accept().await.unwrap();
        let mut conn = MessageConn::new(stream.into(), WireVersion::V1);
        conn.recv().await.unwrap().unwrap();
        if let Some(answer) = answer {
            conn.send(&answer).await.unwrap();
        }
    };
    tokio::join!(target.open(), play).0.map(|(conn, _)| conn)
}

#[test]
fn the_name_on_the_wire_is_that_of_the_proxys_user() {
    for (server_user, name) in [(None, "ada.db"), (Some("bob"), "bob.db"), (Some(""), "db")] {
        let config = VisitorConfig {
            server_user: server_user.map(str::to_owned),
            ..stcp("to-db")
        };
        assert_eq!(Lab::new().target(&config).proxy_name, name);
    }
}

#[tokio::test]
async fn every_answer_has_its_outcome() {
    let answer = |error: &str| {
        let answer = NewVisitorConnResp {
            proxy_name: "ada.db".to_owned(),
            error: error.to_owned(),
        };
        Some(Message::from(answer))
    };
    assert!(outcome(answer("")).await.is_ok());
    let refused = "visitor connection of [ada.db] auth failed";
    for (answer, text) in [
        (answer(refused), refused),
        (answer("a\nb"), "a\\nb"),
        (
            Some(Ping::default().into()),
            "the server answered with Ping",
        ),
        (None, "the server closed the connection without an answer"),
    ] {
        assert_eq!(outcome(answer).await.unwrap_err().to_string(), text);
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let lab = Lab::new();
    let server = lab.server().await;
    let target = lab.target(&stcp("to-db"));
    let play = async {
        let (stream, _) = server.accept().await.unwrap();
        tokio::time::pause();
        (stream, Instant::now())
    };
    let (error, (_stream, began)) = tokio::join!(target.open(), play);
    let error = error.unwrap_err();
    assert!(matches!(error, VisitError::Timeout), "{error}");
    assert!(began.elapsed() <= ANSWER_TIMEOUT + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn without_a_session_one_waits_so_long_and_no_longer() {
    let lab = Lab::new();
    let began = Instant::now();
    let error = lab.target(&stcp("to-db")).open().await.unwrap_err();
    assert!(matches!(error, VisitError::NoSession), "{error}");
    assert_eq!(began.elapsed().as_secs(), SESSION_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_waits_for_no_session() {
    let lab = Lab::new();
    let target = lab.target(&stcp("to-db"));
    let began = Instant::now();
    let stop = async { lab.stopping.cancel() };
    let (error, ()) = tokio::join!(target.open(), stop);
    let error = error.unwrap_err();
    assert!(matches!(error, VisitError::Stopping), "{error}");
    assert_eq!(began.elapsed(), Duration::ZERO);
}
