use super::*;

/// RFC 7677 §3.
const CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const OWN_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn verifier(password: &str) -> Verifier {
    Verifier::salted(&Secret::new(password), &STANDARD.decode(SALT).unwrap(), 4096.try_into().unwrap()).unwrap()
}

fn plain(message: &[u8]) -> Option<ClientFirst> {
    ClientFirst::parse(message, false, false)
}

fn exchange(password: &str) -> Exchange {
    plain(CLIENT_FIRST).unwrap().answer_with(verifier(password), OWN_NONCE)
}

/// A client's last message after `server_first`, by somebody who knows the password. `nonce`: what it says instead of the right one.
pub(crate) fn client_final(bare: &str, server_first: &str, binding: &[u8], nonce: Option<&str>, password: &str) -> String {
    let [said, salt, iterations] = split(server_first, ',').unwrap();
    let (salt, iterations) = (STANDARD.decode(&salt[2..]).unwrap(), iterations[2..].parse().unwrap());
    let (prepared, mut salted) = (stringprep::saslprep(password).unwrap(), Key::default());
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, prepared.as_bytes(), &mut salted);
    let client_key = keyed(&salted, b"Client Key");
    let without_proof = format!("c={},r={}", STANDARD.encode(binding), nonce.unwrap_or(&said[2..]));
    let signature = keyed(&hash(&client_key), format!("{bare},{server_first},{without_proof}").as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, mask)| key ^ mask).collect();
    format!("{without_proof},p={}", STANDARD.encode(proof))
}

fn answered(exchange: &Exchange, binding: &[u8], nonce: Option<&str>) -> String {
    client_final(&exchange.first.bare, exchange.server_first(), binding, nonce, "pencil")
}

#[test]
fn the_exchange_of_rfc_7677() {
    let exchange = exchange("pencil");
    assert_eq!((exchange.server_first(), &*exchange.first().name), (SERVER_FIRST, "user"));
    assert_eq!(exchange.proof(CLIENT_FINAL.as_bytes(), None), Proof::Holds(SERVER_FINAL.into()));
    assert_eq!(answered(&exchange, b"n,,", None), CLIENT_FINAL);
}

#[test]
fn wrong_proofs_fail() {
    let right = exchange("pencil");
    assert_eq!(exchange("pencils").proof(CLIENT_FINAL.as_bytes(), None), Proof::Fails);
    // The same message, to a server that has said another nonce.
    let replayed = plain(CLIENT_FIRST).unwrap().answer(verifier("pencil"));
    assert_eq!(replayed.proof(CLIENT_FINAL.as_bytes(), None), Proof::Fails);
    let nonce = &right.nonce[..right.nonce.len() - 1];
    for (binding, nonce) in [(&b"n,,"[..], Some(nonce)), (b"n,,", Some("")), (b"y,,", None), (b"n,,x", None), (b"", None)] {
        assert_eq!(right.proof(answered(&right, binding, nonce).as_bytes(), None), Proof::Fails, "{binding:?} {nonce:?}");
    }
    assert_eq!(right.proof(CLIENT_FINAL.replace("dHzb", "eHzb").as_bytes(), None), Proof::Fails);
}

#[test]
fn a_last_message_is_well_formed_or_none() {
    let exchange = exchange("pencil");
    for (from, to) in [
        ("c=biws,", ""),
        ("c=biws", "c=!"),
        ("c=biws", "biws"),
        (",r=", ",x=1,r="),
        (",p=", ",q="),
        (",p=", ",m=1,p="),
        ("dVQ=", "dVQ"),
        ("dVQ=", "dVQ=,x=1"),
        ("dHzb", ""),
    ] {
        assert_eq!(exchange.proof(CLIENT_FINAL.replacen(from, to, 1).as_bytes(), None), Proof::Malformed, "{from} {to}");
    }
    for message in [&b""[..], b"\xff", b",,,", &[b'x'; MESSAGE_OCTETS + 1]] {
        assert_eq!(exchange.proof(message, None), Proof::Malformed);
    }
}

#[test]
fn a_first_message_is_well_formed_or_none() {
    let first = plain(b"n,a=eve,n=us=3Der=2C=2Cx,r=abc,x=an extension").unwrap();
    assert_eq!((&*first.name, first.acting_as.as_deref(), &*first.nonce), ("us=er,,x", Some("eve"), "abc"));
    assert_eq!((&*first.gs2_header, &*first.bare), ("n,a=eve,", "n=us=3Der=2C=2Cx,r=abc,x=an extension"));
    assert!(plain(format!("n,,n=user,r={}", "x".repeat(NONCE_OCTETS)).as_bytes()).is_some());
    for message in [
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=user",
        "n,,n=,r=abc",
        "n,,n=user,r=",
        "n,,r=abc,n=user",
        "n,,m=x,n=user,r=abc",
        "n,eve,n=user,r=abc",
        "n,a=,n=user,r=abc",
        "n,,n=us=er,r=abc",
        "n,,n=us=2c,r=abc",
        "n,,n=user=,r=abc",
        "n,,n=us\0er,r=abc",
        "n,,n=user,r=a b",
        "n,,n=user,r=aé",
        "x,,n=user,r=abc",
        "N,,n=user,r=abc",
        "p=,,n=user,r=abc",
    ] {
        assert_eq!(plain(message.as_bytes()), None, "{message}");
    }
    assert_eq!(plain(format!("n,,n=user,r={}", "x".repeat(NONCE_OCTETS + 1)).as_bytes()), None);
    assert_eq!(plain(format!("n,,n={},r=abc", "x".repeat(MESSAGE_OCTETS)).as_bytes()), None);
    assert_eq!(plain(b"n,,n=\xff,r=abc"), None);
}

