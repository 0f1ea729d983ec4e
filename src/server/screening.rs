//! What `[screening]` means to the crate that screens.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use mail::Secret;
use screening::{Attachment, Dns, DnsSettings, Hook, List, Lists, OnFail, Pattern, Policy, Rspamd, Screener, Services, Verdict};

use crate::config::{self, AT_ONCE, Config, Fail, Rule};

/// Why there is no screening.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScreenerError {
    #[error(transparent)]
    Screening(#[from] screening::Error),
    #[error("screening.rspamd_password: {} cannot be read: {source}", path.display())]
    Password { path: PathBuf, source: io::Error },
}

/// Who asks what the configuration says; nobody, where it asks nothing. To be called within a runtime.
///
/// # Errors
/// There is no DNS server to ask, or a password cannot be read.
pub(crate) fn screener(config: &Config) -> Result<Option<Arc<Screener>>, ScreenerError> {
    let settings = &config.screening;
    if !settings.is_on() {
        return Ok(None);
    }
    let dns = DnsSettings { servers: settings.servers(), timeout: settings.dns_timeout.0, cache: settings.dns_cache.into() };
    let dns = Dns::new(&dns)?;
    let rules = settings.checks.iter().map(rule).collect();
    let lists =
        settings.dns_lists.iter().map(|list| List { zone: list.zone.clone(), weight: list.weight, name: list.name.clone() }).collect();
    let lists = Lists { lists, threshold: i32::try_from(settings.dns_lists_threshold).unwrap_or(i32::MAX) };
    let policy = Policy {
        rules,
        lists,
        attachments: settings.attachments.iter().map(attachment).collect(),
        services: services(settings, &dns)?,
        greylist_delay: settings.greylist_delay.0,
        greylist_senders: usize::try_from(settings.greylist_senders).unwrap_or(usize::MAX),
        early_wait: settings.early_wait.0,
        early_places: usize::try_from(settings.early_places).unwrap_or(usize::MAX),
        at_once: AT_ONCE,
    };
    Ok(Some(Arc::new(Screener::new(config.hostname(), policy, dns))))
}

fn services(settings: &config::Screening, dns: &Dns) -> Result<Services, ScreenerError> {
    // Empty where there is none; all else has passed the rules.
    let rspamd = settings.rspamd.parse().ok().map(|endpoint| Ok::<_, ScreenerError>(Rspamd { endpoint, password: password(settings)? }));
    let hook = |address: &String| Some(Hook { endpoint: address.parse().ok()?, body: settings.hook_body });
    let hooks = settings.hook.0.iter().filter_map(hook).collect();
    let milters = settings.milters.iter().filter_map(|milter| milter.parse().ok()).collect();
    Ok(Services::new(rspamd.transpose()?, hooks, milters, dns)?)
}

fn password(settings: &config::Screening) -> Result<Option<Secret>, ScreenerError> {
    let path = &settings.rspamd_password;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let read = std::fs::read(path).map_err(|source| ScreenerError::Password { path: path.clone(), source })?;
    Ok(Some(Secret::new(read.trim_ascii_end())))
}

fn attachment(attachment: &config::Attachment) -> Attachment {
    let config::Attachment { name, media_type, larger_than, verdict } = attachment;
    let pattern = |text: &Option<String>| text.as_deref().map(Pattern::new);
    Attachment { name: pattern(name), media_type: pattern(media_type), larger_than: *larger_than, verdict: *verdict }
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
