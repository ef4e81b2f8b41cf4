//! A solver's model, read as a request of this product, and made as plain as it can be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use cedar_policy::{
    Context as CedarContext, Entities, Entity, EvalResult, Expression, Request as CedarRequest,
    eval_expression,
};
use cedar_policy_symcc::Env;
use jiff::{Span, Timestamp};
use serde_json::{Map, Value};

use super::Example;
use super::formula::SCOPES;
use crate::action::Action;
use crate::attribute::WEEKDAYS;
use crate::reads::Reads;
use crate::request::{Resource, Subject};

/// A Monday, at midnight: where no rule reads the time itself, an example takes place in this week.
const MONDAY: &str = "2024-01-01T00:00:00Z";
/// When an example takes place, if it makes no difference.
const NOON: &str = "2024-01-01T12:00:00Z";

type Attributes = BTreeMap<String, EvalResult>;

/// Reads a model: as one request, or as two, where it says two things of a number.
pub(super) fn read(env: &Env, action: Action, reads: &Reads) -> Result<Vec<Example>, String> {
    let both = [true, false].map(|integers| {
        let model = Model {
            env,
            reads,
            integers,
        };
        model.example(action).map(completed)
    });
    both.into_iter().collect()
}

struct Model<'a> {
    env: &'a Env,
    /// What the policies read; the rest of a model is filled with anything.
    reads: &'a Reads,
    /// A number is its integer, or else its decimal.
    integers: bool,
}

