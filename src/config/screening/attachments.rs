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
    for (index, Attachment { name, larger_than, .. }) in attachments.iter().enumerate() {
        match name {
            None if larger_than.0 == 0 => found.push(Finding::error(KEY, "says neither name nor larger_than: write one of them").at(index)),
            Some(name) if !(1..=PATTERN_OCTETS).contains(&name.len()) => {
                found.push(Finding::error(KEY, format!("name must have 1 to {PATTERN_OCTETS} octets: write it as in \"*.exe\"")).at(index));
            }
            _ => {}
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
