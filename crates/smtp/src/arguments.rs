//! The arguments of MAIL and RCPT: a path and parameters (RFC 5321 §4.1.1.2, §4.1.1.3, §4.1.2).
//!
//! A space before the path is accepted, as many clients write it. Keywords are read whatever their case; one that is given
//! twice, has a wrong value or is not offered in this session ([`Offer`]) is refused. AUTH= (RFC 4954 §5) is read where AUTH is offered, and has no effect: no
//! client is trusted to speak for another.

use std::num::NonZeroU64;

use mail::address::path_len;
use mail::{AddressError, BodyType, ForwardPath, RecipientRequests, Release, Requests, ReversePath};

use crate::extensions::Offer;
use crate::{Reply, parameters};

/// What MAIL said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailFrom {
    /// Where bounces go.
    pub reverse_path: ReversePath,
    /// The octets SIZE= announced (RFC 1870), if any.
    pub size: Option<NonZeroU64>,
    /// The form of the body BODY= announced (RFC 6152), or that of what a binary one is made of.
    pub body: BodyType,
    /// Whether BODY= announced a binary one (RFC 3030 §3): it comes by BDAT, is not made of lines, and is to be.
    pub binary: bool,
    /// Whether SMTPUTF8 was asked for (RFC 6531).
    pub utf8: bool,
    /// When it is to be released (RFC 4865); at once, mostly.
    pub release: Option<Release>,
    /// What it asked for besides (RFC 3461, RFC 2852, RFC 6710, RFC 8689); for no recipient yet.
    pub requests: Option<Box<Requests>>,
}

/// Why arguments are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reply: Reply,
    /// What is wrong with the path; fills the reply's `{detail}`.
    pub(crate) why: Option<AddressError>,
}

impl MailFrom {
    /// Reads `FROM:<reverse-path> [parameters]`; without EHLO no parameter is known.
    pub(crate) fn parse(arguments: &str, offer: Offer) -> Result<Self, Refusal> {
        let (path, parameters) = split("FROM:", arguments, Reply::REVERSE_PATH_WRONG)?;
        let reverse_path = ReversePath::parse(path).map_err(|why| Refusal::path(Reply::REVERSE_PATH_WRONG, why))?;
        let mut from =
            Self { reverse_path, size: None, body: BodyType::SevenBit, binary: false, utf8: false, release: None, requests: None };
        let mut seen = Seen::default();
        for parameter in parameters.split(' ').filter(|text| !text.is_empty()) {
            if !offer.extended {
                return Err(Reply::PARAMETER_UNKNOWN.into());
            }
            from.take(parameter, offer, &mut seen)?;
        }
        let by = from.requests.as_ref().and_then(|requests| requests.deliver_by);
        if let (Some(by), Some(release), Some(most)) = (by, from.release, offer.future_release)
            && most.wait(release) > by.seconds.into()
        {
            return Err(Reply::PARAMETER_WRONG.into());
        }
        match &from.reverse_path {
            ReversePath::Mailbox(mailbox) if !from.utf8 && !mailbox.is_ascii() => Err(Reply::SMTPUTF8_NEEDED.into()),
            _ => Ok(from),
        }
    }

    /// Whether the sender wants to hear of each step (RFC 2852).
    pub(crate) fn is_traced(&self) -> bool {
        self.requests.as_ref().and_then(|requests| requests.deliver_by).is_some_and(|by| by.trace)
    }

    fn take(&mut self, parameter: &str, offer: Offer, seen: &mut Seen) -> Result<(), Refusal> {
        let (keyword, value) = parameter.split_once('=').map_or((parameter, None), |(keyword, value)| (keyword, Some(value)));
        let is = |known: &str| keyword.eq_ignore_ascii_case(known);
        let twice = if is("SIZE") {
            self.size = NonZeroU64::new(size(value)?);
            std::mem::replace(&mut seen.size, true)
        } else if is("BODY") {
            (self.body, self.binary) = body(value)?;
            std::mem::replace(&mut seen.body, true)
        } else if is("SMTPUTF8") {
            if value.is_some() {
                return Err(Reply::PARAMETER_WRONG.into());
            }
            std::mem::replace(&mut self.utf8, true)
        } else if offer.auth && is("AUTH") {
            if value.is_none_or(str::is_empty) {
                return Err(Reply::PARAMETER_WRONG.into());
            }
            std::mem::replace(&mut seen.auth, true)
        } else if let Some(most) = offer.future_release.filter(|_| is("HOLDFOR") || is("HOLDUNTIL")) {
            let release = value.and_then(if is("HOLDFOR") { parameters::hold_for } else { parameters::hold_until });
            let release = release.ok_or(Reply::PARAMETER_WRONG)?;
            if most.wait(release) > most.interval.get().into() {
                return Err(Reply::HELD_TOO_LONG.into());
            }
            self.release.replace(release).is_some()
        } else {
            self.ask(keyword, value, offer)?
        };
        if twice { Err(Reply::PARAMETER_WRONG.into()) } else { Ok(()) }
    }

