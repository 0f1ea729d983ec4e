//! `screening.attachments`: what nobody wants to be sent.

use mail::ByteSize;
use schemars::JsonSchema;
use screening::Verdict;
use serde::{Deserialize, Serialize};

use super::super::fault::Finding;

/// A kind of attachment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attachment {
    /// A pattern for its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(crate) name: Option<String>,
    /// A pattern for its type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(crate) media_type: Option<String>,
    /// Only where it has more octets.
    #[serde(default = "any_size")]
    pub(crate) larger_than: ByteSize,
    /// What becomes of the message.
    pub(crate) verdict: Verdict,
}

/// What does not hold of them.
pub(super) fn findings(attachments: &[Attachment], are_asked_for: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    if are_asked_for && attachments.is_empty() {
        found.push(Finding::error(KEY, "is empty, and \"attachments\" is among the checks: write what is not wanted"));
    }
    if attachments.len() > ATTACHMENTS_MOST {
        let message =
            format!("has {} entries, each of which is held against every name: write at most {ATTACHMENTS_MOST}", attachments.len());
        found.push(Finding::error(KEY, message));
    }
    for (index, Attachment { name, media_type, larger_than, .. }) in attachments.iter().enumerate() {
        if name.is_none() && media_type.is_none() && larger_than.0 == 0 {
            found.push(Finding::error(KEY, "says neither name, type nor larger_than: write one of them").at(index));
        }
        for (key, pattern, example) in [("name", name, "*.exe"), ("type", media_type, "message/partial")] {
            if pattern.as_ref().is_some_and(|pattern| !(1..=PATTERN_OCTETS).contains(&pattern.len())) {
                let message = format!("{key} must have 1 to {PATTERN_OCTETS} octets: write it as in \"{example}\"");
                found.push(Finding::error(KEY, message).at(index));
            }
        }
    }
    found
}

fn any_size() -> ByteSize {
    ByteSize(0)
}

const KEY: &str = "screening.attachments";
const ATTACHMENTS_MOST: usize = 256;
const PATTERN_OCTETS: usize = 100;
