//! How often, how much, how many at once: limits by tenant, subject, client, tool, provider and argument.
//!
//! A call asks every rule that is about it, and all of them give or none does. What a call took it gives back when it
//! ends without having acted or begun to wait for a confirmation: a [`Slot`] sees to that, however the call ends.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use fastmcp_audit::Object;
use fastmcp_auth::Caller;
use fastmcp_guard::{clock::Clock, random::Random};
use prometheus_client::metrics::counter::Counter;
use secrecy::{ExposeSecret as _, SecretString};
use smallvec::SmallVec;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    call::{Call, Presented},
    error::Error,
    policy::Permit,
    telemetry::Telemetry,
};

mod address;
mod answer;
mod memory;
mod meter;
mod redis;
pub mod rule;
mod slot;
#[cfg(test)]
mod tests;

pub use address::InvalidAddress;
use answer::{nearest, refusal, refused_by};
use memory::Memory;
use meter::{Reading, Take};
use redis::Redis;
use rule::{Facts, Kind, Match, Part, Rate, Rule, micros};
pub use slot::Slot;
use slot::Taken;

/// The name of the limit that holds where nothing else is said.
pub const DEFAULT_RULE: &str = "default";
/// The name of the limit of requests of any kind.
pub const REQUESTS_RULE: &str = "requests";

/// How many requests of any kind a caller has for each call of one tool.
const REQUESTS_PER_CALL: u32 = 20;
/// How much longer than its provider may take a call counts as under way that nobody ended.
const LEASE_MARGIN: Duration = Duration::from_secs(90);
/// When a call that met too many others may try again.
const SOON: Duration = Duration::from_secs(1);

/// What a [`Limit`] holds calls to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The default limit: `RATE_LIMIT_DEFAULT_RPS` and `RATE_BUCKET_BURST`.
    pub rate: Rate,
    /// The limits beside it.
    pub rules: Rules,
    /// The server that replicas count in together: `REDIS_URL`.
    pub redis: Option<SecretString>,
    /// Certificates in PEM, to one of which that of a `rediss://` server must lead, in place of Mozilla's:
    /// `REDIS_CA_FILE`.
    pub redis_authorities: Option<Arc<[u8]>>,
    /// What holds while it is away: `RATE_LIMIT_FALLBACK`.
    pub fallback: Fallback,
    /// The longest that a provider may take: `REQUEST_TIMEOUT`.
    pub longest_call: Duration,
}

/// The limits of `RATE_LIMIT_FILE`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Whether the default limit holds as well: `RATE_LIMIT_DEFAULT_RPS` and `RATE_BUCKET_BURST`, for each tenant,
    /// subject and tool.
    pub default: bool,
    /// The limits, each with a name of its own.
    pub rules: Vec<Rule>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            default: true,
            rules: Vec::new(),
        }
    }
}

impl Rules {
    /// Every limit that holds for calls, the default one first.
    #[must_use]
    pub fn in_force(&self, rate: Rate) -> Vec<Rule> {
        let default = Rule {
            name: DEFAULT_RULE.to_owned(),
            key: vec![Part::Tenant, Part::Subject, Part::Tool],
            matches: Match::default(),
            kind: Kind::Bucket(rate),
        };
        self.default
            .then_some(default)
            .into_iter()
            .chain(self.rules.iter().cloned())
            .collect()
    }
}

/// What holds while Redis is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// Each replica counts for itself, from nought. The default.
    #[default]
    Memory,
    /// Calls are refused as unavailable.
    Refuse,
}

/// How the shared count is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether calls can be decided.
    pub ready: bool,
    /// Whether Redis is away.
    pub degraded: bool,
    /// What is in the way.
    pub reason: Option<String>,
}

/// The limiter. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limit {
    inner: Arc<Inner>,
}

struct Inner {
    rate: Rate,
    active: ArcSwap<Vec<Active>>,
    /// Requests of any kind; counted here alone, before anything is known of them.
    requests: Active,
    memory: Memory,
    redis: Option<Redis>,
    fallback: Fallback,
    telemetry: Telemetry,
    tracker: TaskTracker,
}

/// A rule in force.
struct Active {
    rule: Rule,
    /// Tells its counts from those of other rules.
    identity: String,
    allowed: Counter,
    refused: Counter,
}

impl Active {
    fn new(mut rule: Rule, telemetry: &Telemetry) -> Self {
        // Whatever the order in the file: replicas must mean the same.
        rule.key.sort();
        rule.key.dedup();
        Self {
            identity: format!("{}:{}", rule.name, rule.kind.identity()),
            allowed: telemetry.limit_decisions(&rule.name, "allowed"),
            refused: telemetry.limit_decisions(&rule.name, "refused"),
            rule,
        }
    }
}

