use std::time::Duration;

use mgrok_config::{ClientTransport, ServerAddr, WireProtocol};
use mgrok_net::layers;
use mgrok_net::message::MessageConn;
use mgrok_proto::WireVersion;
use mgrok_proto::message::{LoginResp, Message, NatHoleClient, NatHoleReport, NatHoleResp};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::handle::{RequestError, SessionHandle, Sessions};
use crate::visitor::tests::stcp;

const LIMIT: Duration = Duration::from_secs(20);

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap()
}

/// A client that has logged in to a server played by the test. It has one visitor.
struct Lab {
    listener: TcpListener,
    listeners: ListenerWatch,
    control: MessageConn,
    handle: SessionHandle,
    client: JoinHandle<Result<StopReport, ClientError>>,
    stop: oneshot::Sender<()>,
}

impl Lab {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(ClientConfig {
            servers: vec![ServerAddr::new(
                "127.0.0.1",
                listener.local_addr().unwrap().port(),
            )],
            grace_period: Duration::from_secs(3600),
            visitors: vec![stcp("to-db")],
            transport: ClientTransport {
                tcp_mux: false,
                tls: None,
                wire_protocol: WireProtocol::V1,
                ..ClientTransport::default()
            },
            ..ClientConfig::default()
        })
        .unwrap();
        let listeners = client.listeners();
        let (key, mut sessions) = (
            client.settings.borrow().key.clone(),
            client.sessions.subscribe(),
        );
        let (stop, stopped) = oneshot::channel::<()>();
        let client = tokio::spawn(client.run(async { drop(stopped.await) }));

        let (stream, _) = in_time(listener.accept()).await.unwrap();
        let mut conn = MessageConn::new(stream.into(), WireVersion::V1);
        let login = in_time(conn.recv()).await.unwrap();
        assert!(matches!(login, Some(Message::Login(_))));
        let answer = LoginResp {
            run_id: "0123456789abcdef".to_owned(),
            ..LoginResp::default()
        };
        conn.send(&answer.into()).await.unwrap();
        let session = in_time(Sessions::wait_for_first(&mut sessions)).await;
        Self {
            listener,
            listeners,
            control: MessageConn::new(layers::encrypt(conn.into_conn(), &key), WireVersion::V1),
            handle: session.unwrap(),
            client,
            stop,
        }
    }
}

fn question() -> NatHoleClient {
    NatHoleClient {
        transaction_id: "1".to_owned(),
        ..NatHoleClient::default()
    }
}

#[tokio::test]
async fn requests_and_reports_use_the_control_connection() {
    let mut lab = Lab::start().await;
    let asked = lab.handle.request(question(), "1", LIMIT);
    let control = &mut lab.control;
    let answer = async {
        let received = in_time(control.recv()).await.unwrap();
        assert_eq!(received, Some(question().into()));
        let answer = NatHoleResp {
            transaction_id: "1".to_owned(),
            sid: "2".to_owned(),
            ..NatHoleResp::default()
        };
        control.send(&answer.into()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(asked, answer);
    assert_eq!(answer.unwrap().sid, "2");

    let report = NatHoleReport {
        sid: "2".to_owned(),
        success: true,
    };
    lab.handle.tell(report.clone()).await.unwrap();
    let received = in_time(lab.control.recv()).await.unwrap();
    assert_eq!(received, Some(report.into()));
}

#[tokio::test]
async fn a_request_ends_at_once_when_its_session_is_lost() {
    let mut lab = Lab::start().await;
    let asked = lab.handle.request(question(), "1", LIMIT);
    let lose = async {
        in_time(lab.control.recv()).await.unwrap();
        drop(lab.control);
    };
    let (answer, ()) = tokio::join!(asked, lose);
    assert!(matches!(answer, Err(RequestError::Ended)));
}

#[tokio::test]
async fn a_request_ends_at_once_when_the_client_stops() {
    let mut lab = Lab::start().await;
    // A user that the client waits for when it stops.
    let listener = in_time(lab.listeners.wait_for("to-db")).await.unwrap();
    let user = TcpStream::connect(listener).await.unwrap();
    let visit = in_time(lab.listener.accept()).await.unwrap();

    let asked = lab.handle.request(question(), "1", LIMIT);
    let stop = async {
        in_time(lab.control.recv()).await.unwrap();
        lab.stop.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(asked, stop);
    assert!(matches!(answer, Err(RequestError::Ended)));
    assert!(!lab.client.is_finished());
    drop((user, visit));
    in_time(lab.client).await.unwrap().unwrap();
}
