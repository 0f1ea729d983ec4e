//! What an operator writes about deliveries, the table `[delivery]` of the configuration.
//!
//! The doc comments of [`Settings`] are the commented example configuration and the reference. [`Settings::validate`] finds every
//! fault. Refuses: unknown keys, while reading.

use mail::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::settings::Fault;

/// How fast messages go to the store. How many are committed at once follows the store by itself; a client whose message
/// would not be confirmed in time is told so before it sends anything: "451 4.3.2 ... Mail is stored slowly at present, try again later".
/// All of these can be changed while the server runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long a client may have to wait for the reply to a whole message. A client that gives up before that sends the message again, and
    /// its recipients get it twice. Servers wait for ten minutes (RFC 5321, section 4.5.3.2.6), mail programs often for one. At most 5m.
    pub deadline: Span,
    /// How long one commit may take before fewer of them are let in at once. Must be less than deadline.
    pub latency_target: Span,
    /// How many commits may be under way at once however slow the store is. So many messages are taken at any time, too, and while
    /// nothing is committed one more each second, so that a store that is well again is noticed. Must be at least 1 and at most most_in_flight.
    #[schemars(range(min = 1))]
    pub least_in_flight: u32,
    /// How many commits may be under way at once however fast the store is.
    #[schemars(range(min = 1))]
    pub most_in_flight: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { deadline: Span::secs(30), latency_target: Span::secs(1), least_in_flight: 4, most_in_flight: 1000 }
    }
}

impl Settings {
    /// Every fault in these settings; none when they can be put in force.
    pub fn validate(&self) -> Vec<Fault> {
        let Self { deadline, latency_target, least_in_flight: least, most_in_flight: most } = self;
        let fault = |key, message| Fault { key, message };
        let mut faults = Vec::new();
        if *deadline > DEADLINE_MOST {
            faults.push(fault(
                "deadline",
                format!("deadline <= {DEADLINE_MOST} does not hold: after {deadline} clients would have given up"),
            ));
        }
        if latency_target >= deadline {
            let message =
                format!("latency_target < deadline does not hold: {latency_target} >= {deadline}; raise deadline or lower latency_target");
            faults.push(fault("latency_target", message));
        }
        if latency_target.0.is_zero() {
            faults.push(fault("latency_target", "latency_target > 0s does not hold: no store is that fast; the default is 1s".into()));
        }
        if *least == 0 {
            let message = "least_in_flight >= 1 does not hold: with 0 a slow store would get nothing at all; the default is 4".into();
            faults.push(fault("least_in_flight", message));
        }
        if least > most {
            let message =
                format!("least_in_flight <= most_in_flight does not hold: {least} > {most}; raise most_in_flight or lower least_in_flight");
            faults.push(fault("least_in_flight", message));
        }
        faults
    }
}

const DEADLINE_MOST: Span = Span::mins(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_every_fault_is_found_with_its_inequality() {
        assert_eq!(Settings::default().validate(), []);
        let settings = Settings { deadline: Span::mins(6), latency_target: Span::mins(7), least_in_flight: 9, most_in_flight: 8 };
        let faults = settings.validate();
        assert_eq!(faults.iter().map(|fault| fault.key).collect::<Vec<_>>(), ["deadline", "latency_target", "least_in_flight"]);
        assert!(faults[2].message.starts_with("least_in_flight <= most_in_flight does not hold: 9 > 8"));
        let settings = Settings { least_in_flight: 0, latency_target: Span::secs(0), ..Settings::default() };
        assert_eq!(settings.validate().len(), 2);
        assert!(toml::from_str::<Settings>("dedline = \"1s\"").is_err());
    }
}
