use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
};

use fastmcp_guard::{
    clock::{ManualClock, SystemClock, Timestamp as Moment},
    random::{OsRandom, Random, RandomError},
};
use fastmcp_protocol::args::{Args, ArgsLimits};
use fastmcp_services::Redis as Server;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use serde_json::{Value, json};

use super::{
    rule::{MICROS, Period},
    *,
};
use crate::error::Code;

/// A moment shortly before the end of a month.
const EVE: u64 = 1_796_083_190;

fn n(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

fn bucket(per_second: f64, burst: u32) -> Kind {
    let burst = n(burst);
    Kind::Bucket(Rate { per_second, burst })
}

const fn quota(max: u64, per: Period) -> Kind {
    Kind::Quota { max, per }
}

fn window(max: u32, millis: u64) -> Kind {
    let per = Duration::from_millis(millis);
    Kind::Window { max: n(max), per }
}

fn concurrency(max: u32) -> Kind {
    Kind::Concurrency { max: n(max) }
}

fn rule(name: &str, key: &[Part], kind: Kind) -> Rule {
    Rule {
        name: name.to_owned(),
        key: key.to_vec(),
        matches: Match::default(),
        kind,
    }
}

fn settings(rules: Vec<Rule>, redis: Option<&Server>) -> Settings {
    let rate = Rate {
        per_second: 5.0,
        burst: n(10),
    };
    Settings {
        rate,
        rules: Rules {
            default: false,
            rules,
        },
        redis: redis.map(|server| server.url().into()),
        redis_authorities: redis
            .and_then(Server::authority)
            .map(|pem| pem.as_bytes().into()),
        fallback: Fallback::Memory,
        longest_call: Duration::from_secs(30),
    }
}

fn open(settings: Settings, clock: Arc<dyn Clock>) -> Limit {
    Limit::new(settings, clock, Arc::new(OsRandom), Telemetry::new()).unwrap()
}

/// A limiter on Redis; where there is a `clock`, that is the server's too.
fn open_there(settings: Settings, clock: Option<Arc<dyn Clock>>) -> Limit {
    let mut limit = open(settings, clock.clone().unwrap_or(Arc::new(SystemClock)));
    let inner = Arc::get_mut(&mut limit.inner).unwrap();
    inner.redis.as_mut().unwrap().at_leisure(clock);
    limit
}

/// Waits out the last minute of a day (UTC): a day or a month that ended within a test on true time would count anew.
async fn not_at_midnight() {
    let second = SystemClock.now().unix_seconds() % 86_400;
    if second >= 86_340 {
        tokio::time::sleep(Duration::from_secs(86_400 - second)).await;
    }
}

fn manual() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Moment::from_unix_seconds(EVE)))
}

/// A limiter of each sort, with the same clock.
fn both(rules: &[Rule], server: &Server, clock: &Arc<ManualClock>) -> [Limit; 2] {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    let there = Settings {
        // No lease ends.
        longest_call: Duration::from_secs(10 * 365 * 86_400),
        ..settings(rules.to_vec(), Some(server))
    };
    [
        open(settings(rules.to_vec(), None), Arc::clone(&clock)),
        open_there(there, Some(clock)),
    ]
}

/// A caller, in few words.
#[derive(Clone, Copy, Debug)]
struct Who<'a> {
    tenant: &'a str,
    subject: &'a str,
    client: Option<&'a str>,
    tool: &'a str,
    args: &'a str,
    cost: f64,
}

const ANN: Who<'static> = Who {
    tenant: "acme",
    subject: "ann",
    client: None,
    tool: "ads:create",
    args: "{}",
    cost: 0.0,
};

async fn ask(limit: &Limit, who: Who<'_>) -> Result<Slot, Error> {
    let args = Args::parse_str(who.args, &ArgsLimits::default()).unwrap();
    let tags = BTreeSet::new();
    let facts = Facts {
        tenant: who.tenant,
        subject: who.subject,
        client: who.client,
        tool: who.tool,
        provider: who.tool.split(':').next().unwrap(),
        safety_tags: &tags,
        args: &args,
    };
    limit.ask(&facts, Some(who.cost), true).await
}

async fn act(limit: &Limit, who: Who<'_>) -> Result<(), Error> {
    let mut slot = ask(limit, who).await?;
    slot.keep();
    slot.end().await;
    Ok(())
}

/// What a record is told of a place under `key`.
fn told(slot: &mut Slot, key: &str) -> Option<Value> {
    slot.describe().get(key)
}

/// What is left for `who` after one more call, which is given back.
async fn left(limit: &Limit, who: Who<'_>) -> u64 {
    let mut slot = ask(limit, who).await.unwrap();
    let left = told(&mut slot, "remaining").and_then(|left| left.as_u64());
    let left = left.unwrap();
    slot.end().await;
    left
}

#[tokio::test]
async fn a_burst_then_the_rate() {
    let clock = manual();
    let here = Limit::new(
        Settings {
            rules: Rules::default(),
            ..settings(Vec::new(), None)
        },
        Arc::<ManualClock>::clone(&clock),
        Arc::new(OsRandom),
        Telemetry::new(),
    )
    .unwrap();
    for left in (0..10_u32).rev() {
        let mut slot = ask(&here, ANN).await.unwrap();
        assert_eq!(told(&mut slot, "remaining"), Some(json!(left)));
        slot.keep();
    }
    let refused = ask(&here, ANN).await.unwrap_err();
    assert_eq!(refused.code(), Code::RateLimited);
    assert_eq!(refused.retry_after_seconds(), Some(1));
    let details = Value::from(refused.details().clone());
    assert_eq!(details["rule"], "default");
    assert_eq!(
        (&details["limit"], &details["remaining"]),
        (&json!(10), &json!(0))
    );
    assert_eq!(details["reset"], "2026-11-30T23:59:52Z");
    for other in [
        Who {
            subject: "bob",
            ..ANN
        },
        Who {
            tenant: "globex",
            ..ANN
        },
        Who {
            tool: "ads:list",
            ..ANN
        },
    ] {
        act(&here, other).await.unwrap();
    }
    clock.advance(Duration::from_millis(199));
    assert!(act(&here, ANN).await.is_err());
    clock.advance(Duration::from_millis(1));
    assert!(act(&here, ANN).await.is_ok());
    assert!(act(&here, ANN).await.is_err());
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(left(&here, ANN).await, 9);
}

