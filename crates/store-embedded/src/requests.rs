//! What a message asks for besides delivery, as the log keeps it behind the accounts of its envelope, and why it is held.
//!
//! ```text
//!   1  1 RET=HDRS, 2 RET=FULL, 4 REQUIRETLS, 8 with ENVID, 16 with MT-PRIORITY, 32 with BY
//!      ENVID: 2 its length, then the text
//!      MT-PRIORITY: 1 the number, two's complement
//!      BY: 4 seconds, two's complement; 1: 1 to return, 2 to trace
//!   2  count of recipients, then each:
//!      2 length of the forward path, then the path with its brackets
//!      1: 1 NOTIFY was said, 2 SUCCESS, 4 FAILURE, 8 DELAY, 16 with ORCPT
//!      ORCPT: 2 length of the type, then the type; 2 length of the address, then the address
//! ```
//!
//! Decoding refuses what is not exactly this and cannot panic. No message that asks for nothing has any of it.

use mail::{DeliverBy, Notify, OriginalRecipient, RecipientRequests, Requests, Returned};

use crate::record::{Cursor, push_text};

/// Appends them. No more recipients than a count can tell are kept.
pub(crate) fn encode(requests: &Requests, octets: &mut Vec<u8>) {
    let Requests { envelope_id, returned, priority, require_tls, deliver_by, recipients } = requests;
    let returned = match returned {
        Some(Returned::Headers) => HEADERS,
        Some(Returned::Full) => FULL,
        None => 0,
    };
    let said = [(*require_tls, TLS), (envelope_id.is_some(), ENVELOPE_ID), (priority.is_some(), PRIORITY), (deliver_by.is_some(), BY)];
    octets.push(returned | bits(&said));
    if let Some(envelope_id) = envelope_id {
        push_text(octets, envelope_id);
    }
    octets.extend(priority.iter().flat_map(|priority| priority.to_le_bytes()));
    if let Some(DeliverBy { seconds, or_return, trace }) = deliver_by {
        octets.extend_from_slice(&seconds.to_le_bytes());
        octets.push(bits(&[(*or_return, RETURN), (*trace, TRACE)]));
    }
    octets.extend_from_slice(&u16::try_from(recipients.len()).unwrap_or(u16::MAX).to_le_bytes());
    for RecipientRequests { recipient, notify, original } in recipients.iter().take(usize::from(u16::MAX)) {
        push_text(octets, recipient);
        let Notify { success, failure, delay } = notify.unwrap_or_default();
        let said = [(notify.is_some(), NOTIFY), (success, SUCCESS), (failure, FAILURE), (delay, DELAY), (original.is_some(), ORIGINAL)];
        octets.push(bits(&said));
        if let Some(OriginalRecipient { address_type, address }) = original {
            push_text(octets, address_type);
            push_text(octets, address);
        }
    }
}

/// Reads them.
pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Option<Requests> {
    let [said] = cursor.take()?;
    let has = |bit| said & bit != 0;
    let returned = match said & (HEADERS | FULL) {
        0 => None,
        HEADERS => Some(Returned::Headers),
        FULL => Some(Returned::Full),
        _ => return None,
    };
    if said >= BY << 1 {
        return None;
    }
    let envelope_id = if has(ENVELOPE_ID) { Some(cursor.text()?.into()) } else { None };
    let priority = if has(PRIORITY) { Some(i8::from_le_bytes(cursor.take()?)) } else { None };
    let deliver_by = if has(BY) { Some(deliver_by(cursor)?) } else { None };
    let count = u16::from_le_bytes(cursor.take()?);
    let recipients = (0..count).map(|_| recipient(cursor)).collect::<Option<_>>()?;
    Some(Requests { envelope_id, returned, priority, require_tls: has(TLS), deliver_by, recipients })
}

fn deliver_by(cursor: &mut Cursor<'_>) -> Option<DeliverBy> {
    let seconds = i32::from_le_bytes(cursor.take()?);
    let [said] = cursor.take()?;
    (said < TRACE << 1).then_some(DeliverBy { seconds, or_return: said & RETURN != 0, trace: said & TRACE != 0 })
}

