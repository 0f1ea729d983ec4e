//! SCRAM, by a client that can: the same limits, delays and looks as a password.

use mail::Mechanism;

use super::*;
use crate::scram::tests::client_final;
use crate::{Exchange, Message, Round};

const NOBODY: &str = "nobody@example.org";

/// A client in the middle of an exchange.
struct Client<'a> {
    authenticator: &'a Authenticator,
    exchange: Option<Box<Exchange>>,
    source: IpAddr,
}

impl Client<'_> {
    async fn says(&mut self, first: bool, octets: &str) -> Result<Round, Error> {
        let message = Message {
            mechanism: Mechanism::ScramSha256,
            first,
            octets: octets.as_bytes(),
            source: self.source,
            channel: None,
            certificate: None,
        };
        self.authenticator.respond(&mut self.exchange, message).await
    }

    /// The challenge to the first message.
    async fn greeted(&mut self, header: &str, login: &str) -> String {
        challenge(self.says(true, &format!("{header}n={login},r=abc")).await.unwrap())
    }

    /// How the exchange ends.
    async fn proves(&mut self, header: &str, login: &str, password: &str) -> Verdict {
        let server_first = self.greeted(header, login).await;
        let last = client_final(&format!("n={login},r=abc"), &server_first, header.as_bytes(), None, password);
        match self.says(false, &last).await.unwrap() {
            Round::Challenge(server_final) => {
                assert!(server_final.starts_with(b"v="));
                verdict(self.says(false, "").await.unwrap())
            }
            round => verdict(round),
        }
    }
}

fn client(authenticator: &Authenticator, source: IpAddr) -> Client<'_> {
    Client { authenticator, exchange: None, source }
}

fn challenge(round: Round) -> String {
    let Round::Challenge(challenge) = round else { panic!("{round:?}") };
    String::from_utf8(challenge).unwrap()
}

fn verdict(round: Round) -> Verdict {
    let Round::Over { verdict, .. } = round else { panic!("{round:?}") };
    verdict
}

async fn proved(authenticator: &Authenticator, login: &str, password: &str, source: IpAddr) -> Verdict {
    client(authenticator, source).proves("n,,", login, password).await
}

/// Ann's password is "right", and she has its verifier.
async fn with_verifier(settings: Settings) -> (Memory, Authenticator) {
    let (store, authenticator) = with(settings).await;
    put_verifier(&store, "right").await;
    (store, authenticator)
}

