//! Services of the operator's own, asked over HTTP with a JSON text (docs/screening.md describes it).
//!
//! Each is told the envelope, the header, and what was found so far, and with `body` the whole message in base64; it answers with a verdict. An
//! answer that is not understood is none: the check is unsure, as where there is no answer.

use std::sync::Arc;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::http::{Content, Endpoint, Http};
use crate::letter::Letter;
use crate::screener::Sender;
use crate::screening::{Found, Screening};
use crate::several::Several;
use crate::verdict::{Outcome, Verdict};

/// Where it is, and what it is told.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Its address.
    pub endpoint: Endpoint,
    /// Whether it gets the whole message.
    pub body: bool,
}

#[derive(Serialize)]
struct Question<'q> {
    version: u32,
    id: &'q str,
    client: Client<'q>,
    sender: &'q str,
    recipients: &'q [Arc<str>],
    octets: u64,
    /// None of a message whose header cannot be looked at.
    header: Option<Vec<(String, String)>>,
    checks: Vec<Check<'q>>,
}

#[derive(Serialize)]
struct Client<'q> {
    ip: String,
    helo: &'q str,
    user: Option<&'q str>,
}

#[derive(Serialize)]
struct Check<'q> {
    check: &'q str,
    outcome: &'q str,
    verdict: Verdict,
    detail: &'q str,
}

#[derive(Deserialize)]
struct Answer {
    verdict: Verdict,
    #[serde(default)]
    reason: String,
}

/// Asks one after the other until one has refused, or says nothing, which leaves it open. Of what they say the gravest counts, and stands in
/// `so_far` as soon as it is known: one that is silent takes nothing back.
pub(crate) async fn ask(
    (http, hooks): (&Http, &[Hook]),
    sender: &Sender<'_>,
    letter: &mut Letter<'_>,
    header: Option<&[u8]>,
    screening: &Screening,
    so_far: &mut Verdict,
) -> Found {
    if let [only] = hooks {
        return only.ask(http, sender, letter, header, screening).await;
    }
    let mut several = Several::new();
    for hook in hooks {
        let found = hook.ask(http, sender, letter, header, screening).await;
        if several.is_last(&hook.endpoint, found, so_far) {
            break;
        }
    }
    several.found()
}

impl Hook {
    async fn ask(&self, http: &Http, sender: &Sender<'_>, letter: &mut Letter<'_>, header: Option<&[u8]>, screening: &Screening) -> Found {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let question = question(sender, letter, header, screening);
        let content = match question.strip_suffix('}').filter(|_| self.body) {
            Some(open) => Content::Between(format!("{open},\"message\":\""), "\"}"),
            None => Content::Text(question),
        };
        match http.post(self.endpoint.url(), headers, content, &mut *letter.text).await {
            Ok(answer) => found(&answer),
            Err(why) => Found::new(Outcome::Unsure, format!("the hook: {why}")),
        }
    }
}

fn question(sender: &Sender<'_>, letter: &Letter<'_>, header: Option<&[u8]>, screening: &Screening) -> String {
    let checks = screening.findings().iter().map(|finding| Check {
        check: finding.check.as_str(),
        outcome: finding.outcome.as_str(),
        verdict: finding.verdict,
        detail: &finding.detail,
    });
    let question = Question {
        version: VERSION,
        id: letter.id,
        client: Client { ip: sender.ip.to_string(), helo: sender.helo, user: letter.user },
        sender: &sender.mail_from,
        recipients: letter.recipients,
        octets: letter.text.octets(),
        header: header.map(fields),
        checks: checks.collect(),
    };
    serde_json::to_string(&question).unwrap_or_default()
}

/// Names and values, as they are but for line ends, in order.
fn fields(header: &[u8]) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in header.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
        let line = String::from_utf8_lossy(line);
        match (line.split_once(':'), fields.last_mut()) {
            (_, Some((_, value))) if line.starts_with([' ', '\t']) => value.push_str(&line),
            (Some((name, value)), _) => fields.push((name.trim_end().to_owned(), value.trim().to_owned())),
            _ => {}
        }
    }
    fields
}

fn found(answer: &[u8]) -> Found {
    match serde_json::from_slice(answer) {
        Ok(Answer { verdict, reason }) => {
            let outcome = if verdict == Verdict::Accept { Outcome::Pass } else { Outcome::Fail };
            let reason: String = reason.chars().filter(|c| !c.is_control()).take(REASON_SHOWN).collect();
            let detail = if reason.is_empty() {
                format!("the hook says {}", verdict.as_str())
            } else {
                format!("the hook says {}: {reason}", verdict.as_str())
            };
            Found { policy: verdict, ..Found::new(outcome, detail) }
        }
        Err(error) => Found::new(Outcome::Unsure, format!("the hook: its answer is not understood: {error}")),
    }
}

/// Of the question's form: what is added to it does not change this.
const VERSION: u32 = 1;
const REASON_SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_told_field_by_field() {
        let header = b"Subject: a\r\n\tb\r\nX : y:z\r\nempty:\r\nFrom: \xff\r\n\r\n";
        let expected = [("Subject", "a\tb"), ("X", "y:z"), ("empty", ""), ("From", "\u{fffd}")];
        assert_eq!(fields(header), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_is_not_understood_is_no_answer() {
        let outcome = |text: &str| found(text.as_bytes()).outcome;
        assert_eq!(outcome(r#"{"verdict":"accept"}"#), Outcome::Pass);
        assert_eq!(outcome(r#"{"verdict":"tag","reason":"x","more":[]}"#), Outcome::Fail);
        for text in ["", "{}", r#"{"verdict":"ACCEPT"}"#, r#"{"verdict":"bounce"}"#, r#"{"verdict":1}"#, "accept"] {
            assert_eq!(outcome(text), Outcome::Unsure, "{text}");
        }
        assert_eq!(found(br#"{"verdict":"reject","reason":"a\nb"}"#).detail, "the hook says reject: ab");
    }
}
