//! A server's life: how it starts and what keeps it from starting, what it gives up, what it says, and how it leaves.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use serde_json::Value;

use crate::harness::{ANN, BOB, PASSWORD, Server, gatepost};
use crate::programs::{program, succeed};

#[test]
fn a_drain_finishes_what_has_begun_and_then_says_goodbye() {
    let mut server = Server::start("");
    server.stop();
    server.edit("[listen]", "[timeouts]\ndrain = \"3s\"\n[listen]");
    server.run();
    let mut idle = server.hello();
    let mut sending = server.in_data(ANN);
    assert_eq!(server.http("/readyz").0, 200);
    server.signal("TERM");
    server.eventually("the server is not ready", |server| server.http("/readyz").0 == 503);
    let (_, why) = server.http("/readyz");
    assert_eq!(serde_json::from_str::<Value>(&why).unwrap()["node"], "draining");
    assert_eq!(server.http("/healthz").0, 200);
    let late = server.connect("smtp").hear();
    assert!(late.starts_with("421 4.3.2 mail.example.org Service restarting, try again shortly [R1."), "{late}");
    let late = server.connect_tls("pop3s").hear();
    assert!(late.starts_with("-ERR [SYS/TEMP] mail.example.org Service restarting, try again shortly [R1."), "{late}");
    sending.say("Subject: just in time\r\n\r\nHello.\r\n");
    assert!(sending.ask(".").starts_with("250 2.0.0 "));
    // It waits as long as it does, and at the deadline it is told.
    assert!(idle.hear().starts_with("421 4.3.2 mail.example.org Service restarting, try again shortly [R1."));
    assert!(idle.is_over());
    assert!(sending.hear().starts_with("421 4.3.2 mail.example.org Service restarting, try again shortly [R1."));
    assert!(server.wait().success());
    assert!(server.log().contains("server stopped sessions_cut=0"), "nobody was cut");
    server.run();
    assert_eq!(server.maildrop(ANN).len(), 1);
}

#[test]
fn a_second_signal_ends_the_drain() {
    let mut server = Server::start("[timeouts]\ndrain = \"1h\"\n");
    let mut idle = server.hello();
    server.signal("TERM");
    server.eventually("the server drains", |server| server.http("/readyz").0 == 503);
    server.signal("TERM");
    assert!(idle.hear().starts_with("421 4.3.2 mail.example.org Service restarting, try again shortly [R1."));
    assert!(server.wait().success());
}

