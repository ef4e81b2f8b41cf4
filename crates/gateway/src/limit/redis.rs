//! Counts in a Redis server, which replicas share. One script decides over all keys of a call, by the server's clock.
//!
//! While the server is away nobody waits for it: the first call that finds out says so once, and [`Redis::look_after`]
//! asks until it is back. What a call may have taken there though its answer never came is given back by then.

mod debt;

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ::redis::{
    Client, ErrorKind, RedisError, RedisResult, Script,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use fastmcp_guard::random::{self, Random};
use smallvec::SmallVec;
use tokio::sync::{Notify, OnceCell};

use super::{
    Active, Ask, Away, Backend, Key, Receipt, Verdict,
    meter::{Reading, Take, leaves, pace},
    rule::{Kind, Period, grain, millis},
};
use crate::telemetry::Telemetry;

use debt::{Debts, Doubt, Said};

/// What the names of all keys begin with. The braces keep the keys of one call together in a cluster.
const PREFIX: &str = "{fastmcp}:limit:";
/// How long a decision may take, a new connection included.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the name of a call is remembered there, whose answer may be lost.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How long it is remembered there that what was taken under a name was given back.
const ONCE_FOR: Duration = Duration::from_secs(120);
/// What the scripts are told with the name of a call, of which it is not known here what it took.
const NAMED: &str = "n";
/// What they are told with the name of a call of which it is.
const ONCE: &str = "o";
/// What they are told with a limit of calls under way.
const UNDER_WAY: &str = "c";
/// How long a key is kept that says nothing any more.
const GRACE: Duration = Duration::from_secs(1);
/// How often a server is asked that is away.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long what is owed holds up the end.
const LAST_WORDS: Duration = Duration::from_secs(if cfg!(test) { 50 } else { 3 });
/// How often a server is asked of which nothing bad is known.
const ASK_ANYWAY: Duration = Duration::from_secs(1);

/// The limits of a deployment.
pub(super) struct Redis {
    client: Client,
    /// Made at the first use: making it takes a runtime.
    connection: OnceCell<ConnectionManager>,
    take: Script,
    put_back: Script,
    lease: Duration,
    grace: Duration,
    patience: Duration,
    random: Arc<dyn Random>,
    telemetry: Telemetry,
    away: AtomicBool,
    fault: Mutex<Option<String>>,
    found_out: Notify,
    /// What calls may have taken there that have ended here.
    debts: Debts,
    /// In the place of the server's clock.
    #[cfg(test)]
    now: Option<Arc<dyn fastmcp_guard::clock::Clock>>,
}

impl Redis {
    pub(super) fn new(
        client: Client,
        lease: Duration,
        random: Arc<dyn Random>,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            client,
            connection: OnceCell::new(),
            take: Script::new(include_str!("take.lua")),
            put_back: Script::new(include_str!("put_back.lua")),
            lease,
            grace: GRACE,
            patience: PATIENCE,
            random,
            telemetry,
            away: AtomicBool::new(false),
            fault: Mutex::default(),
            found_out: Notify::new(),
            debts: Debts::default(),
            #[cfg(test)]
            now: None,
        }
    }

    /// Time that a test makes, in which no key ends by itself, and patience with a busy machine.
    #[cfg(test)]
    pub(super) fn at_leisure(&mut self, now: Option<Arc<dyn fastmcp_guard::clock::Clock>>) {
        if now.is_some() {
            self.grace = Duration::from_secs(3_600);
        }
        self.now = now;
        self.patience = Duration::from_secs(20);
    }

    /// Whether nothing is left to be given back.
    #[cfg(test)]
    pub(super) fn is_square(&self) -> bool {
        self.debts.is_empty()
    }

    /// How much was not given back yet.
    #[cfg(test)]
    pub(super) fn due(&self) -> usize {
        self.debts.due()
    }

    /// What is in the way, while it is away.
    pub(super) fn fault(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the server whether it is there, for ever. It is only where it takes what is written: one that is full, or
    /// follows another, answers all the same.
    pub(super) async fn look_after(&self) {
        loop {
            let asked = self.within(|mut connection| async move {
                ::redis::cmd("SET")
                    .arg(format!("{PREFIX}probe"))
                    .arg(1)
                    .arg("PX")
                    .arg(1_000)
                    .query_async::<()>(&mut connection)
                    .await
            });
            // Both outcomes are noted.
            if asked.await.is_ok() {
                self.give_back().await;
                self.write_off(0);
            }
            let is_away = self.away.load(Ordering::Acquire);
            let is_soon = is_away || !self.debts.is_empty();
            let pause = if is_soon { ASK_AGAIN } else { ASK_ANYWAY };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.found_out.notified(), if !is_away => {}
            }
        }
    }

    /// Gives back what calls may have taken there that have ended here, if the server is there.
    pub(super) async fn give_back(&self) {
        let taken = self.debts.take();
        let debts = taken.debts();
        if debts.is_empty() {
            return;
        }
        let mut script = self.put_back.prepare_invoke();
        script.arg(self.now()).arg(millis(self.grace));
        // What has no name stands before all that has, since a name holds for what follows it.
        let (named, plain): (Vec<_>, Vec<_>) = debts.iter().partition(|debt| debt.is_named());
        for (key, arguments) in plain.iter().chain(&named).flat_map(|debt| debt.keys()) {
            script.key(key);
            for argument in arguments {
                script.arg(argument);
            }
        }
        let script = &script;
        let given: Result<(), Away> = self
            .within(|mut connection| async move { script.invoke_async(&mut connection).await })
            .await;
        if given.is_ok() {
            taken.given_back();
        }
    }

    /// Gives back what is owed at the end, tried again for a while where the server is away.
    pub(super) async fn finish(&self) {
        let giving = async {
            self.give_back().await;
            while self.debts.due() > 0 {
                tokio::time::sleep(ASK_AGAIN).await;
                self.give_back().await;
            }
        };
        // Whether in time or not: what is due by then is told.
        let _ = tokio::time::timeout(LAST_WORDS, giving).await;
        self.write_off(self.debts.due());
    }

    /// Says of how many calls nothing will be given back: those of which that is known by now, and those that are `left`.
    fn write_off(&self, left: usize) {
        let calls = self.debts.write_off() + left;
        if calls > 0 {
            tracing::warn!(
                calls,
                "Redis was away: what these calls took stays taken there until it passes by itself"
            );
        }
    }

    /// Does `work` on the connection, in time, and notes whether the server is there. Where the connection breaks, it may
    /// have been done all the same, and is done again.
    async fn within<T, F>(&self, work: impl Fn(ConnectionManager) -> F + Send) -> Result<T, Away>
    where
        F: Future<Output = RedisResult<T>> + Send,
    {
        self.noting(async {
            match work(self.connection().await?).await {
                // A connection is found broken only by who uses it.
                Err(error) if error.is_connection_dropped() => work(self.connection().await?).await,
                done => done,
            }
        })
        .await
    }

    /// Waits for `work`, in time, and notes whether the server is there.
    async fn noting<T>(&self, work: impl Future<Output = RedisResult<T>>) -> Result<T, Away> {
        let done = tokio::time::timeout(self.patience, work).await;
        match done.unwrap_or_else(|_| Err((ErrorKind::Io, "no answer in time").into())) {
            Ok(value) => {
                self.is_there();
                Ok(value)
            }
            Err(error) => {
                self.is_away(&error);
                Err(Away)
            }
        }
    }

    async fn connection(&self) -> RedisResult<ConnectionManager> {
        let connect = || async {
            let config = ConnectionManagerConfig::new()
                .set_number_of_retries(0)
                .set_connection_timeout(Some(self.patience))
                .set_response_timeout(Some(self.patience));
            ConnectionManager::new_lazy_with_config(self.client.clone(), config)
        };
        self.connection.get_or_try_init(connect).await.cloned()
    }

    fn is_there(&self) {
        if self.away.swap(false, Ordering::AcqRel) {
            *self.lock() = None;
            self.telemetry.limit_degraded(false);
            tracing::info!("Redis is back: limits are counted there again");
        }
    }

    fn is_away(&self, error: &RedisError) {
        *self.lock() = Some(error.to_string());
        if !self.away.swap(true, Ordering::AcqRel) {
            self.telemetry.limit_degraded(true);
            tracing::warn!(%error, "Redis is away: limits hold as RATE_LIMIT_FALLBACK says until it is back");
            self.found_out.notify_one();
        }
    }

    /// The name of a key: its rule for people, what calls have in common as a digest.
    fn key(ask: &Ask<'_>) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        ask.active.rule.common(ask.facts, |mark, text| {
            let (mark, text) = text.map_or((b'-', ""), |text| (mark, text));
            context.update(&[mark]);
            // The length keeps what two parts say apart.
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        });
        let digest = context.finish();
        format!(
            "{PREFIX}{}:{}",
            ask.active.identity,
            HEXLOWER.encode(digest.as_ref())
        )
    }

    fn now(&self) -> String {
        #[cfg(test)]
        if let Some(clock) = &self.now {
            return clock.now().millis().to_string();
        }
        String::new()
    }

    /// A name for the call, where what it takes needs one.
    fn name_for(&self, asks: &[Ask<'_>]) -> Result<Option<String>, Away> {
        let needs = |ask: &Ask<'_>| {
            is_under_way(&ask.active.rule.kind) || is_lasting(&ask.active.rule.kind)
        };
        if !asks.iter().any(needs) {
            return Ok(None);
        }
        let bytes = random::array::<16>(&*self.random).map_err(|error| {
            tracing::error!(%error, "no randomness for the name of a call");
            Away
        })?;
        Ok(Some(HEXLOWER.encode(&bytes)))
    }

    /// What is said of each key to take, and what to give that back.
    fn said(
        &self,
        asks: &[Ask<'_>],
        keys: &[String],
        name: Option<&str>,
    ) -> (Vec<Said>, Vec<Said>) {
        let is_named = asks.iter().any(|ask| is_lasting(&ask.active.rule.kind));
        let naming = name
            .filter(|_| is_named)
            .map(|name| naming(NAMED, name, REMEMBERED));
        let (mut take, mut undo) = (Vec::new(), Vec::new());
        take.extend(naming.clone());
        undo.extend(naming);
        for (ask, key) in asks.iter().zip(keys) {
            take.push((key.clone(), self.arguments(ask, name)));
            if is_named || is_under_way(&ask.active.rule.kind) {
                undo.push((key.clone(), undone(ask, name)));
            }
        }
        (take, undo)
    }

    fn arguments(&self, ask: &Ask<'_>, lease: Option<&str>) -> [String; 4] {
        let text = |kind: &str, a: String, b: String, c: String| [kind.to_owned(), a, b, c];
        let none = String::new;
        match ask.active.rule.kind {
            Kind::Bucket(rate) => {
                let (interval, tolerance) = pace(rate);
                text("b", interval.to_string(), tolerance.to_string(), none())
            }
            Kind::Window { max, per } => text(
                "w",
                max.to_string(),
                millis(per).to_string(),
                grain(max, per).to_string(),
            ),
            Kind::Quota { max, per } | Kind::Budget { max, per } => {
                let period = match per {
                    Period::Day => "d",
                    Period::Month => "m",
                };
                text(
                    "t",
                    max.to_string(),
                    period.to_owned(),
                    ask.amount.to_string(),
                )
            }
            Kind::Concurrency { max } => text(
                UNDER_WAY,
                max.to_string(),
                millis(self.lease).to_string(),
                lease.unwrap_or_default().to_owned(),
            ),
        }
    }

    async fn decide(&self, asks: &[Ask<'_>]) -> Result<Verdict, Away> {
        let name = self.name_for(asks)?;
        let keys: Vec<String> = asks.iter().map(Self::key).collect();
        let (take, undo) = self.said(asks, &keys, name.as_deref());
        let mut script = self.take.prepare_invoke();
        script.arg(self.now()).arg(millis(self.grace));
        for (key, arguments) in &take {
            script.key(key);
            for argument in arguments {
                script.arg(argument);
            }
        }
        let script = &script;
        // Until the answer is here: what was asked may be done all the same, however this ends.
        let doubt = Doubt::new(self, undo);
        let reply: Vec<i64> = self
            .within(|mut connection| async move { script.invoke_async(&mut connection).await })
            .await?;
        let verdict = verdict(asks, keys, name.as_deref(), &reply);
        if verdict.is_some() {
            doubt.settle();
        }
        verdict.ok_or_else(|| {
            let error = (ErrorKind::UnexpectedReturnType, "an answer of another form");
            self.is_away(&error.into());
            Away
        })
    }

    async fn return_all(&self, rules: &[Active], receipts: &[Receipt], acted: bool) {
        let mut due: Vec<Said> = Vec::with_capacity(receipts.len() + 1);
        let mut once = None;
        for receipt in receipts {
            let (Some(active), Key::There(key, name)) = (rules.get(receipt.rule), &receipt.key)
            else {
                continue;
            };
            if !receipt.is_due(&active.rule, acted) {
                continue;
            }
            let kind = &active.rule.kind;
            if let Some(name) = name.as_deref().filter(|_| is_lasting(kind)) {
                once = Some(naming_once(name, receipt.take.at));
            }
            let arguments = returned(kind, receipt.take, name.as_deref());
            due.push((key.clone(), arguments));
        }
        if due.is_empty() {
            return;
        }
        // Given back twice, it would let more through than is allowed. Under a name it is not, and calls under way are names.
        let is_named = once.is_some();
        due.splice(0..0, once);
        let is_owed = |(_, [kind, ..]): &&Said| is_named || kind == UNDER_WAY;
        let mut doubt = Doubt::new(self, due.iter().filter(is_owed).cloned());
        if self.away.load(Ordering::Acquire) {
            return;
        }
        doubt.try_now();
        let mut script = self.put_back.prepare_invoke();
        script.arg(self.now()).arg(millis(self.grace));
        for (key, arguments) in &due {
            script.key(key);
            for argument in arguments {
                script.arg(argument);
            }
        }
        let returned: Result<(), Away> = self
            .noting(async { script.invoke_async(&mut self.connection().await?).await })
            .await;
        match returned {
            Ok(()) => doubt.settle(),
            Err(Away) => tracing::debug!("what a call took was not given back"),
        }
    }
}

/// What is said of the name of a call: that it is remembered for so long.
fn naming(kind: &str, name: &str, keep: Duration) -> Said {
    let arguments = [
        kind.to_owned(),
        millis(keep).to_string(),
        String::new(),
        String::new(),
    ];
    (format!("{PREFIX}call:{name}"), arguments)
}

/// What is said of the name of a call that took `at` that time and gives it back.
fn naming_once(name: &str, at: u64) -> Said {
    let (key, [kind, keep, ..]) = naming(ONCE, name, ONCE_FOR);
    let sure = millis(REMEMBERED.saturating_sub(PATIENCE));
    (key, [kind, keep, at.to_string(), sure.to_string()])
}

/// Whether a limit counts calls under way, each under a name of its own.
const fn is_under_way(kind: &Kind) -> bool {
    matches!(kind, Kind::Concurrency { .. })
}

/// Whether what a call took stays taken for long where it is not given back. A bucket fills again by itself.
const fn is_lasting(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Window { .. } | Kind::Quota { .. } | Kind::Budget { .. }
    )
}

