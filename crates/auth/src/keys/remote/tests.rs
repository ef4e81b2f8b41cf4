//! Time is paused: nothing here sleeps.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_core::future::BoxFuture;
use tokio::time::advance;

use super::*;
use crate::testing::SigningKey;

/// An issuer that can be away, slow, and can change its keys.
#[derive(Default)]
struct Issuer {
    calls: AtomicUsize,
    document: Mutex<Option<String>>,
    delay: Mutex<Duration>,
}

impl Issuer {
    fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        let document = serde_json::json!({ "keys": keys }).to_string();
        *self.document.lock().unwrap() = Some(document);
    }

    fn go_away(&self) {
        *self.document.lock().unwrap() = None;
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Fetch for Issuer {
    fn get<'a>(&'a self, _url: &'a Url) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let document = self.document.lock().unwrap().clone();
        let delay = *self.delay.lock().unwrap();
        Box::pin(async move {
            sleep(delay).await;
            let document = document.ok_or(FetchError::Status { status: 503 })?;
            Ok(Bytes::from(document))
        })
    }
}

fn keys(issuer: &Arc<Issuer>) -> Arc<RemoteKeys> {
    let config = RemoteKeysConfig::new("https://idp.example/jwks");
    let fetch: Arc<dyn Fetch> = Arc::clone(issuer) as _;
    Arc::new(RemoteKeys::new(config, fetch).unwrap())
}

async fn found(keys: &RemoteKeys, kid: &str) -> Result<(), NoKey> {
    keys.find(Some(kid), Algorithm::Es256).await.map(|_| ())
}

