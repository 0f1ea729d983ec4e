//! How many sessions one account may have, and the accounts for which that is another number.
//!
//! An account of its own number has a [`UserRule`]: who wanted it says why and, where it is not for ever, until when. What a rule has let
//! through that the general limit would have refused is counted, so that a rule nobody needs any more can be told.
//!
//! Names of accounts are compared without regard to case. Refuses: [`UserFull`], unless that is in shadow. Cannot fail.

use std::collections::HashMap;

use mail::canonical;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::day::Day;
use crate::settings::{Fault, Settings};

/// One account whose number of sessions is not `sessions_per_user`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRule {
    /// The account.
    pub name: String,
    /// How many sessions it may have. Either this or `exempt = true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
    /// It may have any number.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exempt: bool,
    /// Why, for whoever reads the file next year.
    pub reason: String,
    /// The last day the rule holds, in UTC; without it the rule holds until it is taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Day>,
}

impl UserRule {
    fn is_over(&self, today: Day) -> bool {
        self.expires.is_some_and(|last| today > last)
    }
}

/// R9: the account has as many sessions as it may. The password was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the user has {held} sessions of {limit}")]
pub struct UserFull {
    /// Sessions it has; more than `limit` when that was lowered.
    pub held: u32,
    /// How many it may have.
    pub limit: u32,
    /// Whether that is by a rule of its own.
    pub by_rule: bool,
}

/// A [`UserRule`], and how it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    /// The rule.
    pub rule: UserRule,
    /// Sessions the account has.
    pub held: u32,
    /// Logins that the general limit would have refused, since the rule was first in force.
    pub hits: u64,
    /// Its last day is over: the general limit holds.
    pub expired: bool,
}

/// The limits in force.
#[derive(Debug)]
pub(crate) struct UserLimits {
    per_user: u32,
    rules: Vec<UserRule>,
    /// By the account's canonical name, over reloads.
    hits: HashMap<String, u64>,
}

impl UserLimits {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { per_user: settings.sessions_per_user, rules: settings.users.clone(), hits: HashMap::new() }
    }

    /// Puts new ones in force. Hits are kept of accounts that still have a rule.
    pub(crate) fn apply(&mut self, settings: &Settings) {
        let hits = std::mem::take(&mut self.hits);
        *self = Self { hits, ..Self::new(settings) };
        let rules = &self.rules;
        self.hits.retain(|name, _| rules.iter().any(|rule| canonical(&rule.name) == *name));
    }

    /// Whether an account that has `held` sessions may have one more.
    ///
    /// # Errors
    /// What `met` made of [`UserFull`].
    pub(crate) fn check(
        &mut self,
        account: &str,
        held: u32,
        today: Day,
        met: impl FnOnce(UserFull) -> Result<(), UserFull>,
    ) -> Result<(), UserFull> {
        let name = canonical(account);
        let rule = self.rules.iter().find(|rule| canonical(&rule.name) == name && !rule.is_over(today));
        let limit = rule.map_or(self.per_user, |rule| if rule.exempt { u32::MAX } else { rule.sessions.unwrap_or(self.per_user) });
        if held >= limit {
            return met(UserFull { held, limit, by_rule: rule.is_some() });
        }
        if rule.is_some() && held >= self.per_user {
            *self.hits.entry(name).or_default() += 1;
        }
        Ok(())
    }

    /// Each rule; `held` tells how many sessions an account, by its canonical name, has.
    pub(crate) fn exemptions(&self, today: Day, held: impl Fn(&str) -> u32) -> Vec<Exemption> {
        let exemption = |rule: &UserRule| {
            let name = canonical(&rule.name);
            let hits = self.hits.get(&name).copied().unwrap_or_default();
            Exemption { held: held(&name), hits, expired: rule.is_over(today), rule: rule.clone() }
        };
        self.rules.iter().map(exemption).collect()
    }
}