/// Each key with calls that count together with Ann's, and calls that do not.
fn keys() -> Vec<(Vec<Part>, Vec<Who<'static>>, Vec<Who<'static>>)> {
    let (list, bob, globex) = (
        Who {
            tool: "ads:list",
            ..ANN
        },
        Who {
            subject: "bob",
            ..ANN
        },
        Who {
            tenant: "globex",
            ..ANN
        },
    );
    let with = |args, who: Who<'static>| Who { args, ..who };
    let from = |client, who: Who<'static>| Who { client, ..who };
    let files = Who {
        tool: "files:list",
        ..ANN
    };
    let argument = Part::Argument("/report/id".to_owned());
    vec![
        (vec![Part::Subject], vec![list], vec![bob, globex]),
        (vec![Part::Provider], vec![list, bob, globex], vec![files]),
        (vec![Part::Tool], vec![bob, globex], vec![list]),
        (
            vec![Part::Client],
            vec![from(None, bob), from(None, list)],
            vec![
                from(Some("desktop"), ANN),
                from(Some(""), ANN),
                from(None, globex),
            ],
        ),
        (
            vec![argument],
            vec![with(r#"{"report": {"id": 1.0}}"#, bob)],
            vec![
                with(r#"{"report": {"id": "1"}}"#, ANN),
                with(REPORT, globex),
                with("{}", ANN),
            ],
        ),
        (Vec::new(), vec![globex, files], Vec::new()),
    ]
}

const REPORT: &str = r#"{"report": {"id": 1}}"#;

#[tokio::test]
async fn keys_count_together_what_they_name_and_no_tenant_another() {
    let server = Server::start().unwrap();
    for (at, (key, together, apart)) in keys().into_iter().enumerate() {
        let once = rule(&format!("once-{at}"), &key, quota(1, Period::Day));
        for limit in both(&[once], &server, &manual()) {
            let first = Who {
                args: REPORT,
                ..ANN
            };
            act(&limit, first).await.unwrap();
            for who in &together {
                assert!(act(&limit, *who).await.is_err(), "{key:?} {who:?}");
            }
            for who in &apart {
                act(&limit, *who).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_refused_call_takes_nothing_of_any_limit() {
    let server = Server::start().unwrap();
    let rules = [
        rule("rate", &[Part::Subject], bucket(1.0, 5)),
        rule("window", &[Part::Subject], window(5, 60_000)),
        rule("day", &[Part::Subject], quota(5, Period::Day)),
        rule("at-once", &[Part::Subject], concurrency(5)),
        rule("narrow", &[Part::Tool], quota(1, Period::Month)),
    ];
    for limit in both(&rules, &server, &manual()) {
        act(&limit, ANN).await.unwrap();
        for _ in 0..20 {
            let refused = ask(&limit, ANN).await.unwrap_err();
            assert_eq!(refused.details()["rule"], "narrow");
            assert_eq!(refused.details()["reset"], "2026-12-01T00:00:00Z");
        }
        for tool in ["a:1", "a:2", "a:3", "a:4"] {
            act(&limit, Who { tool, ..ANN }).await.unwrap();
        }
        let refused = act(&limit, Who { tool: "a:5", ..ANN }).await.unwrap_err();
        assert_eq!(
            refused.details()["rule"],
            "window",
            "it is the last to have room again"
        );
        assert_eq!(refused.retry_after_seconds(), Some(60));
    }
}

#[tokio::test]
async fn costs_are_summed_by_day_and_month() {
    let server = Server::start().unwrap();
    let clock = manual();
    let budget = |max, per| Kind::Budget { max, per };
    let rules = [
        rule("day", &[Part::Tenant], budget(10 * MICROS, Period::Day)),
        rule("month", &[Part::Tenant], budget(15 * MICROS, Period::Month)),
    ];
    let limits = both(&rules, &server, &clock);
    let paid = |cost| Who { cost, ..ANN };
    for limit in &limits {
        act(limit, paid(9.9)).await.unwrap();
        let refused = act(limit, paid(0.2)).await.unwrap_err();
        assert_eq!(refused.details()["rule"], "day");
        assert_eq!(refused.details()["remaining"], 0.1);
        act(limit, paid(0.1)).await.unwrap();
        act(limit, paid(0.0)).await.unwrap();
    }
    // Day and month end together.
    clock.advance(Duration::from_secs(10));
    for limit in &limits {
        act(limit, paid(10.0)).await.unwrap();
    }
    clock.advance(Duration::from_secs(86_400));
    for limit in &limits {
        act(limit, paid(5.0)).await.unwrap();
        let refused = act(limit, paid(1.0)).await.unwrap_err();
        assert_eq!(refused.details()["rule"], "month");
        assert_eq!(refused.details()["reset"], "2027-01-01T00:00:00Z");
    }
}

#[tokio::test]
async fn what_does_not_act_is_given_back_and_calls_under_way_end_in_any_way() {
    let server = Server::start().unwrap();
    let rules = [
        rule("rate", &[Part::Subject], bucket(0.001, 3)),
        rule("window", &[Part::Subject], window(3, 60_000)),
        rule("day", &[Part::Subject], quota(3, Period::Day)),
        rule("at-once", &[Part::Subject], concurrency(2)),
    ];
    for limit in both(&rules, &server, &manual()) {
        for _ in 0..10 {
            // Dropped without a word, as by a client that went away.
            drop(ask(&limit, ANN).await.unwrap());
            limit.inner.tracker.close();
            limit.inner.tracker.wait().await;
            limit.inner.tracker.reopen();
        }
        let (first, second) = (
            ask(&limit, ANN).await.unwrap(),
            ask(&limit, ANN).await.unwrap(),
        );
        let refused = ask(&limit, ANN).await.unwrap_err();
        assert_eq!(refused.details()["rule"], "at-once");
        assert_eq!(refused.retry_after_seconds(), Some(1));
        first.end().await;
        second.end().await;
        for _ in 0..3 {
            act(&limit, ANN).await.unwrap();
        }
        assert!(act(&limit, ANN).await.is_err());
    }
}

#[tokio::test]
async fn a_confirmation_is_charged_for_nothing_but_being_under_way() {
    let limit = open(
        settings(
            vec![
                rule("day", &[Part::Subject], quota(1, Period::Day)),
                rule("at-once", &[Part::Subject], concurrency(1)),
            ],
            None,
        ),
        manual(),
    );
    act(&limit, ANN).await.unwrap();
    let args = Args::parse_str("{}", &ArgsLimits::default()).unwrap();
    let tags = BTreeSet::new();
    let facts = Facts {
        tenant: "acme",
        subject: "ann",
        client: None,
        tool: "ads:create",
        provider: "ads",
        safety_tags: &tags,
        args: &args,
    };
    let confirmed = limit.ask(&facts, None, false).await.unwrap();
    let refused = limit.ask(&facts, None, false).await.unwrap_err();
    assert_eq!(refused.details()["rule"], "at-once");
    drop(confirmed);
    limit.ask(&facts, None, false).await.unwrap();
}

#[tokio::test]
async fn other_rules_take_the_place_of_those_in_force_and_counts_stay() {
    let limit = open(
        settings(
            vec![rule("day", &[Part::Subject], quota(2, Period::Day))],
            None,
        ),
        manual(),
    );
    act(&limit, ANN).await.unwrap();
    limit.reload(&Rules {
        default: false,
        rules: vec![
            rule("hour", &[Part::Subject], quota(9, Period::Day)),
            rule("day", &[Part::Subject], quota(3, Period::Day)),
        ],
    });
    act(&limit, ANN).await.unwrap();
    act(&limit, ANN).await.unwrap();
    assert_eq!(act(&limit, ANN).await.unwrap_err().details()["rule"], "day");
}

#[test]
fn memory_stays_flat_over_a_million_keys() {
    const ROOM: usize = 262_144;
    let clock = manual();
    let rules = vec![
        rule("rate", &[], bucket(5.0, 10)),
        rule("day", &[], quota(2, Period::Day)),
    ];
    let limit = open(
        settings(rules, None),
        Arc::<ManualClock>::clone(&clock) as Arc<dyn Clock>,
    );
    let (memory, active) = (&limit.inner.memory, limit.inner.active.load());
    let evicted = || limit.inner.telemetry.limit_evictions().get();
    for i in 0..1_000_000 {
        memory.decide_for(&active[0], &format!("caller-{i}"));
        if i % 100 == 0 {
            clock.advance(Duration::from_millis(1));
        }
    }
    assert!(memory.len() <= ROOM, "{}", memory.len());
    assert_eq!(evicted(), 0, "those that say nothing any more make room");

    // Even where every key still says something.
    for i in 0..400_000 {
        memory.decide_for(&active[1], &format!("caller-{i}"));
    }
    assert!(memory.len() <= ROOM, "{}", memory.len());
    assert!(evicted() > 0);
}

/// What happens to limiters.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Call {
        subject: usize,
        tool: usize,
        cost: u64,
    },
    End {
        which: usize,
        acted: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![0..300_u64, 0..5_000_u64, 0..90_000_000_u64];
    let call = (0..2_usize, 0..2_usize, 0..4_u64);
    let step = prop_oneof![
        2 => wait.prop_map(Step::Wait),
        6 => call.prop_map(|(subject, tool, cost)| Step::Call { subject, tool, cost }),
        3 => (0..8_usize, any::<bool>()).prop_map(|(which, acted)| Step::End { which, acted }),
    ];
    prop::collection::vec(step, 1..80)
}

fn kinds() -> impl Strategy<Value = Vec<Rule>> {
    let per = prop_oneof![Just(Period::Day), Just(Period::Month)];
    let kind = prop_oneof![
        ((1..40_u32), (1..6_u32))
            .prop_map(|(tenths, burst)| bucket(f64::from(tenths) / 10.0, burst)),
        ((1..6_u32), (1..4_000_u64)).prop_map(|(max, per)| window(max, per)),
        (65..70_u32).prop_map(|max| window(max, 60_000)),
        ((1..9_u64), per.clone()).prop_map(|(max, per)| quota(max, per)),
        ((1..20_u64), per).prop_map(|(max, per)| Kind::Budget {
            max: max * MICROS,
            per
        }),
        (1..4_u32).prop_map(concurrency),
    ];
    let key = prop_oneof![
        Just(vec![Part::Tenant]),
        Just(vec![Part::Subject]),
        Just(vec![Part::Subject, Part::Tool]),
    ];
    prop::collection::vec((key, kind), 1..4).prop_map(|rules| {
        let named = rules.into_iter().enumerate();
        named
            .map(|(i, (key, kind))| rule(&format!("rule-{i}"), &key, kind))
            .collect()
    })
}

/// One call that was let in.
#[derive(Clone, Debug)]
struct Event {
    at: u64,
    key: String,
    cost: u64,
    is_running: bool,
    is_kept: bool,
}

/// All that one rule has let in, from which everything is worked out anew each time.
#[derive(Default)]
struct Model {
    events: Vec<Event>,
    /// Buckets get less back than was taken where they refilled meanwhile: then the model only knows the most.
    gave_back: BTreeSet<String>,
}

impl Model {
    fn of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(move |event| event.key == key)
    }

    /// Whether one more fits, where that is known.
    fn fits(&self, kind: &Kind, key: &str, cost: u64, now: u64) -> Option<bool> {
        let same = |per: Period, at: u64| per.end(at) == per.end(now);
        match kind {
            Kind::Bucket(_) if self.gave_back.contains(key) => None,
            Kind::Bucket(rate) => {
                let times: Vec<u64> = self.of(key).map(|e| e.at).chain([now]).collect();
                // A call at the very edge may be rounded either way.
                let (is_inside, is_beyond) =
                    (conforms(rate, &times, 0.0), !conforms(rate, &times, 0.002));
                (is_inside || is_beyond).then_some(is_inside)
            }
            // A window of many calls moves on in steps: it may be later than it has to, never earlier.
            Kind::Window { max, .. } if max.get() > 64 => None,
            Kind::Window { max, per } => {
                let since = |at: u64| u128::from(now - at) < per.as_millis();
                let inside = self.of(key).filter(|e| since(e.at)).count();
                Some(inside < max.get() as usize)
            }
            Kind::Quota { max, per } => {
                let used = self.of(key).filter(|e| same(*per, e.at)).count();
                Some(used < usize::try_from(*max).unwrap())
            }
            Kind::Budget { max, per } => {
                let used: u64 = self
                    .of(key)
                    .filter(|e| same(*per, e.at))
                    .map(|e| e.cost)
                    .sum();
                Some((used + cost) * MICROS <= *max)
            }
            Kind::Concurrency { max } => {
                let running = self.of(key).filter(|e| e.is_running).count();
                Some(running < max.get() as usize)
            }
        }
    }

    /// What must hold of the calls that acted, whatever was given back.
    fn check(&self, kind: &Kind) {
        let keys: BTreeSet<&str> = self.events.iter().map(|e| e.key.as_str()).collect();
        for key in keys {
            let kept: Vec<&Event> = self.of(key).filter(|e| e.is_kept).collect();
            let times: Vec<u64> = kept.iter().map(|e| e.at).collect();
            match kind {
                Kind::Bucket(rate) => assert!(conforms(rate, &times, 0.002), "{kind} {kept:?}"),
                Kind::Window { max, per } => {
                    for span in times.windows(max.get() as usize + 1) {
                        let length = span[span.len() - 1] - span[0];
                        assert!(u128::from(length) >= per.as_millis(), "{kind} {kept:?}");
                    }
                }
                Kind::Quota { max, per } => {
                    let mut used = BTreeMap::<u64, u64>::new();
                    for at in times {
                        *used.entry(per.end(at)).or_default() += 1;
                    }
                    assert!(used.values().all(|used| used <= max), "{kind} {kept:?}");
                }
                Kind::Budget { max, per } => {
                    let mut used = BTreeMap::<u64, u64>::new();
                    for event in &kept {
                        *used.entry(per.end(event.at)).or_default() += event.cost * MICROS;
                    }
                    assert!(used.values().all(|used| used <= max), "{kind} {kept:?}");
                }
                Kind::Concurrency { .. } => {}
            }
        }
    }
}

/// Whether in every span between two of `times` there are no more of them than the rate allows, and `slack`.
fn conforms(rate: &Rate, times: &[u64], slack: f64) -> bool {
    let count = times.len();
    (0..count).all(|first| {
        (first..count).all(|last| {
            let seconds = std::time::Duration::from_millis(times[last] - times[first]);
            let allowed = f64::from(rate.burst.get()) + seconds.as_secs_f64() * rate.per_second;
            let seen = u32::try_from(last - first + 1).unwrap();
            f64::from(seen) <= allowed + slack
        })
    })
}

/// Limiters and the model, on the same way.
struct Trial<'a> {
    rules: &'a [Rule],
    limits: &'a [Limit],
    clock: &'a ManualClock,
    tenant: &'a str,
    models: Vec<Model>,
    /// The slots of one call on each limiter, with the place of its event in each model.
    open: Vec<(Vec<Slot>, Vec<usize>)>,
}

/// Goes the steps on every limiter and on the model, and compares.
async fn go(rules: &[Rule], steps: &[Step], limits: &[Limit], clock: &ManualClock, tenant: &str) {
    let mut trial = Trial {
        rules,
        limits,
        clock,
        tenant,
        models: rules.iter().map(|_| Model::default()).collect(),
        open: Vec::new(),
    };
    for step in steps {
        match *step {
            Step::Wait(millis) => clock.advance(Duration::from_millis(millis)),
            Step::Call {
                subject,
                tool,
                cost,
            } => trial.call(subject, tool, cost).await,
            Step::End { which, acted } => trial.end(which, acted).await,
        }
    }
    for (rule, model) in rules.iter().zip(&trial.models) {
        model.check(&rule.kind);
    }
    for slot in trial.open.into_iter().flat_map(|(slots, _)| slots) {
        slot.end().await;
    }
}

impl Trial<'_> {
    async fn call(&mut self, subject: usize, tool: usize, cost: u64) {
        let now = self.clock.now().millis();
        let who = Who {
            tenant: self.tenant,
            subject: ["ann", "bob"][subject],
            client: None,
            tool: ["ads:create", "ads:list"][tool],
            args: "{}",
            cost: f64::from(u32::try_from(cost).unwrap()),
        };
        let key = |rule: &Rule| match rule.key.as_slice() {
            [Part::Tenant] => String::new(),
            [Part::Subject] => who.subject.to_owned(),
            _ => format!("{} {}", who.subject, who.tool),
        };
        let known = self.rules.iter().zip(&self.models);
        let fits: Vec<_> = known
            .map(|(rule, model)| model.fits(&rule.kind, &key(rule), cost, now))
            .collect();
        let (mut slots, mut told) = (Vec::new(), Vec::new());
        for limit in self.limits {
            match ask(limit, who).await {
                Ok(mut slot) => {
                    told.push(slot.describe());
                    slots.push(slot);
                }
                Err(error) => told.push(Object::from(error.details().clone())),
            }
        }
        assert!(told.windows(2).all(|two| two[0] == two[1]), "{told:?}");
        let contradiction = Some(slots.is_empty());
        if slots.is_empty() {
            assert!(
                fits.iter().any(|fits| *fits != contradiction),
                "{fits:?} {told:?}"
            );
            return;
        }
        assert!(
            fits.iter().all(|fits| *fits != contradiction),
            "{fits:?} {told:?}"
        );
        let places = self.models.iter().map(|model| model.events.len()).collect();
        for (rule, model) in self.rules.iter().zip(&mut self.models) {
            model.events.push(Event {
                at: now,
                key: key(rule),
                cost,
                is_running: true,
                is_kept: true,
            });
        }
        self.open.push((slots, places));
    }

    async fn end(&mut self, which: usize, acted: bool) {
        if self.open.is_empty() {
            return;
        }
        let (slots, places) = self.open.remove(which % self.open.len());
        for mut slot in slots {
            if acted {
                slot.keep();
            }
            slot.end().await;
        }
        for (model, place) in self.models.iter_mut().zip(places) {
            let event = &mut model.events[place];
            event.is_running = false;
            if !acted {
                event.is_kept = false;
                model.gave_back.insert(event.key.clone());
                // It never was.
                event.key = "given back".to_owned();
            }
        }
    }
}

fn run(cases: u32, check: impl Fn(Vec<Rule>, Vec<Step>)) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&(kinds(), steps()), |(rules, steps)| {
            check(rules, steps);
            Ok(())
        })
        .unwrap();
}

#[test]
fn in_memory_never_more_than_allowed_and_never_less() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    run(400, |rules, steps| {
        let clock = manual();
        let limits = [open(
            settings(rules.clone(), None),
            Arc::<ManualClock>::clone(&clock),
        )];
        runtime.block_on(go(&rules, &steps, &limits, &clock, "acme"));
    });
}

