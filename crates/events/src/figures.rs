//! Figures that live elsewhere: in the gate, the network, the store. One table names them all.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::{PREFIX, lock};

macro_rules! figures {
    ($($figure:ident $kind:ident $name:literal $help:literal;)+) => {
        /// One figure. Its text is the metric's help.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Figure {
            $(#[doc = $help] $figure,)+
        }

        impl Figure {
            /// Each of them.
            pub const ALL: &[Self] = &[$(Self::$figure),+];

            /// The metric's whole name, as it stands in `/metrics`.
            pub fn metric(self) -> String {
                let (name, _, kind) = self.describe();
                let end = if matches!(kind, Kind::Gauge) { "" } else { "_total" };
                format!("{PREFIX}_{name}{end}")
            }

            /// The metric's name without its prefix and `_total`, its help, and whether it only grows.
            fn describe(self) -> (&'static str, &'static str, Kind) {
                match self {
                    $(Self::$figure => ($name, $help, Kind::$kind),)+
                }
            }
        }

        const FIGURES: usize = Figure::ALL.len();
    };
}

figures! {
    GateLimit Gauge "gate_limit_sessions" "Sessions that may be in use at once, max_inbound";
    GateInUse Gauge "gate_in_use_sessions" "Sessions in use";
    GatePeak Gauge "gate_peak_sessions" "Most sessions in use at once since the start";
    GateOverLimit Gauge "gate_over_limit" "Sessions in use beyond a limit that was lowered";
    GatePrefixes Gauge "gate_source_prefixes" "Source prefixes that hold a session";
    GateGeneral Gauge "gate_unreserved_in_use_sessions" "Sessions in use in places that are not reserved";
    GateReserve Gauge "gate_reserve_sessions" "Places that anonymous clients leave alone";
    GateFirstPlaces Gauge "gate_first_places_in_use_sessions" "Sessions in use in places of the reserve for sources that had none";
    GateAuthenticating Gauge "gate_authenticating_sessions" "Sessions in places of the reserve for clients about to show a password";
    GateKnownGood Gauge "gate_known_good_sources" "Sources known to be good because their mail was accepted";
    GateBans Gauge "gate_bans" "Networks that are banned at present";
    GateMissing Gauge "gate_missing_sources" "Sources that were refused and have not come in again within four hours";
    GateMissingKnownGood Gauge "gate_missing_known_good_sources" "Those of them that are known to be good";
    GateKnownGoodRefused Counter "gate_known_good_refused" "Connections refused that came from sources known to be good";
    GateShadowDeny Counter "gate_shadow_deny" "Connections that deny, in shadow, would have refused";
    GateShadowBan Counter "gate_shadow_ban_after" "Connections from sources that ban_after, in shadow, would have banned";
    GateShadowClients Counter "gate_shadow_clients" "Connections that a ceiling of clients, in shadow, would have refused";
    GateShadowAddress Counter "gate_shadow_sessions_per_address" "Connections that sessions_per_address, in shadow, would have refused";
    GateShadowNetwork Counter "gate_shadow_sessions_per_network" "Connections that sessions_per_network, in shadow, would have refused";
    GateShadowSite Counter "gate_shadow_sessions_per_site" "Connections that sessions_per_site, in shadow, would have refused";
    GateShadowConnections Counter "gate_shadow_connections" "Connections that the rates of connections, in shadow, would have refused";
    GateShadowShare Counter "gate_shadow_fair_share_alpha" "Connections that fair_share_alpha, in shadow, would have refused";
    GateShadowRamp Counter "gate_shadow_start_ramp" "Connections that start_ramp, in shadow, would have refused";
    GateShadowUser Counter "gate_shadow_sessions_per_user" "Logins that sessions_per_user or a rule of users, in shadow, would have refused";
    SlotClientMicros Seconds "slot_client_seconds" "Time sessions spent waiting for their clients";
    SlotTlsMicros Seconds "slot_tls_seconds" "Time sessions spent on TLS handshakes";
    SlotOwnMicros Seconds "slot_own_seconds" "Time sessions spent on our own work, passwords included";
    SlotStoreMicros Seconds "slot_store_seconds" "Time sessions spent waiting for the store";
    SlotTarpitMicros Seconds "slot_tarpit_seconds" "Time sessions spent making clients wait that had done wrong, and strangers before the greeting";
    SlotScreeningMicros Seconds "slot_screening_seconds" "Time sessions spent screening messages, which is to wait for DNS";
    Introductions Gauge "net_proxy_headers_awaited" "Connections of trusted proxies whose PROXY header has not come yet";
    Proxied Counter "net_proxied_connections" "Connections that a trusted proxy made on behalf of a client";
    Waiting Gauge "gate_waiting_connections" "Connections that wait for a place";
    WaitingServed Counter "gate_waiting_served" "Connections that got a place after they had waited";
    WaitingTimedOut Counter "gate_waiting_timed_out" "Connections refused when their time to wait was over";
    WaitingLeft Counter "gate_waiting_left" "Connections that hung up while they waited";
    WaitingRefused Counter "gate_waiting_refused" "Connections refused before their time to wait was over: the room was full, or nobody came in any more";
    NodeOpen Gauge "node_open" "1 when the node takes sessions, 0 when it starts, drains or its store is down";
    NodeDraining Gauge "node_draining" "1 when the node is on its way out";
    AcceptQueue Gauge "net_accept_queue_connections" "Connections that wait in the kernel to be accepted, over all listeners";
    AcceptOverflows Counter "net_accept_queue_overflows" "Connections the kernel dropped because its queue was full, on the whole machine";
    AcceptErrors Counter "net_accept_errors" "Errors of accept, none of which ends a listener";
    RefusalsAnswered Counter "net_refusals_answered" "Refused connections whose reply went out whole";
    RefusalsUnanswered Counter "net_refusals_unanswered" "Refused connections closed without the whole reply";
    RefusalsLingering Gauge "net_refusals_lingering" "Refused connections that are answered and wait for the peer to close";
    RefusalPauses Counter "net_refusal_pauses" "Times the refusing paused because its budget of processor time was spent";
    HandshakesActive Gauge "net_tls_handshakes_active" "TLS handshakes under way or waiting for their turn";
    HandshakesTimedOut Counter "net_tls_handshakes_timed_out" "TLS handshakes not completed by their deadline";
    DeliveryLimit Gauge "delivery_limit_messages" "Messages that may be committed at once, following the store's latency";
    DeliveryInFlight Gauge "delivery_in_flight_messages" "Messages being committed";
    DeliveryWaiting Gauge "delivery_waiting_messages" "Whole messages that wait for their commit";
    DeliveryPromised Gauge "delivery_promised_messages" "Messages begun whose end has not come";
    DeliveryEstimate Gauge "delivery_estimate_milliseconds" "How long the reply to a message begun now would take";
    DeliveryRefused Counter "delivery_refused_messages" "Messages refused at MAIL or DATA because the reply would come too late";
    RatesTarpitted Gauge "rates_tarpitted_sessions" "Sessions whose answer is held back";
    RatesShadowMessagesSource Counter "rates_shadow_messages_per_source" "Messages that messages_per_source, in shadow, would have refused";
    RatesShadowMessagesAccount Counter "rates_shadow_messages_per_account" "Messages that messages_per_account, in shadow, would have refused";
    RatesShadowMessagesSenderDomain Counter "rates_shadow_messages_per_sender_domain" "Messages that messages_per_sender_domain, in shadow, would have refused";
    RatesShadowRecipientsSource Counter "rates_shadow_recipients_per_source" "Recipients that recipients_per_source, in shadow, would have refused";
    RatesShadowRecipientsAccount Counter "rates_shadow_recipients_per_account" "Recipients that recipients_per_account, in shadow, would have refused";
    RatesShadowRecipientsSenderDomain Counter "rates_shadow_recipients_per_sender_domain" "Recipients that recipients_per_sender_domain, in shadow, would have refused";
    RatesShadowBytesSource Counter "rates_shadow_bytes_per_source" "Messages that bytes_per_source, in shadow, would have refused";
    RatesShadowBytesAccount Counter "rates_shadow_bytes_per_account" "Messages that bytes_per_account, in shadow, would have refused";
    RatesShadowBytesSenderDomain Counter "rates_shadow_bytes_per_sender_domain" "Messages that bytes_per_sender_domain, in shadow, would have refused";
    RatesShadowFailedCommandsSource Counter "rates_shadow_failed_commands_per_source" "Commands that failed_commands_per_source, in shadow, would have refused";
    RatesShadowFailedCommandsAccount Counter "rates_shadow_failed_commands_per_account" "Commands that failed_commands_per_account, in shadow, would have refused";
    RatesShadowFailedCommandsSenderDomain Counter "rates_shadow_failed_commands_per_sender_domain" "Commands that failed_commands_per_sender_domain, in shadow, would have refused";
    BodyBudgetUsed Gauge "net_body_memory_octets" "Octets of message bodies in memory";
    AuthHashes Counter "auth_password_hashes" "Password hashes computed, for unknown users too";
    AuthRenewed Counter "auth_renewed_hashes" "Password hashes made anew at a login because hash_memory or hash_passes had changed";
    AuthRemembered Counter "auth_remembered" "Passwords recognised without computing a hash";
    AuthWaiting Gauge "auth_waiting" "Passwords that wait for their hash to be computed";
    LogLinesLost Counter "log_lines_lost" "Log lines left out because nobody read the log fast enough";
    StoreReady Gauge "store_ready" "1 when the store takes messages";
    StoreMessages Gauge "store_messages" "Messages in all maildrops, one for each recipient";
    StoreHeldMessages Gauge "store_held_messages" "Messages in quarantine, until somebody decides or quarantine_keep is over; one for each recipient";
    StoreHeldOctets Gauge "store_held_octets" "Octets of those messages";
    StoreOctets Gauge "store_octets" "Octets of messages that are in a maildrop";
    StoreDiskOctets Gauge "store_disk_octets" "Octets the store takes up on disk";
    StoreDiskFree Gauge "store_disk_free_octets" "Octets free on the store's disk";
    StoreIndexLag Gauge "store_index_lag_records" "Committed records that are not in the index yet";
    StoreCommits Counter "store_commits" "Group commits that reached stable storage";
    StoreCommitted Counter "store_committed_messages" "Messages in those group commits";
    StoreSyncMicros Seconds "store_sync_seconds" "Time spent waiting for stable storage";
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
    /// Stated in microseconds.
    Seconds,
}

