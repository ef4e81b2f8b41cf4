//! A request as Cedar's entities and context. Only what some policy of the slice reads is built.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;

use cedar_policy::{Context as CedarContext, Entity, RestrictedExpression as Expr};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::action::Action;
use crate::argument::{self, Found, Seen, look_up};
use crate::decision::Reason;
use crate::reads::Reads;
use crate::request::{Context, Resource, Subject};
use crate::schema::{ARGUMENT_KINDS, datetime, uid};

/// The id under which the arguments' entities stand. There is one call per request.
const CALL: &str = "call";

/// A claim that policies read, and its values if the token has it.
pub(crate) type Claim = (String, Option<BTreeSet<String>>);

/// Builds the caller. `scopes` are the effective ones, expanded.
pub(crate) fn caller(
    subject: &Subject,
    scopes: &BTreeSet<String>,
    claims: &[Claim],
) -> Result<Entity, Reason> {
    let mut attributes = vec![
        ("sub".to_owned(), text(&subject.sub)),
        ("roles".to_owned(), texts(&subject.roles)),
        ("scopes".to_owned(), texts(scopes)),
    ];
    attributes.extend(
        subject
            .known_tenant()
            .map(|tenant| ("tenant".to_owned(), text(tenant))),
    );
    let roles = subject.roles.iter().map(|role| uid("Role", role));
    let tags = claims
        .iter()
        .filter_map(|(path, values)| Some((path.clone(), texts(values.as_ref()?))));
    Entity::new_with_tags(uid("Caller", &subject.sub), attributes, roles, tags)
        .map_err(|error| unusable("the caller", &error))
}

/// Builds the tool, as this caller's request sees it.
pub(crate) fn tool(tool: &Resource, subject: &Subject, action: Action) -> Result<Entity, Reason> {
    let tenant = tool.tenant_seen(subject, action);
    let mut attributes = HashMap::from([
        ("toolId".to_owned(), text(&tool.tool_id)),
        ("provider_id".to_owned(), text(&tool.provider_id)),
        ("public".to_owned(), Expr::new_bool(tool.is_public())),
        ("safety_tags".to_owned(), texts(&tool.safety_tags)),
        ("required_scopes".to_owned(), texts(&tool.required_scopes)),
        ("read_only".to_owned(), Expr::new_bool(tool.read_only)),
    ]);
    attributes.extend(tenant.map(|tenant| ("tenant".to_owned(), text(tenant))));
    attributes.extend(
        tool.classification
            .as_deref()
            .map(|label| ("classification".to_owned(), text(label))),
    );
    let parents = [uid("Provider", &tool.provider_id)].into();
    Entity::new(uid("Tool", &tool.tool_id), attributes, parents)
        .map_err(|error| unusable("the tool", &error))
}

/// Builds the context, with only the attributes that `reads` names.
pub(crate) fn circumstances(context: &Context<'_>, reads: &Reads) -> Result<CedarContext, Reason> {
    let mut pairs = Vec::new();
    for name in &reads.context {
        let value = match name.as_str() {
            "time" => Some(Expr::new_datetime(datetime(context.time))),
            "hour" => Some(Expr::new_long(context.hour())),
            "weekday" => Some(text(context.weekday())),
            "client" => context.client.map(text),
            "ip" => context.address().map(|ip| Expr::new_ip(ip.to_string())),
            "corr_id" => context.corr_id.map(text),
            "labels" => Some(context.labels.map_or_else(|| Expr::new_set([]), texts)),
            "arguments" => match context.arguments {
                Some(_) => Some(argument_record()?),
                None => None,
            },
            _ => None,
        };
        pairs.extend(value.map(|value| (name.clone(), value)));
    }
    CedarContext::from_pairs(pairs).map_err(|error| unusable("the context", &error))
}

fn argument_record() -> Result<Expr, Reason> {
    let fields =
        ARGUMENT_KINDS.map(|(kind, name)| (kind.to_owned(), Expr::new_entity_uid(uid(name, CALL))));
    Expr::new_record(fields).map_err(|error| unusable("the arguments", &error))
}

