//! The services of the operator's that screening asks: where they are, and whether that can be.

use screening::{Check, Endpoint, Milter};

use super::super::fault::Finding;
use super::Screening;

/// What does not hold of them.
pub(super) fn findings(screening: &Screening) -> Vec<Finding> {
    let mut found = Vec::new();
    for (check, key, text, example) in [
        (Check::Rspamd, "screening.rspamd", &screening.rspamd, "http://127.0.0.1:11333"),
        (Check::Hook, "screening.hook", &screening.hook, "http://127.0.0.1:8080/hook"),
    ] {
        let asked = screening.asks(check);
        match text.parse::<Endpoint>() {
            _ if text.is_empty() && asked => {
                let message = format!("is empty, and {:?} is among the checks: write where it is, as in {example:?}", check.as_str());
                found.push(Finding::error(key, message));
            }
            Err(error) if !text.is_empty() => found.push(Finding::error(key, error.to_string())),
            _ => {}
        }
    }
    let asks_milters = screening.asks(Check::Milter);
    if asks_milters && screening.milters.is_empty() {
        found.push(Finding::error(
            MILTERS,
            "is empty, and \"milter\" is among the checks: write where they are, as in [\"inet:127.0.0.1:8891\"]",
        ));
    }
    if screening.milters.len() > MILTERS_MOST {
        let message = format!("has {} milters, which are asked one after the other: write at most {MILTERS_MOST}", screening.milters.len());
        found.push(Finding::error(MILTERS, message));
    }
    let wrong = |(index, text): (usize, &String)| Some(Finding::error(MILTERS, text.parse::<Milter>().err()?.to_string()).at(index));
    found.extend(screening.milters.iter().enumerate().filter_map(wrong));
    found
}

const MILTERS: &str = "screening.milters";
const MILTERS_MOST: usize = 8;
