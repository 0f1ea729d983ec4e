//! Who may come in.
//!
//! [`Gate::admit`] answers, for one accepted connection and without ever waiting, with a [`Permit`] or with a
//! [`Refusal`]. It looks at what is cheap and most specific first: the state of the node, denied networks, how many sessions each
//! prefix of the client's address already holds, its fair share of what is free, then the pool of `max_inbound` places.
//!
//! Guarantees:
//! - At the instant a session is admitted the places in use, this one included, are at most the limit in force, and so
//!   is the number held by each prefix of its source. A limit may change at any time; nobody who is in is put out.
//! - A permit is values that undo themselves when dropped, a [`Place`] and a hold on the source. Every way a
//!   session can end returns both exactly once, a panic included, and a refused attempt keeps neither.
//! - Memory is bounded by the sessions in use, and tables of known and of refused sources that are bounded by themselves. A refusal
//!   allocates nothing it keeps but there, and its reply is rendered into a line of the caller's.
//!
//! Refuses, by type: [`Rule`] at the door, [`Denial`] in a session. The words that a peer sees at the door stand in one place,
//! [`Refusal::render`]; those of a session are the protocol's. Each refusal has a [`Token`] that [`Gate::explain`] knows.
//!
//! Fails: the only error is a set of limits that contradict themselves, [`SettingsError`], and then the limits in force
//! stay. Admission is not known to fail: counting is arithmetic on atomics and under the locks of hash tables, which cannot be poisoned;
//! nothing here blocks, reads a clock, writes a log or opens a socket. A check that panics all the same lets in, and is counted.
//!
//! No order is promised among clients that compete for the last place.

mod bans;
mod client;
mod day;
pub mod delivery;
mod denial;
mod gate;
mod known_good;
mod lane;
mod ledger;
mod limit;
mod meaning;
mod network;
mod node;
mod occupancy;
mod permit;
mod places;
mod pool;
mod portion;
mod ramp;
pub mod rates;
mod refusal;
mod reply;
mod returns;
mod roster;
mod rules;
mod seat;
mod settings;
mod share;
mod slot_time;
mod source;
mod sources;
mod tally;
mod users;
mod vacancy;

pub use bans::{BANS_MOST, Ban, BanRefused, BanUse};
pub use client::{Class, ClientSettings, ClientUse, Privilege};
pub use day::{Day, DayError};
pub use delivery::Delivery;
pub use denial::Denial;
pub use gate::{Arrival, Gate, Snapshot};
pub use ipnet::IpNet;
pub use known_good::KNOWN_GOOD_DAYS;
pub use ledger::{Cause, Explanation, REMEMBERED, Unexplained};
pub use limit::Limit;
pub use mail::Token;
pub use meaning::Meaning;
pub use network::{Network, NetworkError};
pub use node::Node;
pub use occupancy::{Look, Notice, Occupancy, remedy};
pub use permit::{ListenerId, Permit};
pub use pool::{Draw, Place, Pool, Size, Usage};
pub use portion::{Portion, PortionError};
pub use rates::{Limiter, MailRates};
pub use refusal::{Obstacle, Refusal, Rule, Wait};
pub use reply::{Protocol, ReplyLine};
pub use returns::{MISSING_AFTER, RefusedSource};
pub use roster::{Enrolment, Holders, Newcomer, Roster, Session};
pub use seat::{PROGRAM_OCTETS, Parting, Seat};
pub use settings::{BAN_MOST, Fault, Settings, SettingsError};
pub use slot_time::{Phase, SlotTime};
pub use source::{Level, Source};
pub use sources::Holder;
pub use tally::{InShadow, Refused};
pub use users::{Exemption, UserFull, UserRule};
pub use vacancy::Vacancy;