#[test]
fn root_is_given_up_and_nothing_is_left_to_it() {
    let mut server = Server::bare("");
    server.edit("user = \"root\"", "user = \"nobody\"");
    // As with a real server, the way to its data is open to its user.
    fs::set_permissions(server.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    server.populate();
    server.run();
    let (uids, gids) = ids(&server);
    if !geteuid().is_root() {
        // Nobody but root can become somebody else.
        assert!(uids.iter().all(|uid| *uid == geteuid().as_raw()));
        return;
    }
    let data = fs::metadata(server.path("data")).unwrap();
    let nobody = data.uid();
    assert_ne!(nobody, 0);
    assert_eq!((uids, gids), ([nobody; 4], [data.gid(); 4]));
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert!(status.lines().any(|line| line.starts_with("CapEff:") && line.ends_with("0000000000000000")), "no capability is left");
    assert_eq!(data.mode() & 0o777, 0o700);
    server.deliver(ANN, "Hello.\r\n");
    server.stop();
    // A command for the stopped server, too, leaves everything to the server's user.
    add_user(&server, "eve@example.org");
    server.succeed(&["verify"]);
    assert_eq!(foreign_files(&server.path("data"), nobody), Vec::<String>::new());
    server.run();
    assert_eq!((server.maildrop(ANN).len(), server.maildrop("eve@example.org").len()), (1, 0));
}

/// By a signal the server judges its file as its user, by `gatepost reload` as root.
#[test]
fn a_user_who_is_not_there_is_a_fault_whoever_asks() {
    let mut server = Server::bare("");
    server.edit("user = \"root\"", "user = \"nobody\"");
    fs::set_permissions(server.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    server.run();
    server.edit("user = \"nobody\"", "user = \"no-such-user\"");
    let reload = server.command(&["reload"]);
    let said = String::from_utf8(reload.stderr).unwrap();
    assert_eq!(reload.status.code(), Some(3));
    assert!(said.contains("user: there is no user no-such-user"), "{said}");
    server.signal("HUP");
    server.eventually("the signal is heard", |server| server.log().contains("configuration re"));
    let log = server.log();
    assert!(log.contains("configuration rejected") && log.contains("user: there is no user no-such-user"), "{log}");
}

#[test]
fn a_signal_to_reload_does_not_end_a_start() {
    let server = Server::prepare("");
    // Who finds the lock taken reads from it who has it: from this one nothing ever comes.
    let lock = server.path("data/lock");
    fs::remove_file(&lock).unwrap();
    succeed(program("mkfifo").arg(&lock));
    let taken = fs::File::options().read(true).write(true).open(&lock).unwrap();
    flock(&taken, FlockOperation::LockExclusive).unwrap();
    let mut starting = Starting(gatepost().args(["serve", "--config"]).arg(server.config()).stderr(Stdio::null()).spawn().unwrap());
    let pid = starting.0.id().to_string();
    let signal = |name: &str| succeed(program("kill").args(["-s", name, &pid]));
    server.eventually("it hears the signal before it has its store", |_| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & 1 == 1
    });
    signal("HUP");
    // The other signals do end it, and at once.
    signal("TERM");
    assert_eq!(starting.0.wait().unwrap().signal(), Some(15));
}

/// A process that would wait for ever: a failed test does not leave it behind.
struct Starting(Child);

impl Drop for Starting {
    fn drop(&mut self) {
        let (_killed, _waited) = (self.0.kill(), self.0.wait());
    }
}

#[test]
fn a_passed_socket_is_served_and_the_service_manager_is_told() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut server = Server::prepare("");
    server.edit("smtp = [\"127.0.0.1:0\"]", &format!("smtp = [\"{address}\"]"));
    let log = fs::File::options().create(true).append(true).open(server.path("log")).unwrap();
    let (manager, passing) = (server.path("notify"), OwnedFd::from(socket));
    server.run_with(|serve| {
        let mut wrapped = Command::new("sh");
        // The socket comes as standard input and leaves as descriptor 3, by the protocol of sd_listen_fds(3).
        wrapped.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0 </dev/null"]);
        wrapped.arg(serve.get_program()).args(serve.get_args()).env("NOTIFY_SOCKET", &manager);
        wrapped.stdin(Stdio::from(passing)).stderr(log);
        *serve = wrapped;
    });
    assert_eq!(server.address("smtp"), address);
    assert!(server.hello().ask("QUIT").starts_with("221 "));
    server.signal("TERM");
    assert_eq!(server.told(), "STOPPING=1");
    assert!(server.wait().success());
}

#[test]
fn a_data_directory_has_one_server() {
    let server = Server::start("");
    let second = server.command(&["serve"]);
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    let expected = format!("gatepost: {} is in use by process {}\n", server.path("data").display(), server.pid());
    assert!(said.ends_with(&expected), "{said}");
    let verify = server.command(&["verify"]);
    assert_eq!((verify.status.code(), String::from_utf8(verify.stderr).unwrap()), (Some(1), expected));
    assert_eq!(server.status()["node"], "open", "the first is not disturbed");
}

