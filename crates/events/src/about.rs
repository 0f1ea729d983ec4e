//! What is told of a message in every event that has one.

use std::fmt::{self, Display};
use std::sync::Arc;

use mail::{MessageId, ReversePath};
use tracing::field::{DisplayValue, display};

use crate::Said;

/// A message that is told of, as far as it is known by then.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'e> {
    /// Its id, where it has come as far as that.
    pub message: Option<MessageId>,
    /// What its client calls itself.
    pub helo: Option<&'e str>,
    /// From whom it is.
    pub reverse_path: Option<&'e ReversePath>,
    /// The accounts it is for.
    pub recipients: &'e [Arc<str>],
}

/// What a log line says of a message: what is not known has no field.
pub(crate) struct Told<'e> {
    pub(crate) id: Option<DisplayValue<MessageId>>,
    pub(crate) helo: Option<DisplayValue<Said<&'e str>>>,
    pub(crate) from: Option<DisplayValue<Said<&'e ReversePath>>>,
    pub(crate) to: Option<DisplayValue<FirstFew<'e>>>,
}

impl<'e> Told<'e> {
    pub(crate) fn of(about: &About<'e>) -> Self {
        let About { message, helo, reverse_path, recipients } = *about;
        Self {
            id: message.map(display),
            helo: helo.map(Said).map(display),
            from: reverse_path.map(Said).map(display),
            to: (!recipients.is_empty()).then(|| display(FirstFew(recipients))),
        }
    }
}

/// A list that a log line can hold.
pub(crate) struct FirstFew<'r>(pub(crate) &'r [Arc<str>]);

impl Display for FirstFew<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for recipient in self.0.iter().take(SHOWN) {
            write!(f, "{between}{}", Said(recipient))?;
            between = ",";
        }
        if self.0.len() > SHOWN { f.write_str(",...") } else { Ok(()) }
    }
}

const SHOWN: usize = 3;
