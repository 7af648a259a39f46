//! Tests of what waits for users, without SSH.

use std::future::poll_fn;

use russh::keys::ssh_encoding::Decode;
use tokio::time::Instant;

use super::*;

static PACKET: [u8; 32 * 1024] = [7; 32 * 1024];

fn channel(number: u32) -> ChannelId {
    ChannelId::decode(&mut &number.to_be_bytes()[..]).unwrap()
}

fn opened(inboxes: &Inboxes, number: u32) -> Reader {
    inboxes.open(channel(number));
    inboxes.reader(channel(number))
}

async fn recv(reader: &mut Reader) -> io::Result<Bytes> {
    poll_fn(|cx| reader.poll_recv(cx)).await
}

async fn fill(inboxes: &Inboxes, number: u32) {
    for _ in 0..MAX_QUEUED / PACKET.len() {
        inboxes.push(channel(number), &PACKET).await;
    }
}

fn queued(inboxes: &Inboxes) -> usize {
    inboxes.table().queued
}

#[tokio::test(start_paused = true)]
async fn what_comes_is_read_to_its_end() {
    let inboxes = Inboxes::default();
    let mut reader = opened(&inboxes, 1);
    inboxes.push(channel(1), b"ab").await;
    inboxes.push(channel(1), b"c").await;
    inboxes.finish(channel(1));
    assert_eq!(recv(&mut reader).await.unwrap(), "abc");
    assert_eq!(recv(&mut reader).await.unwrap(), "");
    poll_fn(|cx| Poll::Ready(reader.check_open(cx)))
        .await
        .unwrap();
    inboxes.close(channel(1));
    poll_fn(|cx| Poll::Ready(reader.check_open(cx)))
        .await
        .unwrap_err();
    drop(reader);
    assert!(inboxes.table().by_channel.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_reads_may_be_faster_than_the_one_who_opens() {
    let inboxes = Inboxes::default();
    let mut reader = inboxes.reader(channel(1));
    inboxes.open(channel(1));
    inboxes.push(channel(1), b"a").await;
    assert_eq!(recv(&mut reader).await.unwrap(), "a");
    // Who has left before the channel is open leaves nothing behind.
    drop(inboxes.reader(channel(2)));
    inboxes.open(channel(2));
    inboxes.push(channel(2), b"lost").await;
    assert_eq!(inboxes.table().by_channel.len(), 1);
    assert_eq!(queued(&inboxes), 0);
}

#[tokio::test(start_paused = true)]
async fn more_is_taken_when_the_user_has_taken_something() {
    let inboxes = Inboxes::default();
    let mut reader = opened(&inboxes, 1);
    fill(&inboxes, 1).await;
    let began = Instant::now();
    let (pushed, taken) = tokio::join!(inboxes.push(channel(1), b"more"), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        recv(&mut reader).await.unwrap().len()
    });
    let () = pushed;
    assert_eq!(taken, MAX_QUEUED);
    assert!(began.elapsed() < STALL);
    assert_eq!(recv(&mut reader).await.unwrap(), "more");
}

#[tokio::test(start_paused = true)]
async fn a_user_who_takes_nothing_is_parted_and_nobody_else() {
    let inboxes = Inboxes::default();
    let (mut idle, mut busy) = (opened(&inboxes, 1), opened(&inboxes, 2));
    fill(&inboxes, 1).await;
    inboxes.push(channel(1), b"more").await;
    inboxes.push(channel(2), b"for another").await;
    assert_eq!(recv(&mut busy).await.unwrap(), "for another");
    let error = recv(&mut idle).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(queued(&inboxes), 0);
}

#[tokio::test(start_paused = true)]
async fn all_users_together_have_a_limit() {
    let inboxes = Inboxes::default();
    let count = (MAX_QUEUED_IN_ALL / MAX_QUEUED) as u32;
    let readers: Vec<_> = (0..=count).map(|number| opened(&inboxes, number)).collect();
    for number in 0..count {
        fill(&inboxes, number).await;
    }
    assert_eq!(queued(&inboxes), MAX_QUEUED_IN_ALL);
    let began = Instant::now();
    inboxes.push(channel(count), b"one more").await;
    assert!(began.elapsed() >= STALL);
    assert_eq!(queued(&inboxes), MAX_QUEUED_IN_ALL - MAX_QUEUED + 8);
    drop(readers);
    assert_eq!(queued(&inboxes), 0);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_connection_ends_every_wait() {
    let inboxes = Inboxes::default();
    let mut reader = opened(&inboxes, 1);
    fill(&inboxes, 1).await;
    let began = Instant::now();
    tokio::join!(inboxes.push(channel(1), b"more"), async {
        inboxes.close_all()
    });
    assert!(began.elapsed() < STALL);
    assert_eq!(recv(&mut reader).await.unwrap().len(), MAX_QUEUED);
    assert_eq!(recv(&mut reader).await.unwrap(), "");
    let mut late = inboxes.reader(channel(9));
    assert_eq!(recv(&mut late).await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_hears_when_the_client_has_closed() {
    let inboxes = Inboxes::default();
    let mut reader = opened(&inboxes, 1);
    inboxes.push(channel(1), b"unread").await;
    let mut left = reader.leave().unwrap();
    assert_eq!(queued(&inboxes), 0);
    inboxes.push(channel(1), b"too late").await;
    assert_eq!(queued(&inboxes), 0);
    assert!(
        left.try_recv()
            .is_err_and(|it| it == oneshot::error::TryRecvError::Empty)
    );
    inboxes.close(channel(1));
    left.await.unwrap_err();
    let mut closed = opened(&inboxes, 2);
    inboxes.close(channel(2));
    assert!(closed.leave().is_none());
    let left = opened(&inboxes, 3).leave().unwrap();
    inboxes.close_all();
    left.await.unwrap_err();
    let table = inboxes.table();
    assert!(table.leaving.is_empty() && table.by_channel.is_empty());
}