/// What is said to give back what was perhaps taken, at a time that only the server knows.
fn undone(ask: &Ask<'_>, name: Option<&str>) -> [String; 4] {
    let kind = &ask.active.rule.kind;
    let take = Take {
        at: 0,
        amount: ask.amount,
    };
    let [letter, a, b, c] = returned(kind, take, name);
    match kind {
        Kind::Bucket(_) => [letter, a, String::new(), c],
        Kind::Concurrency { .. } => [letter, a, b, c],
        _ => [letter, String::new(), b, c],
    }
}

/// What the script said, if that is what it says.
fn verdict(
    asks: &[Ask<'_>],
    keys: Vec<String>,
    name: Option<&str>,
    reply: &[i64],
) -> Option<Verdict> {
    let (now, rest) = reply.split_first()?;
    let now = u64::try_from(*now).ok()?;
    let (triples, []) = rest.as_chunks::<3>() else {
        return None;
    };
    if triples.len() != asks.len() {
        return None;
    }
    let number = |value: i64| u64::try_from(value).unwrap_or_default();
    let readings: SmallVec<[Reading; 1]> = triples
        .iter()
        .map(|[wait, left, reset]| Reading {
            full: u64::try_from(*wait).ok(),
            left: number(*left),
            reset: number(*reset),
        })
        .collect();
    let mut verdict = Verdict {
        readings,
        receipts: SmallVec::new(),
    };
    if !verdict.is_refused() {
        let receipts = asks.iter().zip(keys).map(|(ask, key)| {
            let kind = &ask.active.rule.kind;
            let name = name
                .filter(|_| is_under_way(kind) || is_lasting(kind))
                .map(str::to_owned);
            let amount = ask.amount;
            Receipt {
                rule: ask.index,
                key: Key::There(key, name),
                take: Take { at: now, amount },
            }
        });
        verdict.receipts = receipts.collect();
    }
    Some(verdict)
}

fn returned(kind: &Kind, take: Take, lease: Option<&str>) -> [String; 4] {
    let none = String::new;
    let (kind, a, b) = match *kind {
        Kind::Bucket(rate) => ("b", pace(rate).0.to_string(), take.at.to_string()),
        Kind::Window { max, per } => ("w", leaves(max, per, take.at).to_string(), none()),
        Kind::Quota { per, .. } | Kind::Budget { per, .. } => {
            ("t", per.end(take.at).to_string(), take.amount.to_string())
        }
        Kind::Concurrency { .. } => (UNDER_WAY, lease.unwrap_or_default().to_owned(), none()),
    };
    [kind.to_owned(), a, b, none()]
}

impl Backend for Redis {
    async fn take(&self, asks: &[Ask<'_>]) -> Result<Verdict, Away> {
        if asks.is_empty() {
            return Ok(Verdict::default());
        }
        if self.away.load(Ordering::Acquire) {
            return Err(Away);
        }
        self.decide(asks).await
    }

    async fn put_back(&self, rules: &[Active], receipts: &[Receipt], acted: bool) {
        self.return_all(rules, receipts, acted).await;
    }
}
