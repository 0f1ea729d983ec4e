//! Waiting for a place: whose turn it is, how a wait ends, and what it costs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod house;

use std::sync::atomic::Ordering;
use std::time::Duration;

use house::server::{REFUSED, Server, line, rest, until};
use house::{House, MINUTE, NAME, connect, house};
use net::{Snapshot, WaitingRoom, clock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const GREETING: &str = "220 mx.example\r\n";

/// Nobody's time is over before the test's.
fn room(places: usize) -> Option<WaitingRoom> {
    Some(WaitingRoom { wait: MINUTE, places })
}

/// Connects one after the other, each seen to wait before the next.
async fn wait_from(server: &Server, sources: &[u8]) -> Vec<TcpStream> {
    let (before, mut waiting) = (server.figures().waiting, Vec::new());
    for source in sources {
        waiting.push(server.connect_from(*source).await);
        until("it waits", || server.figures().waiting == before + waiting.len() as u64).await;
    }
    waiting
}

/// How every wait has ended so far: served, timed out, left, refused.
fn ends(figures: Snapshot) -> [u64; 4] {
    [figures.waiting_served, figures.waiting_timed_out, figures.waiting_left, figures.waiting_refused]
}

#[tokio::test]
async fn places_that_come_free_go_to_sources_in_turn() {
    let server = Server::with_room(1, None, room(8));
    let mut inside = server.connect().await;
    assert_eq!(line(&mut inside).await, GREETING);
    let mut waiting: Vec<_> = wait_from(&server, &[1, 1, 1, 2, 3, 2]).await.into_iter().map(Some).collect();
    for turn in [0, 3, 4, 1, 5, 2] {
        drop(inside);
        inside = waiting[turn].take().unwrap();
        assert_eq!(line(&mut inside).await, GREETING);
        inside.write_all(b"served\r\n").await.unwrap();
        assert_eq!(line(&mut inside).await, "served\r\n");
    }
    assert_eq!((server.figures().waiting, ends(server.figures())), (0, [6, 0, 0, 0]));
}

#[tokio::test]
async fn several_places_are_given_at_once() {
    let server = Server::with_room(0, None, room(8));
    let mut waiting = wait_from(&server, &[1, 2, 3, 4]).await;
    server.echo.add_places(3);
    for served in &mut waiting[..3] {
        assert_eq!(line(served).await, GREETING);
    }
    assert_eq!((server.figures().waiting, ends(server.figures())), (1, [3, 0, 0, 0]));
}

#[tokio::test]
async fn who_may_not_have_the_place_holds_up_nobody_and_keeps_the_turn() {
    let server = Server::with_room(1, None, room(8));
    let mut inside = server.connect().await;
    assert_eq!(line(&mut inside).await, GREETING);
    *server.echo.barred.lock().unwrap() = Some([127, 0, 0, 1].into());
    let mut waiting = wait_from(&server, &[1, 2, 3]).await;
    drop(inside);
    assert_eq!(line(&mut waiting[1]).await, GREETING, "passed over");
    *server.echo.barred.lock().unwrap() = None;
    drop(waiting.remove(1));
    assert_eq!(line(&mut waiting[0]).await, GREETING, "but first when it may");
    assert_eq!((server.figures().waiting, ends(server.figures())), (1, [2, 0, 0, 0]));
}

#[tokio::test]
async fn when_its_time_is_over_it_is_refused() {
    let server = Server::with_room(0, None, Some(WaitingRoom { wait: Duration::from_millis(200), places: 8 }));
    assert_eq!(rest(server.connect().await).await, REFUSED);
    assert_eq!(ends(server.figures()), [0, 1, 0, 0]);
    // A shorter time holds for who is waiting, too.
    server.echo.set_room(room(8));
    let waiting = wait_from(&server, &[1, 2]).await;
    server.echo.set_room(None);
    for refused in waiting {
        assert_eq!(rest(refused).await, REFUSED);
    }
    assert_eq!(ends(server.figures()), [0, 3, 0, 0]);
    assert_eq!(rest(server.connect().await).await, REFUSED, "nobody waits any more");
    assert_eq!((server.figures().waiting, server.figures().refused_answered), (0, 4));
}

#[tokio::test]
async fn a_full_room_refuses_at_once() {
    let server = Server::with_room(0, None, room(2));
    let mut waiting = wait_from(&server, &[1, 1]).await;
    assert_eq!(rest(server.connect_from(1).await).await, REFUSED);
    // But one source cannot fill it for others.
    let other = server.connect_from(2).await;
    assert_eq!(rest(waiting.pop().unwrap()).await, REFUSED);
    assert_eq!((server.figures().waiting, ends(server.figures())), (2, [0, 0, 0, 2]));
    server.echo.add_places(2);
    for mut served in [waiting.pop().unwrap(), other] {
        assert_eq!(line(&mut served).await, GREETING);
    }
}

#[tokio::test]
async fn who_hangs_up_makes_room_at_once() {
    let server = Server::with_room(0, None, room(1));
    type Way = fn(TcpStream);
    let ways: [Way; 3] = [
        drop,
        |resets| resets.set_zero_linger().unwrap(),
        |shuts| drop(socket2::SockRef::from(&shuts).shutdown(std::net::Shutdown::Write)),
    ];
    for (before, leave) in (0..).zip(ways) {
        let mut waits = wait_from(&server, &[1]).await.pop().unwrap();
        waits.write_all(b"EHLO early\r\n").await.unwrap();
        leave(waits);
        until("it has left", || server.figures().waiting == 0).await;
        assert_eq!(ends(server.figures()), [0, 0, before + 1, 0]);
    }
    server.echo.add_places(1);
    assert_eq!(line(&mut server.connect().await).await, GREETING, "the place was kept for nobody");
}

#[tokio::test]
async fn early_talk_is_kept_for_the_session() {
    let server = Server::with_room(0, None, room(1));
    let mut waits = wait_from(&server, &[1]).await.pop().unwrap();
    waits.write_all(b"early\r\n").await.unwrap();
    server.echo.add_places(1);
    assert_eq!((line(&mut waits).await, line(&mut waits).await), (GREETING.to_owned(), "early\r\n".to_owned()));
}

#[tokio::test]
async fn waiting_costs_no_task() {
    let server = Server::with_room(0, None, room(500));
    until("the loop waits", || tokio::runtime::Handle::current().metrics().num_alive_tasks() == 1).await;
    let waiting = wait_from(&server, &[1; 200]).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 1, "the accept loop and nothing else");
    drop(waiting);
    until("all have left", || server.figures().waiting_left == 200).await;
}

