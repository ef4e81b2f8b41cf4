//! The limits of `RATE_LIMIT_FILE`.

use std::{collections::BTreeSet, io, num::NonZeroU32, path::Path, time::Duration};

use serde::Deserialize;

use super::{layer, parse, yaml};
use crate::limit::{
    DEFAULT_RULE, REQUESTS_RULE, Rules,
    rule::{Kind, Match, Part, Period, Rate, Rule},
};

/// The most rules: every call asks each of them.
const MAX_RULES: usize = 64;
/// The most entries of a list of a rule.
const MAX_ENTRIES: usize = 256;
/// The longest window.
const MAX_WINDOW: Duration = Duration::from_secs(31 * 86_400);
/// The most calls of a quota.
const MAX_QUOTA: u64 = 1_000_000_000_000;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Option<bool>,
    #[serde(default)]
    rules: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    key: OneOrMany,
    #[serde(default, rename = "match")]
    matches: Matches,
    bucket: Option<Bucket>,
    window: Option<Window>,
    quota: Option<Quota>,
    budget: Option<Budget>,
    concurrency: Option<Concurrency>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Matches {
    #[serde(default)]
    tools: OneOrMany,
    #[serde(default)]
    providers: OneOrMany,
    #[serde(default)]
    tenants: OneOrMany,
    #[serde(default)]
    safety_tags: OneOrMany,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bucket {
    rate: f64,
    burst: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    max: u32,
    per: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quota {
    max: u64,
    per: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    max: f64,
    per: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Concurrency {
    max: u32,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// Reads a file of limits; `None` where there is none. Blocks on the disk.
///
/// # Errors
///
/// What is wrong, with the rule or the line.
pub fn limits_of(path: &Path) -> Result<Option<Rules>, String> {
    match layer::read_text(path) {
        Ok(text) => parse_text(&text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

fn parse_text(text: &str) -> Result<Rules, String> {
    // A file of comments alone says nothing, which is fine.
    let file: Option<File> = yaml::parse(text)?;
    let file = file.unwrap_or_default();
    if file.rules.len() > MAX_RULES {
        return Err(format!("`rules` must list at most {MAX_RULES} of them"));
    }
    let mut seen = BTreeSet::from([DEFAULT_RULE.to_owned(), REQUESTS_RULE.to_owned()]);
    let mut rules = Vec::with_capacity(file.rules.len());
    for entry in file.rules {
        let name: String = entry
            .name
            .chars()
            .filter(|c| !c.is_control())
            .take(64)
            .collect();
        let rule = entry
            .check()
            .map_err(|fault| format!("rule `{name}`: {fault}"))?;
        if !seen.insert(rule.name.clone()) {
            return Err(format!(
                "rule `{name}`: the name is taken; `{DEFAULT_RULE}` and `{REQUESTS_RULE}` are names of built-in limits"
            ));
        }
        rules.push(rule);
    }
    Ok(Rules {
        default: file.default.unwrap_or(true),
        rules,
    })
}

impl Entry {
    fn check(self) -> Result<Rule, String> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(fits) {
            return Err("a name takes 1 to 64 of `a-z`, `0-9`, `_`, `.` and `-`".to_owned());
        }
        let kinds = [
            self.bucket.map(Bucket::check),
            self.window.map(Window::check),
            self.quota.map(Quota::check),
            self.budget.map(Budget::check),
            self.concurrency.map(Concurrency::check),
        ];
        let mut kinds = kinds.into_iter().flatten();
        let (Some(kind), None) = (kinds.next(), kinds.next()) else {
            return Err(
                "give exactly one of `bucket`, `window`, `quota`, `budget` and `concurrency`"
                    .to_owned(),
            );
        };
        let key = self.key.into_vec();
        let key: Vec<Part> = key
            .iter()
            .map(|text| part(text))
            .collect::<Result<_, _>>()?;
        Ok(Rule {
            name: self.name,
            key,
            matches: self.matches.check()?,
            kind: kind?,
        })
    }
}

fn part(text: &str) -> Result<Part, String> {
    const WORDS: [&str; 5] = ["tenant", "subject", "client", "tool", "provider"];
    match text {
        "tenant" => Ok(Part::Tenant),
        "subject" => Ok(Part::Subject),
        "client" => Ok(Part::Client),
        "tool" => Ok(Part::Tool),
        "provider" => Ok(Part::Provider),
        _ => {
            let path = text.strip_prefix("argument:").unwrap_or_default();
            if path.len() > 1 && path.len() <= 256 && path.starts_with('/') {
                return Ok(Part::Argument(path.to_owned()));
            }
            let given: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
            let near = WORDS
                .iter()
                .map(|word| (strsim::damerau_levenshtein(&given, word), word))
                .min()
                .filter(|(distance, _)| *distance <= 2);
            let hint =
                near.map_or_else(String::new, |(_, word)| format!("; did you mean `{word}`?"));
            Err(format!(
                "`key` takes tenant, subject, client, tool, provider and argument:/path, not `{given}`{hint}"
            ))
        }
    }
}

impl Matches {
    fn check(self) -> Result<Match, String> {
        let list = |field: &str, given: OneOrMany| {
            let given = given.into_vec();
            let fits = |text: &String| parse::printable(256)(text).is_ok();
            if given.len() <= MAX_ENTRIES && given.iter().all(fits) {
                Ok(given)
            } else {
                Err(format!(
                    "`match.{field}` takes at most {MAX_ENTRIES} texts of 1 to 256 printable characters"
                ))
            }
        };
        Ok(Match {
            tools: list("tools", self.tools)?,
            providers: list("providers", self.providers)?,
            tenants: list("tenants", self.tenants)?,
            safety_tags: list("safety_tags", self.safety_tags)?,
        })
    }
}

impl Bucket {
    fn check(self) -> Result<Kind, String> {
        let is_rate = self.rate > 0.0 && self.rate <= 1_000_000.0;
        if !is_rate {
            return Err(
                "`bucket.rate` takes more than 0, at most 1000000 calls a second".to_owned(),
            );
        }
        Ok(Kind::Bucket(Rate {
            per_second: self.rate,
            burst: count("bucket.burst", self.burst)?,
        }))
    }
}

impl Window {
    fn check(self) -> Result<Kind, String> {
        Ok(Kind::Window {
            max: count("window.max", self.max)?,
            per: span(&self.per)
                .ok_or("`window.per` takes 1s to 31d: a whole number and `s`, `m`, `h` or `d`")?,
        })
    }
}

impl Quota {
    fn check(self) -> Result<Kind, String> {
        if !(1..=MAX_QUOTA).contains(&self.max) {
            return Err(format!("`quota.max` takes 1 to {MAX_QUOTA} calls"));
        }
        Ok(Kind::Quota {
            max: self.max,
            per: period("quota.per", &self.per)?,
        })
    }
}

impl Budget {
    fn check(self) -> Result<Kind, String> {
        Ok(Kind::Budget {
            max: crate::limit::rule::budget(self.max)
                .ok_or("`budget.max` takes more than 0, at most 1000000000 units of cost")?,
            per: period("budget.per", &self.per)?,
        })
    }
}

impl Concurrency {
    fn check(self) -> Result<Kind, String> {
        let max = count("concurrency.max", self.max)?;
        Ok(Kind::Concurrency { max })
    }
}

fn count(field: &str, count: u32) -> Result<NonZeroU32, String> {
    NonZeroU32::new(count)
        .filter(|count| count.get() <= 1_000_000)
        .ok_or_else(|| format!("`{field}` takes 1 to 1000000 calls"))
}

fn period(field: &str, text: &str) -> Result<Period, String> {
    match text {
        "day" => Ok(Period::Day),
        "month" => Ok(Period::Month),
        _ => Err(format!("`{field}` takes `day` or `month`, both in UTC")),
    }
}

fn span(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let span = Duration::from_secs(number.checked_mul(seconds)?);
    (Duration::from_secs(1)..=MAX_WINDOW)
        .contains(&span)
        .then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
default: false
rules:
  - {name: bursts, key: [tenant, subject], bucket: {rate: 0.5, burst: 3}}
  - name: reports
    key: [subject, "argument:/report_id"]
    match: {tools: ["reports:*"], safety_tags: slow}
    window: {max: 100, per: 1h}
  - {name: daily, key: tenant, quota: {max: 10000, per: day}}
  - {name: spend, key: [tenant], budget: {max: 12.5, per: month}}
  - {name: upstream, key: [provider], concurrency: {max: 8}}
"#;

    #[test]
    fn rules_are_read() {
        let file = parse_text(FILE).unwrap();
        assert!(!file.default);
        let told: Vec<String> = file.rules.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        `bursts`: 0.5 calls a second, 3 at once, for each tenant and subject
        `reports`: 100 calls in any 3600 seconds, for each subject and argument:/report_id; tools reports:*; safety tags slow
        `daily`: 10000 calls a day (UTC), for each tenant
        `spend`: a cost of 12.5 a month (UTC), for each tenant
        `upstream`: 8 calls at the same time, for each provider
        ");
        assert_eq!(parse_text("# nothing\n").unwrap(), Rules::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (change, expected) in [
            (("rules:", "ruels:"), "did you mean `rules`?"),
            (("burst: 3", "brust: 3"), "did you mean `burst`?"),
            (("key: tenant", "key: tennant"), "rule `daily`: `key` takes"),
            (("key: tenant", "key: tennant"), "did you mean `tenant`?"),
            (("argument:/report_id", "argument:report_id"), "`key` takes"),
            (("name: daily", "name: bursts"), "the name is taken"),
            (("name: daily", "name: default"), "the name is taken"),
            (("name: daily", "name: Every day"), "a name takes"),
            (("rate: 0.5", "rate: 0"), "`bucket.rate` takes"),
            (("rate: 0.5", "rate: .nan"), "`bucket.rate` takes"),
            (("burst: 3", "burst: 0"), "`bucket.burst` takes"),
            (("per: 1h", "per: 1y"), "`window.per` takes"),
            (("per: 1h", "per: 32d"), "`window.per` takes"),
            (("per: day", "per: week"), "`quota.per` takes"),
            (("max: 12.5", "max: 0"), "`budget.max` takes"),
            (("max: 8", "max: -8"), "line 11"),
            (("concurrency: {max: 8}", "match: {}"), "give exactly one"),
            (
                (
                    "concurrency: {max: 8}",
                    "concurrency: {max: 8}, quota: {max: 1, per: day}",
                ),
                "give exactly one",
            ),
            (("default: false", "default: off"), "line 2"),
        ] {
            let text = FILE.replacen(change.0, change.1, 1);
            assert_ne!(text, FILE, "{change:?}");
            let fault = parse_text(&text).unwrap_err();
            assert!(fault.contains(expected), "{change:?}: {fault}");
        }
    }
}
