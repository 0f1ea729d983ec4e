//! A DNS server for tests: it answers from a text of records, on a free loopback port, until it is dropped.
//!
//! A line is `name kind data`: A, AAAA, TXT, PTR, MX or CNAME. `name SERVFAIL` fails, `name SILENT` does not answer, whatever is
//! asked that has no record. A name without the kind asked for has no data; a name that is not there, and has nothing below it, does not exist.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The server.
pub(crate) struct Zone {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    server: Option<JoinHandle<()>>,
}

#[derive(Clone)]
enum Entry {
    Record(RData),
    Fails,
    Silent,
}

type Records = HashMap<String, Vec<Entry>>;

impl Zone {
    /// Serves these records.
    pub(crate) fn serve(text: &str) -> Self {
        Self::of(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
            let (name, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            let (kind, data) = rest.split_once(' ').unwrap_or((rest, ""));
            (name, kind, data)
        }))
    }

    /// Serves records of these names, kinds and data.
    pub(crate) fn of<'r>(entries: impl IntoIterator<Item = (&'r str, &'r str, &'r str)>) -> Self {
        let records = parse(entries);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let server = std::thread::spawn({
            let asked = Arc::clone(&asked);
            move || serve(&socket, &records, &asked)
        });
        Self { address, asked, server: Some(server) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Questions so far, as `KIND name`.
    #[allow(dead_code, reason = "not every test asks")]
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        // A datagram without an octet ends it.
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().send_to(&[], self.address).unwrap();
        self.server.take().unwrap().join().unwrap();
    }
}

fn serve(socket: &UdpSocket, records: &Records, asked: &Mutex<Vec<String>>) {
    let mut datagram = [0; 4096];
    loop {
        let (octets, client) = socket.recv_from(&mut datagram).unwrap();
        if octets == 0 {
            return;
        }
        if let Some(answer) = answer(&datagram[..octets], records, asked) {
            let _gone = socket.send_to(&answer, client);
        }
    }
}

fn answer(question: &[u8], records: &Records, asked: &Mutex<Vec<String>>) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let (name, kind) = (key(query.name()), query.query_type());
    asked.lock().unwrap().push(format!("{kind} {name}"));
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let entries = records.get(&name).cloned().unwrap_or_default();
    let has_kind = entries.iter().any(|entry| matches!(entry, Entry::Record(data) if data.record_type() == kind));
    if !has_kind && entries.iter().any(|entry| matches!(entry, Entry::Silent)) {
        return None;
    }
    if entries.iter().any(|entry| matches!(entry, Entry::Fails)) {
        answer.metadata.response_code = ResponseCode::ServFail;
        return answer.to_vec().ok();
    }
    let below = format!(".{name}");
    if entries.is_empty() && !records.keys().any(|known| known.ends_with(&below)) {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    for entry in entries {
        if let Entry::Record(data) = entry
            && (data.record_type() == kind || data.record_type() == RecordType::CNAME)
        {
            answer.add_answer(Record::from_rdata(query.name().clone(), 300, data));
        }
    }
    if answer.answers.is_empty() {
        // So that the no is remembered, too (RFC 2308 §3).
        let root = Name::root;
        let soa = SOA::new(root(), root(), 1, 300, 300, 300, 300);
        answer.add_authority(Record::from_rdata(root(), 300, RData::SOA(soa)));
    }
    answer.to_vec().ok()
}

fn parse<'r>(entries: impl IntoIterator<Item = (&'r str, &'r str, &'r str)>) -> Records {
    let mut records = Records::new();
    for (name, kind, data) in entries {
        let host = || full(data);
        let entry = match kind {
            "A" => Entry::Record(RData::A(A(data.parse().unwrap()))),
            "AAAA" => Entry::Record(RData::AAAA(AAAA(data.parse().unwrap()))),
            "TXT" => {
                let parts = if data.is_empty() { vec![&[][..]] } else { data.as_bytes().chunks(255).collect() };
                Entry::Record(RData::TXT(TXT::from_bytes(parts)))
            }
            "PTR" => Entry::Record(RData::PTR(PTR(host()))),
            "CNAME" => Entry::Record(RData::CNAME(CNAME(host()))),
            "MX" => {
                let (preference, host) = data.split_once(' ').unwrap();
                Entry::Record(RData::MX(MX::new(preference.parse().unwrap(), full(host))))
            }
            "SERVFAIL" => Entry::Fails,
            "SILENT" => Entry::Silent,
            other => panic!("{other:?} is no kind of record"),
        };
        records.entry(key(&full(name))).or_default().push(entry);
    }
    records
}

/// Of labels that may hold anything but dots.
fn full(name: &str) -> Name {
    let labels = name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
    Name::from_labels(labels).unwrap_or_else(|error| panic!("{name:?}: {error}"))
}

fn key(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}
