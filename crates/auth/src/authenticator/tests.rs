mod renewal;
mod scram;
mod tokens;

use std::num::NonZeroU32;

use mail::ByteSize;
use store::memory::{Condition, Memory};
use store::{Change, Directory};
use tokio::time::advance;

use super::*;
use crate::hash_password;

const ANN: &str = "ann@example.org";
const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 9));

fn settings() -> Settings {
    Settings {
        hash_memory: ByteSize::kib(8),
        hash_passes: NonZeroU32::MIN,
        failures_per_account: NonZeroU32::new(4).unwrap(),
        failures_per_source: NonZeroU32::new(8).unwrap(),
        ..Settings::default()
    }
}

async fn set_password(store: &Memory, name: &str, password: &str) {
    let (name, password_hash) = (name.to_owned(), hash_password(&Secret::new(password), &settings()).unwrap());
    let change = match store.account(&name).await.unwrap() {
        None => Change::AddAccount { name, password_hash, verifier: None },
        Some(_) => Change::SetPassword { name, password_hash, verifier: None },
    };
    store.change(change).await.unwrap();
}

/// Ann's password is "right".
async fn with(settings: Settings) -> (Memory, Authenticator) {
    let store = Memory::new(Duration::ZERO);
    store.change(Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: None }).await.unwrap();
    set_password(&store, ANN, "right").await;
    let authenticator = Authenticator::new(Arc::new(store.clone()), &settings).unwrap();
    (store, authenticator)
}

fn claim<'c>(login: &'c str, password: &str, source: IpAddr) -> Claim<'c> {
    Claim { login, acting_as: None, password: Secret::new(password), source }
}

async fn verify(authenticator: &Authenticator, claim: Claim<'_>) -> Result<Verdict, Error> {
    authenticator.verify(authenticator.look_up(claim).await?).await
}

async fn tried(authenticator: &Authenticator, login: &str, password: &str, source: IpAddr) -> Verdict {
    verify(authenticator, claim(login, password, source)).await.unwrap()
}

/// When what follows a login has been done: in this order, for who has computed goes on to keep it.
async fn settled(authenticator: &Authenticator) {
    drop(authenticator.hashing.places.acquire_many(settings().concurrent_hashes.get()).await.unwrap());
    drop(authenticator.hashing.keeping.acquire_many(crate::hashing::KEEPING as u32).await.unwrap());
}

fn right() -> Verdict {
    Verdict::Right { account: ANN.into() }
}

fn wrong(millis: u64) -> Verdict {
    Verdict::Wrong { delay: Duration::from_millis(millis) }
}