async fn put_verifier(store: &Memory, password: &str) {
    let stored = store.account(ANN).await.unwrap().unwrap().password_hash.to_string();
    let salt = crate::scram_salt(ANN, &store.secret().await.unwrap());
    let verifier = crate::scram_verifier(&Secret::new(password), &salt);
    store.change(Change::PutVerifier { name: ANN.into(), stored, verifier }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_knows_the_password_proves_it() {
    let (_, authenticator) = with_verifier(settings()).await;
    assert_eq!(proved(&authenticator, "Ann@EXAMPLE.org", "right", HOME).await, right());
    assert_eq!(proved(&authenticator, ANN, "Right", HOME).await, wrong(500));
    assert_eq!(authenticator.hashing.computed(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_has_the_password_acts_as_themselves_alone() {
    let (_, authenticator) = with_verifier(settings()).await;
    for password in ["right", "guess"] {
        assert_eq!(client(&authenticator, HOME).proves("n,a=bob@example.org,", ANN, password).await, wrong(0));
    }
    assert_eq!(client(&authenticator, HOME).proves("n,a=ANN@example.org,", ANN, "right").await, right());
}

#[tokio::test(start_paused = true)]
async fn a_login_by_password_makes_the_verifier_and_a_guess_does_not() {
    let (store, authenticator) = with(settings()).await;
    let verifier = async || store.account(ANN).await.unwrap().unwrap().verifier;
    assert_eq!(proved(&authenticator, ANN, "right", HOME).await, wrong(500), "there is none yet");
    tried(&authenticator, ANN, "guess", HOME).await;
    settled(&authenticator).await;
    assert_eq!(verifier().await, None);
    assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
    settled(&authenticator).await;
    let made = verifier().await.unwrap();
    assert_eq!(proved(&authenticator, ANN, "right", HOME).await, right());
    // Once.
    assert_eq!(tried(&authenticator, ANN, "right", AWAY).await, right());
    settled(&authenticator).await;
    assert_eq!(verifier().await, Some(made));
    set_password(&store, ANN, "new").await;
    for password in ["right", "new"] {
        assert!(matches!(proved(&authenticator, ANN, password, HOME).await, Verdict::Wrong { .. }), "none of the new one");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_offered_when_the_last_account_has_its_verifier() {
    let (store, authenticator) = with(settings()).await;
    set_password(&store, "bob@example.org", "\u{7}bell").await;
    let mut offered = vec![authenticator.offers_scram().await];
    for (name, password) in [(ANN, "right"), ("bob@example.org", "\u{7}bell")] {
        assert!(matches!(tried(&authenticator, name, password, HOME).await, Verdict::Right { .. }));
        settled(&authenticator).await;
        offered.push(authenticator.offers_scram().await);
    }
    assert_eq!(offered, [false, false, true], "a password that SCRAM cannot say holds nobody up");
    authenticator.apply(&Settings { scram: false, ..settings() }).unwrap();
    assert!(!authenticator.offers_scram().await);
    authenticator.apply(&settings()).unwrap();
    store.set(Condition::Unavailable);
    assert!(!authenticator.offers_scram().await);
    store.set(Condition::Ready);
    set_password(&store, "eve@example.org", "eves").await;
    assert!(!authenticator.offers_scram().await, "eve has none");
    store.change(Change::RemoveAccount { name: "eve@example.org".into() }).await.unwrap();
    assert!(authenticator.offers_scram().await);
}

#[tokio::test(start_paused = true)]
async fn a_salt_says_nothing_of_who_has_an_account_or_has_changed_a_password() {
    let (store, authenticator) = with(settings()).await;
    let salt = async || {
        let server_first = client(&authenticator, HOME).greeted("n,,", ANN).await;
        server_first.split(',').nth(1).unwrap().to_owned()
    };
    let before = salt().await;
    for password in ["right", "new"] {
        set_password(&store, ANN, password).await;
        assert_eq!(salt().await, before);
        assert_eq!(tried(&authenticator, ANN, password, HOME).await, right());
        settled(&authenticator).await;
        assert!(store.account(ANN).await.unwrap().unwrap().verifier.is_some());
        assert_eq!(salt().await, before);
    }
    store.change(Change::RemoveAccount { name: ANN.into() }).await.unwrap();
    assert_eq!(salt().await, before);
}

#[tokio::test(start_paused = true)]
async fn no_verifier_is_made_where_none_is_wanted() {
    let (store, authenticator) = with(Settings { scram: false, ..settings() }).await;
    assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
    settled(&authenticator).await;
    assert_eq!(store.account(ANN).await.unwrap().unwrap().verifier, None);
    authenticator.apply(&settings()).unwrap();
    assert_eq!(tried(&authenticator, ANN, "right", AWAY).await, right());
    settled(&authenticator).await;
    assert!(store.account(ANN).await.unwrap().unwrap().verifier.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_says_who_its_owner_is() {
    let (store, authenticator) = with(settings()).await;
    let says = async |certificate, octets: &str| {
        let (mechanism, octets) = (Mechanism::External, octets.as_bytes());
        let message = Message { mechanism, first: true, octets, source: HOME, channel: None, certificate };
        authenticator.respond(&mut None, message).await
    };
    for acting_as in ["", "ANN@example.org"] {
        assert_eq!(verdict(says(Some("Ann@Example.ORG"), acting_as).await.unwrap()), right());
    }
    assert_eq!(verdict(says(Some(ANN), "bob@example.org").await.unwrap()), wrong(0));
    assert_eq!(verdict(says(Some(NOBODY), "").await.unwrap()), wrong(500));
    for n in 0..20 {
        tried(&authenticator, ANN, "guess", format!("203.0.113.{n}").parse().unwrap()).await;
    }
    assert_eq!(refused(&tried(&authenticator, ANN, "right", AWAY).await), Some(Throttle::Account));
    assert_eq!(verdict(says(Some(ANN), "").await.unwrap()), right(), "others' guesses keep nobody out");
    assert!(matches!(says(None, ANN).await.unwrap(), Round::Malformed), "whoever has no certificate says nothing by it");
    store.set(Condition::Unavailable);
    assert!(says(Some(ANN), "").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_hash_made_anew_keeps_the_verifier_that_was_made_with_it() {
    let (store, _) = with(settings()).await;
    let dearer = Settings { hash_memory: ByteSize::kib(16), ..settings() };
    let authenticator = Authenticator::new(Arc::new(store.clone()), &dearer).unwrap();
    assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
    settled(&authenticator).await;
    assert_eq!(authenticator.hashing.renewed(), 1);
    assert_eq!(proved(&authenticator, ANN, "right", HOME).await, right());
}

#[tokio::test(start_paused = true)]
async fn who_is_unknown_or_has_no_verifier_is_answered_like_anybody() {
    let (store, authenticator) = with_verifier(settings()).await;
    set_password(&store, "bob@example.org", "bobs").await;
    let mut seen = Vec::new();
    for (name, source) in [(ANN, HOME), (NOBODY, AWAY), ("bob@example.org", "203.0.113.1".parse().unwrap())] {
        let form = |server_first: &str| {
            let parts: Vec<_> = server_first.split(',').map(str::to_owned).collect();
            (parts[0].len(), parts[1].clone(), parts[2].clone())
        };
        let first = form(&client(&authenticator, source).greeted("n,,", name).await);
        assert_eq!(form(&client(&authenticator, source).greeted("n,,", &name.to_uppercase()).await), first, "{name}: the same salt");
        let mut verdicts = Vec::new();
        for _ in 0..6 {
            verdicts.push(proved(&authenticator, name, "guess", source).await);
        }
        assert_eq!(verdicts[..4], [wrong(500), wrong(1000), wrong(2000), wrong(4000)], "{name}");
        assert_eq!(verdicts[4..].iter().map(refused).collect::<Vec<_>>(), [Some(Throttle::Account); 2], "{name}");
        seen.push((first.0, first.1.len(), first.2));
    }
    assert!(seen.iter().all(|form| *form == seen[0]), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn guesses_count_with_those_of_passwords() {
    let (_, authenticator) = with_verifier(settings()).await;
    for millis in [500, 1000] {
        assert_eq!(tried(&authenticator, ANN, "guess", AWAY).await, wrong(millis));
    }
    for millis in [2000, 4000] {
        assert_eq!(proved(&authenticator, ANN, "guess", AWAY).await, wrong(millis));
    }
    // The right one is not told from the others any more.
    assert_eq!(refused(&proved(&authenticator, ANN, "right", HOME).await), Some(Throttle::Account));
    for n in 0..4 {
        proved(&authenticator, &format!("user{n}@example.org"), "guess", AWAY).await;
    }
    assert_eq!(refused(&proved(&authenticator, "eve@example.org", "guess", AWAY).await), Some(Throttle::Source));
}

#[tokio::test(start_paused = true)]
async fn others_guesses_do_not_lock_out_whoever_was_here_before() {
    let (_, authenticator) = with_verifier(settings()).await;
    for _ in 0..50 {
        assert_eq!(proved(&authenticator, ANN, "right", HOME).await, right());
    }
    for n in 0..20 {
        proved(&authenticator, ANN, "guess", format!("203.0.113.{n}").parse().unwrap()).await;
    }
    assert_eq!(refused(&proved(&authenticator, ANN, "right", AWAY).await), Some(Throttle::Account));
    assert_eq!(proved(&authenticator, ANN, "right", HOME).await, right());
}

#[tokio::test(start_paused = true)]
async fn what_was_said_before_is_worth_nothing_again() {
    let (_, authenticator) = with_verifier(settings()).await;
    let mut ann = client(&authenticator, HOME);
    let server_first = ann.greeted("n,,", ANN).await;
    let last = client_final(&format!("n={ANN},r=abc"), &server_first, b"n,,", None, "right");
    assert!(matches!(ann.says(false, &last).await.unwrap(), Round::Challenge(_)));
    assert!(matches!(ann.says(false, "more").await.unwrap(), Round::Malformed));
    assert!(matches!(ann.says(false, "").await.unwrap(), Round::Malformed), "the exchange is over");
    // Overheard, and sent again.
    let mut eve = client(&authenticator, AWAY);
    eve.greeted("n,,", ANN).await;
    assert_eq!(verdict(eve.says(false, &last).await.unwrap()), wrong(500));
    assert!(matches!(eve.says(false, &last).await.unwrap(), Round::Malformed));
    // A first message begins anew, wherever the exchange was.
    eve.greeted("n,,", ANN).await;
    assert_eq!(eve.proves("n,,", ANN, "right").await, right());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_counts_as_no_attempt() {
    let (_, authenticator) = with_verifier(settings()).await;
    for _ in 0..20 {
        let mut ann = client(&authenticator, HOME);
        assert!(matches!(ann.says(true, "").await.unwrap(), Round::Malformed));
        ann.greeted("n,,", ANN).await;
        assert!(matches!(ann.says(false, "c=biws,r=x").await.unwrap(), Round::Malformed));
    }
    assert_eq!(proved(&authenticator, ANN, "right", HOME).await, right());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_or_damaged_is_nobodys_failure() {
    let (store, authenticator) = with_verifier(settings()).await;
    let stored = store.account(ANN).await.unwrap().unwrap().password_hash.to_string();
    for _ in 0..20 {
        store.set(Condition::Unavailable);
        let away = client(&authenticator, HOME).says(true, &format!("n,,n={ANN},r=abc")).await;
        assert!(matches!(away, Err(Error::Directory(store::Error::Unavailable(_)))));
        store.set(Condition::Ready);
        store.change(Change::PutVerifier { name: ANN.into(), stored: stored.clone(), verifier: "x".into() }).await.unwrap();
        let damaged = client(&authenticator, HOME).says(true, &format!("n,,n={ANN},r=abc")).await;
        assert!(matches!(damaged, Err(Error::StoredVerifier { ref account, .. }) if account == ANN), "{damaged:?}");
    }
    put_verifier(&store, "right").await;
    assert_eq!(proved(&authenticator, ANN, "right", HOME).await, right());
}