fn recipient(cursor: &mut Cursor<'_>) -> Option<RecipientRequests> {
    let recipient = cursor.text()?.into();
    let [said] = cursor.take()?;
    let has = |bit| said & bit != 0;
    let notify = has(NOTIFY).then_some(Notify { success: has(SUCCESS), failure: has(FAILURE), delay: has(DELAY) });
    if said >= ORIGINAL << 1 || notify.is_none() && said & (SUCCESS | FAILURE | DELAY) != 0 {
        return None;
    }
    let original =
        if has(ORIGINAL) { Some(OriginalRecipient { address_type: cursor.text()?.into(), address: cursor.text()?.into() }) } else { None };
    Some(RecipientRequests { recipient, notify, original })
}

fn bits(said: &[(bool, u8)]) -> u8 {
    said.iter().filter(|(is, _)| *is).fold(0, |bits, (_, bit)| bits | bit)
}

const HEADERS: u8 = 1;
const FULL: u8 = 2;
const TLS: u8 = 4;
const ENVELOPE_ID: u8 = 8;
const PRIORITY: u8 = 16;
const BY: u8 = 32;
const RETURN: u8 = 1;
const TRACE: u8 = 2;
const NOTIFY: u8 = 1;
const SUCCESS: u8 = 2;
const FAILURE: u8 = 4;
const DELAY: u8 = 8;
const ORIGINAL: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::KeptEnvelope;

    fn everything() -> Requests {
        let asked = |recipient: &str, notify, original| RecipientRequests { recipient: recipient.into(), notify, original };
        let original = OriginalRecipient { address_type: "rfc822".into(), address: "Ann Example@x".into() };
        Requests {
            envelope_id: Some("QQ 314159+x".into()),
            returned: Some(Returned::Full),
            priority: Some(-9),
            require_tls: true,
            deliver_by: Some(DeliverBy { seconds: -120, or_return: false, trace: true }),
            recipients: vec![
                asked("<ann@example.org>", Some(Notify { success: true, failure: false, delay: true }), Some(original)),
                asked("<zoë@example.org>", Some(Notify::default()), None),
                asked("<bob@example.org>", None, None),
            ],
        }
    }

    fn envelope(requests: Option<Requests>) -> KeptEnvelope {
        let (body, accounts, requests) = (mail::BodyType::SevenBit, vec!["ann@example.org".into()], requests.map(Box::new));
        KeptEnvelope { received_ms: 1, body, utf8: true, reverse_path: "<a@b>".into(), accounts, held: None, requests }
    }

    #[test]
    fn requests_survive_and_no_cut_or_extended_ones_do() {
        let mut without = Vec::new();
        envelope(None).encode(&mut without);
        for requests in [everything(), Requests::default(), Requests { returned: Some(Returned::Headers), ..Requests::default() }] {
            let (kept, mut octets) = (envelope(Some(requests)), Vec::new());
            kept.encode(&mut octets);
            assert!(octets.starts_with(&without), "an envelope that asks for nothing has none of it");
            assert_eq!(KeptEnvelope::decode(&octets), Some(kept));
            for cut in without.len() + 1..octets.len() {
                assert_eq!(KeptEnvelope::decode(&octets[..cut]), None);
            }
            octets.push(0);
            assert_eq!(KeptEnvelope::decode(&octets), None);
        }
    }

    #[test]
    fn what_is_decoded_encodes_to_the_same() {
        let (mut die, mut decoded) = (crate::simulated_disk::Die(7), 0);
        for round in 0..20_000u64 {
            let mut octets = Vec::new();
            envelope(None).encode(&mut octets);
            // Few bits, so that much of it means something.
            octets.extend((0..1 + round % 40).map(|_| (die.throw() & die.throw() & die.throw()) as u8));
            if let Some(kept) = KeptEnvelope::decode(&octets) {
                let mut again = Vec::new();
                kept.encode(&mut again);
                assert_eq!(again, octets);
                decoded += 1;
            }
        }
        assert!(decoded > 10, "{decoded}");
    }
}
