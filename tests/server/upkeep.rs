//! What an administrator does to a server, running or stopped, and what becomes of it when its disk fails.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use rustix::process::geteuid;

use crate::harness::{ANN, BOB, DOMAIN, PASSWORD, Server, token};

#[test]
fn the_directory_is_the_same_by_a_running_server_and_by_its_stopped_store() {
    let mut server = Server::prepare("");
    change_everything(&server);
    server.run();
    change_everything(&server);
    // What is changed counts for the next client.
    server.succeed(&["alias", "add", "info@example.org", ANN, BOB]);
    server.deliver("info@example.org", "To both.\r\n");
    assert_eq!((server.maildrop(ANN).len(), server.maildrop(BOB).len()), (1, 1));
    server.succeed(&["alias", "remove", "info@example.org"]);
    server.succeed(&["user", "remove", BOB]);
    let mut smtp = server.hello();
    assert!(smtp.ask("MAIL FROM:<>").starts_with("250 "));
    for gone in [BOB, "info@example.org"] {
        assert_eq!(smtp.ask(&format!("RCPT TO:<{gone}>")), "550 5.1.1 No such mailbox here");
    }
    server.eventually("it is logged", |server| server.log().contains("account removed"));
    server.stop();
    // Whoever gets the name again does not get the old mail.
    add(&server, BOB);
    server.run();
    assert_eq!((server.maildrop(ANN).len(), server.maildrop(BOB).len()), (1, 0));
}