/// What a call asks of one rule.
#[derive(Clone, Copy)]
struct Ask<'a> {
    active: &'a Active,
    index: usize,
    facts: &'a Facts<'a>,
    amount: u64,
}

/// What was taken of one key.
#[derive(Clone, Debug)]
struct Receipt {
    rule: usize,
    key: Key,
    take: Take,
}

#[derive(Clone, Debug)]
enum Key {
    /// In this process.
    Here(u128),
    /// In Redis, with the name of the call where what it takes needs one.
    There(String, Option<String>),
}

impl Receipt {
    /// Whether it is to be given back: a call under way always, anything else only where it did not act.
    const fn is_due(&self, rule: &Rule, acted: bool) -> bool {
        !acted || matches!(rule.kind, Kind::Concurrency { .. })
    }
}

/// What became of asking all rules at once.
#[derive(Debug, Default)]
struct Verdict {
    /// How the call stands with each of them.
    readings: SmallVec<[Reading; 1]>,
    /// What it took; nothing where one had no room.
    receipts: SmallVec<[Receipt; 1]>,
}

impl Verdict {
    fn is_refused(&self) -> bool {
        self.readings.iter().any(|reading| reading.full.is_some())
    }
}

/// The backend cannot be asked.
#[derive(Debug)]
struct Away;

