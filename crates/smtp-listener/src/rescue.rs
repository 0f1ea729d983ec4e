//! What a client is told when the store does not do what was asked: the one mapping from a store's error to a reply.
//!
//! Always temporary: the client keeps the message and tries again. The cause is for the log, never for the client.

use smtp::Reply;
use store::Error;

/// The reply that an error means.
pub(crate) fn reply(error: &Error) -> Reply {
    match error {
        Error::Full(_) => Reply::STORE_FULL,
        Error::InUse => Reply::MAILBOX_BUSY,
        _ => Reply::STORE_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_of_ours_is_permanent() {
        for error in [Error::Full("no room".into()), Error::InUse, Error::Unavailable("broken".into())] {
            assert_eq!(reply(&error).code() / 100, 4, "{error}");
        }
    }
}