/// What is wrong with the rules, for [`Settings::validate`].
pub(crate) fn faults(settings: &Settings) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for UserRule { name, sessions, exempt, reason, .. } in &settings.users {
        let mut wrong = |message: String| faults.push(Fault::new("users", message));
        if name.trim().is_empty() {
            wrong("name: a rule is for an account: write its address".into());
        }
        match (sessions, exempt) {
            (Some(0), _) => wrong(format!("{name}: sessions >= 1 does not hold: to keep the account out, give it another password")),
            (Some(_), true) => wrong(format!("{name}: sessions and exempt = true contradict each other: write one of them")),
            (None, false) => wrong(format!("{name}: the rule says nothing: write sessions = 64, or exempt = true")),
            _ => {}
        }
        if reason.trim().is_empty() {
            wrong(format!("{name}: reason is empty: say for whom or what the rule is, for whoever reads it next year"));
        }
        let name_once = canonical(name);
        if names.contains(&name_once) {
            wrong(format!("{name}: there is another rule for this account; the first one would count"));
        }
        names.push(name_once);
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, sessions: Option<u32>, expires: Option<&str>) -> UserRule {
        let (exempt, expires) = (sessions.is_none(), expires.map(|day| day.parse().unwrap()));
        UserRule { name: name.into(), sessions, exempt, reason: "a test".into(), expires }
    }

    fn limits(users: Vec<UserRule>) -> UserLimits {
        UserLimits::new(&Settings { sessions_per_user: 2, users, ..Settings::default() })
    }

    #[test]
    fn an_account_has_its_own_number_or_none_until_its_rule_ends() {
        let mut limits = limits(vec![
            rule("Scan@Example.org", Some(3), None),
            rule("one@example.org", Some(1), None),
            rule("all@example.org", None, Some("1970-01-06")),
        ]);
        let mut limit = |account: &str, held, day| limits.check(account, held, Day(day), Err).map_err(|full| full.limit);
        assert_eq!([limit("ann@example.org", 1, 1), limit("ann@example.org", 2, 1)], [Ok(()), Err(2)]);
        assert_eq!([limit("scan@example.org", 2, 1), limit("scan@example.org", 3, 1)], [Ok(()), Err(3)]);
        assert_eq!(limit("one@EXAMPLE.org", 1, 1), Err(1));
        assert_eq!([limit("one@example.org", 0, 1), limit("one@example.org", 1, 1)], [Ok(()), Err(1)], "less than others, too");
        assert_eq!([limit("all@example.org", 5000, 5), limit("all@example.org", 2, 6)], [Ok(()), Err(2)], "the last day counts");
        let told = limits.exemptions(Day(6), |_| 4);
        assert_eq!(
            told.iter().map(|rule| (rule.hits, rule.held, rule.expired)).collect::<Vec<_>>(),
            [(1, 4, false), (0, 4, false), (1, 4, true)]
        );
    }

    #[test]
    fn hits_outlive_a_reload_as_long_as_the_rule() {
        let users = vec![rule("all@example.org", None, None)];
        let mut limits = limits(users.clone());
        limits.check("all@example.org", 2, Day(1), Err).unwrap();
        let hits = |limits: &UserLimits| limits.exemptions(Day(1), |_| 0).first().map(|rule| rule.hits);
        limits.apply(&Settings { sessions_per_user: 1, users: users.clone(), ..Settings::default() });
        assert_eq!((hits(&limits), limits.per_user), (Some(1), 1));
        limits.apply(&Settings::default());
        limits.apply(&Settings { users, ..Settings::default() });
        assert_eq!(hits(&limits), Some(0));
    }

    #[test]
    fn a_rule_says_one_thing_and_why() {
        let users = vec![
            rule("ann@example.org", Some(0), None),
            UserRule { exempt: true, ..rule("bob@example.org", Some(9), None) },
            UserRule { exempt: false, reason: " ".into(), ..rule("", None, None) },
            rule("ANN@example.org", None, None),
        ];
        let faults = faults(&Settings { users, ..Settings::default() });
        let begins = [
            "ann@example.org: sessions >= 1",
            "bob@example.org: sessions and exempt",
            "name: ",
            ": the rule says nothing",
            ": reason is",
            "ANN@example.org: there",
        ];
        assert_eq!(faults.len(), begins.len(), "{faults:?}");
        assert!(faults.iter().zip(begins).all(|(fault, begin)| fault.key == "users" && fault.message.starts_with(begin)), "{faults:?}");
    }

    #[test]
    fn rules_are_read_and_written_as_they_are_documented() {
        let text = "name = \"all@example.org\"\nexempt = true\nreason = \"the archive\"\nexpires = \"2027-03-31\"\n";
        let rule: UserRule = toml::from_str(text).unwrap();
        assert_eq!(toml::to_string(&rule).unwrap(), text);
        for (wrong, why) in [
            ("name = \"a\"\nreason = \"b\"\nsesions = 3", "sesions"),
            ("name = \"a\"", "reason"),
            ("name = \"a\"\nreason = \"b\"\nexpires = \"31.3.2027\"", "is not a day"),
            ("name = \"a\"\nreason = \"b\"\nexpires = \"2027-02-30\"", "is not a day"),
        ] {
            assert!(toml::from_str::<UserRule>(wrong).unwrap_err().to_string().contains(why), "{wrong}");
        }
    }
}