#[test]
fn what_keeps_it_from_starting_is_said_with_the_right_exit_code() {
    let server = Server::prepare("");
    let starts = |code: i32, said: &str| {
        let outcome = server.command(&["serve"]);
        let stderr = String::from_utf8(outcome.stderr).unwrap();
        assert_eq!(outcome.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(said), "{said:?} expected: {stderr}");
    };
    let good = fs::read_to_string(server.config()).unwrap();
    let with = |from: &str, to: &str| {
        fs::write(server.config(), &good).unwrap();
        server.edit(from, to);
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    with("smtp = [\"127.0.0.1:0\"]", &format!("smtp = [\"{address}\"]"));
    starts(1, &format!("gatepost: cannot listen on {address}: "));
    with("http = [\"127.0.0.1:0\"]", &format!("http = [\"{address}\"]"));
    starts(1, &format!("gatepost: cannot listen on {address}: "));
    with("data_dir = \"data\"", "data_dir = \"/proc/mail\"");
    starts(1, "data_dir = \"/proc/mail\": ");
    with("data_dir = \"data\"", "data_dir = \"password\"");
    starts(3, "gatepost.toml:2: data_dir: ");
    with("hostname = \"mail.example.org\"", "hostnames = \"mail.example.org\"");
    starts(3, "gatepost.toml:1: hostnames: ");
    with("[listen]", "[listen");
    starts(3, "gatepost.toml:");
    with("key.pem", "no-key.pem");
    starts(3, "tls.key: ");
    if geteuid().is_root() {
        with("user = \"root\"", "user = \"no-such-user\"");
        starts(3, "user: ");
    }
    fs::remove_file(server.config()).unwrap();
    starts(3, "gatepost.toml: there is no such file");
}

#[test]
fn a_message_has_one_id_from_accept_to_fetch_and_passwords_none() {
    let mut server = Server::prepare("");
    server.edit("[admin]", "[log]\nformat = \"json\"\n[admin]");
    server.run_with(|serve| {
        serve.args(["--log-level", "trace"]);
    });
    let id = server.deliver(ANN, "Hello.\r\n");
    use_passwords(&server);
    let mut pop3 = server.log_in(ANN);
    assert!(pop3.ask("UIDL 1").ends_with(&id), "its unique id is the same id");
    assert!(pop3.ask("RETR 1").starts_with("+OK "));
    pop3.try_hear_many().unwrap();
    assert!(pop3.ask("QUIT").starts_with("+OK "));
    server.stop();
    let log = server.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "the level is in force");
    let of_it: Vec<_> = lines.iter().filter(|line| line["id"] == id.as_str()).map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(of_it, ["message accepted", "message fetched"]);
    // In clear, as AUTH PLAIN and LOGIN say them, and as they are kept.
    for secret in [PASSWORD, WRONG, "Y29ycmVjdCBob3JzZQ", "AGFubkBleGFtcGxlLm9yZwBjb3JyZWN0IGhvcnNl", "d3JvbmcgYmF0dGVyeQ", "argon2"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

/// Right and wrong ones, by every way there is.
fn use_passwords(server: &Server) {
    for (plain, login, code) in [
        ("AGFubkBleGFtcGxlLm9yZwBjb3JyZWN0IGhvcnNl", "Y29ycmVjdCBob3JzZQ==", "235 "),
        ("AGFubkBleGFtcGxlLm9yZwB3cm9uZyBiYXR0ZXJ5", "d3JvbmcgYmF0dGVyeQ==", "535 "),
    ] {
        let submission = || {
            let mut smtp = server.connect_tls("submissions");
            assert!(smtp.hear().starts_with("220 "));
            assert!(smtp.ask("EHLO client.example").starts_with("250 "));
            smtp
        };
        assert!(submission().ask(&format!("AUTH PLAIN {plain}")).starts_with(code));
        let mut smtp = submission();
        assert!(smtp.ask("AUTH LOGIN YW5uQGV4YW1wbGUub3Jn").starts_with("334 "));
        assert!(smtp.ask(login).starts_with(code));
        let mut pop3 = server.connect_tls("pop3s");
        assert!(pop3.hear().starts_with("+OK "));
        assert_eq!(pop3.ask(&format!("AUTH PLAIN {plain}")).starts_with("+OK "), code == "235 ");
        // It may not be in use any more when the next one comes.
        pop3.say("QUIT\r\n");
        assert!(pop3.is_left());
    }
    let mut pop3 = server.connect_tls("pop3s");
    assert!(pop3.hear().starts_with("+OK "));
    assert!(pop3.ask(&format!("USER {BOB}")).starts_with("+OK "));
    assert!(pop3.ask(&format!("PASS {WRONG}")).starts_with("-ERR [AUTH] "));
    server.succeed(&["user", "passwd", BOB, "--password-file", server.path("password").to_str().unwrap()]);
}

fn add_user(server: &Server, name: &str) {
    server.succeed(&["user", "add", name, "--password-file", server.path("password").to_str().unwrap()]);
}

/// The real, effective, saved and file system's user and group ids of the process.
fn ids(server: &Server) -> ([u32; 4], [u32; 4]) {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let ids: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
        ids.try_into().unwrap()
    };
    (field("Uid:"), field("Gid:"))
}

/// Files below `folder` that belong to anybody but `owner`.
fn foreign_files(folder: &std::path::Path, owner: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let (path, about) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
        if about.uid() != owner {
            found.push(path.display().to_string());
        }
        if about.is_dir() {
            found.extend(foreign_files(&path, owner));
        }
    }
    found
}

const WRONG: &str = "wrong battery";
