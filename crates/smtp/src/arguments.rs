//! The arguments of MAIL and RCPT: a path and parameters (RFC 5321 §4.1.1.2, §4.1.1.3, §4.1.2).
//!
//! A space before the path is accepted, as many clients write it. Keywords are read whatever their case; one that is given
//! twice, has a wrong value or is not known is refused. AUTH= (RFC 4954 §5) is read and has no effect: no client is trusted to
//! speak for another.

use mail::address::path_len;
use mail::{AddressError, BodyType, ForwardPath, ReversePath};

use crate::Reply;

/// What MAIL said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailFrom {
    /// Where bounces go.
    pub reverse_path: ReversePath,
    /// The octets SIZE= announced (RFC 1870).
    pub size: Option<u64>,
    /// The form of the body BODY= announced (RFC 6152).
    pub body: BodyType,
    /// Whether SMTPUTF8 was asked for (RFC 6531).
    pub utf8: bool,
}

/// Why arguments are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reply: Reply,
    /// What is wrong with the path; fills the reply's `{detail}`.
    pub(crate) why: Option<AddressError>,
}

impl MailFrom {
    /// Reads `FROM:<reverse-path> [parameters]`; without `extended` (after HELO) no parameter is known.
    pub(crate) fn parse(arguments: &str, extended: bool) -> Result<Self, Refusal> {
        let (path, parameters) = split("FROM:", arguments, Reply::REVERSE_PATH_WRONG)?;
        let reverse_path = ReversePath::parse(path).map_err(|why| Refusal::path(Reply::REVERSE_PATH_WRONG, why))?;
        let mut from = Self { reverse_path, size: None, body: BodyType::SevenBit, utf8: false };
        let mut seen = Seen::default();
        for parameter in parameters.split(' ').filter(|text| !text.is_empty()) {
            if !extended {
                return Err(Reply::PARAMETER_UNKNOWN.into());
            }
            from.take(parameter, &mut seen)?;
        }
        match &from.reverse_path {
            ReversePath::Mailbox(mailbox) if !from.utf8 && !mailbox.is_ascii() => Err(Reply::SMTPUTF8_NEEDED.into()),
            _ => Ok(from),
        }
    }

    fn take(&mut self, parameter: &str, seen: &mut Seen) -> Result<(), Refusal> {
        let (keyword, value) = parameter.split_once('=').map_or((parameter, None), |(keyword, value)| (keyword, Some(value)));
        let is = |known: &str| keyword.eq_ignore_ascii_case(known);
        let twice = if is("SIZE") {
            self.size = Some(size(value)?);
            std::mem::replace(&mut seen.size, true)
        } else if is("BODY") {
            self.body = body(value)?;
            std::mem::replace(&mut seen.body, true)
        } else if is("SMTPUTF8") {
            if value.is_some() {
                return Err(Reply::PARAMETER_WRONG.into());
            }
            std::mem::replace(&mut self.utf8, true)
        } else if is("AUTH") {
            if value.is_none_or(str::is_empty) {
                return Err(Reply::PARAMETER_WRONG.into());
            }
            std::mem::replace(&mut seen.auth, true)
        } else {
            return Err(Reply::PARAMETER_UNKNOWN.into());
        };
        if twice { Err(Reply::PARAMETER_WRONG.into()) } else { Ok(()) }
    }
}

/// Reads `TO:<forward-path>`; no parameter is known.
pub(crate) fn forward_path(arguments: &str, utf8: bool) -> Result<ForwardPath, Refusal> {
    let (path, parameters) = split("TO:", arguments, Reply::FORWARD_PATH_WRONG)?;
    let forward_path = ForwardPath::parse(path).map_err(|why| Refusal::path(Reply::FORWARD_PATH_WRONG, why))?;
    if !parameters.is_empty() {
        return Err(Reply::PARAMETER_UNKNOWN.into());
    }
    if !utf8 && !forward_path.is_ascii() {
        return Err(Reply::SMTPUTF8_NEEDED.into());
    }
    Ok(forward_path)
}

impl Refusal {
    fn path(reply: Reply, why: AddressError) -> Self {
        Self { reply, why: Some(why) }
    }
}

impl From<Reply> for Refusal {
    fn from(reply: Reply) -> Self {
        Self { reply, why: None }
    }
}

#[derive(Default)]
struct Seen {
    size: bool,
    body: bool,
    auth: bool,
}

