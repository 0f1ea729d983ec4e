//! What is asked of the gate and its sessions.

use std::time::{Duration, Instant};

use admin::{BanRequest, GateRequest, Holder, Reply, Request, SessionsRequest};
use gate::{Arrival, ListenerId, Node};
use store::memory::Condition;

use crate::{Server, asked};

#[tokio::test]
async fn a_refusal_is_explained_by_its_token_and_a_wrong_token_is_told_apart() {
    let mut server = Server::new();
    let _stop = server.control();
    let arrive = |peer: &str| {
        server.gate.admit(&Arrival {
            listener: ListenerId(0),
            peer: peer.parse().unwrap(),
            authenticates: false,
            brings_mail: true,
            now: Instant::now(),
        })
    };
    let _held = ["192.0.2.1", "192.0.2.1"].map(|peer| arrive(peer).unwrap());
    let token = arrive("198.51.100.7").unwrap_err().token.to_string();
    let explain = async |token: &str| asked(server.path(), Request::Gate(GateRequest::Explain { token: token.to_owned() })).await.unwrap();
    let Reply::Explained(explained) = explain(&token).await else { panic!("it is not explained") };
    assert_eq!((&*explained.token, &*explained.rule, &*explained.cause), (&*token, "R4", "2 sessions in use of 2"));
    assert_eq!((explained.source.to_string().as_str(), explained.in_use, explained.limit), ("198.51.100.7", 2, 2));
    assert_eq!(explained.listener.unwrap().service, "smtp");
    assert_eq!(explained.key.unwrap().key, "gate.max_inbound");
    let told = |holders: &[Holder]| holders.iter().map(|holder| format!("{} {}", holder.prefix, holder.sessions)).collect::<Vec<_>>();
    assert_eq!(told(&explained.share), ["198.51.100.7/32 0", "198.51.100.0/24 0"]);
    assert_eq!(told(&explained.holders), ["192.0.2.1/32 2"]);

    for (token, why) in
        [("R4", "\"R4\" is not a token"), ("R4.9999", "R4.9999 was not given"), ("R2.0000", "R2.0000 was not given; R4.0000 was")]
    {
        let Reply::Refused(said) = explain(token).await else { panic!("{token} is explained") };
        assert!(said[0].starts_with(why), "{said:?}");
    }
}

#[tokio::test]
async fn an_operator_drains_and_opens_again() {
    let mut server = Server::new();
    let _stop = server.control();
    let gate = async |request: GateRequest| asked(server.path(), Request::Gate(request)).await.unwrap();
    let arrive = || {
        server.gate.admit(&Arrival {
            listener: ListenerId(0),
            peer: [192, 0, 2, 1].into(),
            authenticates: false,
            brings_mail: true,
            now: Instant::now(),
        })
    };
    let Reply::Refused(why) = gate(GateRequest::UndoDrain).await else { panic!("there is nothing to undo") };
    assert!(why[0].starts_with("there is no drain to undo"), "{why:?}");
    let _held = arrive().unwrap();
    let Reply::GateStatus(status) = gate(GateRequest::Drain).await else { panic!("it does not drain") };
    assert_eq!((&*status.node, status.in_use, arrive().unwrap_err().rule.id()), ("drained", 1, "R1"));
    assert!(matches!(gate(GateRequest::Drain).await, Reply::Refused(_)), "twice is a mistake");
    let drained = Instant::now();
    server.admin.look(drained + Duration::from_secs(29));
    assert!(!server.gate.sends_idle_away(), "the idle have their time");
    server.admin.look(drained + Duration::from_secs(30));
    assert!(server.gate.sends_idle_away());
    assert_eq!(server.admin.readiness().reasons, ["an operator has drained the server; `gatepost drain --undo` ends that"]);
    let Reply::GateStatus(status) = gate(GateRequest::UndoDrain).await else { panic!("it does not open") };
    assert!(status.node == "open" && arrive().is_ok() && !server.gate.sends_idle_away());
    server.gate.drain();
    let Reply::Refused(_) = gate(GateRequest::UndoDrain).await else { panic!("the end is final") };
}

