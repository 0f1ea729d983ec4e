//! Whatever arrives, in whatever order, however it is answered: the machine keeps its promises.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod drive;

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use pop3::{Circumstance, Question, Session, Settings, Want, limits};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_can_drive_it(octets in prop::collection::vec(any::<u8>(), 0..2000)) {
        drive::drive(&octets);
    }

    #[test]
    fn any_octets_can_arrive(octets in prop::collection::vec(any::<u8>(), 0..4000), cutting in 1usize..2000) {
        let (now, settings) = (Instant::now(), Arc::new(Settings::new("mail.example".parse().unwrap())));
        let (mut session, mut input) = (Session::new(settings, Circumstance { tls: Some(pop3::Tls::default()) }, now), BytesMut::new());
        for piece in octets.chunks(cutting) {
            input.extend_from_slice(piece);
            match session.next(&mut input, now) {
                Want::Input => prop_assert!(input.len() < limits::COMMAND_LINE_OCTETS && session.output().len() < 2048),
                Want::Close => return Ok(()),
                Want::Answer(Question::Auth(_)) => {}
                _ => prop_assert!(false, "nothing else can come of noise"),
            }
        }
    }
}