    /// Takes a parameter that asks for something; whether it was given before.
    fn ask(&mut self, keyword: &str, value: Option<&str>, offer: Offer) -> Result<bool, Refusal> {
        let is = |known: &str| keyword.eq_ignore_ascii_case(known);
        let of_reports = ["ENVID", "RET", "BY", "MT-PRIORITY"].into_iter().any(is);
        if !(offer.reports && of_reports || offer.require_tls && is("REQUIRETLS")) {
            return Err(Reply::PARAMETER_UNKNOWN.into());
        }
        let requests = self.requests.get_or_insert_default();
        let twice = match value {
            None if is("REQUIRETLS") => Some(std::mem::replace(&mut requests.require_tls, true)),
            Some(value) if is("ENVID") => parameters::envelope_id(value).map(|id| requests.envelope_id.replace(id).is_some()),
            Some(value) if is("RET") => parameters::returned(value).map(|returned| requests.returned.replace(returned).is_some()),
            Some(value) if is("BY") => parameters::deliver_by(value).map(|by| requests.deliver_by.replace(by).is_some()),
            Some(value) if is("MT-PRIORITY") => parameters::priority(value).map(|rank| requests.priority.replace(rank).is_some()),
            _ => None,
        };
        twice.ok_or_else(|| Reply::PARAMETER_WRONG.into())
    }
}

