//! What fuzzing tries here, and `cargo test` replays.

use bytes::BufMut;
use screening::milter::wire::{Answer, Answers, DATA_OCTETS, Fault, TEXT_OCTETS};

/// Answers of a milter, whatever it sends: they are the same however they come, and what may reach a client or stand before a message is clean.
pub(crate) fn milter(octets: &[u8]) {
    let whole = read(octets, usize::MAX);
    for step in [1, 3] {
        assert_eq!(read(octets, step), whole, "by {step}");
    }
    for answer in whole.0 {
        match answer {
            Answer::Refuse(refusal) => {
                let clean = |text: &String| (1..=TEXT_OCTETS).contains(&text.len()) && text.chars().all(|c| matches!(c, ' '..='~'));
                assert!(refusal.text.as_ref().is_none_or(clean), "{refusal:?}");
            }
            Answer::Field(field) => {
                let lines: Vec<&str> = field.line.strip_suffix("\r\n").expect("it has an end").split("\r\n").collect();
                assert!(lines.iter().all(|line| line.len() <= 998 && !line.contains(['\r', '\n', '\0'])), "{field:?}");
                assert!(lines.iter().skip(1).all(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty()), "{field:?}");
                let (name, _) = lines[0].split_once(':').expect("it has a name");
                assert!(!name.is_empty() && name.bytes().all(|octet| matches!(octet, b'!'..=b'~')), "{field:?}");
            }
            _ => {}
        }
    }
}

fn read(octets: &[u8], step: usize) -> (Vec<Answer>, Option<Fault>) {
    let (mut answers, mut heard) = (Answers::default(), Vec::new());
    for piece in octets.chunks(step.min(octets.len()).max(1)) {
        answers.input().put_slice(piece);
        loop {
            match answers.read() {
                Ok(Some(answer)) => heard.push(answer),
                Ok(None) => break,
                Err(fault) => return (heard, Some(fault)),
            }
        }
        assert!(step > DATA_OCTETS || answers.input().len() <= DATA_OCTETS + 8, "more is kept than an answer can have");
    }
    (heard, None)
}
