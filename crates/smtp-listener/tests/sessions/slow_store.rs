//! A store that becomes slow: who would wait too long is told at MAIL, and everybody else has his reply in time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mail::{Envelope, ForwardPath, Receipt};
use net::clock;
use store::memory::Memory;
use store::{Account, Book, Change, ChangeError, Directory, Error, Incoming, Intake, Maildrop, Maildrops, Resolution};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::house::{ANN, Client, House, MINUTE, Plan, SECOND, timed};

#[tokio::test(start_paused = true)]
async fn nobody_times_out_and_the_store_is_never_idle() {
    let house = Arc::new(Plan { before_store: |store| Arc::new(Slow::new(store)), ..Plan::relay() }.build().await);
    let settings = gate::Settings { fair_share_alpha: 0.0, ..house.gate.settings() };
    let many = gate::Settings { sessions_per_address: 1000, sessions_per_network: 1000, sessions_per_site: 1000, ..settings };
    house.gate.apply(many).unwrap();
    let start = clock::now();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let house = Arc::clone(&house);
        clients.spawn(async move {
            clock::pause(Duration::from_millis(number * 7)).await;
            let mut client = house.greet().await;
            while clock::now() - start < FAST + 10 * SECOND {
                deliver(&mut client).await;
            }
        });
    }
    clock::pause(FAST - (clock::now() - start)).await;
    let (stored, refused) = (house.store.texts(ANN).len(), refused(&house));
    assert!(stored * 10 >= 9 * PER_SECOND * FAST.as_secs() as usize, "{stored} messages in {FAST:?}");
    assert!(refused > 0, "more was offered than the store can do");
    // It is fast again: within seconds everybody is served, and stays so.
    clock::pause(6 * SECOND).await;
    let recovered = self::refused(&house);
    while let Some(outcome) = clients.join_next().await {
        outcome.unwrap();
    }
    assert_eq!(self::refused(&house), recovered);
    assert!(house.store.texts(ANN).len() > stored + CLIENTS as usize);
}

/// One message; if the store is too slow, another time.
async fn deliver(client: &mut Client) {
    client.says("MAIL FROM:<sender@elsewhere.example>\r\n").await;
    if client.reply().await.starts_with("451 4.3.2 mx.example Mail is stored slowly at present") {
        return clock::pause(3 * SECOND).await;
    }
    client.asks("RCPT TO:<ann@example.org>", "250 2.1.5").await;
    client.says("DATA\r\n").await;
    if client.reply().await.starts_with("451 4.3.2") {
        return clock::pause(3 * SECOND).await;
    }
    clock::pause(SECOND / 2).await;
    client.says("Subject: patience\r\n.\r\n").await;
    let ((), time) = timed(client.hears("250 2.0.0")).await;
    assert!(time < MINUTE, "a mail program has given up after {time:?}");
    clock::pause(SECOND).await;
}

fn refused(house: &House) -> u64 {
    house.metric("messages_refused_total{listener=\"smtp\",reply=\"4xx\"}")
}

const CLIENTS: u64 = 400;
const PER_SECOND: usize = 10;
const FAST: Duration = Duration::from_secs(40);

/// Commits one message after the other, ten a second at first and a thousand a second later.
struct Slow {
    store: Memory,
    line: Arc<Mutex<()>>,
    begun: std::time::Instant,
}

impl Slow {
    fn new(store: Memory) -> Self {
        Self { store, line: Arc::default(), begun: clock::now() }
    }
}

struct SlowIncoming {
    incoming: Box<dyn Incoming>,
    line: Arc<Mutex<()>>,
    begun: std::time::Instant,
}

#[async_trait]
impl Intake for Slow {
    fn ready(&self) -> Result<(), Error> {
        self.store.ready()
    }

    async fn begin(&self, envelope: Envelope) -> Result<Box<dyn Incoming>, Error> {
        Ok(Box::new(SlowIncoming { incoming: self.store.begin(envelope).await?, line: Arc::clone(&self.line), begun: self.begun }))
    }
}

#[async_trait]
impl Incoming for SlowIncoming {
    async fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.incoming.write(piece).await
    }

    async fn reread(&mut self, from: u64) -> Result<Vec<u8>, Error> {
        self.incoming.reread(from).await
    }

    fn hold(&mut self, hold: store::Hold) {
        self.incoming.hold(hold);
    }

    async fn commit(self: Box<Self>, trace: Vec<u8>) -> Result<Receipt, Error> {
        let _turn = self.line.lock().await;
        clock::pause(Duration::from_millis(if clock::now() - self.begun < FAST { 100 } else { 1 })).await;
        self.incoming.commit(trace).await
    }
}

#[async_trait]
impl Maildrops for Slow {
    async fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
        self.store.open(account).await
    }
}

#[async_trait]
impl Directory for Slow {
    async fn resolve(&self, recipient: &ForwardPath) -> Result<Resolution, Error> {
        self.store.resolve(recipient).await
    }

    async fn account(&self, login: &str) -> Result<Option<Account>, Error> {
        self.store.account(login).await
    }

    async fn change(&self, change: Change) -> Result<(), ChangeError> {
        self.store.change(change).await
    }

    async fn load(&self, account: &str) -> Result<store::Load, Error> {
        self.store.load(account).await
    }

    async fn book(&self) -> Result<Arc<Book>, Error> {
        self.store.book().await
    }
}
