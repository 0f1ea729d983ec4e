//! Where a new password comes from: made here, read from a file or standard input, or asked for.
//!
//! Never from the command line or the environment, which others on the machine can read. Refuses: a password of fewer than eight characters, one with
//! control characters, one too long for SASL. A password that is asked for is asked for twice and not shown.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};

use mail::Secret;

use crate::cli::PasswordSource;

/// A new password.
#[derive(Debug)]
pub(crate) struct NewPassword {
    pub(crate) secret: Secret,
    /// Nobody knows it yet: it is to be printed, once.
    pub(crate) generated: bool,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("the two passwords differ; nothing was changed")]
    Differ,
    #[error("the password is empty; nothing was changed")]
    Empty,
    #[error("the password has fewer than {FEWEST_CHARACTERS} characters; nothing was changed. --generate makes one")]
    TooShort,
    #[error("the password has more than {LONGEST_OCTETS} octets; nothing was changed")]
    TooLong,
    #[error("the password has control characters, which mail programs cannot send; nothing was changed")]
    Control,
    #[error("the password is not UTF-8; nothing was changed")]
    NotText,
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("the password cannot be asked for: {0}")]
    Prompt(io::Error),
}

impl NewPassword {
    /// Gets one for the account of this name. Waits for whoever types it.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub(crate) fn obtain(source: &PasswordSource, account: &str) -> Result<Self, PasswordError> {
        if source.generate {
            return Ok(Self { secret: Secret::new(generate()), generated: true });
        }
        let secret = match &source.password_file {
            Some(path) if path != Path::new("-") => {
                let failed = |error| PasswordError::File { path: path.clone(), error };
                first_line(BufReader::new(File::open(path).map_err(failed)?)).map_err(failed)?
            }
            None if io::stdin().is_terminal() => asked(account)?,
            _ => first_line(io::stdin().lock()).map_err(PasswordError::Prompt)?,
        };
        usable(&secret)?;
        Ok(Self { secret, generated: false })
    }
}

fn asked(account: &str) -> Result<Secret, PasswordError> {
    let ask = |prompt: String| rpassword::prompt_password(prompt).map(Secret::new).map_err(PasswordError::Prompt);
    let (first, again) = (ask(format!("New password for {account}: "))?, ask("The same again: ".into())?);
    if first == again { Ok(first) } else { Err(PasswordError::Differ) }
}

/// The first line without its end, whichever system wrote it. No more is read than can be a password.
fn first_line(from: impl BufRead) -> io::Result<Secret> {
    let mut line = zeroize::Zeroizing::new(Vec::with_capacity(LONGEST_OCTETS + 3));
    from.take(LONGEST_OCTETS as u64 + 3).read_until(b'\n', &mut line)?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    Ok(Secret::new(line.strip_suffix(b"\r").unwrap_or(line)))
}

fn usable(secret: &Secret) -> Result<(), PasswordError> {
    match std::str::from_utf8(secret.expose()) {
        Err(_) => Err(PasswordError::NotText),
        Ok("") => Err(PasswordError::Empty),
        Ok(text) if text.len() > LONGEST_OCTETS => Err(PasswordError::TooLong),
        Ok(text) if text.chars().any(char::is_control) => Err(PasswordError::Control),
        Ok(text) if text.chars().count() < FEWEST_CHARACTERS => Err(PasswordError::TooShort),
        Ok(_) => Ok(()),
    }
}

/// Twenty characters that cannot be taken for one another, in groups: 99 bits, easily read out and typed.
pub(crate) fn generate() -> String {
    let group = || (0..4).filter_map(|_| CHARACTERS.get(rand::random_range(0..CHARACTERS.len()))).map(|octet| char::from(*octet)).collect();
    (0..5).map(|_| group()).collect::<Vec<String>>().join("-")
}

const CHARACTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// What NIST SP 800-63B asks for at least of a password that people choose.
const FEWEST_CHARACTERS: usize = 8;
/// What RFC 4616 leaves room for in one AUTH PLAIN.
const LONGEST_OCTETS: usize = 1024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    fn from_file(octets: &[u8]) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, octets).unwrap();
        let source = PasswordSource { generate: false, password_file: Some(path) };
        NewPassword::obtain(&source, "ann@example.org").map(|new| new.secret.expose().to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_gives_its_first_line() {
        for octets in [&b"hunter22"[..], b"hunter22\n", b"hunter22\r\n", b"hunter22\nmore\n"] {
            assert_eq!(from_file(octets).unwrap(), b"hunter22");
        }
        assert_eq!(from_file(b" two words \n").unwrap(), b" two words ");
        for (octets, why) in [
            (&b""[..], "the password is empty; nothing was changed"),
            (b"\nhunter2\n", "the password is empty; nothing was changed"),
            (b"a", "the password has fewer than 8 characters; nothing was changed. --generate makes one"),
            ("sieben\u{e4}".as_bytes(), "the password has fewer than 8 characters; nothing was changed. --generate makes one"),
            (b"a\tb", "the password has control characters, which mail programs cannot send; nothing was changed"),
            (b"\xff", "the password is not UTF-8; nothing was changed"),
            (&[b'a'; 1025], "the password has more than 1024 octets; nothing was changed"),
            (&[b'a'; 9999], "the password has more than 1024 octets; nothing was changed"),
        ] {
            assert_eq!(from_file(octets).unwrap_err(), why);
        }
    }

    #[test]
    fn generated_passwords_differ_and_can_be_used() {
        let source = PasswordSource { generate: true, password_file: None };
        let all: BTreeSet<Vec<u8>> = (0..100).map(|_| NewPassword::obtain(&source, "ann").unwrap().secret.expose().to_vec()).collect();
        assert_eq!(all.len(), 100);
        assert!(all.iter().all(|password| password.len() == 24));
    }
}
