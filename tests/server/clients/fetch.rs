//! The programs that fetch: each all of Ann's messages, deleting none.

use std::fs;
use std::path::PathBuf;

use crate::harness::{ANN, PASSWORD, Server};
use crate::programs::{program, script, succeed};

/// A message as it came over the wire.
pub(super) struct Fetched {
    pub(super) unique_id: String,
    pub(super) octets: Vec<u8>,
}

/// Over TLS from the first octet. Also holds LIST to what comes.
pub(super) fn poplib(server: &Server) -> Vec<Fetched> {
    let folder = folder(server, "poplib");
    let mut python = script("clients/fetch.py");
    python.arg(server.port("pop3s")).arg(server.certificate()).args([ANN, PASSWORD]).arg(&folder);
    let listed = succeed(&mut python);
    let fetched = listed.lines().zip(1..).map(|(line, number)| {
        let (unique_id, size) = line.split_once(' ').unwrap();
        let octets = fs::read(folder.join(number.to_string())).unwrap();
        assert_eq!(size, octets.len().to_string(), "message {number} as it was listed");
        Fetched { unique_id: unique_id.to_owned(), octets }
    });
    fetched.collect()
}

/// Over TLS from the first octet (`pop3s`) or after STLS (`pop3`).
pub(super) fn curl(server: &Server, scheme: &str, messages: usize) -> Vec<Vec<u8>> {
    let folder = folder(server, &format!("curl-{scheme}"));
    let mut curl = program("curl");
    curl.args(["-sS", "--ssl-reqd", "--cacert"]).arg(server.certificate()).args(["--user", &format!("{ANN}:{PASSWORD}"), "-o"]);
    succeed(curl.arg(folder.join("#1")).arg(format!("{scheme}://localhost:{}/[1-{messages}]", server.port(scheme))));
    (1..=messages).map(|number| fs::read(folder.join(number.to_string())).unwrap()).collect()
}

/// After STLS, into a folder as Exchange reads them: with the line ends they had.
pub(super) fn mpop(server: &Server) -> Vec<Vec<u8>> {
    let folder = folder(server, "mpop");
    let lines = [
        "account default".into(),
        "host localhost".into(),
        format!("port {}", server.port("pop3")),
        "auth user".into(),
        format!("user {ANN}"),
        format!("passwordeval cat {}", server.path("password").display()),
        "tls on".into(),
        "tls_starttls on".into(),
        format!("tls_trust_file {}", server.certificate().display()),
        format!("delivery exchange {}", folder.display()),
        "keep on".into(),
        "received_header off".into(),
        format!("uidls_file {}", server.path("mpop.uidls").display()),
    ];
    fs::write(server.path("mpoprc"), lines.join("\n") + "\n").unwrap();
    succeed(program("mpop").arg("--quiet").arg(format!("--file={}", server.path("mpoprc").display())));
    // `Q7` in a file's name: it was the seventh.
    let place = |file: &PathBuf| -> usize {
        let name = file.file_name().unwrap().to_string_lossy();
        let (_, number) = name.split('-').nth(2).unwrap().split_once('Q').unwrap();
        number.parse().unwrap()
    };
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_by_key(place);
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn folder(server: &Server, name: &str) -> PathBuf {
    let folder = server.path(name);
    fs::create_dir(&folder).unwrap();
    folder
}
