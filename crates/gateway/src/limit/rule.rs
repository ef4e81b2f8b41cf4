//! What a limit is: whose calls it counts together, which calls it is about, and how much they may.

use std::{collections::BTreeSet, fmt, num::NonZeroU32, time::Duration};

use fastmcp_protocol::args::{Args, Node};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// Cost is counted in millionths of the deployment's own unit: sums of fractions stay exact.
pub(super) const MICROS: u64 = 1_000_000;
/// The most that one call may cost, and a budget may hold, in units.
pub(super) const MAX_COST: f64 = 1e9;

const DAY_MS: u64 = 86_400_000;
/// Steps in which a window moves on that holds more calls than this; one with fewer knows each of them.
const WINDOW_STEPS: u64 = 64;

/// How fast and how much at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Calls a second; more than 0. `RATE_LIMIT_DEFAULT_RPS`, default 5.
    pub per_second: f64,
    /// Calls at once. `RATE_BUCKET_BURST`, default 10.
    pub burst: NonZeroU32,
}

/// A limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name, which refusals, records and metrics tell: 1 to 64 of `a-z`, `0-9`, `_`, `.` and `-`.
    pub name: String,
    /// What calls have in common that it counts together; nothing: it counts all of them.
    pub key: Vec<Part>,
    /// The calls that it is about.
    pub matches: Match,
    /// How much they may.
    pub kind: Kind,
}

/// Something that calls have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Part {
    /// The caller's tenant.
    Tenant,
    /// The caller, within its tenant.
    Subject,
    /// The client program, within its tenant: the token's `client_id`, else the name that the program gives itself.
    Client,
    /// The tool, by its id.
    Tool,
    /// The provider behind the tool.
    Provider,
    /// The value of an argument, within the caller's tenant, by its JSON Pointer; calls without it are counted together.
    Argument(String),
}

/// The calls that a rule is about: those that each list has something for. An empty list says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Ids of tools, in which `*` stands for anything.
    pub tools: Vec<String>,
    /// Providers.
    pub providers: Vec<String>,
    /// Tenants.
    pub tenants: Vec<String>,
    /// Safety tags, of the manifest or of these arguments.
    pub safety_tags: Vec<String>,
}

/// How much the calls of one key may.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// A token bucket.
    Bucket(Rate),
    /// At most `max` in any span of the length `per`.
    Window {
        /// Calls.
        max: NonZeroU32,
        /// The length, in whole milliseconds.
        per: Duration,
    },
    /// At most `max` calls in each period.
    Quota {
        /// Calls.
        max: u64,
        /// The period.
        per: Period,
    },
    /// Calls of at most `max` millionths together in each period, by the `cost_estimate` of their manifests.
    Budget {
        /// Millionths of the deployment's unit of cost.
        max: u64,
        /// The period.
        per: Period,
    },
    /// At most `max` calls at the same time.
    Concurrency {
        /// Calls.
        max: NonZeroU32,
    },
}

/// A period of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the first of the next.
    Month,
}

impl Period {
    /// The word in files and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// When the period ends that `now` belongs to; both in milliseconds since 1970.
    pub(super) fn end(self, now: u64) -> u64 {
        let next_day = (now / DAY_MS + 1).saturating_mul(DAY_MS);
        match self {
            Self::Day => next_day,
            Self::Month => next_month(now).unwrap_or(next_day),
        }
    }
}

fn next_month(now: u64) -> Option<u64> {
    let now = Timestamp::from_millisecond(i64::try_from(now).ok()?).ok()?;
    let today: Date = now.to_zoned(TimeZone::UTC).date();
    let first = today.last_of_month().tomorrow().ok()?;
    let first = first.to_zoned(TimeZone::UTC).ok()?.timestamp();
    u64::try_from(first.as_millisecond()).ok()
}

impl Kind {
    /// The word in files, answers and records.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Bucket(_) => "bucket",
            Self::Window { .. } => "window",
            Self::Quota { .. } => "quota",
            Self::Budget { .. } => "budget",
            Self::Concurrency { .. } => "concurrency",
        }
    }

    /// How much there is in all: calls, or millionths of cost.
    pub(super) const fn limit(&self) -> u64 {
        match self {
            Self::Bucket(rate) => rate.burst.get() as u64,
            Self::Window { max, .. } | Self::Concurrency { max } => max.get() as u64,
            Self::Quota { max, .. } | Self::Budget { max, .. } => *max,
        }
    }

    /// What tells counts of one kind from those of another that bore the same name before.
    pub(super) fn identity(&self) -> String {
        match self {
            Self::Window { max, per } => format!("window{}", grain(*max, *per)),
            Self::Quota { per, .. } | Self::Budget { per, .. } => {
                format!("{}-{}", self.as_str(), per.as_str())
            }
            Self::Bucket(_) | Self::Concurrency { .. } => self.as_str().to_owned(),
        }
    }
}

/// The step in which a window moves on, in milliseconds. What happened in one step leaves the window together, when the
/// last moment of the step has: a window never holds more than its most.
pub(super) fn grain(max: NonZeroU32, per: Duration) -> u64 {
    if u64::from(max.get()) <= WINDOW_STEPS {
        1
    } else {
        (millis(per) / WINDOW_STEPS).max(1)
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a call costs, in millionths. What is no cost is none.
pub(super) fn micros(cost: Option<f64>) -> u64 {
    let cost = cost.unwrap_or_default().clamp(0.0, MAX_COST);
    if cost.is_nan() {
        return 0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between 0 and 10^15, which both hold exactly"
    )]
    let micros = (cost * MICROS as f64).round() as u64;
    micros
}

/// A budget in millionths; `None` unless it is more than 0 and at most 10^9 units.
#[must_use]
pub fn budget(units: f64) -> Option<u64> {
    let fits = units > 0.0 && units <= MAX_COST;
    fits.then(|| micros(Some(units)))
        .filter(|micros| *micros > 0)
}

/// What rules read of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) tenant: &'a str,
    pub(super) subject: &'a str,
    pub(super) client: Option<&'a str>,
    pub(super) tool: &'a str,
    pub(super) provider: &'a str,
    pub(super) safety_tags: &'a BTreeSet<String>,
    pub(super) args: &'a Args,
}

