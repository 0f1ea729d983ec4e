//! `gatepost explain`: the whole of what is asked about a message, dry.
//!
//! Asks by the configuration file, which need not be the one in force, with DNS and the services as they are now; but about recipients, where the
//! server runs, it is the server that answers, by what is in force. Nothing is changed here and nobody else is told. It is asked what is asked
//! on listen.smtp, of a client without a password. The client is taken for one that has delivered mail before: nobody is greylisted here, nobody
//! has talked before a greeting, and no rate is met.

use std::fs;
use std::io::{self, Read, Write};
use std::sync::Arc;

use admin::{Origin, RecipientRequest, RecipientStep, Reply, Setting};
use mail::ReversePath;
use screening::{Client, Finding, Letter, Manners, Reading, Screener, Screening, Verdict};
use smtp::Reply as Said;
use smtp_listener::flaw;

use super::Outcome;
use super::place::Place;
use crate::cli::{Exit, Screen};
use crate::config::Listener;
use crate::server::screener;

/// Prints every check, what DNS says, the lines of the configuration and the reply.
///
/// # Errors
/// A configuration, address or message that cannot be read, or a directory that cannot be asked.
pub(crate) fn run(screen: &Screen) -> Outcome {
    let reverse_path =
        ReversePath::parse(&format!("<{}>", plain(&screen.from))).map_err(|error| format!("--from {:?}: {error}", screen.from))?;
    if !smtp::is_client_name(&screen.helo) {
        return Err(format!("--helo {:?}: EHLO is answered {}", screen.helo, line_of(Said::CLIENT_NAME_WRONG)).into());
    }
    let message = screen.file.as_deref().map(|file| read(&file.to_string_lossy())).transpose()?;
    let place = Place::find(&screen.server)?;
    let limits = &place.config().limits;
    let hops = usize::try_from(limits.hops).unwrap_or(usize::MAX);
    let flaw = message.as_deref().and_then(|message| flaw(message, limits.message_bytes.0, hops));
    let client = Client { ip: screen.ip, helo: &screen.helo, reverse_path: &reverse_path, is_known: true, manners: Manners::Unknown };
    let mut out = io::stdout().lock();
    writeln!(out, "client     {}, which says {}\nMAIL FROM  {reverse_path}", client.ip, client.helo)?;
    let relay = place.config().relay.networks.iter().find(|network| network.0.contains(&client.ip.to_canonical()));
    for recipient in screen.to.iter().map(|recipient| plain(recipient)) {
        let octets = message.as_ref().map_or(0, |message| message.len() as u64);
        let request = RecipientRequest { recipient: recipient.to_owned(), may_relay: relay.is_some(), octets };
        answered(&mut out, recipient, place.explain(&request)?)?;
    }
    if let Some(network) = relay {
        let line = line(&place.setting("relay.networks"));
        writeln!(out, "\nNothing is asked: {} is in {network} of relay.networks{line}", client.ip)?;
        flawed(&mut out, flaw.as_ref())?;
        return Ok(Exit::Done);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let on_smtp =
            |number: usize| place.config().screening.checks.get(number).is_some_and(|rule| rule.listeners.contains(&Listener::Smtp));
        let Some(screener) = screener(place.config())?.map(|screener| screener.only(|number, _| on_smtp(number))) else {
            writeln!(out, "\nNothing is asked: screening.checks is empty{}", line(&place.setting("screening.checks")))?;
            flawed(&mut out, flaw.as_ref())?;
            return Ok(Exit::Done);
        };
        let recipients: Vec<Arc<str>> = screen.to.iter().map(|recipient| plain(recipient).into()).collect();
        // What is refused anyhow is not asked about.
        let asked = message.as_deref().filter(|_| flaw.is_none());
        let (screening, at_mail) = ask(&screener, client, asked, &recipients).await;
        findings(&mut out, &screening, &place)?;
        answers(&mut out, &screener, client, asked).await?;
        match flaw.filter(|_| screening.reply().is_none()) {
            Some(flaw) => flawed(&mut out, Some(&flaw))?,
            None => conclusion(&mut out, &screening, client, at_mail, message.is_some())?,
        }
        Ok(Exit::Done)
    })
}

/// What is found, and whether the reply is given at MAIL already.
async fn ask(screener: &Screener, client: Client<'_>, message: Option<&[u8]>, recipients: &[Arc<str>]) -> (Screening, bool) {
    let screening = screener.envelope(client).await;
    match message {
        Some(mut message) if screening.reply().is_none() => {
            let reading = reading(screener, message);
            let mut letter = Letter { id: "explain", recipients, user: None, text: &mut message };
            (screener.message(client, screening, reading, &mut letter).await, false)
        }
        _ => (screening, true),
    }
}

fn reading(screener: &Screener, message: &[u8]) -> Reading {
    let mut reading = screener.reading();
    reading.pass(message);
    reading
}

/// An address that may have been written as SMTP has it, in angle brackets.
fn plain(address: &str) -> &str {
    address.strip_prefix('<').and_then(|address| address.strip_suffix('>')).unwrap_or(address)
}