#[test]
fn in_redis_never_more_than_allowed_and_the_same_as_in_memory() {
    static CASE: AtomicU64 = AtomicU64::new(0);
    let server = Server::start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    run(48, |rules, steps| {
        let clock = manual();
        let tenant = format!("tenant-{}", CASE.fetch_add(1, Ordering::Relaxed));
        runtime.block_on(async {
            let limits = both(&rules, &server, &clock);
            go(&rules, &steps, &limits, &clock, &tenant).await;
        });
    });
}

#[tokio::test]
async fn replicas_share_what_redis_counts() {
    not_at_midnight().await;
    let server = Server::start().unwrap();
    let rules = vec![
        rule("day", &[Part::Tenant], quota(60, Period::Month)),
        rule("at-once", &[Part::Provider], concurrency(7)),
    ];
    let open = || open_there(settings(rules.clone(), Some(&server)), None);
    let replicas = [open(), open()];
    let calls = (0..200).map(|i| {
        let limit = replicas[i % 2].clone();
        async move { act(&limit, ANN).await }
    });
    let done = futures_util::future::join_all(calls).await;
    let mut allowed = done.iter().filter(|done| done.is_ok()).count();
    while act(&replicas[allowed % 2], ANN).await.is_ok() {
        allowed += 1;
    }
    assert_eq!(allowed, 60);

    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = ::redis::cmd("KEYS")
        .arg("*:limit:day:*")
        .query_async(&mut connection)
        .await
        .unwrap();
    let [key] = keys.as_slice() else {
        panic!("{keys:?}")
    };
    assert!(key.starts_with("{fastmcp}:limit:day:quota-month:"), "{key}");
    assert!(
        !key.contains("acme"),
        "who called is nobody's business: {key}"
    );
    let ttl: i64 = ::redis::cmd("PTTL")
        .arg(key)
        .query_async(&mut connection)
        .await
        .unwrap();
    assert!(ttl > 0 && ttl <= 31 * 86_400_000 + 1_000, "{ttl}");
}

