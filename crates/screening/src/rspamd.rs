//! rspamd, asked over HTTP: its protocol of `/checkv2`, with the message as it is stored.
//!
//! Its action becomes our verdict; whether that follows is for the rule to say. Score and symbols go to the operator. An answer that
//! is not understood is none: the check is unsure, as where there is no answer.

use std::collections::BTreeMap;
use std::fmt::Display;

use mail::Secret;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::from_slice;

use crate::client_name::ClientName;
use crate::http::{Content, Endpoint, Http};
use crate::letter::Letter;
use crate::screener::Sender;
use crate::screening::Found;
use crate::verdict::{Outcome, Verdict};

/// Where it is.
#[derive(Clone, Debug)]
pub struct Rspamd {
    /// Of its normal worker, or a proxy of its own.
    pub endpoint: Endpoint,
    /// Where it wants one.
    pub password: Option<Secret>,
}

#[derive(Deserialize)]
struct Answer {
    action: Action,
    score: f64,
    #[serde(default)]
    required_score: f64,
    #[serde(default)]
    is_skipped: bool,
    #[serde(default)]
    symbols: BTreeMap<String, Symbol>,
}

#[derive(Deserialize)]
struct Symbol {
    #[serde(default)]
    score: f64,
}

/// As rspamd writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Action {
    #[serde(rename = "no action")]
    None,
    #[serde(rename = "greylist")]
    Greylist,
    #[serde(rename = "add header")]
    AddHeader,
    #[serde(rename = "rewrite subject")]
    RewriteSubject,
    #[serde(rename = "quarantine")]
    Quarantine,
    #[serde(rename = "soft reject")]
    SoftReject,
    #[serde(rename = "reject")]
    Reject,
    #[serde(rename = "discard")]
    Discard,
}

impl Rspamd {
    /// Asks about one message.
    pub(crate) async fn ask(&self, http: &Http, sender: &Sender<'_>, name: &ClientName, letter: &mut Letter<'_>) -> Found {
        let headers = self.headers(sender, name, letter);
        match http.post(self.endpoint.join("checkv2"), headers, Content::Message, &mut *letter.text).await {
            Ok(answer) => found(&answer),
            Err(why) => Found::new(Outcome::Unsure, format!("rspamd: {why}")),
        }
    }

    /// What is known of the message beside its text. What cannot stand in a header of HTTP is left out.
    fn headers(&self, sender: &Sender<'_>, name: &ClientName, letter: &Letter<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut add = |name, value: &[u8]| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(HeaderName::from_static(name), value);
            }
        };
        add("ip", sender.ip.to_string().as_bytes());
        if let Some(name) = &name.confirmed {
            add("hostname", name.as_str().as_bytes());
        }
        add("helo", sender.helo.as_bytes());
        add("from", sender.mail_from.as_bytes());
        letter.recipients.iter().take(RECIPIENTS_MOST).for_each(|recipient| add("rcpt", recipient.as_bytes()));
        add("queue-id", letter.id.as_bytes());
        if let Some(user) = letter.user {
            add("user", user.as_bytes());
        }
        if let Some(Ok(mut password)) = self.password.as_ref().map(|password| HeaderValue::from_bytes(password.expose())) {
            password.set_sensitive(true);
            headers.insert("password", password);
        }
        headers
    }
}

fn found(answer: &[u8]) -> Found {
    let answer: Answer = match from_slice(answer) {
        Ok(answer) => answer,
        Err(error) => return Found::new(Outcome::Unsure, format!("rspamd: its answer is not understood: {error}")),
    };
    let policy = match answer.action {
        Action::None => Verdict::Accept,
        Action::AddHeader | Action::RewriteSubject => Verdict::Tag,
        Action::Quarantine => Verdict::Quarantine,
        Action::Greylist | Action::SoftReject => Verdict::Defer,
        Action::Reject => Verdict::Reject,
        Action::Discard => Verdict::Discard,
    };
    let outcome = match policy {
        // What it refuses at first sight it skips, too.
        Verdict::Accept if answer.is_skipped => Outcome::None,
        Verdict::Accept => Outcome::Pass,
        _ => Outcome::Fail,
    };
    Found { policy, ..Found::new(outcome, answer.told()) }
}

impl Answer {
    /// The symbols that weigh most, first.
    fn told(&self) -> String {
        let mut symbols: Vec<_> = self.symbols.iter().collect();
        symbols.sort_by(|(_, one), (_, other)| other.score.abs().total_cmp(&one.score.abs()));
        let told =
            |(name, symbol): &(&String, &Symbol)| format!("{} {:.1}", name.chars().take(SYMBOL_SHOWN).collect::<String>(), symbol.score);
        let symbols: Vec<_> = symbols.iter().take(SYMBOLS_SHOWN).map(told).collect();
        format!("rspamd has {:.1} of {:.1}: {}", self.score, self.required_score, joined(&symbols))
    }
}

fn joined(symbols: &[impl Display + AsRef<str>]) -> String {
    let symbols: Vec<&str> = symbols.iter().map(AsRef::as_ref).collect();
    if symbols.is_empty() { "no symbols".into() } else { symbols.join(", ") }
}

/// rspamd takes 80 KiB of headers.
const RECIPIENTS_MOST: usize = 100;
const SYMBOLS_SHOWN: usize = 12;
const SYMBOL_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_actions_become_verdicts() {
        for (action, verdict, outcome) in [
            ("no action", Verdict::Accept, Outcome::Pass),
            ("greylist", Verdict::Defer, Outcome::Fail),
            ("add header", Verdict::Tag, Outcome::Fail),
            ("rewrite subject", Verdict::Tag, Outcome::Fail),
            ("quarantine", Verdict::Quarantine, Outcome::Fail),
            ("soft reject", Verdict::Defer, Outcome::Fail),
            ("reject", Verdict::Reject, Outcome::Fail),
            ("discard", Verdict::Discard, Outcome::Fail),
        ] {
            let text = format!(
                r#"{{"is_skipped":false,"score":7.25,"required_score":15,"action":"{action}","symbols":{{"A":{{"name":"A","score":-0.5}},"B":{{"score":7.75,"options":["x"]}}}},"more":1}}"#
            );
            let found = found(text.as_bytes());
            assert_eq!((found.policy, found.outcome), (verdict, outcome), "{action}");
            assert_eq!(found.detail, "rspamd has 7.2 of 15.0: B 7.8, A -0.5");
        }
        assert_eq!(found(br#"{"is_skipped":true,"score":0,"action":"no action"}"#).outcome, Outcome::None);
        assert_eq!(found(br#"{"is_skipped":true,"score":15,"action":"reject"}"#).outcome, Outcome::Fail);
    }

    #[test]
    fn what_is_not_understood_is_no_answer() {
        for text in ["", "null", "{}", r#"{"action":"no action"}"#, r#"{"action":"explode","score":1}"#, r#"{"error":"forbidden"}"#, "[1"] {
            let found = found(text.as_bytes());
            assert_eq!((found.outcome, found.policy), (Outcome::Unsure, Verdict::Accept), "{text}");
        }
    }
}