/// Does and undoes everything there is to do, and is refused what cannot be.
fn change_everything(server: &Server) {
    let done = |arguments: &[&str], said: &str| assert_eq!(server.succeed(arguments), said, "{arguments:?}");
    let password = server.path("password");
    let with_password = ["--password-file", password.to_str().unwrap()];
    let refused = |arguments: &[&str], why: &str| {
        let Output { status, stdout, stderr } = server.command(arguments);
        let said = (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        assert_eq!(said, (Some(1), String::new(), format!("gatepost: {why}\n")), "{arguments:?}");
    };
    done(&["domain", "add", "example.net"], "mail for example.net is now accepted\n");
    done(&["domain", "add", "example.net", "--postmaster", ANN], "mail for example.net is now accepted\n");
    done(&["domain", "list"], "example.net  postmaster ann@example.org\nexample.org\n");
    done(&["domain", "set", "example.net", "--delimiter", "-", "--catch-all", BOB], "example.net set\n");
    done(&["domain", "list"], "example.net  postmaster ann@example.org  delimiter -  catch-all bob@example.org\nexample.org\n");
    refused(&["domain", "set", "example.net", "--delimiter", "%"], "\"%\" is no delimiter: write one of +-=_.#~, or \"\" for none");
    refused(&["domain", "set", "nowhere.example", "--catch-all", ""], "there is no domain nowhere.example");
    done(&["domain", "set", "example.net", "--catch-all", "", "--delimiter", ""], "example.net set\n");
    done(&["domain", "list"], "example.net  postmaster ann@example.org  no delimiter\nexample.org\n");
    refused(&["domain", "add", "not a domain"], "\"not a domain\" is not a domain: the domain is not well formed");
    refused(&["domain", "remove", "nowhere.example"], "there is no domain nowhere.example");
    refused(&["domain", "remove", DOMAIN], "example.org is still used by ann@example.org: change that first");

    let add = |name: &'static str| [&["user", "add", name][..], &with_password].concat();
    done(&add("eve@example.net"), "eve@example.net added\n");
    done(&["domain", "set", "example.net", "--quota", "2GiB", "--messages", "9"], "example.net set\n");
    done(&["domain", "list"], "example.net  postmaster ann@example.org  no delimiter  quota 2GiB  9 messages\nexample.org\n");
    done(&["user", "set", "eve@example.net", "--messages", "none"], "eve@example.net set\n");
    let later = "this version cannot send to other hosts: forwarding begins with the version that can, and all mail stays here, too";
    done(&["user", "set", "eve@example.net", "--forward", "eve@elsewhere.example"], &format!("eve@example.net set; {later}\n"));
    assert!(server.succeed(&["user", "list"]).ends_with("eve@example.net  messages 0  size 0B of 2GiB  forward eve@elsewhere.example\n"));
    done(&["user", "set", "eve@example.net", "--forward", ""], "eve@example.net set\n");
    let added = "mail for team@example.net goes to ann@example.org, x@elsewhere.example; this version cannot send to other hosts: members elsewhere get the list's mail from the version on that can\n";
    done(&["list", "add", "team@example.net", ANN, "x@elsewhere.example"], added);
    done(&["list", "set", "team@example.net", "--posting", "domain", "--join", BOB], "team@example.net set\n");
    done(&["list", "list"], "team@example.net  posting domain  ann@example.org bob@example.org x@elsewhere.example\n");
    refused(
        &["list", "set", "team@example.net", "--leave", "y@elsewhere.example"],
        "there is no member y@elsewhere.example of list team@example.net",
    );
    refused(&["list", "set", "team@example.net", "--join", "team@example.net"], "list team@example.net would lead back to itself");
    refused(&["user", "remove", BOB], "bob@example.org is still used by list team@example.net: change that first");
    done(&["list", "remove", "team@example.net"], "team@example.net removed\n");
    refused(&["user", "set", "nobody@example.org", "--quota", "none"], "there is no account nobody@example.org");
    let listed = server.succeed(&["user", "list"]);
    let names: Vec<_> = listed.lines().map(|line| line.split_once("  messages ").unwrap().0).collect();
    assert_eq!(names, [ANN, BOB, "eve@example.net"]);
    assert_eq!(listed.lines().last(), Some("eve@example.net  messages 0  size 0B of 2GiB"));
    let listed: serde_json::Value = serde_json::from_str(&server.succeed(&["user", "list", "--json"])).unwrap();
    let eve = serde_json::json!({"name": "eve@example.net", "octets": 0, "messages": 0, "quota_octets": 2u64 << 30, "quota_messages": null, "forwards": [], "scram": true});
    assert_eq!(listed[2], eve);
    refused(&add(ANN), "account ann@example.org exists already");
    refused(&add("ann"), "\"ann\" is not an address: write name@domain");
    let foreign = "elsewhere.example is not a local domain: add it first with `gatepost domain add elsewhere.example`";
    refused(&add("ann@elsewhere.example"), foreign);
    let passwd = |name: &'static str| [&["user", "passwd", name][..], &with_password].concat();
    done(&passwd(ANN), "ann@example.org has a new password\n");
    refused(&passwd("nobody@example.org"), "there is no account nobody@example.org");
    refused(&["user", "remove", "nobody@example.org"], "there is no account nobody@example.org");

    done(&["alias", "add", "info@example.net", ANN, BOB], "info@example.net stands for ann@example.org, bob@example.org\n");
    done(&["alias", "list"], "info@example.net  ann@example.org bob@example.org\n");
    refused(&["alias", "add", "all@example.net", "nobody@example.net"], "there is no account, alias or list nobody@example.net");
    refused(&["alias", "add", "info@example.net", "info@example.net"], "alias info@example.net would lead back to itself");
    refused(&["alias", "add", ANN, BOB], "account ann@example.org exists already");
    refused(&["user", "remove", BOB], "bob@example.org is still used by alias info@example.net: change that first");
    refused(&["alias", "remove", "all@example.net"], "there is no alias all@example.net");

    done(&["alias", "remove", "info@example.net"], "info@example.net removed\n");
    done(&["user", "remove", "eve@example.net"], "eve@example.net removed, and its mail\n");
    done(&["domain", "remove", "example.net"], "example.net removed\n");
}

#[test]
fn a_domain_in_utf_8_and_in_its_ascii_form_is_one() {
    let server = Server::bare("");
    for domain in ["bücher.example", "xn--bcher-kva.example"] {
        assert_eq!(server.succeed(&["domain", "add", domain]), format!("mail for {domain} is now accepted\n"));
    }
    assert_eq!(server.succeed(&["domain", "list"]), "xn--bcher-kva.example (bücher.example)\n");
    server.succeed(&["domain", "remove", "Bücher.example"]);
    let Output { status, stderr, .. } = server.command(&["domain", "add", "xn--a.example"]);
    let said = String::from_utf8(stderr).unwrap();
    assert!(
        !status.success() && said.contains("\"xn--a.example\" is not a domain: the domain is not a valid internationalized name"),
        "{said}"
    );
}

#[test]
fn a_generated_password_is_printed_once_and_works() {
    let server = Server::start("");
    let said = server.succeed(&["user", "passwd", ANN, "--generate"]);
    let password = said.strip_prefix("ann@example.org has a new password\npassword: ").unwrap().trim_end();
    let mut pop3 = server.connect_tls("pop3s");
    assert!(pop3.hear().starts_with("+OK "));
    for (password, answer) in [(PASSWORD, "-ERR [AUTH] "), (password, "+OK ")] {
        assert!(pop3.ask(&format!("USER {ANN}")).starts_with("+OK "));
        assert!(pop3.ask(&format!("PASS {password}")).starts_with(answer));
    }
}

#[test]
fn a_flipped_octet_is_found_and_a_lost_index_is_made_anew() {
    let mut server = Server::start(SMALL);
    let ids = ["first", "second", "third"].map(|body| server.deliver(ANN, &format!("The {body} of them.\r\n")));
    let large = server.deliver(BOB, &"A file of its own.\r\n".repeat(20_000));
    server.stop();
    let whole = server.succeed(&["verify"]);
    assert!(whole.contains("everything is whole") && whole.contains("maildrops  4 messages"), "{whole}");
    assert!(whole.contains(" in 1 segment\n") && whole.contains("bodies     1 in a file of its own\n"), "{whole}");

    for (words, named) in [("The second of them.", &ids[1]), ("A file of its own.", &large)] {
        let (file, at) = find(&server.path("data"), words.as_bytes());
        let sound = fs::read(&file).unwrap();
        let mut broken = sound.clone();
        broken[at + 4] ^= 1;
        fs::write(&file, broken).unwrap();
        let verify = server.command(&["verify"]);
        let said = String::from_utf8(verify.stdout).unwrap();
        assert_eq!(verify.status.code(), Some(1), "{said}");
        assert!(
            said.lines().any(|line| line.starts_with("fault ") && line.contains(named.as_str())) && said.ends_with("1 fault\n"),
            "{said}"
        );
        fs::write(&file, sound).unwrap();
        server.succeed(&["verify"]);
    }

    for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _not_there = fs::remove_file(server.path("data").join(file));
    }
    assert_eq!(server.succeed(&["store", "rebuild-index"]), "the index has been made anew from the log\n");
    server.run();
    assert_eq!(server.maildrop(ANN), ids);
    assert_eq!(server.maildrop(BOB), [large]);
    let running = server.command(&["store", "rebuild-index"]);
    assert_eq!(running.status.code(), Some(1));
    assert!(String::from_utf8(running.stderr).unwrap().contains("is in use by process"));
}