#[test]
fn nobody_is_talked_out_of_binding_the_channel() {
    let parsed = |flag: &str, plus, offered| ClientFirst::parse(format!("{flag},,n=user,r=abc").as_bytes(), plus, offered).is_some();
    for (flag, plus, offered, taken) in [
        ("n", false, false, true),
        ("n", false, true, true),
        ("n", true, true, false),
        ("y", false, false, true),
        ("y", false, true, false),
        ("y", true, true, false),
        ("p=tls-exporter", true, true, true),
        ("p=tls-exporter", true, false, false),
        ("p=tls-exporter", false, true, false),
        ("p=tls-unique", true, true, false),
        ("p=tls-server-end-point", true, true, false),
        ("p", true, true, false),
    ] {
        assert_eq!(parsed(flag, plus, offered), taken, "{flag} plus={plus} offered={offered}");
    }
}

#[test]
fn a_bound_exchange_holds_on_its_channel_alone() {
    let first = || ClientFirst::parse(b"p=tls-exporter,,n=user,r=abc", true, true).unwrap();
    let exchange = first().answer(verifier("pencil"));
    let (here, there) = ([1; 32], [2; 32]);
    let header = b"p=tls-exporter,,";
    let bound_to = |channel: &[u8]| answered(&exchange, &[header, channel].concat(), None).into_bytes();
    assert!(matches!(exchange.proof(&bound_to(&here), Some(&here)), Proof::Holds(_)));
    for (said, channel) in [(&there[..], Some(&here)), (&here, Some(&there)), (&here, None), (b"", Some(&here)), (b"", None)] {
        assert_eq!(exchange.proof(&bound_to(said), channel), Proof::Fails);
    }
}

#[test]
fn what_is_kept_is_read_again() {
    let kept = verifier("pencil").to_string();
    assert!(kept.starts_with("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"), "{kept}");
    assert_eq!(Verifier::parse(&kept), Ok(verifier("pencil")));
    assert_eq!(format!("{:?}", verifier("pencil")), "Verifier(..)");
    for (from, to) in [("SCRAM-SHA-256", "SCRAM-SHA-1"), ("4096", "0"), ("4096", "x"), (":", ";"), ("$", ""), ("W22", "!")] {
        assert!(Verifier::parse(&kept.replacen(from, to, 1)).is_err(), "{from} {to}");
    }
    assert!(Verifier::parse(&kept[..kept.len() - 4]).is_err() && Verifier::parse("").is_err());
}

#[test]
fn passwords_are_prepared() {
    // RFC 4013 §3: a soft hyphen is nothing, a no-break space a space, a compatible character its plain one.
    for (typed, prepared) in [("pen\u{ad}cil", "pencil"), ("a\u{a0}b", "a b"), ("\u{2168}", "IX")] {
        assert_eq!(verifier(typed), verifier(prepared), "{typed:?}");
    }
    for never in [&b"\xff"[..], b"a\x07", "\u{627}1".as_bytes()] {
        let (one, two) = (Verifier::of(&Secret::new(never), &[7; 16]), Verifier::of(&Secret::new(never), &[7; 16]));
        assert_ne!(one, two, "nobody knows the keys");
        assert_eq!((one.salt, one.iterations), (two.salt, two.iterations));
    }
    let (one, two) = (Verifier::of(&Secret::new("pencil"), &[1; 16]), Verifier::of(&Secret::new("pencil"), &[2; 16]));
    assert_ne!(one.salt, two.salt);
    assert_eq!((one.iterations, one.salt.len()), (ITERATIONS, SALT_OCTETS));
}

#[test]
fn a_name_that_nobody_has_looks_like_any() {
    let (secret, other) = ([7; 32], [8; 32]);
    let made_up = Verifier::made_up("nobody@example.org", &secret);
    let real = Verifier::of(&Secret::new("pencil"), &salt_of("nobody@example.org", &secret));
    assert_eq!(made_up.salt, real.salt, "a name has its salt before it has an account, and with every password");
    assert_eq!((made_up.iterations, made_up.salt.len()), (real.iterations, real.salt.len()));
    assert_eq!(made_up, Verifier::made_up("nobody@example.org", &secret), "for good");
    assert_ne!(made_up.salt, Verifier::made_up("nobodi@example.org", &secret).salt);
    assert_ne!(made_up.salt, Verifier::made_up("nobody@example.org", &other).salt);
}
