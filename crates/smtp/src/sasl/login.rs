//! LOGIN (draft-murchison-sasl-login): the user name, then the password, each asked for by a fixed challenge.

use mail::{Mechanism, Secret};

use super::{Credentials, Next, Said};

/// `Username:`
pub(super) const USERNAME: &str = "VXNlcm5hbWU6";
/// `Password:`
const PASSWORD: &str = "UGFzc3dvcmQ6";

/// What has been said so far.
#[derive(Debug, Default)]
pub(crate) struct Login {
    authcid: Option<Box<str>>,
}

impl Login {
    pub(super) fn respond(&mut self, response: &Secret) -> Next {
        let text = match str::from_utf8(response.expose()) {
            Ok(text) if !text.is_empty() && !text.contains('\0') => text,
            _ => return Next::Malformed,
        };
        match self.authcid.take() {
            None => {
                self.authcid = Some(text.into());
                Next::Challenge(PASSWORD)
            }
            Some(authcid) => {
                let password = response.clone();
                Next::Said(Said::Password(Credentials { mechanism: Mechanism::Login, authcid, authzid: None, password }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_then_a_password() {
        let mut login = Login::default();
        assert!(matches!(login.respond(&Secret::new("tim")), Next::Challenge(PASSWORD)));
        let Next::Said(Said::Password(credentials)) = login.respond(&Secret::new("secret")) else { panic!("both are known") };
        assert_eq!((&*credentials.authcid, credentials.password), ("tim", Secret::new("secret")));
    }

    #[test]
    fn neither_may_be_empty_or_binary() {
        for wrong in [&b""[..], b"a\0b", b"\xff"] {
            assert!(matches!(Login::default().respond(&Secret::new(wrong)), Next::Malformed));
        }
    }
}