#[test]
fn a_full_disk_refuses_for_a_while_and_loses_nothing() {
    let mut server = Server::bare(&format!("{SMALL}reserve_free = \"1MiB\"\n"));
    let Some(disk) = SmallDisk::mount(server.path("data")) else {
        // Only root can; the store's own tests fill a simulated disk for everybody.
        return;
    };
    server.populate();
    server.run();
    let filler = disk.0.join("filler");
    let early = server.deliver(ANN, "Early.\r\n");
    fs::write(&filler, vec![1; 8 << 20]).unwrap();
    let mut ids = vec![early];
    // Until there is no more room, at whatever point of a transaction that shows.
    let refusal = loop {
        assert!(ids.len() < 1000, "a disk of 16 MiB holds everything");
        match try_deliver(&server) {
            Ok(id) => ids.push(id),
            Err(refusal) => break refusal,
        }
    };
    assert!(refusal.starts_with("452 4.3.1 mail.example.org Out of storage, try again later [R6."), "{refusal}");
    assert!(server.succeed(&["gate", "explain", token(&refusal)]).contains("The store had no room for mail."));
    assert_eq!(server.maildrop(ANN), ids, "what was accepted is there, and can be read");
    assert_eq!(server.http("/readyz").0, 503);
    assert_eq!(server.metric("gatepost_store_ready", ""), 0);
    // Deleting goes on, too.
    let mut pop3 = server.log_in(ANN);
    assert!(pop3.ask("DELE 1").starts_with("+OK "));
    assert!(pop3.ask("QUIT").starts_with("+OK "));
    ids.remove(0);

    fs::remove_file(&filler).unwrap();
    server.eventually("there is room again", |server| server.http("/readyz").0 == 200);
    ids.push(try_deliver(&server).unwrap());
    assert_eq!(server.maildrop(ANN), ids);
    server.stop();
    server.succeed(&["verify"]);
    server.run();
    assert_eq!(server.maildrop(ANN), ids);
    server.kill();
}