/// Path and parameters behind the keyword.
fn split<'l>(keyword: &str, arguments: &'l str, wrong: Reply) -> Result<(&'l str, &'l str), Refusal> {
    let rest = arguments.get(..keyword.len()).filter(|start| start.eq_ignore_ascii_case(keyword)).and(arguments.get(keyword.len()..));
    let rest = rest.ok_or(Reply::ARGUMENTS_WRONG)?.trim_start_matches(' ');
    let end = path_len(rest).ok_or(Refusal::path(wrong, AddressError::Brackets))?;
    let (path, parameters) = rest.split_at(end);
    if parameters.is_empty() || parameters.starts_with(' ') { Ok((path, parameters)) } else { Err(Reply::ARGUMENTS_WRONG.into()) }
}

/// `1*20DIGIT` (RFC 1870 §4); a number too big for 64 bits is the biggest.
fn size(value: Option<&str>) -> Result<u64, Refusal> {
    match value {
        Some(digits) if (1..=20).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            Ok(digits.parse().unwrap_or(u64::MAX))
        }
        _ => Err(Reply::PARAMETER_WRONG.into()),
    }
}

fn body(value: Option<&str>) -> Result<BodyType, Refusal> {
    match value {
        Some(value) if value.eq_ignore_ascii_case("7BIT") => Ok(BodyType::SevenBit),
        Some(value) if value.eq_ignore_ascii_case("8BITMIME") => Ok(BodyType::EightBitMime),
        _ => Err(Reply::PARAMETER_WRONG.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(arguments: &str) -> Reply {
        MailFrom::parse(arguments, true).unwrap_err().reply
    }

    #[test]
    fn mail_as_it_is_written() {
        for arguments in ["FROM:<a@b>", "from: <a@b>", "From:  <@x.org:a@b>  "] {
            assert_eq!(MailFrom::parse(arguments, false).unwrap().reverse_path.to_string(), "<a@b>");
        }
        let from = MailFrom::parse("FROM:<> size=00123 Body=8bitmime smtputf8 AUTH=<>", true).unwrap();
        assert_eq!((from.size, from.body, from.utf8), (Some(123), BodyType::EightBitMime, true));
        assert_eq!(MailFrom::parse("FROM:<a@b> SIZE=99999999999999999999", true).unwrap().size, Some(u64::MAX));
        assert!(MailFrom::parse("FROM:<jürgen@b> SMTPUTF8", true).is_ok());
    }

    #[test]
    fn mail_that_is_wrong() {
        for arguments in ["", "<a@b>", "FROM <a@b>", "FROM:<a@b>SIZE=1", "TO:<a@b>", "é"] {
            assert_eq!(reply(arguments), Reply::ARGUMENTS_WRONG, "{arguments}");
        }
        for arguments in ["FROM:", "FROM:a@b", "FROM:<a@b", "FROM:<postmaster>", "FROM:<a@b@c>"] {
            assert_eq!(reply(arguments), Reply::REVERSE_PATH_WRONG, "{arguments}");
        }
        for parameter in
            ["SIZE", "SIZE=", "SIZE=x", "SIZE=+1", "SIZE=1 SIZE=1", "SIZE=000000000000000000001", "BODY=BINARYMIME", "BODY=7BIT BODY=7BIT"]
        {
            assert_eq!(reply(&format!("FROM:<a@b> {parameter}")), Reply::PARAMETER_WRONG, "{parameter}");
        }
        for parameter in ["SMTPUTF8=1", "SMTPUTF8 SMTPUTF8", "AUTH=", "AUTH", "AUTH=<> AUTH=<>"] {
            assert_eq!(reply(&format!("FROM:<a@b> {parameter}")), Reply::PARAMETER_WRONG, "{parameter}");
        }
        assert_eq!(reply("FROM:<a@b> RET=FULL"), Reply::PARAMETER_UNKNOWN);
        assert_eq!(reply("FROM:<a@b> =1"), Reply::PARAMETER_UNKNOWN);
        assert_eq!(reply("FROM:<jürgen@b>"), Reply::SMTPUTF8_NEEDED);
        assert_eq!(MailFrom::parse("FROM:<a@b> SIZE=1", false).unwrap_err().reply, Reply::PARAMETER_UNKNOWN, "after HELO");
    }

    #[test]
    fn rcpt_right_and_wrong() {
        assert_eq!(forward_path("to: <PostMaster>", false), Ok(ForwardPath::Postmaster));
        assert!(forward_path("TO:<\"a> b\"@c>", false).is_ok());
        for (arguments, expected) in [
            ("TO:<>", Reply::FORWARD_PATH_WRONG),
            ("TO:<a@b> NOTIFY=NEVER", Reply::PARAMETER_UNKNOWN),
            ("TO:<jürgen@b>", Reply::SMTPUTF8_NEEDED),
            ("FROM:<a@b>", Reply::ARGUMENTS_WRONG),
        ] {
            assert_eq!(forward_path(arguments, false).unwrap_err().reply, expected, "{arguments}");
        }
        assert!(forward_path("TO:<jürgen@b>", true).is_ok());
    }
}