#[tokio::test]
async fn what_a_dead_replica_had_under_way_ends_with_its_lease() {
    let server = Server::start().unwrap();
    let rules = vec![rule("at-once", &[Part::Provider], concurrency(1))];
    let clock = manual();
    let there: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let limit = open_there(settings(rules, Some(&server)), Some(there));
    let mut dead = ask(&limit, ANN).await.unwrap();
    // As of a process that was killed: nobody ends it.
    dead.taken = None;
    clock.advance(Duration::from_secs(119));
    assert!(ask(&limit, ANN).await.is_err());
    clock.advance(Duration::from_secs(1));
    ask(&limit, ANN).await.unwrap().end().await;
}

#[tokio::test]
async fn what_was_taken_while_its_answer_was_lost_is_given_back() {
    let server = Server::start().unwrap();
    let rules = vec![rule("at-once", &[Part::Provider], concurrency(1))];
    let settings = settings(rules, Some(&server));
    // One that waits no longer than a gateway does, and one that a busy machine does not hurry.
    let hurried = open(settings.clone(), Arc::new(SystemClock));
    let limit = open_there(settings, None);
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let shutdown = CancellationToken::new();
    let looking =
        futures_util::future::join(hurried.run(shutdown.clone()), limit.run(shutdown.clone()));
    let checked = async {
        // Warm: all sides are connected, and the script is known.
        act(&limit, ANN).await.unwrap();
        act(&hurried, ANN).await.unwrap();
        let is_square = |limit: &Limit| limit.inner.redis.as_ref().unwrap().is_square();
        until(|| !hurried.health().unwrap().degraded && is_square(&hurried)).await;
        // The server stands still for longer than anybody waits, and then does what it was asked meanwhile.
        let _paused: String = ::redis::cmd("CLIENT")
            .arg(&["PAUSE", "5000", "ALL"])
            .query_async(&mut connection)
            .await
            .unwrap();
        let mut slot = ask(&hurried, ANN).await.unwrap();
        assert_eq!(told(&mut slot, "degraded"), Some(json!(true)));
        slot.end().await;
        until(|| !hurried.health().unwrap().degraded && is_square(&hurried)).await;
        let names: Vec<String> = ::redis::cmd("KEYS")
            .arg("*at-once*")
            .query_async(&mut connection)
            .await
            .unwrap();
        assert!(names.is_empty(), "nothing is under way: {names:?}");
        let mut slot = ask(&limit, ANN).await.unwrap();
        assert_eq!(told(&mut slot, "degraded"), None);
        slot.end().await;

        // Who leaves before the answer leaves nothing behind either.
        {
            let mut asking = Box::pin(ask(&limit, ANN));
            assert!(futures_util::poll!(&mut asking).is_pending());
        }
        until(|| is_square(&limit)).await;
        ask(&limit, ANN).await.unwrap().end().await;
        shutdown.cancel();
    };
    tokio::join!(looking, checked);
}