#[test]
fn a_store_that_has_failed_for_good_is_told_at_the_door_and_mail_is_fetched_all_the_same() {
    let mut server = Server::start("");
    let early = server.deliver(ANN, "Early.\r\n");
    let mut inside = server.hello();
    // A write that fails and is no want of room: what the disk holds is in doubt from here on.
    fs::rename(server.path("data/bodies"), server.path("elsewhere")).unwrap();
    let mut large = server.in_data(ANN);
    assert!(large.ask(&format!("{}.", "x\r\n".repeat(100 << 10))).starts_with("451 4.3.0 Mail store unavailable, try again later"));

    server.eventually("the gate knows", |server| server.status()["node"] == "store_down");
    for service in ["smtp", "submission"] {
        let refused = server.connect(service).hear();
        assert!(refused.starts_with("421 4.3.2 mail.example.org Mail store unavailable, try again later [R1b."), "{refused}");
        let explained = server.succeed(&["gate", "explain", token(&refused)]);
        assert!(explained.contains("The server took no mail") && explained.contains("restart the server"), "{explained}");
    }
    assert!(inside.ask("MAIL FROM:<>").starts_with("451 4.3.0 "), "who is in stays in, and is told at MAIL");
    assert_eq!(server.maildrop(ANN), [early.as_str()], "what was accepted is there, and can be read");
    let (code, body) = server.http("/readyz");
    assert!(code == 503 && body.contains("store_down") && body.contains("writing a body: No such file"), "{body}");
    assert!(server.succeed(&["gate", "status"]).starts_with("node      store_down\n"));
    assert_eq!((server.metric("gatepost_store_ready", ""), server.metric("gatepost_node_open", "")), (0, 0));
    server.eventually("it is logged", |server| server.log().contains("store down cause=the store is unavailable: writing a body"));

    // Nobody can know what a disk holds that has failed: it is read again, by the next start.
    server.stop();
    fs::rename(server.path("elsewhere"), server.path("data/bodies")).unwrap();
    server.run();
    let late = server.deliver(ANN, "Late.\r\n");
    assert_eq!(server.maildrop(ANN), [early, late]);
}

/// Delivers a message of 200 KiB, or says what it was refused with.
fn try_deliver(server: &Server) -> Result<String, String> {
    let mut smtp = server.hello();
    let body = "filling the disk, line by line\r\n".repeat(6400);
    let message = format!("Subject: large\r\n\r\n{body}.");
    for (line, code) in [("MAIL FROM:<>", "250 "), (&format!("RCPT TO:<{ANN}>"), "250 "), ("DATA", "354 "), (&message, "250 ")] {
        let said = smtp.ask(line);
        if !said.starts_with(code) {
            return Err(said);
        }
        if line == message {
            return Ok(said.split(' ').nth(2).unwrap().to_owned());
        }
    }
    unreachable!("the last line is the message")
}

/// A file system of 16 MiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Nothing where that is not allowed.
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let mount = || Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs"]).arg(&at).output().unwrap();
        (geteuid().is_root() && mount().status.success()).then(|| Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a test that fails drops its server later than this.
        let _status = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn add(server: &Server, name: &str) {
    server.succeed(&["user", "add", name, "--password-file", server.path("password").to_str().unwrap()]);
}

/// The file below `folder` that holds `words`, and where in it.
fn find(folder: &std::path::Path, words: &[u8]) -> (PathBuf, usize) {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file()
                && let Some(at) = fs::read(&path).unwrap().windows(words.len()).position(|window| window == words)
            {
                return (path, at);
            }
        }
    }
    panic!("no file holds it")
}

/// A store that is quickly made and quickly read. Its table is the last.
const SMALL: &str = "[store]\nsegment = \"1MiB\"\n";