/// The message as SMTP would bring it. One whose first line ends as lines do in files has all of them ended by CRLF; any other is taken as it is.
fn read(file: &str) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let read = match file {
        "-" => io::stdin().lock().read_to_end(&mut text).map(|_| ()),
        file => fs::read(file).map(|read| text = read),
    };
    read.map_err(|error| format!("{file}: {error}"))?;
    if text.iter().position(|octet| *octet == b'\n').is_some_and(|end| text.get(..end).is_some_and(|line| line.ends_with(b"\r"))) {
        if !text.ends_with(b"\n") {
            text.extend_from_slice(b"\r\n");
        }
        return Ok(text);
    }
    let mut message = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        match line {
            [before @ .., b'\r', b'\n'] | [before @ .., b'\n'] => message.extend_from_slice(&[before, b"\r\n"].concat()),
            rest => message.extend_from_slice(rest),
        }
    }
    Ok(message)
}

/// What RCPT answers, and what is found on the way there.
fn answered(out: &mut impl Write, recipient: &str, reply: Reply) -> Outcome {
    let Reply::Recipient(explained) = reply else { return Err(format!("the server answered something else: {reply:?}").into()) };
    writeln!(out, "RCPT TO    <{recipient}>: {}", explained.reply)?;
    for RecipientStep { found, setting } in &explained.steps {
        writeln!(out, "           {}{}", shown(found), setting.as_ref().map(line).unwrap_or_default())?;
    }
    Ok(Exit::Done)
}

fn findings(out: &mut impl Write, screening: &Screening, place: &Place) -> io::Result<()> {
    let (config, line) = (place.config(), line(&place.setting("screening.checks")));
    writeln!(out, "\nCHECK  RESULT     VERDICT     FOUND")?;
    for finding in screening.findings() {
        let Finding { check, outcome, verdict, detail, .. } = finding;
        writeln!(out, "{:<6} {:<10} {:<11} {}", check.as_str(), outcome.as_str(), verdict.as_str(), shown(detail))?;
        let rule = config.screening.checks.get(finding.rule);
        writeln!(out, "       by {}{}", rule.map(ToString::to_string).unwrap_or_default(), line)?;
    }
    let is_asked = |number: usize| screening.findings().iter().any(|finding| finding.rule == number);
    for (_, rule) in config.screening.checks.iter().enumerate().filter(|(number, _)| !is_asked(*number)) {
        writeln!(out, "       not asked: {rule}")?;
    }
    Ok(())
}

async fn answers(out: &mut impl Write, screener: &Screener, client: Client<'_>, message: Option<&[u8]>) -> io::Result<()> {
    writeln!(out, "\nDNS")?;
    for answer in screener.answers(client, message.map(|message| reading(screener, message))).await {
        let said = match &answer.records {
            Ok(records) => records.iter().map(|record| shown(record)).collect::<Vec<_>>().join("\n       "),
            Err(why) => format!("({why})"),
        };
        writeln!(out, "{:<6} {}\n       {said}", answer.kind.as_str(), shown(&answer.name))?;
    }
    Ok(())
}

fn conclusion(out: &mut impl Write, screening: &Screening, client: Client<'_>, at_mail: bool, has_message: bool) -> io::Result<()> {
    let fields = screening.fields();
    if !fields.is_empty() && screening.verdict() < Verdict::Defer {
        writeln!(out, "\nFIELDS\n{}", String::from_utf8_lossy(&fields).replace("\r\n", "\n").trim_end())?;
    }
    let stage = if at_mail { "to MAIL" } else { "to the message" };
    match screening.reply() {
        Some(reply) => {
            let said = screening.reason().and_then(|reason| reason.said.as_deref()).unwrap_or_default();
            let text = reply.text().replace("{peer}", &client.ip.to_canonical().to_string()).replace("{detail}", said);
            writeln!(out, "\nREPLY  {stage}: {} {} {text}", reply.code(), reply.enhanced())
        }
        None if !has_message => writeln!(out, "\nREPLY  to MAIL: 250; what is asked of the message was not asked: there is none"),
        None => writeln!(out, "\nREPLY  {stage}: 250 ({})", screening.verdict().as_str()),
    }
}

/// What a message is answered that is refused whatever is thought of it, if this is one.
fn flawed(out: &mut impl Write, flaw: Option<&(Said, String)>) -> io::Result<()> {
    let Some((reply, why)) = flaw else { return Ok(()) };
    writeln!(out, "\nREPLY  to the message: {}\n       {why}; nothing else is asked of it", line_of(*reply))
}

fn line_of(reply: Said) -> String {
    format!("{} {} {}", reply.code(), reply.enhanced(), reply.text())
}

/// What a peer or a zone has chosen, without what a terminal would obey.
fn shown(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// ` (FILE:LINE)`, where a key is written.
fn line(Setting { origin, .. }: &Setting) -> String {
    match origin {
        Origin::File { path, line } => format!(" ({}:{line})", path.display()),
        _ => " (the default)".into(),
    }
}