#[tokio::test]
async fn sessions_are_listed_found_and_ended() {
    let mut server = Server::new();
    let _stop = server.control();
    let enrol = |id, source: &str| {
        let newcomer = gate::Newcomer {
            id,
            listener: ListenerId(0),
            source: source.parse().unwrap(),
            draw: gate::Draw::General,
            admitted_at: Instant::now(),
        };
        server.gate.roster().enrol(newcomer)
    };
    let (first, second) = (enrol(32, "192.0.2.7"), enrol(33, "2001:db8::7"));
    server.gate.log_in(second.seat(), &"ann@example.org".into()).unwrap();
    second.seat().introduce("client.example");
    let sessions = async |request: SessionsRequest| asked(server.path(), Request::Sessions(request)).await.unwrap();
    let found = async |user: Option<&str>, source: Option<&str>| {
        let request = SessionsRequest::List { user: user.map(Into::into), source: source.map(Into::into) };
        match sessions(request).await {
            Reply::Sessions(found) => found.iter().map(|session| session.id.clone()).collect::<Vec<_>>(),
            Reply::Refused(why) => why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(found(None, None).await, ["10", "11"]);
    assert_eq!(found(Some("Ann@example.org"), None).await, ["11"]);
    assert_eq!(found(None, Some("192.0.2.0/24")).await, ["10"]);
    assert_eq!(found(None, Some("2001:db8::7")).await, ["11"]);
    assert_eq!(found(Some("ann@example.org"), Some("192.0.2.7")).await, [""; 0]);
    assert!(found(None, Some("office")).await[0].starts_with("\"office\" is neither an address nor a network"));

    assert_eq!(sessions(SessionsRequest::End { id: "10".into() }).await, Reply::Done);
    assert!(first.seat().parting().is_some() && second.seat().parting().is_none());
    for (id, why) in [("u", "\"u\" is no session's id"), ("12", "there is no session 12 now")] {
        let Reply::Refused(said) = sessions(SessionsRequest::End { id: id.into() }).await else { panic!("{id} has ended") };
        assert!(said[0].starts_with(why), "{said:?}");
    }
}

#[tokio::test]
async fn a_ban_that_cannot_be_written_down_is_in_force_and_not_said_to_be_done() {
    let mut server = Server::new();
    let _stop = server.control();
    server.reloads.0.lock().unwrap().push("no space left".into());
    let add = BanRequest::Add { network: "192.0.2.7".into(), seconds: 60, reason: "spam run".into() };
    let Reply::Refused(why) = asked(server.path(), Request::Bans(add)).await.unwrap() else { panic!("it is not written down") };
    assert_eq!(why, ["it is so, but a restart will not know it: no space left"]);
    assert_eq!(server.gate.bans(Instant::now()).len(), 1);
}

#[tokio::test]
async fn the_gate_says_how_it_is_and_what_to_do() {
    let mut server = Server::new();
    let _stop = server.control();
    // A minute ago, by the clock that its status goes by.
    let start = Instant::now() - Duration::from_secs(60);
    let newcomer =
        gate::Newcomer { id: 1, listener: ListenerId(0), source: [192, 0, 2, 1].into(), draw: gate::Draw::General, admitted_at: start };
    let enrolled = server.gate.roster().enrol(newcomer);
    enrolled.seat().enter(gate::Phase::Store, start);
    let arrive = || {
        server.gate.admit(&Arrival {
            listener: ListenerId(0),
            peer: [192, 0, 2, 1].into(),
            authenticates: false,
            brings_mail: true,
            now: start,
        })
    };
    let held = [arrive().unwrap(), arrive().unwrap()];
    assert!(arrive().is_err());
    let status = async || match asked(server.path(), Request::Gate(GateRequest::Status)).await.unwrap() {
        Reply::GateStatus(status) => *status,
        other => panic!("{other:?}"),
    };
    assert_eq!((&*status().await.occupancy, status().await.remedy), ("clear", None), "nobody has looked yet");
    server.admin.look(start + Duration::from_secs(1));
    let full = status().await;
    assert_eq!((&*full.occupancy, full.in_use, full.limit, full.refused["R4"]), ("full", 2, 2, 1));
    assert!(full.remedy.unwrap().starts_with("the store is slow"), "its only session waits for the store");
    let store = full.phases.iter().find(|phase| phase.phase == "store").unwrap();
    assert_eq!(store.sessions, 1);
    drop(held);
    server.admin.look(start + Duration::from_secs(2));
    assert_eq!(status().await.occupancy, "full", "not at once");
    server.admin.look(start + Duration::from_secs(20));
    assert_eq!((&*status().await.occupancy, status().await.remedy), ("clear", None));
}

#[tokio::test]
async fn while_the_store_takes_no_mail_only_those_come_in_who_fetch_theirs() {
    let server = Server::new();
    let start = Instant::now();
    let arrive = |brings_mail| {
        let arrival = Arrival { listener: ListenerId(0), peer: [192, 0, 2, 1].into(), authenticates: false, brings_mail, now: start };
        server.gate.admit(&arrival).map(drop).map_err(|refusal| refusal.rule.id())
    };
    for (seconds, condition, node, outcome) in [
        (1, Condition::Full, Node::Open, Ok(())),
        (2, Condition::Unavailable, Node::StoreDown, Err("R1b")),
        (3, Condition::Unavailable, Node::StoreDown, Err("R1b")),
        (4, Condition::Ready, Node::Open, Ok(())),
    ] {
        server.store.set(condition);
        server.admin.look(start + Duration::from_secs(seconds));
        assert_eq!((server.gate.node(), arrive(true), arrive(false)), (node, outcome, Ok(())), "{condition:?}");
    }
    let mut metrics = String::new();
    server.admin.events.encode(&mut metrics).unwrap();
    assert!(metrics.contains("gatepost_store_recoveries_total 1\n"), "once");
}