/// Reads `TO:<forward-path> [parameters]`, and what is asked for the recipient, where anything is or the message is `traced`.
pub(crate) fn recipient(
    arguments: &str,
    utf8: bool,
    traced: bool,
    offer: Offer,
) -> Result<(ForwardPath, Option<Box<RecipientRequests>>), Refusal> {
    let (path, parameters) = split("TO:", arguments, Reply::FORWARD_PATH_WRONG)?;
    let forward_path = ForwardPath::parse(path).map_err(|why| Refusal::path(Reply::FORWARD_PATH_WRONG, why))?;
    let mut requests = traced.then(Box::default);
    for parameter in parameters.split(' ').filter(|text| !text.is_empty()) {
        let (keyword, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let is = |known: &str| offer.extended && offer.reports && keyword.eq_ignore_ascii_case(known);
        let asked: &mut RecipientRequests = requests.get_or_insert_default();
        let twice = if is("NOTIFY") {
            parameters::notify(value).map(|notify| asked.notify.replace(notify).is_some())
        } else if is("ORCPT") {
            parameters::original_recipient(value, utf8).map(|original| asked.original.replace(original).is_some())
        } else {
            return Err(Reply::PARAMETER_UNKNOWN.into());
        };
        if twice != Some(false) {
            return Err(Reply::PARAMETER_WRONG.into());
        }
    }
    if !utf8 && !forward_path.is_ascii() {
        return Err(Reply::SMTPUTF8_NEEDED.into());
    }
    if let Some(requests) = &mut requests {
        requests.recipient = forward_path.to_string().into();
    }
    Ok((forward_path, requests))
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

/// The form it is kept in, and whether it has to be brought into that.
fn body(value: Option<&str>) -> Result<(BodyType, bool), Refusal> {
    match value {
        Some(value) if value.eq_ignore_ascii_case("7BIT") => Ok((BodyType::SevenBit, false)),
        Some(value) if value.eq_ignore_ascii_case("8BITMIME") => Ok((BodyType::EightBitMime, false)),
        Some(value) if value.eq_ignore_ascii_case("BINARYMIME") => Ok((BodyType::EightBitMime, true)),
        _ => Err(Reply::PARAMETER_WRONG.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::FutureRelease;

    const HELD: Option<FutureRelease> = Some(FutureRelease { interval: NonZeroU32::new(3600).unwrap(), until: 1_795_424_400 });
    const HELO: Offer = Offer { extended: false, reports: true, require_tls: true, future_release: HELD, starttls: false, auth: true };
    const RELAY: Offer = Offer { extended: true, reports: false, require_tls: false, future_release: None, starttls: true, auth: false };
    const ALL: Offer = Offer { extended: true, ..HELO };

    fn reply(arguments: &str) -> Reply {
        MailFrom::parse(arguments, RELAY).unwrap_err().reply
    }

    fn forward_path(arguments: &str, utf8: bool) -> Result<ForwardPath, Refusal> {
        recipient(arguments, utf8, false, RELAY).map(|(path, _)| path)
    }

    #[test]
    fn mail_as_it_is_written() {
        for arguments in ["FROM:<a@b>", "from: <a@b>", "From:  <@x.org:a@b>  "] {
            assert_eq!(MailFrom::parse(arguments, HELO).unwrap().reverse_path.to_string(), "<a@b>");
        }
        let from = MailFrom::parse("FROM:<> size=00123 Body=8bitmime smtputf8 AUTH=<>", ALL).unwrap();
        assert_eq!((from.size.map(NonZeroU64::get), from.body, from.utf8), (Some(123), BodyType::EightBitMime, true));
        for (value, read) in [
            ("7bit", (BodyType::SevenBit, false)),
            ("8bitMIME", (BodyType::EightBitMime, false)),
            ("BinaryMIME", (BodyType::EightBitMime, true)),
        ] {
            let from = MailFrom::parse(&format!("FROM:<a@b> BODY={value}"), RELAY).unwrap();
            assert_eq!((from.body, from.binary), read);
        }
        assert_eq!(MailFrom::parse("FROM:<a@b> SIZE=99999999999999999999", RELAY).unwrap().size, Some(NonZeroU64::MAX));
        assert!(MailFrom::parse("FROM:<jürgen@b> SMTPUTF8", RELAY).is_ok());
    }

    #[test]
    fn mail_that_is_wrong() {
        for arguments in ["", "<a@b>", "FROM <a@b>", "FROM:<a@b>SIZE=1", "TO:<a@b>", "é"] {
            assert_eq!(reply(arguments), Reply::ARGUMENTS_WRONG, "{arguments}");
        }
        for arguments in ["FROM:", "FROM:a@b", "FROM:<a@b", "FROM:<postmaster>", "FROM:<a@b@c>"] {
            assert_eq!(reply(arguments), Reply::REVERSE_PATH_WRONG, "{arguments}");
        }
        for parameter in [
            "SIZE",
            "SIZE=",
            "SIZE=x",
            "SIZE=+1",
            "SIZE=1 SIZE=1",
            "SIZE=000000000000000000001",
            "BODY=BINARY",
            "BODY=7BIT BODY=BINARYMIME",
        ] {
            assert_eq!(reply(&format!("FROM:<a@b> {parameter}")), Reply::PARAMETER_WRONG, "{parameter}");
        }
        for parameter in ["SMTPUTF8=1", "SMTPUTF8 SMTPUTF8"] {
            assert_eq!(reply(&format!("FROM:<a@b> {parameter}")), Reply::PARAMETER_WRONG, "{parameter}");
        }
        assert_eq!(reply("FROM:<a@b> RET=FULL"), Reply::PARAMETER_UNKNOWN);
        assert_eq!(reply("FROM:<a@b> =1"), Reply::PARAMETER_UNKNOWN);
        assert_eq!(reply("FROM:<jürgen@b>"), Reply::SMTPUTF8_NEEDED);
        assert_eq!(MailFrom::parse("FROM:<a@b> SIZE=1", HELO).unwrap_err().reply, Reply::PARAMETER_UNKNOWN, "after HELO");
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
    #[test]
    fn what_is_asked_for_where_it_is_offered() {
        let from = MailFrom::parse("FROM:<> ret=hdrs ENVID=a+20b BY=60;RT MT-PRIORITY=-3 REQUIRETLS SIZE=1", ALL).unwrap();
        let requests = *from.requests.clone().unwrap();
        assert_eq!((requests.envelope_id.as_deref(), requests.priority, requests.require_tls), (Some("a b"), Some(-3), true));
        assert!(from.is_traced() && requests.recipients.is_empty());
        assert_eq!(MailFrom::parse("FROM:<> SIZE=1", ALL).unwrap().requests, None, "the usual message has no box");
        for parameter in [
            "RET",
            "RET=",
            "RET=HDRS RET=HDRS",
            "ENVID",
            "ENVID=a ENVID=a",
            "BY=0;R",
            "MT-PRIORITY=10",
            "REQUIRETLS=1",
            "REQUIRETLS REQUIRETLS",
            "AUTH",
            "AUTH=",
            "AUTH=<> AUTH=<>",
        ] {
            let refusal = MailFrom::parse(&format!("FROM:<a@b> {parameter}"), ALL).unwrap_err();
            assert_eq!(refusal.reply, Reply::PARAMETER_WRONG, "{parameter}");
        }
        for parameter in
            ["RET=FULL", "ENVID=a", "BY=60;R", "MT-PRIORITY=1", "REQUIRETLS", "HOLDFOR=1", "HOLDUNTIL=2026-11-23T08:00:00Z", "AUTH=<>"]
        {
            for offer in [HELO, RELAY] {
                let refusal = MailFrom::parse(&format!("FROM:<a@b> {parameter}"), offer).unwrap_err();
                assert_eq!(refusal.reply, Reply::PARAMETER_UNKNOWN, "{parameter}");
            }
        }
    }

    #[test]
    fn a_message_is_held_as_long_as_it_may_be() {
        for (parameters, release) in [
            ("HOLDFOR=3600", Release::After(3600)),
            ("holdfor=60 BY=60;R", Release::After(60)),
            ("HOLDUNTIL=2026-11-23T09:00:00Z", Release::At(1_795_424_400)),
            ("HOLDUNTIL=2020-01-01T00:00:00Z", Release::At(1_577_836_800)),
        ] {
            assert_eq!(MailFrom::parse(&format!("FROM:<a@b> {parameters}"), ALL).unwrap().release, Some(release), "{parameters}");
        }
        for (parameters, expected) in [
            ("HOLDFOR=3601", Reply::HELD_TOO_LONG),
            ("HOLDUNTIL=2026-11-23T09:00:01Z", Reply::HELD_TOO_LONG),
            ("HOLDFOR", Reply::PARAMETER_WRONG),
            ("HOLDFOR=0", Reply::PARAMETER_WRONG),
            ("HOLDUNTIL=tomorrow", Reply::PARAMETER_WRONG),
            ("HOLDFOR=1 HOLDFOR=1", Reply::PARAMETER_WRONG),
            ("HOLDFOR=1 HOLDUNTIL=2026-11-23T08:30:00Z", Reply::PARAMETER_WRONG),
            ("HOLDFOR=61 BY=60;N", Reply::PARAMETER_WRONG),
        ] {
            assert_eq!(MailFrom::parse(&format!("FROM:<a@b> {parameters}"), ALL).unwrap_err().reply, expected, "{parameters}");
        }
    }

    #[test]
    fn what_is_asked_for_a_recipient() {
        let (path, requests) = recipient("TO:<a@b> notify=SUCCESS ORCPT=rfc822;x@y", false, false, ALL).unwrap();
        let requests = *requests.unwrap();
        assert_eq!((path.to_string().as_str(), &*requests.recipient), ("<a@b>", "<a@b>"));
        assert!(requests.notify.is_some_and(|notify| notify.success) && requests.original.is_some());
        assert_eq!(recipient("TO:<a@b>", false, false, ALL).unwrap().1, None);
        assert_eq!(&*recipient("TO:<a@b>", false, true, ALL).unwrap().1.unwrap().recipient, "<a@b>", "traced");
        for parameter in
            ["NOTIFY", "NOTIFY=", "NOTIFY=NEVER NOTIFY=NEVER", "NOTIFY=NEVER,DELAY", "ORCPT=x", "ORCPT=rfc822;a ORCPT=rfc822;a"]
        {
            assert_eq!(
                recipient(&format!("TO:<a@b> {parameter}"), false, false, ALL).unwrap_err().reply,
                Reply::PARAMETER_WRONG,
                "{parameter}"
            );
        }
        for offer in [HELO, RELAY] {
            assert_eq!(recipient("TO:<a@b> NOTIFY=NEVER", false, false, offer).unwrap_err().reply, Reply::PARAMETER_UNKNOWN);
        }
    }
}