impl Model<'_> {
    fn example(&self, action: Action) -> Result<Example, String> {
        let request = &self.env.request;
        let caller = self.entity(request.principal())?;
        let (attributes, tags) = (attributes(caller)?, tags(caller)?);
        let mut subject = Subject::new(text(&attributes, "sub").unwrap_or_default());
        subject.tenant = text(&attributes, "tenant");
        subject.roles = texts(&attributes, "roles");
        subject.scopes = Some(texts(&attributes, SCOPES));
        let read = |(name, _): &(String, EvalResult)| self.reads.claims.contains(name);
        for (name, value) in tags.into_iter().filter(read) {
            let values = members(&value).into_iter().map(Value::from);
            Arc::make_mut(&mut subject.claims).insert(name, values.collect());
        }
        let resource = action.has_resource().then(|| self.resource());
        let context = request.context().cloned();
        let context = context.unwrap_or_else(CedarContext::empty);
        let named = |name: &str| context.get(name);
        Ok(Example {
            action,
            subject,
            resource: resource.transpose()?,
            time: self.time(&context)?,
            client: named("client").as_ref().and_then(plain),
            ip: named("ip").map(|ip| address(&ip)).transpose()?,
            corr_id: named("corr_id").as_ref().and_then(plain),
            labels: named("labels").iter().flat_map(members).collect(),
            arguments: self.arguments(named("arguments"))?,
        })
    }

    fn entity(&self, uid: Option<&cedar_policy::EntityUid>) -> Result<&Entity, String> {
        uid.and_then(|uid| self.env.entities.get(uid))
            .ok_or_else(|| "the model lacks an entity".to_owned())
    }

    fn resource(&self) -> Result<Resource, String> {
        let attributes = attributes(self.entity(self.env.request.resource())?)?;
        let flag = |name: &str| matches!(attributes.get(name), Some(EvalResult::Bool(true)));
        let id = |name: &str| text(&attributes, name).unwrap_or_default();
        let mut resource = Resource::new(id("toolId"), id("provider_id"))
            .safety_tags(texts(&attributes, "safety_tags"))
            .required_scopes(texts(&attributes, "required_scopes"))
            .read_only(flag("read_only"));
        resource.classification = text(&attributes, "classification");
        resource.tenant = if flag("public") {
            Some(Resource::PUBLIC.to_owned())
        } else {
            text(&attributes, "tenant")
        };
        Ok(resource)
    }

    /// The moment itself where it is read, or else the hour and the day in some week.
    fn time(&self, context: &CedarContext) -> Result<Timestamp, String> {
        let read = |name: &str| {
            context
                .get(name)
                .filter(|_| self.reads.context.contains(name))
        };
        if let Some(EvalResult::ExtensionValue(written)) = read("time") {
            return Timestamp::from_millisecond(self.milliseconds(&written)?)
                .map_err(|error| error.to_string());
        }
        let hour = match read("hour") {
            Some(EvalResult::Long(hour)) => hour,
            _ => 0,
        };
        let day = read("weekday").as_ref().and_then(plain);
        let day = day.and_then(|day| WEEKDAYS.iter().position(|known| *known == day));
        let day = day.and_then(|day| i64::try_from(day).ok()).unwrap_or(0);
        let hours = day.saturating_mul(24).saturating_add(hour);
        let span = Span::new().try_hours(hours);
        let monday = MONDAY.parse::<Timestamp>();
        monday
            .and_then(|monday| monday.checked_add(span?))
            .map_err(|error| error.to_string())
    }

    /// Lets Cedar itself read what it wrote.
    fn milliseconds(&self, moment: &str) -> Result<i64, String> {
        let text = format!("({moment}).durationSince(datetime(\"1970-01-01\")).toMilliseconds()");
        let expression: Expression = text.parse().map_err(|_| "no moment".to_owned())?;
        match evaluate(&self.env.request, &expression)? {
            EvalResult::Long(value) => Ok(value),
            _ => Err("no moment".to_owned()),
        }
    }

    fn arguments(&self, record: Option<EvalResult>) -> Result<Value, String> {
        let Some(EvalResult::Record(record)) = record else {
            return Ok(Value::Object(Map::new()));
        };
        let mut kinds: BTreeMap<String, Attributes> = BTreeMap::new();
        for kind in [
            "kind", "text", "flag", "number", "decimal", "list", "mixed", "several",
        ] {
            let found = match record.get(kind) {
                Some(EvalResult::EntityUid(uid)) => self.env.entities.get(uid),
                _ => None,
            };
            kinds.insert(
                kind.to_owned(),
                found.map(tags).transpose()?.unwrap_or_default(),
            );
        }
        let mut arguments = Map::new();
        for path in &self.reads.arguments {
            let of = |kind: &str| kinds.get(kind).and_then(|tags| tags.get(path));
            let kind = of("kind").and_then(plain);
            // A model need not say what kind of value it has, where no rule asks.
            let has = |name: &str| {
                kind.as_deref()
                    .map_or(of(name).is_some(), |kind| kind == name)
            };
            let value = if has("text") {
                of("text").map(json)
            } else if has("flag") {
                of("flag").map(json)
            } else if has("list") || of("mixed").is_some() {
                let mixed = || {
                    of("mixed").map_or_else(|| Value::from(vec![Value::Array(Vec::new())]), mixed)
                };
                Some(of("list").map_or_else(mixed, json))
            } else if has("number") || of("decimal").is_some() {
                Some(self.number(of("number"), of("decimal"))?)
            } else if kind.is_some() {
                Some(Value::Object(Map::new()))
            } else {
                continue;
            };
            let value = value
                .ok_or_else(|| format!("no argument `{path}` is what the solver wants it to be"))?;
            arguments.insert(path.clone(), value);
        }
        let several = |path: &&String| {
            let tags = kinds.get("several");
            tags.is_some_and(|tags| tags.contains_key(*path))
        };
        for path in self.reads.arguments.iter().filter(several) {
            put_twice(&mut arguments, path);
        }
        Ok(Value::Object(arguments))
    }

    /// A number of which rules see an integer, a decimal, both or, as of 1e300, neither.
    fn number(
        &self,
        integer: Option<&EvalResult>,
        decimal: Option<&EvalResult>,
    ) -> Result<Value, String> {
        let integer = integer.filter(|_| self.integers || decimal.is_none());
        match (integer, decimal) {
            (Some(EvalResult::Long(value)), _) => Ok(Value::from(*value)),
            (_, Some(EvalResult::ExtensionValue(written))) => {
                let text = within_quotes(written).ok_or("no decimal")?;
                serde_json::from_str(text).map_err(|error| error.to_string())
            }
            _ => Ok(Value::from(1e300)),
        }
    }
}

