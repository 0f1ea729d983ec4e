//! Ten thousand connections that nobody wants, of every kind, after which all is as before.
//!
//! An attack is a script and an ending: what to say and to wait for, and then to close, to reset, to half-close or to fall
//! silent. Every beginning of an honest session is an attack, and so are many things no honest client says. In each wave the
//! quick attacks come first, several at a time, and the slow ones; then silent ones fill the gate, and everybody beyond it is
//! refused. They keep their end open until the server has taken every place back by itself.

mod attacks;

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use crate::harness::{ANN, BOB, Dialogue, PATIENCE, Server, let_pass};
use crate::occupied::{self, Memory};
use attacks::{Attack, Ending, Step};

#[test]
fn ten_thousand_abusive_connections_leave_nothing_behind() {
    let mut server = Server::prepare(SETTINGS);
    server.edit("[tls]", "[tls]\nhandshake_timeout = \"2s\"");
    server.run();
    for account in [ANN, BOB] {
        server.deliver(account, &"a long line\r\n".repeat(100_000));
    }
    let (quick, slow, silent, crowd) = (attacks::quick(), attacks::slow(), attacks::silent(), attacks::crowd());
    let (field, sockets) = (Field::of(&server), occupied::sockets(&server));
    let mut memory = Memory::default();
    for _ in 0..WAVES {
        memory.during(&server, || {
            field.attack(&quick, CONNECTIONS / WAVES - SLOW - SILENT - CROWD);
            field.attack(&slow, SLOW);
            let mut open = field.attack(&silent, SILENT);
            // They line up before a server that stands still, and are met all at once: so many that some find no place, however
            // slowly this machine connects them.
            server.signal("STOP");
            open.extend(field.attack(&crowd, CROWD));
            server.signal("CONT");
            server.eventually("every place is free", |server| server.in_use() == 0);
            // They have all been told, or at least been left.
            assert!(open.into_iter().all(|mut attacker| attacker.is_left()));
        });
    }
    assert_eq!(field.connections.load(Ordering::Relaxed), CONNECTIONS);
    server.eventually("every socket is closed", |server| occupied::sockets(server) <= sockets);
    memory.grows_less_than(GROWTH_KIB);
    check_metrics(&server);
    serve_somebody_honest(&server);
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "something went wrong inside");
}

/// Everybody is counted once: let in or turned away, and how each session ended.
fn check_metrics(server: &Server) {
    let total = |name: &str| server.metric(&format!("gatepost_{name}_total"), "");
    // The honest deliveries came through the gate, too.
    let honest = [ANN, BOB].len() as u64;
    let (admitted, refused) = (total("sessions_admitted"), total("sessions_refused"));
    let left = total("gate_waiting_left");
    assert_eq!(admitted + refused + left, CONNECTIONS as u64 + honest);
    assert_eq!(total("sessions_ended"), admitted);
    // Inside TLS a refusal is counted by a task of its own, after the client has seen it.
    server.eventually("every refusal is answered or not", |_| total("net_refusals_answered") + total("net_refusals_unanswered") == refused);
    assert_eq!(server.metric("gatepost_sessions_refused_total", "rule=\"R4\""), refused);
    assert!(refused >= ((CROWD - PLACES - WAITING) * WAVES) as u64, "{refused}");
    let waited = ["served", "timed_out", "refused"].map(|end| total(&format!("gate_waiting_{end}")));
    assert!(waited.iter().sum::<u64>() + left > 0, "nobody waited");
    assert_eq!(server.metric("gatepost_gate_waiting_connections", ""), 0);
    for end in ["peer_gone", "timed_out", "dismissed", "handshake_failed"] {
        assert!(server.metric("gatepost_sessions_ended_total", &format!("end=\"{end}\"")) > 0, "nobody was {end}");
    }
    assert_eq!(server.metric("gatepost_sessions_ended_total", "end=\"failed\""), 0);
    assert_eq!(total("messages_accepted"), honest);
    assert_eq!(server.metric("gatepost_gate_peak_sessions", ""), PLACES as u64);
    assert_eq!(server.metric("gatepost_gate_in_use_sessions", ""), 0);
    assert_eq!(server.metric("gatepost_gate_source_prefixes", ""), 0);
    assert_eq!(server.metric("gatepost_net_tls_handshakes_active", ""), 0);
    assert_eq!(server.metric("gatepost_net_body_memory_octets", ""), 0);
}

