//! What a call is told of its limits.

use std::time::Duration;

use fastmcp_audit::Object;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Active, Ask, SOON, Verdict,
    meter::Reading,
    rule::{Kind, MICROS, Rule},
};
use crate::error::{Code, Error};

/// The refusal of the rule that makes the call wait longest.
pub(super) fn refusal(asks: &[Ask<'_>], verdict: &Verdict) -> Error {
    let full = || {
        let pairs = asks.iter().zip(&verdict.readings);
        pairs.filter(|(_, reading)| reading.full.is_some())
    };
    for (ask, _) in full() {
        ask.active.refused.inc();
    }
    match full().max_by_key(|(_, reading)| reading.full) {
        Some((ask, reading)) => refused_by(ask.active, reading),
        None => Error::internal("a limit refused without a reason"),
    }
}

pub(super) fn refused_by(active: &Active, reading: &Reading) -> Error {
    let rule = &active.rule;
    let wait = match reading.full {
        Some(0) | None => SOON,
        Some(millis) => Duration::from_millis(millis),
    };
    let mut error = Error::new(
        Code::RateLimited,
        format!("Rate limit exceeded: `{}` allows {}", rule.name, rule.kind),
    )
    .with_retry_after(wait)
    .with_detail("rule", rule.name.as_str())
    .with_detail("kind", rule.kind.as_str())
    .with_detail("limit", amount(rule, rule.kind.limit()))
    .with_detail("remaining", amount(rule, reading.left));
    if let Some(seconds) = error.retry_after_seconds() {
        error = error.with_detail("retry_after", seconds);
    }
    match moment(reading.reset) {
        Some(reset) => error.with_detail("reset", reset),
        None => error,
    }
}

/// The limit of which the smallest part is left.
pub(super) fn nearest(asks: &[Ask<'_>], verdict: &Verdict) -> Object {
    let mut standing = Object::default();
    let part_left = |ask: &Ask<'_>, reading: &Reading| {
        u128::from(reading.left) * 1_000_000 / u128::from(ask.active.rule.kind.limit().max(1))
    };
    let nearest = match (asks, verdict.readings.as_slice()) {
        ([ask], [reading]) => Some((ask, reading)),
        (asks, readings) => asks
            .iter()
            .zip(readings)
            .min_by_key(|(ask, reading)| part_left(ask, reading)),
    };
    if let Some((ask, reading)) = nearest {
        let rule = &ask.active.rule;
        for (key, number) in [("limit", rule.kind.limit()), ("remaining", reading.left)] {
            match rule.kind {
                Kind::Budget { .. } => standing.put(key, &amount(rule, number)),
                _ => standing.count(key, number),
            };
        }
        standing.text("rule", rule.name.as_str());
    }
    standing
}

/// Calls as a count, cost in its own unit.
fn amount(rule: &Rule, amount: u64) -> Value {
    match rule.kind {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a budget is at most 10^15, which a double holds exactly"
        )]
        Kind::Budget { .. } => json!(amount as f64 / MICROS as f64),
        _ => json!(amount),
    }
}

fn moment(millis: u64) -> Option<String> {
    let millis = i64::try_from(millis).ok().filter(|millis| *millis > 0)?;
    Some(Timestamp::from_millisecond(millis).ok()?.to_string())
}