/// The figures of one instant; those that nobody has set are not shown.
#[derive(Debug)]
pub struct Figures([Option<u64>; FIGURES]);

impl Figures {
    /// States a figure. The last word counts.
    pub fn set(&mut self, figure: Figure, value: u64) {
        if let Some(place) = self.0.get_mut(figure as usize) {
            *place = Some(value);
        }
    }

    /// Those that were stated, each by its metric's name without prefix and `_total`, as it was stated: what a metric has in seconds
    /// is in microseconds here, and called so.
    pub fn iter(&self) -> impl Iterator<Item = (String, u64)> {
        let name = |figure: &Figure| match figure.describe() {
            (name, _, Kind::Seconds) => name.replace("_seconds", "_microseconds"),
            (name, ..) => name.to_owned(),
        };
        Figure::ALL.iter().zip(self.0).filter_map(move |(figure, value)| value.map(|value| (name(figure), value)))
    }
}

type Source = Box<dyn Fn(&mut Figures) + Send + Sync>;

/// Who is asked.
#[derive(Default)]
pub(crate) struct Sources(Mutex<Vec<Source>>);

impl Sources {
    pub(crate) fn add(&self, source: Source) {
        lock(&self.0).push(source);
    }

    pub(crate) fn ask(&self) -> Figures {
        let mut figures = Figures([None; FIGURES]);
        lock(&self.0).iter().for_each(|source| source(&mut figures));
        figures
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (figure, value) in Figure::ALL.iter().zip(self.ask().0) {
            let Some(value) = value else { continue };
            let (name, help, kind) = figure.describe();
            // The registry adds the full stop to what is registered with it, but not here.
            let help = format!("{help}.");
            match kind {
                Kind::Gauge => one(&mut encoder, name, &help, &ConstGauge::new(value))?,
                Kind::Counter => one(&mut encoder, name, &help, &ConstCounter::new(value))?,
                Kind::Seconds => one(&mut encoder, name, &help, &ConstCounter::new(Duration::from_micros(value).as_secs_f64()))?,
            }
        }
        Ok(())
    }
}

fn one(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