fn serve_somebody_honest(server: &Server) {
    server.deliver(ANN, "Good morning.\r\n");
    let mut pop3 = server.log_in(ANN);
    assert!(pop3.ask("RETR 2").starts_with("+OK "));
    assert_eq!(pop3.try_hear_many().unwrap().pop().unwrap(), b"Good morning.");
    assert!(pop3.ask("QUIT").starts_with("+OK "));
}

/// Where the attackers go, and how many have.
struct Field {
    services: Vec<(&'static str, SocketAddr)>,
    certificate: PathBuf,
    connections: AtomicUsize,
}

impl Field {
    fn of(server: &Server) -> Self {
        let services = ["smtp", "submission", "submissions", "pop3", "pop3s"].map(|service| (service, server.address(service)));
        Self { services: services.into(), certificate: server.certificate(), connections: AtomicUsize::new(0) }
    }

    /// So many connections, each attack about as often as any other. Gives those that fell silent.
    fn attack(&self, attacks: &[Attack], connections: usize) -> Vec<Dialogue> {
        let (next, silent) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let one_after_another = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= connections {
                    return;
                }
                let left = self.play(&attacks[number % attacks.len()]);
                silent.lock().unwrap().extend(left);
            }
        };
        thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(one_after_another))));
        silent.into_inner().unwrap()
    }

    fn play(&self, attack: &Attack) -> Option<Dialogue> {
        let (_, address) = self.services.iter().find(|(name, _)| *name == attack.service).unwrap();
        let stream = TcpStream::connect(address).unwrap();
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut attacker = Dialogue::new(stream);
        for step in &attack.script {
            // Refused, dismissed or timed out: the server may hang up at any step.
            let goes_on = match step {
                Step::Hear => attacker.try_reply().is_some(),
                Step::Say(octets) => attacker.try_say(octets).is_ok(),
                Step::StartTls => {
                    attacker = attacker.try_start_tls(&self.certificate).ok()?;
                    true
                }
                Step::Drip(octets) => drip(&mut attacker, octets),
            };
            if !goes_on {
                break;
            }
        }
        match attack.ending {
            Ending::Close => {}
            Ending::Reset => set_socket_linger(attacker.stream(), Some(Duration::ZERO)).unwrap(),
            Ending::HalfClose => {
                // It may have gone already.
                let _gone = attacker.stream().shutdown(std::net::Shutdown::Write);
                while attacker.try_hear().is_some() {}
            }
            Ending::Silence => return Some(attacker),
        }
        None
    }
}

/// An octet now and then, for as long as they are taken. Whether all of them were.
fn drip(attacker: &mut Dialogue, octets: &[u8]) -> bool {
    let end = Instant::now() + PATIENCE;
    octets.iter().all(|octet| {
        assert!(Instant::now() < end, "a client that sends an octet now and then keeps its place");
        let_pass(DRIP);
        attacker.try_say([*octet]).is_ok()
    })
}

const CONNECTIONS: usize = 10_000;
const WAVES: usize = 5;
/// Of each wave, slow ones, silent ones, and more of those that say nothing at all than there are places.
const SLOW: usize = 8;
const SILENT: usize = 100;
const CROWD: usize = 220;
const PLACES: usize = 200;
/// Those who wait for a place at once, over four listeners.
const WAITING: usize = 8;
const AT_ONCE: usize = 8;
/// Less than a session takes, were it kept of each of the 2,000 connections in three waves.
const GROWTH_KIB: u64 = 16 << 10;
const DRIP: Duration = Duration::from_millis(20);

/// As many sessions from one address as there are places; times short enough to wait for.
const SETTINGS: &str = r#"
[gate]
max_inbound = 200
reserve = 0
fair_share_alpha = 0
sessions_per_address = 200
sessions_per_network = 200
sessions_per_site = 200
[when_full]
submission = { wait = "1s", places = 2 }
submissions = { wait = "1s", places = 2 }
pop3 = { wait = "1s", places = 2 }
pop3s = { wait = "1s", places = 2 }
[limits]
idle_commands = 60000
[timeouts]
command = "2s"
data_block = "2s"
data_grace = "2s"
write = "2s"
[pop3]
login = "2s"
[auth]
hash_memory = "8KiB"
hash_passes = 1
failures_per_account = 60000
failures_per_source = 60000
first_delay = "1ms"
longest_delay = "1ms"
[store]
segment = "1MiB"
reserve_free = "0B"
"#;