#[tokio::test]
async fn what_was_refused_for_want_of_an_answer_is_charged_to_no_limit() {
    not_at_midnight().await;
    let server = Server::start().unwrap();
    let rules = vec![
        rule("month", &[Part::Tenant], quota(3, Period::Month)),
        rule("hour", &[Part::Tenant], window(3, 3_600_000)),
        rule("rate", &[Part::Tenant], bucket(0.000_1, 3)),
        rule("at-once", &[Part::Tenant], concurrency(3)),
    ];
    let settings = Settings {
        fallback: Fallback::Refuse,
        ..settings(rules, Some(&server))
    };
    // One that waits no longer than a gateway does, and one that a busy machine does not hurry.
    let hurried = open(settings.clone(), Arc::new(SystemClock));
    let limit = open_there(settings, None);
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let is_back = || {
        let is_square = hurried.inner.redis.as_ref().unwrap().is_square();
        !hurried.health().unwrap().degraded && is_square
    };
    let shutdown = CancellationToken::new();
    let checked = async {
        let other = Who {
            tenant: "globex",
            ..ANN
        };
        // Warm: both sides are connected, and the script is known.
        act(&limit, other).await.unwrap();
        let _warm = act(&hurried, other).await;
        until(is_back).await;
        let _paused: String = ::redis::cmd("CLIENT")
            .arg(&["PAUSE", "5000", "ALL"])
            .query_async(&mut connection)
            .await
            .unwrap();
        let calls = [ANN; 5].map(|who| act(&hurried, who));
        for refused in futures_util::future::join_all(calls).await {
            assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
        }
        until(is_back).await;
        for _ in 0..3 {
            act(&limit, ANN).await.unwrap();
        }
        let refused = act(&limit, ANN).await.unwrap_err();
        assert_eq!(refused.code(), Code::RateLimited);
        shutdown.cancel();
    };
    tokio::join!(hurried.run(shutdown.clone()), checked);
}