fn refused(verdict: &Verdict) -> Option<Throttle> {
    match verdict {
        Verdict::Refused { throttle, .. } => Some(*throttle),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn the_full_address_and_the_password_without_regard_to_the_names_case() {
    let (_, authenticator) = with(settings()).await;
    assert_eq!(tried(&authenticator, "Ann@EXAMPLE.org", "right", HOME).await, right());
    assert_eq!(tried(&authenticator, ANN, "Right", HOME).await, wrong(500));
    assert_eq!(tried(&authenticator, "ann", "right", HOME).await, wrong(1000));
    assert_eq!(tried(&authenticator, "", "", AWAY).await, wrong(500));
}

#[tokio::test(start_paused = true)]
async fn the_domain_in_utf8_is_the_domain_in_dns() {
    let (store, authenticator) = with(settings()).await;
    let (unicode, ascii) = ("Joe@bücher.example", "joe@XN--bcher-kva.example");
    store.change(Change::PutDomain { name: "bücher.example".parse().unwrap(), postmaster: None }).await.unwrap();
    set_password(&store, unicode, "joes").await;
    let joe = Verdict::Right { account: "joe@xn--bcher-kva.example".into() };
    for login in [unicode, ascii] {
        assert_eq!(tried(&authenticator, login, "joes", HOME).await, joe);
        let claim = Claim { acting_as: Some(unicode), ..claim(login, "joes", HOME) };
        assert_eq!(verify(&authenticator, claim).await.unwrap(), joe);
    }
    // Nor do guesses count apart.
    for (login, delay) in [(unicode, 500), (ascii, 1000)] {
        assert_eq!(tried(&authenticator, login, "guess", AWAY).await, wrong(delay));
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_the_password_acts_as_themselves_alone() {
    let (_, authenticator) = with(settings()).await;
    let acting = |acting_as, password| verify(&authenticator, Claim { acting_as: Some(acting_as), ..claim(ANN, password, HOME) });
    for password in ["right", "guess"] {
        assert_eq!(acting("bob@example.org", password).await.unwrap(), wrong(0));
    }
    assert_eq!(authenticator.hashing.computed(), 0, "no password is looked at for it");
    for themselves in ["", "ANN@example.org"] {
        assert_eq!(acting(themselves, "right").await.unwrap(), right());
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_name_costs_the_same_and_is_answered_the_same() {
    for _ in 0..2 {
        let (_, authenticator) = with(settings()).await;
        for (name, source) in [(ANN, HOME), ("nobody@example.org", AWAY)] {
            let before = authenticator.hashing.computed();
            let mut verdicts = Vec::new();
            for _ in 0..6 {
                verdicts.push(tried(&authenticator, name, "guess", source).await);
            }
            assert_eq!(authenticator.hashing.computed() - before, 4, "{name}");
            assert_eq!(verdicts[..4], [wrong(500), wrong(1000), wrong(2000), wrong(4000)], "{name}");
            assert_eq!(verdicts[4..].iter().map(refused).collect::<Vec<_>>(), [Some(Throttle::Account); 2], "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn delays_grow_to_the_longest_and_attempts_come_back_with_time() {
    let generous = Settings { failures_per_account: NonZeroU32::new(7).unwrap(), ..settings() };
    let (_, authenticator) = with(generous).await;
    for millis in [500, 1000, 2000, 4000, 8000, 8000, 8000] {
        assert_eq!(tried(&authenticator, ANN, "guess", HOME).await, wrong(millis));
    }
    let refusal = tried(&authenticator, ANN, "right", AWAY).await;
    assert_eq!(refusal, Verdict::Refused { throttle: Throttle::Account, retry_after: Duration::from_secs(60) });
    advance(Duration::from_secs(60)).await;
    assert_eq!(tried(&authenticator, ANN, "right", AWAY).await, right());
    assert_eq!(tried(&authenticator, ANN, "guess", "203.0.113.1".parse().unwrap()).await, wrong(500), "a right password ends the row");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_tries_many_names_is_refused() {
    let (_, authenticator) = with(settings()).await;
    for n in 0..8 {
        assert!(matches!(tried(&authenticator, &format!("user{n}@example.org"), "guess", HOME).await, Verdict::Wrong { .. }));
    }
    assert_eq!(refused(&tried(&authenticator, ANN, "right", HOME).await), Some(Throttle::Source));
    assert_eq!(tried(&authenticator, ANN, "right", AWAY).await, right());
    // An IPv6 client has a whole /64 to try from.
    for n in 0..8 {
        let source = format!("2001:db8::{n:x}").parse().unwrap();
        tried(&authenticator, &format!("user{n}@example.org"), "guess", source).await;
    }
    assert_eq!(refused(&tried(&authenticator, ANN, "right", "2001:db8::ffff".parse().unwrap()).await), Some(Throttle::Source));
    assert_eq!(tried(&authenticator, ANN, "right", "2001:db8:0:1::1".parse().unwrap()).await, right());
}

#[tokio::test(start_paused = true)]
async fn right_passwords_never_count() {
    let forgetful = Settings { remember: Span::secs(0), ..settings() };
    let (_, authenticator) = with(forgetful).await;
    for _ in 0..50 {
        assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
    }
    assert_eq!(authenticator.hashing.computed(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_right_password_is_remembered_for_its_time_and_its_source() {
    let (_, authenticator) = with(settings()).await;
    for _ in 0..50 {
        assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
    }
    assert_eq!(authenticator.hashing.computed(), 1);
    assert_eq!(tried(&authenticator, ANN, "guess", HOME).await, wrong(500));
    assert_eq!(tried(&authenticator, ANN, "right", AWAY).await, right());
    assert_eq!(authenticator.hashing.computed(), 3);
    advance(Duration::from_secs(600)).await;
    assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
    assert_eq!(authenticator.hashing.computed(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_changed_password_or_a_removed_account_is_forgotten_at_once() {
    let (store, authenticator) = with(settings()).await;
    assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
    set_password(&store, ANN, "new").await;
    assert_eq!(tried(&authenticator, ANN, "right", HOME).await, wrong(500));
    assert_eq!(tried(&authenticator, ANN, "new", HOME).await, right());
    // Even when the same password is set again: its hash has another salt.
    set_password(&store, ANN, "new").await;
    let before = authenticator.hashing.computed();
    assert_eq!(tried(&authenticator, ANN, "new", HOME).await, right());
    assert_eq!(authenticator.hashing.computed(), before + 1);
    store.change(Change::RemoveAccount { name: ANN.into() }).await.unwrap();
    assert!(matches!(tried(&authenticator, ANN, "new", HOME).await, Verdict::Wrong { .. }));
}

#[tokio::test(start_paused = true)]
async fn guesses_from_elsewhere_do_not_lock_people_out() {
    let forgetful = Settings { remember: Span::secs(0), ..settings() };
    let (_, authenticator) = with(forgetful).await;
    assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
    for n in 0..20 {
        tried(&authenticator, ANN, "guess", format!("203.0.113.{n}").parse().unwrap()).await;
    }
    assert_eq!(refused(&tried(&authenticator, ANN, "right", AWAY).await), Some(Throttle::Account));
    assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
    assert_eq!(refused(&tried(&authenticator, ANN, "right", AWAY).await), Some(Throttle::Account), "and others gain nothing by it");
}

#[tokio::test(start_paused = true)]
async fn guesses_from_the_same_source_are_bounded_though_the_password_is_remembered() {
    let (_, authenticator) = with(settings()).await;
    assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
    let mut looked_at = 0;
    for n in 0..100 {
        looked_at += u32::from(matches!(tried(&authenticator, ANN, &format!("guess{n}"), HOME).await, Verdict::Wrong { .. }));
    }
    assert_eq!(looked_at, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_at_once_so_many_waiting_and_the_rest_refused() {
    let narrow = Settings { concurrent_hashes: NonZeroU32::MIN, waiting_hashes: 2, ..settings() };
    let (_, authenticator) = with(narrow).await;
    let place = Arc::clone(&authenticator.hashing.places).acquire_owned().await.unwrap();
    let authenticator = Arc::new(authenticator);
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..2 {
        let authenticator = Arc::clone(&authenticator);
        waiting.spawn(async move { tried(&authenticator, &format!("user{n}@example.org"), "guess", HOME).await });
    }
    while authenticator.hashing.waiting() < 2 {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        assert_eq!(refused(&tried(&authenticator, ANN, "right", HOME).await), Some(Throttle::Busy), "and being busy counts against nobody");
    }
    // One that gives up leaves room.
    waiting.abort_all();
    while waiting.join_next().await.is_some() {}
    assert_eq!(authenticator.hashing.waiting(), 0);
    drop(place);
    assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
}

#[tokio::test(start_paused = true)]
async fn hanging_up_before_the_answer_does_not_help_a_guesser() {
    let (_, authenticator) = with(settings()).await;
    let places = Arc::clone(&authenticator.hashing.places).acquire_many_owned(4).await.unwrap();
    for _ in 0..4 {
        let attempt = verify(&authenticator, claim(ANN, "guess", HOME));
        tokio::time::timeout(Duration::from_millis(1), attempt).await.unwrap_err();
    }
    drop(places);
    assert_eq!(refused(&tried(&authenticator, ANN, "right", AWAY).await), Some(Throttle::Account));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_nobodys_failure() {
    let (store, authenticator) = with(settings()).await;
    store.set(Condition::Unavailable);
    for _ in 0..20 {
        let answer = verify(&authenticator, claim(ANN, "right", HOME)).await;
        assert!(matches!(answer, Err(Error::Directory(store::Error::Unavailable(_)))));
    }
    store.set(Condition::Ready);
    assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
}

#[tokio::test(start_paused = true)]
async fn a_stored_hash_that_is_none_is_our_fault() {
    let (store, authenticator) = with(settings()).await;
    store.change(Change::SetPassword { name: ANN.into(), password_hash: "secret".into(), verifier: None }).await.unwrap();
    for _ in 0..20 {
        let answer = verify(&authenticator, claim(ANN, "secret", HOME)).await;
        assert!(matches!(answer, Err(Error::StoredHash { ref account, .. }) if account == ANN), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn new_limits_are_in_force_at_once_or_not_at_all() {
    let (_, authenticator) = with(settings()).await;
    let strict = Settings { failures_per_account: NonZeroU32::MIN, ..settings() };
    authenticator.apply(&strict).unwrap();
    assert_eq!(tried(&authenticator, ANN, "guess", HOME).await, wrong(500));
    let faulty = Settings { first_delay: Span::secs(60), ..settings() };
    assert!(matches!(authenticator.apply(&faulty), Err(Error::Settings(_))));
    assert_eq!(refused(&tried(&authenticator, ANN, "right", HOME).await), Some(Throttle::Account));
}

#[tokio::test(start_paused = true)]
async fn a_reload_does_not_let_guessers_begin_anew() {
    let (_, authenticator) = with(settings()).await;
    for n in 0..8 {
        tried(&authenticator, ANN, "guess", format!("203.0.113.{n}").parse().unwrap()).await;
        tried(&authenticator, &format!("user{n}@example.org"), "guess", HOME).await;
    }
    let guessed = async |throttle| {
        let (login, source) = if throttle == Throttle::Account { (ANN, AWAY) } else { ("eve@example.org", HOME) };
        refused(&tried(&authenticator, login, "guess", source).await)
    };
    let slower = Settings { first_delay: Span::secs(1), ..settings() };
    for unrelated in [settings(), slower.clone(), Settings { remember: Span::secs(1), ..slower }] {
        authenticator.apply(&unrelated).unwrap();
        for throttle in [Throttle::Account, Throttle::Source] {
            assert_eq!(guessed(throttle).await, Some(throttle));
        }
    }
    // Another limit on accounts starts their counts anew, and leaves those of sources.
    authenticator.apply(&Settings { failures_per_account: NonZeroU32::new(5).unwrap(), ..settings() }).unwrap();
    assert_eq!(guessed(Throttle::Source).await, Some(Throttle::Source));
    assert_eq!(guessed(Throttle::Account).await, None);
}

#[tokio::test]
async fn faulty_settings_are_refused() {
    let faulty = Settings { hash_memory: ByteSize::kib(1), ..settings() };
    let answer = Authenticator::new(Arc::new(Memory::new(Duration::ZERO)), &faulty).map(drop);
    assert!(matches!(answer, Err(Error::Settings(faults)) if faults.len() == 1));
}
