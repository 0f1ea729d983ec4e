//! What `[screening]` means to the crate that screens.

use std::sync::Arc;

use screening::{Attachment, Dns, DnsSettings, Error, List, Lists, OnFail, Pattern, Policy, Screener, Verdict};

use crate::config::{self, AT_ONCE, Config, Fail, Rule};

/// Who asks what the configuration says; nobody, where it asks nothing. To be called within a runtime.
///
/// # Errors
/// There is no DNS server to ask.
pub(crate) fn screener(config: &Config) -> Result<Option<Arc<Screener>>, Error> {
    let settings = &config.screening;
    if !settings.is_on() {
        return Ok(None);
    }
    let dns = DnsSettings { servers: settings.servers(), timeout: settings.dns_timeout.0, cache: settings.dns_cache.into() };
    let rules = settings.checks.iter().map(rule).collect();
    let lists = settings.dns_lists.iter().map(|list| List { zone: list.zone.clone(), weight: list.weight }).collect();
    let lists = Lists { lists, threshold: i32::try_from(settings.dns_lists_threshold).unwrap_or(i32::MAX) };
    let policy = Policy {
        rules,
        lists,
        attachments: settings.attachments.iter().map(attachment).collect(),
        greylist_delay: settings.greylist_delay.0,
        greylist_senders: usize::try_from(settings.greylist_senders).unwrap_or(usize::MAX),
        at_once: AT_ONCE,
    };
    Ok(Some(Arc::new(Screener::new(config.hostname(), policy, Dns::new(&dns)?))))
}

fn attachment(attachment: &config::Attachment) -> Attachment {
    let config::Attachment { name, larger_than, verdict } = attachment;
    Attachment { name: name.as_deref().map(Pattern::new), larger_than: *larger_than, verdict: *verdict }
}

fn rule(rule: &Rule) -> screening::Rule {
    let fail = match rule.fail {
        Fail::Accept => OnFail::Verdict(Verdict::Accept),
        Fail::Tag => OnFail::Verdict(Verdict::Tag),
        Fail::Quarantine => OnFail::Verdict(Verdict::Quarantine),
        Fail::Defer => OnFail::Verdict(Verdict::Defer),
        Fail::Reject => OnFail::Verdict(Verdict::Reject),
        Fail::Discard => OnFail::Verdict(Verdict::Discard),
        Fail::Policy => OnFail::Policy,
    };
    screening::Rule { check: rule.check, fail, unsure: rule.unsure, timeout: rule.timeout.0 }
}
