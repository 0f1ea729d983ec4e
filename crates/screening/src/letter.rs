//! What is known of a message when it has come, beside who sends it.

use std::sync::Arc;

use crate::http::Source;

/// One message, for those who want to see all of it.
pub struct Letter<'l> {
    /// Its name here, as it will stand in Received.
    pub id: &'l str,
    /// The accounts it is for.
    pub recipients: &'l [Arc<str>],
    /// Who has logged in.
    pub user: Option<&'l str>,
    /// Its text.
    pub text: &'l mut dyn Source,
}
