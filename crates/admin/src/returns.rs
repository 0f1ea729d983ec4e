//! Refused and returned: who was turned away for now, and what they have done since.

use std::cmp::Reverse;
use std::time::Instant;

use gate::RefusedSource;

use crate::Admin;
use crate::explain::before;
use crate::wire::{self, Returns};

impl Admin {
    /// The refused sources, at most `most` of them and with `missing_only` those alone that should have come back: first who has not come in
    /// since, of those the known good ones, of those the one that was refused first.
    pub(crate) fn returns(&self, missing_only: bool, most: usize) -> Returns {
        let (now, mut sources) = (Instant::now(), self.gate.refused_sources());
        let known = sources.len() as u64;
        let missing = sources.iter().filter(|source| source.is_missing(now)).count() as u64;
        sources.retain(|source| !missing_only || source.is_missing(now));
        sources.sort_unstable_by_key(|source| {
            (source.back.is_some() || source.delivered.is_some(), Reverse(source.known_good), source.first, source.prefix)
        });
        sources.truncate(most);
        let sources = sources.iter().map(|source| self.refused_source(source, now)).collect();
        Returns { sources, known, missing, left_out: self.gate.refusals_left_out() }
    }

    fn refused_source(&self, source: &RefusedSource, now: Instant) -> wire::RefusedSource {
        let ago = |then: Instant| now.saturating_duration_since(then);
        let after = |then: Option<Instant>| then.map(|then| then.saturating_duration_since(source.first).as_secs());
        wire::RefusedSource {
            prefix: source.prefix.to_string(),
            class: self.gate.class_of(source.prefix.addr()).as_str().to_owned(),
            refusals: source.refusals,
            rule: source.rule.to_owned(),
            first: before(ago(source.first)),
            first_seconds_ago: ago(source.first).as_secs(),
            last_seconds_ago: ago(source.last).as_secs(),
            back_after_seconds: after(source.back),
            delivered_after_seconds: after(source.delivered),
            missing: source.is_missing(now),
        }
    }
}
