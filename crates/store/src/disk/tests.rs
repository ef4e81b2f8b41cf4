//! The contract on a file, its bounds, and what a process leaves that is killed.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use fastmcp_guard::clock::{ManualClock, Timestamp};
use tempfile::TempDir;

use super::*;
use crate::contract::{self, Fixture};

/// Where a child of the test writes: it is this program, started anew.
const CHILD: &str = "FASTMCP_STORE_TEST_FILE";

struct OnDisk {
    store: Arc<DiskStore>,
    clock: Arc<ManualClock>,
    folder: TempDir,
}

impl OnDisk {
    fn file(&self) -> PathBuf {
        self.folder.path().join("store.redb")
    }
}

async fn on_disk(change: fn(&mut DiskConfig)) -> OnDisk {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(
        1_700_000_000,
    )));
    let folder = tempfile::tempdir().unwrap();
    let mut config = DiskConfig {
        clock: clock.clone(),
        ..DiskConfig::default()
    };
    change(&mut config);
    let store = DiskStore::open_with(folder.path().join("store.redb"), config)
        .await
        .unwrap();
    OnDisk {
        store: Arc::new(store),
        clock,
        folder,
    }
}

impl Fixture for OnDisk {
    fn store(&self) -> Arc<dyn KeyValueStore> {
        self.store.clone()
    }

    fn pass(&self, time: Duration) -> BoxFuture<'_, ()> {
        self.clock.advance(time);
        Box::pin(std::future::ready(()))
    }
}

fn names(key: &str) -> (Collection, Key) {
    (Collection::new("c").unwrap(), Key::new(key).unwrap())
}

async fn put(
    store: &DiskStore,
    key: &str,
    bytes: usize,
    ttl: Option<u64>,
) -> Result<Version, StoreError> {
    let (collection, key) = names(key);
    let ttl = ttl.map(Duration::from_secs);
    store
        .put(&collection, &key, vec![b'x'; bytes].into(), ttl)
        .await
}

async fn holds(store: &DiskStore, key: &str) -> bool {
    let (collection, key) = names(key);
    store.get(&collection, &key).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept() {
    contract::check(&on_disk(|_| {}).await).await.unwrap();
}

#[tokio::test]
async fn a_full_store_refuses_and_keeps_what_it_has() {
    let disk = on_disk(|config| {
        config.max_entries = 2;
        config.max_bytes = 1_024;
        config.max_value_bytes = 1_024;
    })
    .await;
    let store = &*disk.store;
    put(store, "a", 1, None).await.unwrap();
    put(store, "b", 1, Some(60)).await.unwrap();
    let third = put(store, "c", 1, None).await;
    assert!(matches!(third, Err(StoreError::Full { entries: 2, .. })));
    put(store, "a", 2, None).await.unwrap();
    assert!(holds(store, "a").await && holds(store, "b").await);
    disk.clock.advance(Duration::from_secs(60));
    put(store, "c", 1, None).await.unwrap();
    assert!(holds(store, "c").await && !holds(store, "b").await);
    let large = put(store, "a", 1_020, None).await;
    assert!(matches!(large, Err(StoreError::Full { .. })), "{large:?}");
    assert!(
        holds(store, "a").await,
        "a refused write leaves the old value"
    );
}

#[tokio::test]
async fn what_is_written_is_there_when_it_is_opened_again() {
    let disk = on_disk(|_| {}).await;
    let (collection, key) = names("k");
    let version = put(&disk.store, "k", 3, Some(60)).await.unwrap();
    let file = disk.file();
    let busy = DiskStore::open(&file).await.unwrap_err();
    let StoreError::Unavailable { source } = busy else {
        panic!("{busy:?}")
    };
    assert!(source.to_string().contains("is in use"), "{source}");
    let OnDisk {
        store,
        clock,
        folder,
    } = disk;
    drop(store);
    let config = DiskConfig {
        clock: clock.clone(),
        ..DiskConfig::default()
    };
    let store = DiskStore::open_with(&file, config).await.unwrap();
    let entry = store.entry(&collection, &key).await.unwrap().unwrap();
    assert_eq!((&*entry.value, entry.version), (&b"xxx"[..], version));
    assert_eq!(entry.ttl, Some(Duration::from_secs(60)));
    store.delete(&collection, &key).await.unwrap();
    let later = put(&store, "k", 3, None).await.unwrap();
    assert!(later > version, "versions go on");
    clock.advance(Duration::from_secs(60));
    assert!(holds(&store, "k").await);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let nowhere = DiskStore::open(folder.path().join("none/store.redb")).await;
    let StoreError::Unavailable { source } = nowhere.unwrap_err() else {
        panic!("no other error")
    };
    assert!(source.to_string().contains("let its folder be there"));
    let text = folder.path().join("text");
    std::fs::write(&text, "not a database ".repeat(1_000)).unwrap();
    let foreign = DiskStore::open(&text).await.unwrap_err();
    let StoreError::Unavailable { source } = foreign else {
        panic!("{foreign:?}")
    };
    assert!(
        source.to_string().contains("not one of this store"),
        "{source}"
    );
    assert!(
        std::fs::read_to_string(&text).unwrap().starts_with("not a"),
        "what is not ours is left as it was"
    );
}

#[test]
fn bounds_are_checked() {
    for change in [
        (|c| c.max_entries = 0) as fn(&mut DiskConfig),
        |c| c.max_bytes = 1,
        |c| c.max_value_bytes = 0,
    ] {
        let mut config = DiskConfig::default();
        change(&mut config);
        let refused = config.check();
        assert!(matches!(refused, Err(StoreError::InvalidLimit { .. })));
    }
}

/// What the child does: counts up, and says each number once it is written. Without a parent it does nothing.
#[tokio::test]
async fn child_counts_until_it_is_killed() {
    let Some(file) = std::env::var_os(CHILD) else {
        return;
    };
    let store = DiskStore::open(file).await.unwrap();
    for number in 0_u64.. {
        let (collection, key) = names(&format!("{number:08}"));
        let value = Bytes::copy_from_slice(&number.to_be_bytes());
        store.put(&collection, &key, value, None).await.unwrap();
        println!("wrote {number}");
    }
}

#[tokio::test]
async fn what_a_killed_process_wrote_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.redb");
    let mut written = 0_u64;
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "disk::tests::child_counts_until_it_is_killed"])
            .args(["--nocapture", "--test-threads=1"])
            .env(CHILD, &file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut numbers = said
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("wrote ")?.parse::<u64>().ok());
        // It goes on writing while it is killed.
        let last = numbers.by_ref().find(|number| *number >= 40).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        written = written.max(last).max(numbers.last().unwrap_or_default());

        let store = DiskStore::open(&file).await.unwrap();
        let (collection, _) = names("k");
        for number in 0..=written {
            let key = Key::new(&format!("{number:08}")).unwrap();
            let found = store.get(&collection, &key).await.unwrap();
            assert_eq!(
                found.as_deref(),
                Some(&number.to_be_bytes()[..]),
                "{number}"
            );
        }
    }
}
