//! `gatepost config`: the texts made from the configuration's types, on standard output.

use std::io::{self, Write};

use crate::cli::{ConfigText, Exit};
use crate::config::{example, reference};

/// Prints one of them.
///
/// # Errors
/// Standard output's.
pub(crate) fn run(text: ConfigText) -> io::Result<Exit> {
    let text = match text {
        ConfigText::Example => example(),
        ConfigText::Reference => reference(),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}
