//! The contract against a real server, and what only a server that others use can get wrong.

use std::num::NonZeroU16;

use fastmcp_guard::random::SeededRandom;
use fastmcp_services::Redis;

use super::*;
use crate::contract::{self, Fixture};

#[test]
fn times_are_rounded_up_and_bounded() {
    assert_eq!(millis(None), 0);
    assert_eq!(millis(Some(Duration::from_millis(1))), 1);
    assert_eq!(millis(Some(Duration::from_micros(1_001))), 2);
    assert_eq!(millis(Some(Duration::MAX)), MAX_TTL_MS);
}

#[test]
fn urls_and_bounds_are_refused_without_being_shown() {
    for bad in [
        "hunter2",
        "http://user:hunter2@host",
        "redis://user:hunter2@host:99999",
        "redis://user:hunter2@host/nine",
        "rediss://user:hunter2@host#insecure",
    ] {
        let error = parsed(bad).unwrap_err();
        assert!(matches!(error, StoreError::InvalidUrl { .. }), "{bad}");
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
    assert!(parsed("redis://user:hunter2@host:6380/3").is_ok());
    assert!(parsed("rediss://user:hunter2@host:6380/3").is_ok());
    let refused = |change: fn(&mut RedisConfig)| {
        let mut config = RedisConfig::default();
        change(&mut config);
        config.check().unwrap_err().to_string()
    };
    assert!(refused(|c| c.prefix = "a:b".to_owned()).starts_with("`prefix`"));
    assert!(refused(|c| c.timeout = Duration::ZERO).starts_with("`timeout (ms)`"));
    assert!(refused(|c| c.max_value_bytes = 0).starts_with("`max_value_bytes`"));
    assert!(RedisConfig::default().check().is_ok());
}

#[tokio::test]
async fn over_tls_a_server_that_nobody_vouches_for_is_refused() {
    let server = Redis::start_tls().unwrap();
    let url = server.url().replace("://", "://user:hunter2@");
    let trusting = |pem: Option<&str>| RedisConfig {
        authorities: pem.map(|pem| Bytes::from(pem.to_owned())),
        ..RedisConfig::default()
    };
    let stranger = Redis::start_tls().unwrap();
    for authority in [None, stranger.authority()] {
        let refused = RedisStore::connect_with(&url, trusting(authority)).await;
        let error = refused.unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(matches!(error, StoreError::Unavailable { .. }), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    for bad in ["", "no certificate"] {
        let refused = RedisStore::connect_with(&url, trusting(Some(bad))).await;
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .starts_with("`authorities`")
        );
    }
    let trusted = trusting(server.authority());
    let store = RedisStore::connect_with(&server.url(), trusted)
        .await
        .unwrap();
    let (collection, key) = names("k");
    store
        .put(&collection, &key, "over TLS".into(), None)
        .await
        .unwrap();
    let found = store.get(&collection, &key).await.unwrap();
    assert_eq!(found.as_deref(), Some(&b"over TLS"[..]));
}

struct Served(Arc<RedisStore>);

impl Fixture for Served {
    fn store(&self) -> Arc<dyn KeyValueStore> {
        self.0.clone()
    }

    fn pass(&self, time: Duration) -> BoxFuture<'_, ()> {
        // The server has a clock of its own, which says whole milliseconds.
        Box::pin(tokio::time::sleep(time + Duration::from_millis(5)))
    }

    fn short(&self) -> Duration {
        Duration::from_secs(3)
    }
}

fn names(key: &str) -> (Collection, Key) {
    (Collection::new("c").unwrap(), Key::new(key).unwrap())
}

async fn config(redis: &Redis, config: RedisConfig) -> RedisStore {
    RedisStore::connect_with(&redis.url(), config)
        .await
        .unwrap()
}

async fn raw<T: FromRedisValue>(store: &RedisStore, parts: &[&str]) -> T {
    let mut command = Cmd::new();
    for part in parts {
        command.arg(*part);
    }
    store.command(&command).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept() {
    let redis = Redis::start().unwrap();
    let store = RedisStore::connect(&redis.url()).await.unwrap();
    contract::check(&Served(Arc::new(store))).await.unwrap();
}

#[tokio::test]
async fn two_handles_see_one_another_and_other_prefixes_see_nothing() {
    let redis = Redis::start().unwrap();
    let [one, two] = [
        config(&redis, RedisConfig::default()).await,
        config(&redis, RedisConfig::default()).await,
    ];
    let other = RedisConfig {
        prefix: "other".to_owned(),
        ..RedisConfig::default()
    };
    let other = config(&redis, other).await;
    let (collection, key) = names("k");
    let version = one
        .put(&collection, &key, "one".into(), None)
        .await
        .unwrap();
    let seen = two.entry(&collection, &key).await.unwrap().unwrap();
    assert_eq!((&*seen.value, seen.version), (&b"one"[..], version));
    let new = Put {
        value: "two".into(),
        ttl: Some(Duration::from_secs(60)),
    };
    let swapped = two
        .compare_and_swap(&collection, &key, version, new.clone())
        .await
        .unwrap();
    assert!(matches!(swapped, Swap::Stored(_)));
    let late = one
        .compare_and_swap(&collection, &key, version, new)
        .await
        .unwrap();
    assert!(
        matches!(&late, Swap::Conflict { current: Some(entry) }
            if entry.value == "two" && entry.ttl.is_some_and(|left| left > Duration::from_secs(50))),
        "{late:?}"
    );
    assert!(!one.delete_if(&collection, &key, version).await.unwrap());
    assert_eq!(other.get(&collection, &key).await.unwrap(), None);
    let page = Page {
        after: None,
        limit: NonZeroU16::MAX,
    };
    assert!(
        other
            .scan(&collection, "", page.clone())
            .await
            .unwrap()
            .is_empty()
    );
    assert!(two.delete(&collection, &key).await.unwrap());
    assert!(one.scan(&collection, "", page).await.unwrap().is_empty());
    let left: Vec<String> = raw(&one, &["KEYS", "*"]).await;
    assert!(left.is_empty(), "nothing is left of it: {left:?}");
}

#[tokio::test]
async fn what_expires_is_forgotten_by_redis_and_by_the_names() {
    let redis = Redis::start().unwrap();
    let store = config(&redis, RedisConfig::default()).await;
    let collection = Collection::new("c").unwrap();
    let short = Some(Duration::from_millis(300));
    for number in 0..40 {
        let key = Key::new(&format!("short{number}")).unwrap();
        store
            .put(&collection, &key, "x".into(), short)
            .await
            .unwrap();
    }
    // It is gone already where the machine is busy.
    let left: i64 = raw(&store, &["PTTL", "fastmcp:e:c:short39"]).await;
    let ends = left == -2 || (0..=300).contains(&left);
    assert!(ends, "Redis ends it itself: {left}");
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while raw::<usize>(&store, &["EXISTS", "fastmcp:e:c:short39"]).await > 0 {
        assert!(tokio::time::Instant::now() < until, "it never ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..4 {
        let (collection, key) = names("stays");
        store
            .put(&collection, &key, "x".into(), None)
            .await
            .unwrap();
    }
    let named: usize = raw(&store, &["ZCARD", "fastmcp:n:c"]).await;
    let expiring: usize = raw(&store, &["ZCARD", "fastmcp:x:c"]).await;
    assert_eq!((named, expiring), (1, 0), "writes take out what expired");
}

#[tokio::test]
async fn a_scan_goes_on_over_what_is_gone_and_takes_it_out() {
    let redis = Redis::start().unwrap();
    let store = config(&redis, RedisConfig::default()).await;
    let collection = Collection::new("c").unwrap();
    for number in 0..150 {
        let key = Key::new(&format!("k{number:03}")).unwrap();
        store
            .put(&collection, &key, "x".into(), None)
            .await
            .unwrap();
    }
    // As a server does that runs out of memory and may evict.
    for number in 0..140 {
        let name = format!("fastmcp:e:c:k{number:03}");
        let _: usize = raw(&store, &["DEL", &name]).await;
    }
    let page = Page {
        after: None,
        limit: NonZeroU16::new(3).unwrap(),
    };
    let found = store.scan(&collection, "k", page).await.unwrap();
    let found: Vec<_> = found.iter().map(Key::as_str).collect();
    assert_eq!(found, ["k140", "k141", "k142"]);
    let named: usize = raw(&store, &["ZCARD", "fastmcp:n:c"]).await;
    assert_eq!(named, 10);
}

#[tokio::test]
async fn an_outage_is_told_and_over_when_the_server_is_back() {
    let mut redis = Redis::start().unwrap();
    let patient = RedisConfig {
        timeout: Duration::from_secs(20),
        ..RedisConfig::default()
    };
    let store = config(&redis, patient).await;
    let (collection, key) = names("k");
    let version = store
        .put(&collection, &key, "kept".into(), None)
        .await
        .unwrap();
    redis.stop();
    for _ in 0..2 {
        let away = store
            .put(&collection, &key, "never".into(), None)
            .await
            .unwrap_err();
        let StoreError::Unavailable { source } = &away else {
            panic!("{away:?}")
        };
        let told = source.to_string();
        let address = redis.url().replace("redis://", "");
        assert!(
            told.contains(&address) && told.contains("start it"),
            "{told}"
        );
    }
    redis.start_again().unwrap();
    // The first operation after it is already the new connection's, and the entry is the one of before.
    let found = store.entry(&collection, &key).await.unwrap().unwrap();
    assert_eq!((&*found.value, found.version), (&b"kept"[..], version));
    // Scripts are forgotten by a server that starts anew, and given again.
    let new = Put {
        value: "new".into(),
        ttl: None,
    };
    let swapped = store
        .compare_and_swap(&collection, &key, version, new)
        .await
        .unwrap();
    assert!(matches!(swapped, Swap::Stored(_)));

    // A connection that breaks between two operations is not heard of.
    let _: usize = raw(
        &store,
        &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"],
    )
    .await;
    assert_eq!(
        store.get(&collection, &key).await.unwrap(),
        Some("new".into())
    );
    assert!(
        RedisStore::connect("redis://127.0.0.1:1").await.is_err(),
        "who is not there at the start is told"
    );
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_the_timeout() {
    let redis = Redis::start().unwrap();
    let mut store = config(&redis, RedisConfig::default()).await;
    // Only now: a busy machine may take longer to connect.
    store.config.timeout = Duration::from_millis(100);
    let other = config(&redis, RedisConfig::default()).await;
    let _: String = raw(&other, &["CLIENT", "PAUSE", "60000", "ALL"]).await;
    let (collection, key) = names("k");
    let begun = tokio::time::Instant::now();
    let silent = store.get(&collection, &key).await.unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    let StoreError::Unavailable { source } = silent else {
        panic!("{silent:?}")
    };
    assert!(source.to_string().contains("did not answer"), "{source}");
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_recognises_itself() {
    let redis = Redis::start().unwrap();
    // The same seed makes the same version: the second write is the first one, sent again.
    let seeded = || RedisConfig {
        random: Arc::new(SeededRandom::new(7)),
        ..RedisConfig::default()
    };
    let (collection, key) = names("k");
    let mut stored = Vec::new();
    for _ in 0..2 {
        let store = config(&redis, seeded()).await;
        let outcome = store
            .put_if_absent(&collection, &key, "once".into(), None)
            .await
            .unwrap();
        stored.push(outcome);
    }
    assert!(matches!(stored[0], Swap::Stored(_)));
    assert_eq!(stored[0], stored[1]);
    let other = config(&redis, RedisConfig::default()).await;
    let taken = other
        .put_if_absent(&collection, &key, "twice".into(), None)
        .await
        .unwrap();
    assert!(matches!(taken, Swap::Conflict { current: Some(entry) } if entry.value == "once"));
}

#[tokio::test]
async fn refusals_of_the_server_say_what_to_do_and_no_password() {
    let redis = Redis::start().unwrap();
    let store = config(&redis, RedisConfig::default()).await;
    let said = |error: StoreError| {
        let StoreError::Unavailable { source } = &error else {
            panic!("{error:?}")
        };
        let all = format!("{source} {error:?} {store:?}");
        assert!(!all.contains("hunter2"), "{all}");
        source.to_string()
    };
    let (collection, key) = names("k");
    let large = Bytes::from(vec![0; 1024 * 1024 + 1]);
    let refused = store.put(&collection, &key, large, None).await;
    assert!(matches!(refused, Err(StoreError::ValueTooLarge { .. })));

    let _: String = raw(&store, &["SET", "fastmcp:e:c:k", "short"]).await;
    let foreign = said(store.get(&collection, &key).await.unwrap_err());
    assert!(foreign.contains("no entry of a store"), "{foreign}");
    let _: usize = raw(&store, &["DEL", "fastmcp:e:c:k"]).await;
    let _: usize = raw(&store, &["LPUSH", "fastmcp:e:c:k", "x"]).await;
    let foreign = said(store.get(&collection, &key).await.unwrap_err());
    assert!(foreign.contains("no entry of a store"), "{foreign}");
    let _: usize = raw(&store, &["DEL", "fastmcp:e:c:k"]).await;

    let _: String = raw(&store, &["CONFIG", "SET", "maxmemory", "1"]).await;
    let full = store.put(&collection, &key, "x".into(), None).await;
    let full = said(full.unwrap_err());
    assert!(full.contains("`maxmemory`"), "{full}");
    let _: String = raw(&store, &["CONFIG", "SET", "maxmemory", "0"]).await;

    let user = [
        "ACL",
        "SETUSER",
        "limited",
        "on",
        ">hunter2",
        "~fastmcp:*",
        "+@read",
        "+@write",
        "+@scripting",
        "+time",
        "+ping",
    ];
    let _: String = raw(&store, &user).await;
    let wrong = redis.url().replace("://", "://limited:hunter2000@");
    let wrong = said(RedisStore::connect(&wrong).await.unwrap_err());
    assert!(wrong.contains("user and password"), "{wrong}");
    let right = redis.url().replace("://", "://limited:hunter2@");
    let limited = RedisStore::connect(&right).await.unwrap();
    limited
        .put(&collection, &key, "x".into(), None)
        .await
        .unwrap();
    let elsewhere = RedisConfig {
        prefix: "elsewhere".to_owned(),
        ..RedisConfig::default()
    };
    let elsewhere = RedisStore::connect_with(&right, elsewhere).await.unwrap();
    let denied = elsewhere.get(&collection, &key).await.unwrap_err();
    let denied = said(denied);
    assert!(denied.contains("~elsewhere:*"), "{denied}");
}
