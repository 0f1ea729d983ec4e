//! Bearer tokens: the same limits, delays and looks as a password, and the error before the failure.

use mail::Mechanism;

use super::*;
use crate::oauth::Bearer;
use crate::oauth::tests::Provider;
use crate::{Exchange, Message, Round};

/// Who wants to come in, and with what.
fn oauthbearer(user: &str, token: &str) -> String {
    format!("n,{user},\x01host=mail.example.org\x01port=465\x01auth=Bearer {token}\x01\x01")
}

async fn says(authenticator: &Authenticator, exchange: &mut Option<Box<Exchange>>, first: bool, octets: &str) -> Round {
    says_by(authenticator, Mechanism::OauthBearer, exchange, first, octets).await
}

async fn says_by(
    authenticator: &Authenticator,
    mechanism: Mechanism,
    exchange: &mut Option<Box<Exchange>>,
    first: bool,
    octets: &str,
) -> Round {
    let message = Message { mechanism, first, octets: octets.as_bytes(), source: HOME, channel: None, certificate: None };
    authenticator.respond(exchange, message).await.unwrap()
}

/// How one exchange ends, in milliseconds where it fails.
async fn tried_with(authenticator: &Authenticator, user: &str, token: &str) -> Result<String, u128> {
    let mut exchange = None;
    match says(authenticator, &mut exchange, true, &oauthbearer(user, token)).await {
        Round::Over { login, verdict, .. } => {
            assert!(exchange.is_none());
            if matches!(verdict, Verdict::Right { .. }) { Ok(login) } else { Err(u128::MAX) }
        }
        Round::Denied { delay, challenge, .. } => {
            assert_eq!(challenge, r#"{"status":"invalid_token"}"#);
            assert!(matches!(says(authenticator, &mut exchange, false, "\x01").await, Round::Failed));
            assert!(exchange.is_none());
            Err(delay.as_millis())
        }
        round => panic!("{round:?}"),
    }
}

async fn trusting(settings: Settings) -> (Provider, Authenticator) {
    let (_, authenticator) = with(settings).await;
    let provider = Provider::new();
    authenticator.trust(Bearer::new(&provider.settings()).unwrap());
    (provider, authenticator)
}

#[tokio::test(start_paused = true)]
async fn a_token_says_who_it_is_and_a_name_beside_it_must_be_the_same() {
    let (provider, authenticator) = trusting(Settings { first_delay: Span::secs(0), ..settings() }).await;
    let anns = provider.token_of("Ann@EXAMPLE.org");
    for user in ["", "a=ann@example.org", "a=ANN@example.ORG"] {
        assert_eq!(tried_with(&authenticator, user, &anns).await, Ok(ANN.into()), "{user}");
    }
    assert_eq!(tried_with(&authenticator, "a=bob@example.org", &anns).await, Err(0));
    for nobody in ["bob@example.org", "ann@example.com", "ann"] {
        assert_eq!(tried_with(&authenticator, "", &provider.token_of(nobody)).await, Err(0), "{nobody}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_tokens_are_counted_held_back_and_then_not_looked_at() {
    let (provider, authenticator) = trusting(settings()).await;
    let user = format!("a={ANN}");
    for millis in [500, 1000, 2000, 4000] {
        assert_eq!(tried_with(&authenticator, &user, "wrong").await, Err(millis));
    }
    // The right one is not looked at either, and nor is the password.
    assert_eq!(tried_with(&authenticator, &user, &provider.token_of(ANN)).await, Err(u128::MAX));
    assert_eq!(refused(&tried(&authenticator, ANN, "right", HOME).await), Some(Throttle::Account));
    // Who names nobody is counted for its source.
    for _ in 0..4 {
        assert!(tried_with(&authenticator, "", "").await.is_err_and(|millis| millis > 4000));
    }
    let mut exchange = None;
    match says(&authenticator, &mut exchange, true, &oauthbearer("", "wrong")).await {
        Round::Over { verdict, .. } => assert!(refused(&verdict).is_some()),
        round => panic!("{round:?}"),
    }
    advance(Duration::from_secs(600)).await;
    assert_eq!(tried_with(&authenticator, &user, &provider.token_of(ANN)).await, Ok(ANN.into()));
    assert_eq!(tried_with(&authenticator, &user, "wrong").await, Err(500), "the row has ended");
}

#[tokio::test(start_paused = true)]
async fn the_operator_is_told_why_and_the_client_is_not() {
    let (provider, authenticator) = trusting(Settings { first_delay: Span::secs(0), ..settings() }).await;
    for (user, token, why) in [
        ("", "", "there is no bearer token"),
        ("", "wrong", "it is no signed token that can be read"),
        ("", &*Provider::new().token_of(ANN), "no key of oauth.keys has signed it"),
        ("", &provider.token_of("nobody@example.org"), "the token names nobody who has an account"),
        ("a=bob@example.org", &provider.token_of(ANN), "the token names another account than the client"),
    ] {
        let mut exchange = None;
        match says(&authenticator, &mut exchange, true, &oauthbearer(user, token)).await {
            Round::Denied { cause, challenge, .. } => assert_eq!((cause, challenge), (why, r#"{"status":"invalid_token"}"#)),
            round => panic!("{why}: {round:?}"),
        }
    }
    let message = Message {
        mechanism: Mechanism::External,
        first: true,
        octets: b"",
        source: HOME,
        channel: None,
        certificate: Some("x@example.org"),
    };
    match authenticator.respond(&mut None, message).await.unwrap() {
        Round::Over { cause, .. } => assert_eq!(cause, Some("the certificate names nobody who has an account")),
        round => panic!("{round:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn xoauth2_is_told_in_its_own_words() {
    let (provider, authenticator) = trusting(settings()).await;
    let message = |token: &str| format!("user={ANN}\x01auth=Bearer {token}\x01\x01");
    let mut exchange = None;
    match says_by(&authenticator, Mechanism::Xoauth2, &mut exchange, true, &message(&provider.token_of(ANN))).await {
        Round::Over { login, verdict, .. } => assert_eq!((login.as_str(), verdict), (ANN, right())),
        round => panic!("{round:?}"),
    }
    match says_by(&authenticator, Mechanism::Xoauth2, &mut exchange, true, &message("wrong")).await {
        Round::Denied { login, challenge, .. } => assert_eq!((login.as_str(), challenge), (ANN, r#"{"status":"401","schemes":"bearer"}"#)),
        round => panic!("{round:?}"),
    }
    assert!(matches!(says_by(&authenticator, Mechanism::Xoauth2, &mut exchange, false, "").await, Round::Failed));
}

#[tokio::test]
async fn what_is_no_message_counts_as_no_attempt_and_nobody_is_trusted_who_was_not_named() {
    let (provider, authenticator) = trusting(settings()).await;
    for _ in 0..20 {
        assert!(matches!(says(&authenticator, &mut None, true, "n,,auth=Bearer x").await, Round::Malformed));
        assert!(matches!(says(&authenticator, &mut None, false, "\x01").await, Round::Malformed));
    }
    assert_eq!(tried_with(&authenticator, "", &provider.token_of(ANN)).await, Ok(ANN.into()));
    authenticator.trust(None);
    let message = oauthbearer("", &provider.token_of(ANN));
    assert!(matches!(says(&authenticator, &mut None, true, &message).await, Round::Malformed));
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_no_fault_of_whoever_logs_in() {
    let (provider, authenticator) = trusting(settings()).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let introspection = format!("http://{gone}/");
    authenticator.trust(Bearer::new(&crate::oauth::Settings { introspection, ..Default::default() }).unwrap());
    let octets = oauthbearer(&format!("a={ANN}"), "x");
    for _ in 0..20 {
        let message = Message {
            mechanism: Mechanism::OauthBearer,
            first: true,
            octets: octets.as_bytes(),
            source: HOME,
            channel: None,
            certificate: None,
        };
        let mut exchange = None;
        assert!(matches!(authenticator.respond(&mut exchange, message).await, Err(Error::Introspection(_))));
        assert!(exchange.is_none());
    }
    authenticator.trust(Bearer::new(&provider.settings()).unwrap());
    assert_eq!(tried_with(&authenticator, &format!("a={ANN}"), "wrong").await, Err(500), "none of them counted");
}