#[tokio::test]
async fn what_is_owed_at_the_end_is_given_back_first() {
    let mut server = Server::start().unwrap();
    let rules = vec![rule("at-once", &[Part::Provider], concurrency(1))];
    let settings = settings(rules, Some(&server));
    let [limit, other] = [(); 2].map(|()| open_there(settings.clone(), None));
    let slot = ask(&limit, ANN).await.unwrap();
    server.stop();
    slot.end().await;
    let redis = limit.inner.redis.as_ref().unwrap();
    // The shutdown comes while it is being given back.
    {
        let mut giving = Box::pin(redis.give_back());
        assert!(futures_util::poll!(&mut giving).is_pending());
    }
    assert_eq!(redis.due(), 1);
    let back = async { server.start_again().unwrap() };
    tokio::join!(limit.close(), back);
    assert_eq!(redis.due(), 0);
    ask(&other, ANN).await.unwrap().end().await;
}

#[tokio::test(start_paused = true)]
async fn a_redis_that_stays_away_does_not_hold_up_the_end() {
    let mut server = Server::start().unwrap();
    let rules = vec![rule("at-once", &[Part::Provider], concurrency(1))];
    let limit = open_there(settings(rules, Some(&server)), None);
    server.stop();
    // It leaves before the answer.
    {
        let mut asking = Box::pin(ask(&limit, ANN));
        assert!(futures_util::poll!(&mut asking).is_pending());
    }
    limit.close().await;
    assert_eq!(limit.inner.redis.as_ref().unwrap().due(), 1);
}

#[tokio::test]
async fn what_did_not_act_is_given_back_once_redis_is_back() {
    not_at_midnight().await;
    let mut server = Server::start().unwrap();
    let rules = vec![
        rule("month", &[Part::Tenant], quota(2, Period::Month)),
        rule("hour", &[Part::Tenant], window(2, 3_600_000)),
        rule("rate", &[Part::Tenant], bucket(0.000_1, 2)),
        rule("at-once", &[Part::Tenant], concurrency(2)),
    ];
    let settings = Settings {
        fallback: Fallback::Refuse,
        ..settings(rules, Some(&server))
    };
    let [limit, other] = [(); 2].map(|()| open_there(settings.clone(), None));
    let slots = [
        ask(&limit, ANN).await.unwrap(),
        ask(&limit, ANN).await.unwrap(),
    ];
    assert!(ask(&other, ANN).await.is_err());
    // One finds out that it is away, the other is told.
    server.stop();
    for slot in slots {
        slot.end().await;
    }
    server.start_again().unwrap();
    let redis = limit.inner.redis.as_ref().unwrap();
    redis.give_back().await;
    assert_eq!((redis.due(), redis.is_square()), (0, false));
    act(&other, ANN).await.unwrap();
    // What was asked of a server that stood still may be done later.
    redis.give_back().await;
    act(&other, ANN).await.unwrap();
    let refused = act(&other, ANN).await.unwrap_err();
    assert_eq!(refused.code(), Code::RateLimited, "it was given back once");
}

