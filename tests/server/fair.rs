//! Who gets in while strangers fill the gate, over the wire.

use crate::harness::{ANN, Dialogue, PASSWORD, Server};

/// Strangers behind the office's own address have every place a stranger can have; its people submit all the same.
#[test]
fn an_office_whose_address_fills_the_gate_submits_fifty_times_over() {
    let server = Server::start(
        "[gate]\nmax_inbound = 80\nreserve = 60\nsessions_per_user = 50\nsessions_per_address = 80\nsessions_per_network = 80\nsessions_per_site = 80\n\
         fair_share_alpha = 0\n[auth]\nhash_memory = \"8KiB\"\nhash_passes = 1\n",
    );
    let strangers: Vec<Dialogue> = (0..20)
        .map(|_| {
            let mut smtp = server.connect("smtp");
            assert!(smtp.hear().starts_with("220 "));
            smtp
        })
        .collect();
    assert!(server.connect("smtp").hear().starts_with("421 4.3.2 "), "the general places are taken");
    let submissions: Vec<Dialogue> = (0..50)
        .map(|number| {
            let mut smtp = server.connect_tls("submissions");
            let greeting = smtp.hear();
            assert!(greeting.starts_with("220 "), "submission {number}: {greeting}");
            smtp.ask("EHLO office.example");
            let plain = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("\0{ANN}\0{PASSWORD}"));
            assert!(smtp.ask(&format!("AUTH PLAIN {plain}")).starts_with("235 "));
            smtp
        })
        .collect();
    assert_eq!(server.in_use() as usize, strangers.len() + submissions.len());
    assert_eq!(server.metric("gatepost_gate_unreserved_in_use_sessions", ""), 20);
    assert_eq!(server.metric("gatepost_gate_authenticating_sessions", ""), 0);
}
