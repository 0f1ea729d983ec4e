//! Bans, shown, made and ended. What an operator changes is written down before the answer, so that no restart takes it back.

use std::time::{Duration, Instant};

use events::GateSteered;
use gate::{BAN_MOST, BanUse, Network};
use jiff::{SignedDuration, Timestamp};
use mail::Span;

use crate::Admin;
use crate::wire::{Ban, BanRequest, Reply};

impl Admin {
    /// Does what is asked.
    pub(crate) async fn ban(&self, request: BanRequest) -> Reply {
        let now = Instant::now();
        let bans = || Reply::Bans(self.gate.bans(now).into_iter().map(|used| told(used, now)).collect());
        let done = match request {
            BanRequest::List => return bans(),
            BanRequest::Add { network, seconds, reason } => self.add_ban(&network, Duration::from_secs(seconds), &reason, now),
            BanRequest::Remove { network } => self.remove_ban(&network, now),
        };
        let kept = match done {
            Ok(()) => self.control.keep_bans().await.map_err(|error| format!("it is so, but a restart will not know it: {error}")),
            refused => refused,
        };
        kept.map_or_else(|why| Reply::Refused(vec![why]), |()| bans())
    }

    fn add_ban(&self, network: &str, time: Duration, reason: &str, now: Instant) -> Result<(), String> {
        let network: Network = network.parse().map_err(|error: gate::NetworkError| error.to_string())?;
        if time.is_zero() || time > BAN_MOST {
            let most = Span(BAN_MOST);
            return Err(format!("a ban lasts from 1s to {most}: this is {}; for good, put the network into gate.deny", Span(time)));
        }
        if reason.trim().is_empty() || reason.len() > REASON_OCTETS || reason.chars().any(char::is_control) {
            return Err(format!("a ban has a reason, one line of at most {REASON_OCTETS} octets: whoever reads the list wants to know"));
        }
        if network.0.prefix_len() == 0 {
            return Err(format!("{network} is everybody: to let nobody in, `gatepost drain`"));
        }
        let ban = gate::Ban { network: network.0, reason: reason.into(), until: now + time, is_automatic: false };
        self.gate.ban(ban, now).map_err(|refused| refused.to_string())?;
        self.events.emit(GateSteered { change: "ban made", detail: &format_args!("{network} for {}: {reason}", Span(time)) });
        Ok(())
    }

    fn remove_ban(&self, network: &str, now: Instant) -> Result<(), String> {
        let network: Network = network.parse().map_err(|error: gate::NetworkError| error.to_string())?;
        if !self.gate.unban(network.0, now) {
            return Err(format!("{network} is not banned; a network is taken out as it was put in, `gatepost ban list` shows them"));
        }
        self.events.emit(GateSteered { change: "ban ended", detail: &network });
        Ok(())
    }
}

fn told(BanUse { ban, refused }: BanUse, now: Instant) -> Ban {
    let left = ban.until.saturating_duration_since(now);
    let until = SignedDuration::try_from(left).ok().and_then(|left| Timestamp::now().checked_add(left).ok()).unwrap_or_default();
    Ban {
        network: Network(ban.network).to_string(),
        reason: ban.reason.as_ref().into(),
        until: Timestamp::from_second(until.as_second()).unwrap_or_default().to_string(),
        seconds_left: left.as_secs(),
        automatic: ban.is_automatic,
        refused,
    }
}

const REASON_OCTETS: usize = 200;