/// What is left of 100 once three calls that did not act give back what they took of a Redis that has lost it, after one
/// that acted and before three more. Where it `lags` it knows of the first, and is back soon; else of none, and is not.
async fn left_after_a_loss(kind: Kind, lags: bool) -> u64 {
    let mut server = Server::start().unwrap();
    let client = ::redis::Client::open(server.url()).unwrap();
    let clock = manual();
    // The month is new.
    clock.advance(Duration::from_secs(20));
    let settings = Settings {
        fallback: Fallback::Refuse,
        ..settings(vec![rule("most", &[Part::Tenant], kind)], Some(&server))
    };
    let there = || open_there(settings.clone(), Some(Arc::clone(&clock) as Arc<dyn Clock>));
    let (limit, other) = (there(), there());
    act(&other, ANN).await.unwrap();
    if lags {
        let copied = "for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('COPY', key, key, 'DB', 1) end";
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let copied = ::redis::Script::new(copied);
        let _: () = copied.invoke_async(&mut connection).await.unwrap();
    }
    let mut slots = Vec::new();
    for _ in 0..3 {
        slots.push(ask(&limit, ANN).await.unwrap());
    }
    server.stop();
    for slot in slots {
        slot.end().await;
    }
    server.start_again().unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut swap = ::redis::cmd("SWAPDB");
    swap.arg(0).arg(1);
    swap.query_async::<()>(&mut connection).await.unwrap();
    clock.advance(Duration::from_secs(if lags { 1 } else { 120 }));
    for _ in 0..3 {
        act(&there(), ANN).await.unwrap();
    }
    let redis = limit.inner.redis.as_ref().unwrap();
    redis.give_back().await;
    assert_eq!(redis.due(), 0);
    left(&there(), ANN).await
}

#[tokio::test]
async fn what_redis_has_lost_is_not_given_back() {
    let mut left = Vec::new();
    for kind in [quota(100, Period::Month), window(100, 172_800_000)] {
        for lags in [true, false] {
            left.push(left_after_a_loss(kind, lags).await);
        }
    }
    // The call that asks is one more.
    assert_eq!(left, [95, 96, 95, 96]);
}

#[tokio::test]
async fn that_a_call_gave_back_is_not_remembered_for_long() {
    let server = Server::start().unwrap();
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let rules = vec![rule("month", &[Part::Tenant], quota(1, Period::Month))];
    let limit = open_there(settings(rules, Some(&server)), None);
    ask(&limit, ANN).await.unwrap().end().await;
    let longest = "local longest = 0 for _, key in ipairs(redis.call('KEYS', '*:call:*')) do
        longest = math.max(longest, redis.call('PTTL', key)) end return longest";
    let longest: u64 = ::redis::Script::new(longest)
        .invoke_async(&mut connection)
        .await
        .unwrap();
    assert!((1..=120_000).contains(&longest), "{longest}");
}

#[tokio::test]
async fn what_does_not_say_since_when_it_counts_has_counted_long() {
    let server = Server::start().unwrap();
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let rules = vec![
        rule("month", &[Part::Tenant], quota(1, Period::Month)),
        rule("hour", &[Part::Tenant], window(1, 3_600_000)),
    ];
    let limit = open_there(settings(rules, Some(&server)), Some(manual()));
    let slot = ask(&limit, ANN).await.unwrap();
    let said = "local said = 0 for _, key in ipairs(redis.call('KEYS', '*')) do
        if redis.call('TYPE', key).ok == 'hash' then said = said + redis.call('HDEL', key, '0') end end return said";
    let said: u64 = ::redis::Script::new(said)
        .invoke_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(said, 2);
    slot.end().await;
    act(&limit, ANN).await.unwrap();
    assert!(act(&limit, ANN).await.is_err());
}

/// Gives every call the same name.
#[derive(Debug)]
struct Same;

impl Random for Same {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        bytes.fill(7);
        Ok(())
    }
}

#[tokio::test]
async fn under_one_name_a_call_takes_once_and_nothing_after_it_was_given_back() {
    not_at_midnight().await;
    let server = Server::start().unwrap();
    let rules = vec![rule("month", &[Part::Tenant], quota(1, Period::Month))];
    let settings = settings(rules, Some(&server));
    let settings = Settings {
        fallback: Fallback::Refuse,
        ..settings
    };
    let open = |random| {
        let clock = Arc::new(SystemClock);
        let mut limit = Limit::new(settings.clone(), clock, random, Telemetry::new()).unwrap();
        let inner = Arc::get_mut(&mut limit.inner).unwrap();
        inner.redis.as_mut().unwrap().at_leisure(None);
        limit
    };
    let (same, other) = (open(Arc::new(Same)), open(Arc::new(OsRandom)));
    for _ in 0..2 {
        // Its answer was lost, and it is asked again.
        act(&same, ANN).await.unwrap();
    }
    let refused = act(&other, ANN).await.unwrap_err();
    assert_eq!(refused.code(), Code::RateLimited);
    // Nobody waits for its answer any more.
    {
        let mut asking = Box::pin(ask(&same, ANN));
        assert!(futures_util::poll!(&mut asking).is_pending());
    }
    let redis = same.inner.redis.as_ref().unwrap();
    redis.give_back().await;
    redis.give_back().await;
    let late = act(&same, ANN).await.unwrap_err();
    assert_eq!(late.code(), Code::Unavailable);
    act(&other, ANN).await.unwrap();
    assert!(act(&other, ANN).await.is_err(), "it was given back once");
}

/// Waits until `holds`.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .unwrap();
}