/// A list that is not of texts alone. What stands for no entry of one, nothing equals: null, as is added where all are texts.
fn mixed(entries: &EvalResult) -> Value {
    let entries = members(entries).into_iter();
    let mut list: Vec<Value> = entries
        .map(|entry| serde_json::from_str(&entry).unwrap_or_default())
        .map(|entry: Value| {
            if entry.is_array() || entry.is_object() {
                Value::Null
            } else {
                entry
            }
        })
        .collect();
    if list.iter().all(Value::is_string) {
        list.push(Value::Null);
    }
    list.into()
}

/// An argument in two places: under the name that has the dot in it, and where the dot separates.
fn put_twice(arguments: &mut Map<String, Value>, path: &str) {
    let Some((head, tail)) = path.split_once('.') else {
        return;
    };
    arguments.insert(path.to_owned(), Value::from(true));
    let nested = arguments
        .entry(head)
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(nested) = nested {
        nested.insert(tail.to_owned(), Value::from(true));
    }
}

/// Gives what no rule looks at, and a model may leave empty, a form that the gateway would accept.
fn completed(mut example: Example) -> Example {
    if !example.is_possible() {
        example.of_tool(|tool| {
            if tool.provider_id.is_empty() {
                let (provider, _) = tool.tool_id.split_once(':').unwrap_or(("provider", ""));
                tool.provider_id = provider.to_owned();
            }
        });
    }
    if !example.is_possible() {
        example.of_tool(|tool| tool.tool_id = format!("{}:tool", tool.provider_id));
    }
    example
}

fn evaluate(request: &CedarRequest, expression: &Expression) -> Result<EvalResult, String> {
    eval_expression(request, &Entities::empty(), expression).map_err(|error| error.to_string())
}

fn attributes(entity: &Entity) -> Result<Attributes, String> {
    let all = entity.attrs();
    all.map(|(name, value)| Ok((name.to_owned(), value.map_err(|error| error.to_string())?)))
        .collect()
}

fn tags(entity: &Entity) -> Result<Attributes, String> {
    let all = entity.tags();
    all.map(|(name, value)| Ok((name.to_owned(), value.map_err(|error| error.to_string())?)))
        .collect()
}