/// Where counts are kept.
trait Backend {
    /// Takes for all of `asks`, or for none of them.
    fn take(&self, asks: &[Ask<'_>]) -> impl Future<Output = Result<Verdict, Away>> + Send;

    /// Ends what a call took: calls under way end, and what it took beside is given back unless it `acted`.
    fn put_back(
        &self,
        rules: &[Active],
        receipts: &[Receipt],
        acted: bool,
    ) -> impl Future<Output = ()> + Send;
}

impl Limit {
    /// Creates a limiter.
    ///
    /// Call [`Self::run`] beside it where `settings` name a Redis server; the server need not be there.
    ///
    /// # Errors
    ///
    /// When the address of the server cannot be used.
    pub fn new(
        settings: Settings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        telemetry: Telemetry,
    ) -> Result<Self, InvalidAddress> {
        let Settings {
            rate,
            rules,
            redis,
            redis_authorities,
            fallback,
            longest_call,
        } = settings;
        let lease = longest_call.saturating_add(LEASE_MARGIN);
        let redis = redis
            .map(|url| {
                let client = address::client(url.expose_secret(), redis_authorities.as_deref())?;
                Ok(Redis::new(client, lease, random, telemetry.clone()))
            })
            .transpose()?;
        let requests = Rule {
            name: REQUESTS_RULE.to_owned(),
            key: vec![Part::Subject],
            matches: Match::default(),
            kind: Kind::Bucket(Rate {
                per_second: rate.per_second * f64::from(REQUESTS_PER_CALL),
                burst: rate
                    .burst
                    .saturating_mul(REQUESTS_PER_CALL.try_into().unwrap_or(rate.burst)),
            }),
        };
        let inner = Inner {
            rate,
            active: ArcSwap::default(),
            requests: Active::new(requests, &telemetry),
            memory: Memory::new(clock, telemetry.limit_evictions()),
            redis,
            fallback,
            telemetry,
            tracker: TaskTracker::new(),
        };
        let limit = Self {
            inner: Arc::new(inner),
        };
        limit.reload(&rules);
        Ok(limit)
    }

    /// Puts `rules` in the place of those in force. What calls took stays counted where name and kind stay.
    pub fn reload(&self, rules: &Rules) {
        let active = rules
            .in_force(self.inner.rate)
            .into_iter()
            .map(|rule| Active::new(rule, &self.inner.telemetry))
            .collect();
        self.inner.active.store(Arc::new(active));
    }

    /// The names of the limits in force.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let active = self.inner.active.load();
        active
            .iter()
            .map(|active| active.rule.name.clone())
            .collect()
    }

    /// Admits a call or says when to try again.
    ///
    /// A call that confirms an earlier one was charged then: only calls under way count it.
    ///
    /// # Errors
    ///
    /// [`RateLimited`](crate::error::Code::RateLimited): nothing was taken.
    /// [`Unavailable`](crate::error::Code::Unavailable) while Redis is away, where nothing else may decide.
    ///
    /// # Cancel safety
    ///
    /// Dropped, something may have been taken from what Redis counts: what is under way ends soon after.
    pub async fn admit(&self, permit: &Permit, call: &Call) -> Result<Slot, Error> {
        let is_first = matches!(call.presented, Presented::Nothing);
        self.ask_for(permit, call, is_first).await
    }

    /// Admits a call that goes on where an earlier one waited, and was charged then: only calls under way count it.
    ///
    /// # Errors
    ///
    /// As [`Self::admit`].
    ///
    /// # Cancel safety
    ///
    /// As [`Self::admit`].
    pub async fn resume(&self, permit: &Permit, call: &Call) -> Result<Slot, Error> {
        self.ask_for(permit, call, false).await
    }

    async fn ask_for(&self, permit: &Permit, call: &Call, is_first: bool) -> Result<Slot, Error> {
        let manifest = permit.target().manifest();
        let safety_tags = permit.decided().resource.as_ref().map(|r| &r.safety_tags);
        let facts = Facts {
            tenant: permit.tenant(),
            subject: permit.caller().subject(),
            client: permit
                .caller()
                .client_id()
                .or_else(|| call.declared_client()),
            tool: manifest.tool_id.as_str(),
            provider: &manifest.provider_id,
            safety_tags: safety_tags.unwrap_or(&manifest.safety_tags),
            args: permit.args(),
        };
        self.ask(&facts, manifest.cost_estimate, is_first).await
    }

    async fn ask(
        &self,
        facts: &Facts<'_>,
        cost: Option<f64>,
        is_first: bool,
    ) -> Result<Slot, Error> {
        let active = self.inner.active.load_full();
        let asks: SmallVec<[Ask<'_>; 1]> = active
            .iter()
            .enumerate()
            .filter(|(_, active)| {
                let counts = is_first || matches!(active.rule.kind, Kind::Concurrency { .. });
                counts && active.rule.matches.fits(facts)
            })
            .map(|(index, active)| Ask {
                active,
                index,
                facts,
                amount: match active.rule.kind {
                    Kind::Budget { .. } => micros(cost),
                    _ => 1,
                },
            })
            .collect();
        let (verdict, degraded) = match &self.inner.redis {
            None => (self.inner.memory.decide(&asks), false),
            Some(redis) => match Box::pin(redis.take(&asks)).await {
                Ok(verdict) => (verdict, false),
                Err(Away) if self.inner.fallback == Fallback::Memory => {
                    (self.inner.memory.decide(&asks), true)
                }
                Err(Away) => {
                    let error = "Limits are unavailable; nothing was done";
                    return Err(Error::unavailable(error, "Redis is away").with_retry_after(SOON));
                }
            },
        };
        if verdict.is_refused() {
            return Err(refusal(&asks, &verdict));
        }
        for ask in &asks {
            ask.active.allowed.inc();
        }
        let mut standing = nearest(&asks, &verdict);
        if !is_first {
            standing.flag("charged", false);
        }
        if degraded {
            standing.flag("degraded", true);
        }
        let receipts = verdict.receipts;
        drop(asks);
        let taken = (!receipts.is_empty()).then(|| Taken {
            inner: Arc::clone(&self.inner),
            active,
            receipts,
            acted: false,
        });
        Ok(Slot { taken, standing })
    }

    /// A place of a call that takes nothing: its answer was paid for already.
    #[must_use]
    pub fn free(&self) -> Slot {
        let mut standing = Object::default();
        standing.flag("charged", false);
        Slot {
            taken: None,
            standing,
        }
    }

    /// Admits a request of any kind, before anything is known of it: 20 times the
    /// rate of calls, for each caller, so that refusals cannot be had without end.
    ///
    /// # Errors
    ///
    /// [`RateLimited`](crate::error::Code::RateLimited).
    pub fn admit_request(&self, caller: &Caller) -> Result<(), Error> {
        let inner = &self.inner;
        let reading = inner
            .memory
            .decide_for(&inner.requests, caller.principal().as_str());
        if reading.full.is_none() {
            inner.requests.allowed.inc();
            return Ok(());
        }
        inner.requests.refused.inc();
        Err(refused_by(&inner.requests, &reading))
    }

    /// How the shared count is; `None` where this process counts alone.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        let redis = self.inner.redis.as_ref()?;
        let reason = redis.fault();
        Some(Health {
            ready: reason.is_none() || self.inner.fallback == Fallback::Memory,
            degraded: reason.is_some(),
            reason,
        })
    }

    /// Looks after the connection to Redis, where there is one, until `shutdown` fires.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn run(&self, shutdown: CancellationToken) {
        if let Some(redis) = &self.inner.redis {
            shutdown.run_until_cancelled(redis.look_after()).await;
        }
    }

    /// Waits until what calls took is given back, for a few seconds where Redis is away.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn close(&self) {
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
        if let Some(redis) = &self.inner.redis {
            redis.finish().await;
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("rules", &self.active.load().len())
            .field("redis", &self.redis.is_some())
            .field("fallback", &self.fallback)
            .finish_non_exhaustive()
    }
}