#[tokio::test]
async fn when_the_server_leaves_who_waits_is_told() {
    let server = Server::with_room(0, None, room(8));
    let waiting = wait_from(&server, &[1, 1, 2]).await;
    server.echo.close();
    let finished = server.drain.finish(clock::now() + MINUTE).await;
    assert_eq!((finished.cut, ends(server.figures())), (0, [0, 0, 0, 3]));
    for refused in waiting {
        assert_eq!(rest(refused).await, REFUSED);
    }
}

#[tokio::test]
async fn inside_implicit_tls_the_handshake_waits_too() {
    let House { folder, tls, .. } = house(false, 8, MINUTE);
    let server = Server::with_room(0, Some(tls), room(8));
    let client = folder.client(&[&rustls::version::TLS13]);
    let waits = server.connect().await;
    let shakes_hands = connect(&client, NAME, waits);
    let (stream, ()) = tokio::join!(shakes_hands, async {
        until("it waits", || server.figures().waiting == 1).await;
        server.echo.add_places(1);
    });
    let mut greeting = [0; 16];
    stream.unwrap().read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, GREETING.as_bytes());
}

#[tokio::test]
async fn a_panic_in_the_accept_loop_ends_the_waits_and_is_counted_right() {
    let server = Server::with_room(1, None, room(8));
    let mut inside = server.connect().await;
    assert_eq!(line(&mut inside).await, GREETING);
    let waiting = wait_from(&server, &[1, 2]).await;
    server.echo.panics.store(true, Ordering::SeqCst);
    assert_eq!(rest(server.connect().await).await, "");
    for waited in waiting {
        assert_eq!(rest(waited).await, "");
    }
    assert_eq!((server.figures().waiting, server.echo.free_places()), (0, 0));
    let mut waits = wait_from(&server, &[1]).await;
    drop(inside);
    assert_eq!(line(&mut waits[0]).await, GREETING);
}

/// Who waits is not refused yet, and a flood of those who do costs what any other does.
#[tokio::test]
async fn whoever_gets_no_place_is_off_the_budget_of_refusing() {
    let price = Duration::from_millis(1);
    let server = Server::with_room(1, None, room(2));
    *server.echo.price.lock().unwrap() = price;
    let mut inside = server.connect().await;
    assert_eq!(line(&mut inside).await, GREETING);
    assert_eq!(server.budget.spent(), Duration::ZERO, "to let somebody in is no refusing");

    for left in 1..=5 {
        drop(server.connect().await);
        until("it has come and gone", || server.figures().waiting_left == left).await;
    }
    let mut spent = server.budget.spent();
    assert!(spent >= 5 * price, "who hangs up: {spent:?}");

    let mut costs = |what, questions| {
        let before = std::mem::replace(&mut spent, server.budget.spent());
        assert!(spent - before >= questions * price, "{what}: {:?}", spent - before);
    };
    let _waiting = wait_from(&server, &[1, 1]).await;
    costs("who waits", 2);
    assert_eq!(rest(server.connect_from(1).await).await, REFUSED);
    costs("who is one too many, asked about twice, and the first of the others before", 3);
    // A place comes free that the first of them may not have, and then nobody is to wait any more.
    *server.echo.barred.lock().unwrap() = Some([127, 0, 0, 1].into());
    let before = server.budget.spent();
    server.echo.add_places(0);
    until("it is offered", || server.budget.spent() >= before + price).await;
    let before = server.budget.spent();
    server.echo.set_room(None);
    until("they are refused", || server.figures().waiting_timed_out == 2).await;
    assert!(server.budget.spent() >= before + 2 * price);
}
