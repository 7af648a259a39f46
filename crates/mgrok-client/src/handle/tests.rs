use mgrok_config::{ClientConfig, ClientTransport};
use mgrok_proto::message::{NatHoleReport, NatHoleVisitor};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn handle() -> (SessionHandle, Requests) {
    let config = ClientConfig {
        transport: ClientTransport {
            tls: None,
            ..ClientTransport::default()
        },
        ..ClientConfig::default()
    };
    // No test here opens a stream.
    let streams = Streams::over_tcp(&config);
    let run_id = RunId::from("0123456789abcdef");
    SessionHandle::new(
        run_id,
        streams,
        Negotiated::new(WireVersion::V1, "", &[]),
        Span::none(),
    )
}

/// The two ends of a control connection.
async fn control() -> (MessageConn, MessageConn) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(addr), listener.accept());
    (
        MessageConn::new(ours.unwrap().into(), WireVersion::V1),
        MessageConn::new(theirs.unwrap().0.into(), WireVersion::V1),
    )
}

/// A session that only sends requests and handles answers.
async fn serve(mut requests: Requests, mut control: MessageConn) {
    loop {
        tokio::select! {
            outgoing = requests.next() => requests.send(outgoing, &mut control),
            received = control.recv() => match received.unwrap() {
                Some(Message::NatHoleResp(answer)) => requests.handle_answer(&answer),
                Some(other) => panic!("{}", other.name()),
                None => return requests.close(),
            },
        }
    }
}

fn question(transaction_id: &str) -> NatHoleVisitor {
    NatHoleVisitor {
        transaction_id: transaction_id.to_owned(),
        ..NatHoleVisitor::default()
    }
}

fn answer(transaction_id: &str, error: &str) -> NatHoleResp {
    NatHoleResp {
        transaction_id: transaction_id.to_owned(),
        error: error.to_owned(),
        ..NatHoleResp::default()
    }
}

#[tokio::test]
async fn each_request_gets_the_answer_that_is_its_own() {
    let (handle, requests) = handle();
    let (ours, mut server) = control().await;
    tokio::spawn(serve(requests, ours));
    let mut requests = JoinSet::new();
    for id in ["a", "b"] {
        let handle = handle.clone();
        requests.spawn(async move { handle.request(question(id), id, LIMIT).await });
    }
    for _ in 0..2 {
        let asked = server.recv().await.unwrap().unwrap();
        assert!(matches!(asked, Message::NatHoleVisitor(_)));
    }
    for id in ["unknown", "b", "a", "a"] {
        server.send(&answer(id, id).into()).await.unwrap();
    }
    while let Some(answered) = requests.join_next().await {
        let answered = answered.unwrap().unwrap();
        assert_eq!(answered.transaction_id, answered.error);
    }
}

#[tokio::test]
async fn messages_without_an_answer_are_sent() {
    let (handle, requests) = handle();
    let (ours, mut server) = control().await;
    tokio::spawn(serve(requests, ours));
    let report = NatHoleReport {
        sid: "1".to_owned(),
        success: true,
    };
    handle.tell(report.clone()).await.unwrap();
    assert_eq!(
        server.recv().await.unwrap(),
        Some(Message::NatHoleReport(report))
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_ends_and_is_forgotten() {
    let (handle, mut requests) = handle();
    let (mut ours, _server) = control().await;
    let asked = handle.request(question("a"), "a", LIMIT);
    let session = async {
        let outgoing = requests.next().await;
        requests.send(outgoing, &mut ours);
        assert_eq!(requests.waiting.len(), 1);
        std::future::pending::<()>().await;
    };
    let error = tokio::select! {
        answered = asked => answered.unwrap_err(),
        () = session => unreachable!(),
    };
    assert!(
        matches!(error, RequestError::Timeout(limit) if limit == LIMIT),
        "{error}"
    );
    handle.tell(NatHoleReport::default()).await.unwrap();
    let next = requests.next().await;
    requests.send(next, &mut ours);
    assert!(requests.waiting.is_empty());
}

#[tokio::test]
async fn waiting_requests_fail_when_the_session_ends() {
    let (handle, requests) = handle();
    let (ours, mut server) = control().await;
    let session = tokio::spawn(serve(requests, ours));
    let asked = handle.request(question("a"), "a", LIMIT);
    let end = async {
        server.recv().await.unwrap().unwrap();
        drop(server);
    };
    let (answered, ()) = tokio::join!(asked, end);
    assert!(matches!(answered, Err(RequestError::Ended)));
    session.await.unwrap();
    let later = handle.request(question("b"), "b", LIMIT).await;
    assert!(matches!(later, Err(RequestError::Ended)));
    let later = handle.tell(NatHoleReport::default()).await;
    assert!(matches!(later, Err(RequestError::Ended)));
}

/// Sends a request, and makes the session take it.
async fn ask(
    handle: &SessionHandle,
    requests: &mut Requests,
    control: &mut MessageConn,
    question: NatHoleVisitor,
) -> oneshot::Receiver<Result<NatHoleResp, RequestError>> {
    let (answer, answered) = oneshot::channel();
    let reply_to = ReplyTo {
        transaction_id: question.transaction_id.clone(),
        answer,
    };
    handle.send(question.into(), Some(reply_to)).await.unwrap();
    let outgoing = requests.next().await;
    requests.send(outgoing, control);
    // The connection's own queue is not under test.
    control.flush().await.unwrap();
    answered
}

#[tokio::test]
async fn requests_that_cannot_be_sent_or_remembered_are_refused() {
    let (handle, mut requests) = handle();
    let (mut ours, _server) = control().await;
    let too_long = NatHoleVisitor {
        proxy_name: "x".repeat(20_000),
        ..question("long")
    };
    let refused = ask(&handle, &mut requests, &mut ours, too_long).await;
    assert!(matches!(
        refused.await.unwrap(),
        Err(RequestError::Send(SendError::Encode { .. }))
    ));

    let mut waiting = Vec::new();
    for number in 0..MAX_WAITING {
        let question = question(&number.to_string());
        waiting.push(ask(&handle, &mut requests, &mut ours, question).await);
    }
    let refused = ask(&handle, &mut requests, &mut ours, question("one more")).await;
    assert!(matches!(refused.await.unwrap(), Err(RequestError::Busy)));
    waiting.pop();
    let mut taken = ask(&handle, &mut requests, &mut ours, question("another")).await;
    assert_eq!(
        taken.try_recv().unwrap_err(),
        oneshot::error::TryRecvError::Empty
    );
}
