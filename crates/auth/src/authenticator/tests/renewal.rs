//! What stored hashes have cost, and how they are made anew.

use tokio::sync::Semaphore;

use super::*;

/// What `settings` make costs [`DEARER`]; nothing is remembered.
fn dearer() -> Settings {
    Settings { hash_memory: ByteSize::kib(16), hash_passes: NonZeroU32::new(2).unwrap(), remember: Span::secs(0), ..settings() }
}

/// The costs of what was computed since the last call, when it has been, in any order.
async fn worked(authenticator: &Authenticator) -> Vec<String> {
    settled(authenticator).await;
    let mut costs = authenticator.hashing.take_costs();
    costs.sort();
    costs
}

async fn stored(store: &Memory, name: &str) -> Arc<str> {
    store.account(name).await.unwrap().unwrap().password_hash
}

/// Ann's hash costs [`COST`], bob's [`ELSEWHERE`]; hashes are now made with [`dearer`].
async fn with_old_hashes() -> (Memory, Authenticator) {
    let (store, _) = with(settings()).await;
    let other = Settings { hash_memory: ByteSize::kib(32), ..settings() };
    let password_hash = hash_password(&Secret::new("bobs"), &other).unwrap();
    store.change(Change::AddAccount { name: "bob@example.org".into(), password_hash, verifier: None }).await.unwrap();
    let authenticator = Authenticator::new(Arc::new(store.clone()), &dearer()).unwrap();
    (store, authenticator)
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_costs_the_same_whatever_the_hash_was_made_with() {
    let (store, authenticator) = with_old_hashes().await;
    let everybody = [ANN, "bob@example.org", "nobody@example.org", "somebody else"];
    let guess = async |name| {
        assert!(matches!(tried(&authenticator, name, "guess", AWAY).await, Verdict::Wrong { .. }));
        worked(&authenticator).await
    };
    for name in everybody {
        assert_eq!(guess(name).await, [DEARER, ELSEWHERE, COST], "{name}");
    }
    // Nobody has the oldest hash any more: nobody pays for it.
    assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
    assert_eq!(worked(&authenticator).await, [DEARER, COST], "a right one: its own and the new one");
    for name in everybody {
        if name != "somebody else" {
            assert_eq!(guess(name).await, [DEARER, ELSEWHERE], "{name}");
        }
    }
    store.change(Change::RemoveAccount { name: "bob@example.org".into() }).await.unwrap();
    assert_eq!(guess("x@example.org").await, [DEARER]);
}

#[tokio::test(start_paused = true)]
async fn a_hash_is_made_anew_when_its_owner_logs_in_and_only_then() {
    let (store, authenticator) = with_old_hashes().await;
    let before = stored(&store, ANN).await;
    tried(&authenticator, ANN, "guess", AWAY).await;
    worked(&authenticator).await;
    assert_eq!(stored(&store, ANN).await, before);
    for costs in [[DEARER, COST].as_slice(), &[DEARER]] {
        assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
        assert_eq!(worked(&authenticator).await, costs, "once");
    }
    assert_eq!((store::cost(&stored(&store, ANN).await), authenticator.hashing.renewed()), (Some(DEARER), 1));
    assert_eq!(tried(&authenticator, ANN, "guess", HOME).await, wrong(500));
}

#[tokio::test(start_paused = true)]
async fn a_password_that_is_set_while_its_hash_is_made_anew_stays() {
    let (store, authenticator) = with_old_hashes().await;
    let ann = store.account(ANN).await.unwrap().unwrap();
    let (renew, new) = (authenticator.renewal(&ann), hash_password(&Secret::new("right"), &dearer()).unwrap());
    set_password(&store, ANN, "new").await;
    let anew = Anew { password_hash: Some(new), verifier: Some(crate::scram_verifier(&Secret::new("right"), &[7; 16])) };
    tokio::task::spawn_blocking(move || renew(anew)).await.unwrap();
    assert_eq!(store.account(ANN).await.unwrap().unwrap().verifier, None);
    assert_eq!(tried(&authenticator, ANN, "right", HOME).await, wrong(500));
    assert_eq!(tried(&authenticator, ANN, "new", HOME).await, right());
}

/// A directory that knows everybody, and makes each change with a permit; when there will be no more of them it fails.
struct Slow(Memory, Arc<Semaphore>);

#[async_trait::async_trait]
impl Directory for Slow {
    async fn resolve(&self, recipient: &mail::ForwardPath) -> Result<store::Resolution, store::Error> {
        self.0.resolve(recipient).await
    }

    async fn account(&self, login: &str) -> Result<Option<Account>, store::Error> {
        self.0.account(login).await
    }

    async fn change(&self, change: Change) -> Result<(), store::ChangeError> {
        let Ok(_permit) = self.1.acquire().await else { return Err(store::Error::Full("told to be full".into()).into()) };
        self.0.change(change).await
    }

    async fn load(&self, account: &str) -> Result<store::Load, store::Error> {
        self.0.load(account).await
    }

    async fn book(&self) -> Result<Arc<store::Book>, store::Error> {
        self.0.book().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_hash_that_cannot_be_kept_keeps_nobody_out() {
    let (store, _) = with_old_hashes().await;
    let permits = Arc::new(Semaphore::new(0));
    permits.close();
    let authenticator = Authenticator::new(Arc::new(Slow(store.clone(), permits)), &dearer()).unwrap();
    for _ in 0..3 {
        assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
        assert_eq!(worked(&authenticator).await, [DEARER, COST]);
    }
    assert_eq!(store::cost(&stored(&store, ANN).await), Some(COST));
}

#[tokio::test]
async fn nobody_waits_until_the_store_has_what_was_made_anew() {
    let (store, _) = with(settings()).await;
    let narrow = Settings { concurrent_hashes: NonZeroU32::MIN, remember: Span::secs(0), ..settings() };
    let permits = Arc::new(Semaphore::new(0));
    let authenticator = Authenticator::new(Arc::new(Slow(store.clone(), Arc::clone(&permits))), &narrow).unwrap();
    let unverified = async || store.account(ANN).await.unwrap().unwrap().verifier.is_none();
    for _ in 0..2 {
        let tried = tokio::time::timeout(Duration::from_secs(60), tried(&authenticator, ANN, "right", HOME));
        assert_eq!(tried.await.expect("the one place is free while the store is busy"), right());
    }
    assert!(unverified().await);
    permits.add_permits(1);
    drop(authenticator.hashing.places.acquire().await.unwrap());
    drop(authenticator.hashing.keeping.acquire_many(crate::hashing::KEEPING as u32).await.unwrap());
    assert!(!unverified().await);
}

#[tokio::test]
async fn so_many_wait_for_the_store_and_nothing_is_made_beyond() {
    let (store, _) = with(settings()).await;
    let authenticator = Authenticator::new(Arc::new(store.clone()), &settings()).unwrap();
    let waiting = authenticator.hashing.keeping.acquire_many(crate::hashing::KEEPING as u32).await.unwrap();
    assert_eq!(tried(&authenticator, ANN, "right", HOME).await, right());
    drop(authenticator.hashing.places.acquire_many(settings().concurrent_hashes.get()).await.unwrap());
    drop(waiting);
    assert_eq!(store.account(ANN).await.unwrap().unwrap().verifier, None);
    assert_eq!(tried(&authenticator, ANN, "right", AWAY).await, right());
    settled(&authenticator).await;
    assert!(store.account(ANN).await.unwrap().unwrap().verifier.is_some(), "the next login makes it");
}

const COST: &str = "$argon2id$v=19$m=8,t=1,p=1";
const DEARER: &str = "$argon2id$v=19$m=16,t=2,p=1";
const ELSEWHERE: &str = "$argon2id$v=19$m=32,t=1,p=1";