const UNKNOWN: Result<(), NoKey> = Err(NoKey::Unselected(Unselected::Unknown));

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_and_invented_ones_are_rate_limited() {
    let issuer = Arc::new(Issuer::default());
    let (a, b) = (SigningKey::ec("a"), SigningKey::ec("b"));
    issuer.publish(&[&a]);
    let keys = keys(&issuer);
    assert_eq!(found(&keys, "a").await, Ok(()));
    assert_eq!(found(&keys, "a").await, Ok(()));
    assert_eq!(issuer.calls(), 1);

    for n in 0..50 {
        assert_eq!(found(&keys, &format!("invented-{n}")).await, UNKNOWN);
    }
    assert_eq!(
        issuer.calls(),
        1,
        "the first load was less than 30 seconds ago"
    );

    issuer.publish(&[&a, &b]);
    advance(Duration::from_millis(29_999)).await;
    assert_eq!(found(&keys, "b").await, UNKNOWN);
    advance(Duration::from_millis(1)).await;
    assert_eq!(found(&keys, "b").await, Ok(()));
    assert_eq!(issuer.calls(), 2);
    assert_eq!(found(&keys, "invented").await, UNKNOWN);
    assert_eq!(issuer.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_at_once_cause_one_fetch() {
    let issuer = Arc::new(Issuer::default());
    let a = SigningKey::ec("a");
    issuer.publish(&[&a]);
    *issuer.delay.lock().unwrap() = Duration::from_secs(1);
    let keys = keys(&issuer);
    let (x, y, z) = tokio::join!(
        found(&keys, "a"),
        found(&keys, "a"),
        found(&keys, "invented"),
    );
    assert_eq!((x, y, z), (Ok(()), Ok(()), UNKNOWN));
    assert_eq!(issuer.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn old_keys_serve_while_the_issuer_is_away_for_a_day_and_no_longer() {
    let issuer = Arc::new(Issuer::default());
    let a = SigningKey::ec("a");
    issuer.publish(&[&a]);
    let keys = keys(&issuer);
    assert_eq!(found(&keys, "a").await, Ok(()));

    issuer.go_away();
    advance(Duration::from_secs(15 * 60)).await;
    assert_eq!(found(&keys, "a").await, Ok(()));
    assert_eq!(issuer.calls(), 2, "old keys are refreshed");
    assert_eq!(found(&keys, "a").await, Ok(()));
    assert_eq!(issuer.calls(), 2, "but not at every request");
    let status = keys.status();
    assert_eq!(
        (status.keys, status.age),
        (1, Some(Duration::from_secs(900)))
    );
    assert!(status.last_error.unwrap().contains("503"));

    advance(Duration::from_secs(24 * 3_600 - 901)).await;
    assert_eq!(found(&keys, "a").await, Ok(()));
    advance(Duration::from_secs(1)).await;
    assert_eq!(found(&keys, "a").await, Err(NoKey::Unavailable));
    assert_eq!(keys.status().keys, 0);

    issuer.publish(&[&a]);
    advance(Duration::from_secs(1)).await;
    assert_eq!(found(&keys, "a").await, Ok(()));
    assert_eq!(keys.status().last_error, None);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_goes_when_the_keys_are_old() {
    let issuer = Arc::new(Issuer::default());
    let (a, b) = (SigningKey::ec("a"), SigningKey::ec("b"));
    issuer.publish(&[&a, &b]);
    let keys = keys(&issuer);
    assert_eq!(found(&keys, "a").await, Ok(()));
    issuer.publish(&[&b]);
    advance(Duration::from_secs(15 * 60)).await;
    assert_eq!(found(&keys, "a").await, UNKNOWN);
}

#[tokio::test(start_paused = true)]
async fn garbage_and_silence_do_not_replace_good_keys() {
    let issuer = Arc::new(Issuer::default());
    let a = SigningKey::ec("a");
    issuer.publish(&[&a]);
    let keys = keys(&issuer);
    assert_eq!(found(&keys, "a").await, Ok(()));
    for garbage in [
        "<html>",
        r#"{"keys":[]}"#,
        &" ".repeat(crate::jwks::MAX_JWKS_BYTES + 1),
    ] {
        *issuer.document.lock().unwrap() = Some(garbage.to_owned());
        advance(Duration::from_secs(15 * 60)).await;
        assert_eq!(found(&keys, "a").await, Ok(()));
        assert!(keys.status().last_error.is_some());
    }
    issuer.publish(&[&a]);
    *issuer.delay.lock().unwrap() = Duration::from_secs(3_600);
    advance(Duration::from_secs(60)).await;
    let started = Instant::now();
    assert_eq!(found(&keys, "a").await, Ok(()));
    assert_eq!(started.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn without_keys_it_tries_again_after_a_second() {
    let issuer = Arc::new(Issuer::default());
    let a = SigningKey::ec("a");
    let keys = keys(&issuer);
    assert_eq!(found(&keys, "a").await, Err(NoKey::Unavailable));
    issuer.publish(&[&a]);
    assert_eq!(found(&keys, "a").await, Err(NoKey::Unavailable));
    assert_eq!(issuer.calls(), 1);
    advance(Duration::from_secs(1)).await;
    assert_eq!(found(&keys, "a").await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn in_the_background_no_request_waits() {
    let issuer = Arc::new(Issuer::default());
    let a = SigningKey::ec("a");
    issuer.publish(&[&a]);
    *issuer.delay.lock().unwrap() = Duration::from_secs(2);
    let keys = keys(&issuer);
    let shutdown = CancellationToken::new();
    let scenario = async {
        sleep(Duration::from_secs(3)).await;
        for _ in 0..100 {
            let started = Instant::now();
            assert_eq!(found(&keys, "a").await, Ok(()));
            assert_eq!(started.elapsed(), Duration::ZERO);
            sleep(Duration::from_secs(60)).await;
        }
        shutdown.cancel();
    };
    let ((), ()) = tokio::join!(keys.run(shutdown.clone()), scenario);
    // 100 minutes, a fetch every 12.
    assert_eq!(issuer.calls(), 9);
}

#[test]
fn the_configuration_is_checked() {
    let with = |change: fn(&mut RemoteKeysConfig)| {
        let mut config = RemoteKeysConfig::new("https://idp.example/jwks");
        change(&mut config);
        RemoteKeys::new(config, Arc::new(Issuer::default())).map(|_| ())
    };
    assert_eq!(with(|_| {}), Ok(()));
    assert!(with(|c| c.at = KeysAt::Url("http://idp.example/jwks".to_owned())).is_err());
    assert!(with(|c| c.refresh_after = Duration::ZERO).is_err());
    assert!(with(|c| c.min_interval = Duration::ZERO).is_err());
    assert!(with(|c| c.stale_limit = Duration::from_secs(60)).is_err());
    assert!(with(|c| c.stale_limit = Duration::MAX).is_err());
    assert!(with(|c| c.fetch_timeout = Duration::MAX).is_err());
}

/// An issuer whose metadata is at the last of the places where it may be, and its keys on another host.
struct Described {
    issuer: &'static str,
    jwks_uri: &'static str,
    keys: String,
}

impl Fetch for Described {
    fn get<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        let answer = match url.as_str() {
            "https://idp.example/.well-known/oauth-authorization-server/t1" => {
                Ok("<html>".to_owned())
            }
            "https://idp.example/t1/.well-known/openid-configuration" => Ok(serde_json::json!({
                "issuer": self.issuer, "jwks_uri": self.jwks_uri,
            })
            .to_string()),
            "https://keys.example/set" => Ok(self.keys.clone()),
            _ => Err(FetchError::Status { status: 404 }),
        };
        Box::pin(async move { answer.map(Bytes::from) })
    }
}

async fn discovered(
    issuer: &'static str,
    jwks_uri: &'static str,
) -> (Result<(), NoKey>, Option<String>) {
    let set = serde_json::json!({"keys": [SigningKey::ec("a").jwk()]}).to_string();
    let described = Described {
        issuer,
        jwks_uri,
        keys: set,
    };
    let config = RemoteKeysConfig::discover("https://idp.example/t1");
    let keys = RemoteKeys::new(config, Arc::new(described)).unwrap();
    (found(&keys, "a").await, keys.status().last_error)
}

#[tokio::test(start_paused = true)]
async fn keys_are_where_the_metadata_of_their_issuer_says() {
    let good = "https://keys.example/set";
    assert_eq!(
        discovered("https://idp.example/t1", good).await,
        (Ok(()), None)
    );
    for (issuer, jwks_uri, why) in [
        ("https://idp.example/t2", good, "another issuer"),
        ("https://idp.example/t1/", good, "another issuer"),
        (
            "https://idp.example/t1",
            "http://keys.example/set",
            "https://",
        ),
        ("https://idp.example/t1", "file:///etc/passwd", "jwks_uri"),
    ] {
        let (found, error) = discovered(issuer, jwks_uri).await;
        assert_eq!(found, Err(NoKey::Unavailable), "{issuer} {jwks_uri}");
        assert!(error.as_ref().unwrap().contains(why), "{error:?}");
    }
    for wrong in ["http://idp.example", "https://idp.example?a=b", "idp"] {
        let config = RemoteKeysConfig::discover(wrong);
        assert!(
            RemoteKeys::new(config, Arc::new(Issuer::default())).is_err(),
            "{wrong}"
        );
    }
}