/// Refuses circumstances that policies which read so much cannot judge exactly.
pub(crate) fn check(context: &Context<'_>, reads: &Reads) -> Result<(), Reason> {
    // Cedar's datetime has four digits for the year, and the last moment of a timestamp lies in the year 9999.
    const FIRST: Timestamp = Timestamp::constant(-62_167_219_200, 0);
    if context.time < FIRST {
        return Err(undecidable("the time lies outside the years 0 to 9999"));
    }
    match context.arguments.filter(|_| reads.reads_arguments()) {
        None => Ok(()),
        Some(Value::Object(arguments)) => check_arguments(arguments, reads),
        Some(_) => Err(undecidable("the arguments are not a JSON object")),
    }
}

/// A path with two meanings cannot be judged. And a policy must see each argument that it asks for, or it could be passed by.
fn check_arguments(arguments: &Map<String, Value>, reads: &Reads) -> Result<(), Reason> {
    let mut paths = reads.arguments.iter();
    if let Some(path) = paths.find(|path| look_up(arguments, path) == Found::Several) {
        return Err(undecidable(format!(
            "the argument `{path}` stands in several places"
        )));
    }
    let asked = reads.typed.iter().flat_map(|typed| &**typed);
    for (path, kinds) in asked.filter(|(_, kinds)| !kinds.is_empty()) {
        expect(arguments, path, |seen| {
            kinds.iter().any(|kind| seen.fits(kind))
        })?;
    }
    for path in &reads.compared {
        expect(arguments, path, |seen| seen.is_comparable())?;
    }
    for path in &reads.equated {
        expect(arguments, path, |seen| seen.is_single())?;
    }
    Ok(())
}

/// Refuses an argument that is there and does not fit.
fn expect(
    arguments: &Map<String, Value>,
    path: &str,
    fits: impl Fn(&Seen<'_>) -> bool,
) -> Result<(), Reason> {
    let Found::One(value) = look_up(arguments, path) else {
        return Ok(());
    };
    let seen = Seen::of(value);
    if fits(&seen) {
        return Ok(());
    }
    let kind = seen.kind();
    Err(undecidable(format!(
        "a rule reads the argument `{path}`, and this {kind} is not of a form that it can compare exactly"
    )))
}

fn undecidable(what: impl Into<String>) -> Reason {
    Reason::Undecidable { what: what.into() }
}

/// Builds the entities that hold the arguments at the paths that `reads` names. JSON null is no argument.
pub(crate) fn arguments(arguments: &Value, reads: &Reads) -> Result<Vec<Entity>, Reason> {
    let mut tags: BTreeMap<&str, Vec<(String, Expr)>> = BTreeMap::new();
    for path in &reads.arguments {
        let found = arguments
            .as_object()
            .map_or(Found::Absent, |arguments| look_up(arguments, path));
        let Found::One(value) = found else { continue };
        let seen = Seen::of(value);
        let mut tag = |kind, value| tags.entry(kind).or_default().push((path.clone(), value));
        if seen != Seen::Null {
            tag("kind", text(seen.kind()));
        }
        match seen {
            Seen::Text(value) => tag("text", text(value)),
            Seen::Flag(value) => tag("flag", Expr::new_bool(value)),
            Seen::Number(number) => {
                let (whole, decimal) = (argument::whole(number), argument::decimal(number));
                whole
                    .into_iter()
                    .for_each(|value| tag("number", Expr::new_long(value)));
                decimal
                    .into_iter()
                    .for_each(|value| tag("decimal", Expr::new_decimal(value)));
            }
            Seen::List(values) => tag("list", Expr::new_set(values.into_iter().map(text))),
            Seen::Mixed(entries) => {
                let entries = entries.iter().filter_map(argument::entry);
                tag("mixed", Expr::new_set(entries.map(Expr::new_string)));
            }
            Seen::Null | Seen::OtherList | Seen::Object | Seen::Oversized => {}
        }
    }
    // A kind without tags needs no entity: `hasTag` on one that is not there is false.
    let filled = ARGUMENT_KINDS
        .into_iter()
        .filter_map(|(kind, name)| Some((name, tags.remove(kind)?)));
    let entity = |(name, tags)| {
        Entity::new_with_tags(uid(name, CALL), [], [], tags)
            .map_err(|error| unusable("the arguments", &error))
    };
    filled.map(entity).collect()
}

fn text(value: &str) -> Expr {
    Expr::new_string(value.to_owned())
}

fn texts(values: &BTreeSet<String>) -> Expr {
    Expr::new_set(values.iter().map(|value| text(value)))
}

pub(crate) fn unusable(what: &str, error: &impl Display) -> Reason {
    Reason::Undecidable {
        what: format!("{what} cannot be represented: {error}"),
    }
}