impl Match {
    pub(super) fn fits(&self, facts: &Facts<'_>) -> bool {
        let among = |list: &[String], one: &str| list.is_empty() || list.iter().any(|l| l == one);
        let tools = &self.tools;
        among(&self.providers, facts.provider)
            && among(&self.tenants, facts.tenant)
            && (tools.is_empty() || tools.iter().any(|pattern| glob(pattern, facts.tool)))
            && (self.safety_tags.is_empty()
                || self
                    .safety_tags
                    .iter()
                    .any(|tag| facts.safety_tags.contains(tag)))
    }
}

/// Whether `text` is what `pattern` says, in which `*` stands for anything.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl Rule {
    /// Tells what calls have in common that this rule counts together, part by part.
    pub(super) fn common(&self, facts: &Facts<'_>, mut tell: impl FnMut(u8, Option<&str>)) {
        let of_tenant = |part: &Part| !matches!(part, Part::Tool | Part::Provider);
        // A subject, a client or a value means something within its tenant alone.
        if self.key.iter().any(of_tenant) {
            tell(b't', Some(facts.tenant));
        }
        for part in &self.key {
            match part {
                Part::Tenant => {}
                Part::Subject => tell(b's', Some(facts.subject)),
                Part::Client => tell(b'c', facts.client),
                Part::Tool => tell(b'n', Some(facts.tool)),
                Part::Provider => tell(b'p', Some(facts.provider)),
                Part::Argument(path) => {
                    tell(b'a', facts.args.get(path).map(Node::canonical).as_deref());
                }
            }
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tenant => "tenant",
            Self::Subject => "subject",
            Self::Client => "client",
            Self::Tool => "tool",
            Self::Provider => "provider",
            Self::Argument(path) => return write!(f, "argument:{path}"),
        })
    }
}

impl fmt::Display for Kind {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a budget is at most 10^15, which a double holds exactly"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket(rate) => {
                write!(
                    f,
                    "{} calls a second, {} at once",
                    rate.per_second, rate.burst
                )
            }
            Self::Window { max, per } => {
                write!(f, "{max} calls in any {} seconds", per.as_secs_f64())
            }
            Self::Quota { max, per } => write!(f, "{max} calls a {} (UTC)", per.as_str()),
            Self::Budget { max, per } => {
                let units = *max as f64 / MICROS as f64;
                write!(f, "a cost of {units} a {} (UTC)", per.as_str())
            }
            Self::Concurrency { max } => write!(f, "{max} calls at the same time"),
        }
    }
}

impl fmt::Display for Rule {
    /// For people: `` `name`: 5 calls a second, 10 at once, for each tenant, subject and tool``.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.name, self.kind)?;
        let parts: Vec<String> = self.key.iter().map(ToString::to_string).collect();
        match parts.as_slice() {
            [] => f.write_str(", for all together")?,
            [one] => write!(f, ", for each {one}")?,
            [first @ .., last] => write!(f, ", for each {} and {last}", first.join(", "))?,
        }
        let Match {
            tools,
            providers,
            tenants,
            safety_tags,
        } = &self.matches;
        let lists = [
            ("tools", tools),
            ("providers", providers),
            ("tenants", tenants),
            ("safety tags", safety_tags),
        ];
        for (what, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            write!(f, "; {what} {}", list.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_whole_and_stars_stand_for_anything() {
        for (pattern, text, fits) in [
            ("ads:createCampaign", "ads:createCampaign", true),
            ("ads:create", "ads:createCampaign", false),
            ("ads:*", "ads:createCampaign", true),
            ("ads:*", "bads:createCampaign", false),
            ("*", "", true),
            ("*Campaign", "ads:createCampaign", true),
            ("a*:*Camp*gn", "ads:createCampaign", true),
            ("a*b*a", "aba", true),
            ("ab*ba", "aba", false),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn periods_are_those_of_the_calendar() {
        let at = |text: &str| u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond());
        for (now, day, month) in [
            (
                "2024-02-28T23:59:59.999Z",
                "2024-02-29T00:00:00Z",
                "2024-03-01T00:00:00Z",
            ),
            (
                "2024-02-29T00:00:00Z",
                "2024-03-01T00:00:00Z",
                "2024-03-01T00:00:00Z",
            ),
            (
                "2026-12-31T12:00:00Z",
                "2027-01-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
            (
                "2026-11-01T00:00:00Z",
                "2026-11-02T00:00:00Z",
                "2026-12-01T00:00:00Z",
            ),
        ] {
            let now = at(now).unwrap();
            assert_eq!(Period::Day.end(now), at(day).unwrap());
            assert_eq!(Period::Month.end(now), at(month).unwrap());
        }
    }

    #[test]
    fn costs_are_exact() {
        assert_eq!(micros(Some(0.1)) * 3, micros(Some(0.3)));
        for none in [None, Some(-1.0), Some(f64::NAN)] {
            assert_eq!(micros(none), 0);
        }
        assert_eq!(micros(Some(f64::INFINITY)), 1_000_000_000_000_000);
    }
}