#[tokio::test]
async fn while_redis_is_away_the_fallback_holds_and_it_is_back_by_itself() {
    not_at_midnight().await;
    let mut server = Server::start().unwrap();
    let rules = vec![rule("day", &[Part::Tenant], quota(2, Period::Month))];
    let here = settings(rules, Some(&server));
    let refusing = Settings {
        fallback: Fallback::Refuse,
        ..here.clone()
    };
    let limits = [open_there(here, None), open_there(refusing, None)];
    let [remembers, refuses] = &limits;
    let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
    for limit in limits.clone() {
        let token = shutdown.clone();
        tracker.spawn(async move { limit.run(token).await });
    }
    let shown = |limit: &Limit, line: &str| {
        let text = limit.inner.telemetry.render(Duration::ZERO).unwrap();
        text.lines().any(|known| known == line)
    };
    act(remembers, ANN).await.unwrap();
    act(refuses, ANN).await.unwrap();
    assert!(act(remembers, ANN).await.is_err());
    assert_eq!(
        remembers.health().unwrap(),
        Health {
            ready: true,
            degraded: false,
            reason: None
        }
    );

    server.stop();
    let mut slot = ask(remembers, ANN).await.unwrap();
    assert_eq!(told(&mut slot, "degraded"), Some(json!(true)));
    slot.end().await;
    act(remembers, ANN).await.unwrap();
    act(remembers, ANN).await.unwrap();
    assert_eq!(
        act(remembers, ANN).await.unwrap_err().code(),
        Code::RateLimited
    );
    for _ in 0..3 {
        let refused = act(refuses, ANN).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.retry_after_seconds().is_some());
    }
    for (limit, ready) in [(remembers, true), (refuses, false)] {
        let health = limit.health().unwrap();
        assert_eq!((health.ready, health.degraded), (ready, true));
        assert!(health.reason.is_some());
        assert!(shown(limit, "fastmcp_limit_degraded 1"));
        assert!(
            shown(limit, "fastmcp_limit_outages_total 1"),
            "one outage is one"
        );
    }

    server.start_again().unwrap();
    until(|| limits.iter().all(|limit| !limit.health().unwrap().degraded)).await;
    for limit in &limits {
        let refused = act(limit, ANN).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Code::RateLimited,
            "what was counted before is known"
        );
        assert!(shown(limit, "fastmcp_limit_degraded 0"));
        assert!(shown(limit, "fastmcp_limit_outages_total 1"));
    }
    shutdown.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn a_redis_that_dies_is_missed_soon_though_nobody_calls() {
    let mut server = Server::start().unwrap();
    let limit = open(settings(Vec::new(), Some(&server)), Arc::new(SystemClock));
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let shutdown = CancellationToken::new();
    let checked = async {
        // It was asked, and answered.
        let mut asked = false;
        while !asked {
            asked = ::redis::cmd("EXISTS")
                .arg("{fastmcp}:limit:probe")
                .query_async(&mut connection)
                .await
                .unwrap();
        }
        until(|| !limit.health().unwrap().degraded).await;
        server.stop();
        tokio::time::pause();
        let stopped = tokio::time::Instant::now();
        until(|| limit.health().unwrap().degraded).await;
        let passed = stopped.elapsed();
        assert!(passed <= Duration::from_secs(2), "{passed:?}");
        shutdown.cancel();
    };
    tokio::join!(limit.run(shutdown.clone()), checked);
}

#[tokio::test]
async fn over_tls_only_a_server_that_is_vouched_for_counts() {
    not_at_midnight().await;
    let server = Server::start_tls().unwrap();
    let stranger = Server::start_tls().unwrap();
    let rules = vec![rule("day", &[Part::Tenant], quota(1, Period::Month))];
    let trusting = settings(rules, Some(&server));
    let limits = [
        open_there(trusting.clone(), None),
        open_there(trusting.clone(), None),
    ];
    act(&limits[0], ANN).await.unwrap();
    let refused = act(&limits[1], ANN).await.unwrap_err();
    assert_eq!(refused.code(), Code::RateLimited, "they count together");

    for authority in [None, stranger.authority()] {
        let settings = Settings {
            redis: Some(server.url().replace("://", "://:hunter2@").into()),
            redis_authorities: authority.map(|pem| pem.as_bytes().into()),
            fallback: Fallback::Refuse,
            ..trusting.clone()
        };
        assert!(!format!("{settings:?}").contains("hunter2"));
        let limit = open_there(settings, None);
        let refused = act(&limit, ANN).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        let reason = limit.health().unwrap().reason.unwrap();
        assert!(
            reason.contains("certificate") && !reason.contains("hunter2"),
            "{reason}"
        );
    }
    let unusable = Settings {
        redis_authorities: Some(b"no certificate".as_slice().into()),
        ..trusting
    };
    let refused = Limit::new(
        unusable,
        Arc::new(SystemClock),
        Arc::new(OsRandom),
        Telemetry::new(),
    );
    let told = refused.unwrap_err().to_string();
    assert!(told.starts_with("`REDIS_CA_FILE`"), "{told}");
}

#[tokio::test]
async fn a_server_that_was_never_there_keeps_nobody_from_starting() {
    not_at_midnight().await;
    let mut server = Server::start().unwrap();
    let rules = vec![rule("day", &[Part::Tenant], quota(1, Period::Month))];
    let settings = settings(rules, Some(&server));
    server.stop();
    let limit = open_there(settings, None);
    act(&limit, ANN).await.unwrap();
    assert!(limit.health().unwrap().degraded);
    assert!(act(&limit, ANN).await.is_err());
    server.start_again().unwrap();
    let shutdown = CancellationToken::new();
    let looking = limit.run(shutdown.clone());
    let back = async {
        until(|| !limit.health().unwrap().degraded).await;
        shutdown.cancel();
    };
    tokio::join!(looking, back);
    act(&limit, ANN).await.unwrap();
}
