//! The transcripts of the protocol crates, played to the program over TCP and inside TLS.
//!
//! Those are played that need nobody to tell the machine what to answer or what time it is, and whose listener can be had by
//! configuration; how many is asserted. The program takes full addresses where the transcripts have plain user names, so these
//! are given a domain first, also within base64.

mod pop3;
mod smtp;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::{BodyType, Envelope, MessageId, ReversePath, Secret};
use store::{Change, Directory, Intake};
use store_embedded::{Embedded, Settings};

use crate::harness::Server;

/// The transcripts of a crate by file name, in which `user` has become `user`@`domain`.
fn transcripts(of: &str, user: &str, domain: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates").join(of).join("tests/transcripts");
    let files = folder.read_dir().unwrap().map(|file| file.unwrap().path());
    let named = files.map(|file| {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().map(|line| if line.starts_with("C:") { full_address(line, user, domain) } else { line.to_owned() });
        (file.file_name().unwrap().to_string_lossy().into_owned(), lines.collect::<Vec<_>>().join("\n"))
    });
    named.collect()
}

fn full_address(line: &str, user: &str, domain: &str) -> String {
    let address = format!("{user}@{domain}");
    let word = |word: &str| {
        let decoded = STANDARD.decode(word).ok().and_then(|octets| String::from_utf8(octets).ok());
        match decoded.filter(|text| text.contains(user)) {
            Some(text) => STANDARD.encode(text.replace(user, &address)),
            None if word == user => address.clone(),
            None => word.to_owned(),
        }
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Writes into the store of a server that is not running: accounts of `domain`, and messages in the first one's maildrop, whose
/// ids are their numbers.
fn furnish(server: &Server, domain: &str, accounts: &[(&str, &str)], messages: &[Vec<u8>]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Embedded::open(&server.path("data"), Settings::default()).unwrap();
    runtime.block_on(async {
        store.change(Change::PutDomain { name: domain.parse().unwrap(), postmaster: None }).await.unwrap();
        for (account, password) in accounts {
            let password_hash = auth::hash_password(&Secret::new(password.as_bytes()), &auth::Settings::default()).unwrap();
            store.change(Change::AddAccount { name: format!("{account}@{domain}"), password_hash, verifier: None }).await.unwrap();
        }
        let owner: Arc<str> = format!("{}@{domain}", accounts[0].0).into();
        for (number, message) in (1u128..).zip(messages) {
            let envelope = Envelope {
                id: MessageId::from_bytes(number.to_be_bytes()),
                reverse_path: ReversePath::Null,
                recipients: vec![Arc::clone(&owner)],
                body: BodyType::EightBitMime,
                utf8: false,
                requests: None,
            };
            let mut incoming = store.begin(envelope).await.unwrap();
            incoming.write(message).await.unwrap();
            let _receipt = incoming.commit(Vec::new()).await.unwrap();
        }
    });
    store.close();
}
