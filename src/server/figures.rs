//! Figures for the metrics that live in the gate, the network, passwords, the store and the kernel, asked for when they are read.

use std::collections::HashSet;
use std::sync::Arc;

use events::{Figure, Figures};
use store::Intake;
use store_embedded::Embedded;

use super::kernel;
use super::listeners::Services;
use crate::log::Log;

/// Has everybody asked whenever metrics are read.
pub(crate) fn attend(services: &Services, store: &Arc<Embedded>, log: &Arc<Log>, ports: HashSet<u16>) {
    let events = &services.events;
    let gate = Arc::clone(&services.gate);
    events.add_source(move |figures| admin::report_gate(&gate, figures));
    let (rates, delivery) = (Arc::clone(&services.rates), services.delivery.clone());
    events.add_source(move |figures| admin::report_rates(&rates, figures));
    events.add_source(move |figures| report_delivery(delivery.snapshot(net::now()), figures));
    let authenticator = Arc::clone(&services.authenticator);
    events.add_source(move |figures| authenticator.report(figures));
    let counters = Arc::clone(&services.counters);
    events.add_source(move |figures| report_net(counters.snapshot(), figures));
    let store = Arc::clone(store);
    events.add_source(move |figures| report_store(&store, figures));
    events.add_source(move |figures| kernel::report(&ports, figures));
    let log = Arc::clone(log);
    events.add_source(move |figures| figures.set(Figure::LogLinesLost, log.lost_lines()));
}

fn report_delivery(delivery: gate::delivery::Snapshot, figures: &mut Figures) {
    figures.set(Figure::DeliveryLimit, delivery.limit.into());
    figures.set(Figure::DeliveryInFlight, delivery.in_flight.into());
    figures.set(Figure::DeliveryWaiting, delivery.waiting.into());
    figures.set(Figure::DeliveryPromised, delivery.promised.into());
    figures.set(Figure::DeliveryEstimate, u64::try_from(delivery.estimate.as_millis()).unwrap_or(u64::MAX));
    figures.set(Figure::DeliveryRefused, delivery.refused_total);
}

fn report_net(net: net::Snapshot, figures: &mut Figures) {
    let errors = net.accept_aborted + net.accept_out_of_descriptors + net.accept_out_of_memory + net.accept_failed;
    figures.set(Figure::AcceptErrors, errors);
    figures.set(Figure::RefusalsAnswered, net.refused_answered);
    figures.set(Figure::RefusalsUnanswered, net.refused_unanswered);
    figures.set(Figure::RefusalsLingering, net.lingering);
    figures.set(Figure::Introductions, net.introductions);
    figures.set(Figure::Proxied, net.proxied);
    figures.set(Figure::Waiting, net.waiting);
    figures.set(Figure::WaitingServed, net.waiting_served);
    figures.set(Figure::WaitingTimedOut, net.waiting_timed_out);
    figures.set(Figure::WaitingLeft, net.waiting_left);
    figures.set(Figure::WaitingRefused, net.waiting_refused);
    figures.set(Figure::RefusalPauses, net.refusal_pauses);
    figures.set(Figure::HandshakesActive, net.handshakes_in_progress);
    figures.set(Figure::HandshakesTimedOut, net.handshakes_timed_out);
}

fn report_store(store: &Embedded, figures: &mut Figures) {
    let now = store.figures();
    figures.set(Figure::StoreReady, store.ready().is_ok().into());
    figures.set(Figure::StoreMessages, now.messages);
    figures.set(Figure::StoreHeldMessages, now.held_messages);
    figures.set(Figure::StoreHeldOctets, now.held_bytes);
    figures.set(Figure::StoreOctets, now.live_bytes);
    figures.set(Figure::StoreDiskOctets, now.segment_bytes);
    figures.set(Figure::StoreCommits, now.batches);
    figures.set(Figure::StoreCommitted, now.records);
    figures.set(Figure::StoreSyncMicros, u64::try_from(now.sync_time.as_micros()).unwrap_or(u64::MAX));
    figures.set(Figure::StoreIndexLag, now.index_lag);
    figures.set(Figure::BodyBudgetUsed, now.body_memory_bytes);
}