fn plain(value: &EvalResult) -> Option<String> {
    match value {
        EvalResult::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn text(attributes: &Attributes, name: &str) -> Option<String> {
    attributes.get(name).and_then(plain)
}

fn texts(attributes: &Attributes, name: &str) -> BTreeSet<String> {
    attributes.get(name).map(members).unwrap_or_default()
}

fn members(value: &EvalResult) -> BTreeSet<String> {
    match value {
        EvalResult::Set(set) => set.iter().filter_map(plain).collect(),
        _ => BTreeSet::new(),
    }
}

fn json(value: &EvalResult) -> Value {
    match value {
        EvalResult::Bool(flag) => Value::from(*flag),
        EvalResult::Long(number) => Value::from(*number),
        EvalResult::String(text) => Value::from(text.as_str()),
        EvalResult::Set(set) => set.iter().map(json).collect(),
        _ => Value::Null,
    }
}

/// A network stands for its first address.
fn address(value: &EvalResult) -> Result<IpAddr, String> {
    let EvalResult::ExtensionValue(written) = value else {
        return Err("no address".to_owned());
    };
    let text = within_quotes(written).ok_or("no address")?;
    let text = text.split('/').next().unwrap_or(text);
    text.parse().map_err(|_| format!("`{text}` is no address"))
}

fn within_quotes(written: &str) -> Option<&str> {
    let (_, rest) = written.split_once('"')?;
    rest.split_once('"').map(|(text, _)| text)
}

/// Takes away whatever an example does not need, and gives what is left plain names.
pub(super) fn simplify(mut example: Example, holds: impl Fn(&Example) -> bool) -> Example {
    let mut attempt = |change: &dyn Fn(&mut Example)| {
        let mut plainer = example.clone();
        change(&mut plainer);
        if plainer != example && holds(&plainer) {
            example = plainer;
        }
    };
    for change in PLAINER {
        attempt(change);
    }
    if let Ok(noon) = NOON.parse() {
        attempt(&|it| it.time = noon);
    }
    thinned(example, &holds)
}

type Change = fn(&mut Example);

const PLAINER: &[Change] = &[
    |it| it.subject.scopes = None,
    |it| it.subject.claims = Arc::default(),
    |it| it.client = None,
    |it| it.corr_id = None,
    |it| it.labels.clear(),
    |it| it.ip = None,
    |it| it.arguments = Value::Object(Map::new()),
    |it| it.of_tool(|tool| tool.classification = None),
    |it| it.of_tool(|tool| tool.safety_tags.clear()),
    |it| it.of_tool(|tool| tool.required_scopes.clear()),
    |it| it.subject.tenant = None,
    |it| {
        let acme = |tenant: &mut Option<String>| *tenant = tenant.take().map(|_| "acme".to_owned());
        acme(&mut it.subject.tenant);
        it.of_tool(|tool| acme(&mut tool.tenant));
    },
    |it| it.subject.tenant = it.subject.tenant.take().map(|_| "acme".to_owned()),
    |it| "somebody".clone_into(&mut it.subject.sub),
    |it| it.of_tool(|tool| tool.tool_id = format!("{}:tool", tool.provider_id)),
    |it| {
        it.of_tool(|tool| {
            "provider".clone_into(&mut tool.provider_id);
            "provider:tool".clone_into(&mut tool.tool_id);
        });
    },
];

/// Leaves out each role, argument, tag and scope that makes no difference.
fn thinned(mut example: Example, holds: &impl Fn(&Example) -> bool) -> Example {
    let attempt = |example: &mut Example, change: &dyn Fn(&mut Example)| {
        let mut plainer = example.clone();
        change(&mut plainer);
        if holds(&plainer) {
            *example = plainer;
        }
    };
    for role in example.subject.roles.clone() {
        attempt(&mut example, &|it| {
            it.subject.roles.remove(&role);
        });
    }
    for scope in example.subject.scopes.clone().unwrap_or_default() {
        attempt(&mut example, &|it| {
            it.subject.scopes.iter_mut().for_each(|held| {
                held.remove(&scope);
            });
        });
    }
    let names: Vec<String> = match &example.arguments {
        Value::Object(arguments) => arguments.keys().cloned().collect(),
        _ => Vec::new(),
    };
    for name in names {
        attempt(&mut example, &|it| {
            if let Value::Object(arguments) = &mut it.arguments {
                arguments.remove(&name);
            }
        });
        // One entry of a list instead of all of it.
        let entries = example.arguments.get(&name).and_then(Value::as_array);
        for entry in entries.cloned().unwrap_or_default() {
            attempt(&mut example, &|it| {
                if let Some(value @ Value::Array(_)) = it.arguments.get_mut(&name) {
                    *value = entry.clone();
                }
            });
        }
    }
    let tool = example.resource.clone().unwrap_or_default();
    for tag in tool.safety_tags {
        attempt(&mut example, &|it| {
            it.of_tool(|tool| {
                tool.safety_tags.remove(&tag);
            });
        });
    }
    for scope in tool.required_scopes {
        attempt(&mut example, &|it| {
            it.of_tool(|tool| {
                tool.required_scopes.remove(&scope);
            });
        });
    }
    example
}
