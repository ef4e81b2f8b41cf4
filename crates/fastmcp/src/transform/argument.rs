//! Arguments of a tool under other names, with other schemas, or not at all.

use std::{collections::BTreeMap, fmt, sync::Arc};

use fastmcp_protocol::{Raw, ordered::Ordered};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, ErrorKind, Result},
    schema::Constraints,
};

/// Members of a schema's root that say something of several arguments at once: whoever renames or takes
/// away one of these would make them wrong.
const ENTANGLED: &[&str] = &[
    "$ref",
    "allOf",
    "anyOf",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "maxProperties",
    "minProperties",
    "not",
    "oneOf",
    "patternProperties",
    "propertyNames",
    "then",
    "unevaluatedProperties",
];

/// How an argument of a tool is shown.
#[derive(Clone, Default)]
pub struct ArgTransform {
    name: Option<String>,
    description: Option<String>,
    schema: Option<Value>,
    examples: Option<Value>,
    default: Option<Given>,
    hidden: bool,
    required: bool,
}

/// A value that is not the client's.
#[derive(Clone)]
struct Given(Arc<dyn Fn() -> Result<Value> + Send + Sync>);

impl ArgTransform {
    /// The argument as it is.
    #[must_use]
    pub fn new() -> Self {
        <Self as Default>::default()
    }

    /// Renames it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Describes it for the model.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// Replaces its schema. What clients send is checked against it; the tool's own checks stay.
    #[must_use]
    pub fn schema(mut self, schema: Value) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Shows the model examples.
    #[must_use]
    pub fn examples<T: Serialize>(mut self, examples: impl IntoIterator<Item = T>) -> Self {
        self.examples = Some(examples.into_iter().map(|one| json!(one)).collect());
        self
    }

    /// Has this value where the client sends none.
    #[must_use]
    pub fn default<T: Serialize>(mut self, value: T) -> Self {
        let value = serde_json::to_value(value).map_err(|e| e.to_string());
        self.default = Some(Given(Arc::new(move || {
            value.clone().map_err(Error::internal)
        })));
        self
    }

    /// Has what `make` makes, call by call, where the client sends none.
    #[must_use]
    pub fn default_factory<T, F>(mut self, make: F) -> Self
    where
        T: Serialize,
        F: Fn() -> T + Send + Sync + 'static,
    {
        self.default = Some(Given(Arc::new(move || Ok(serde_json::to_value(make())?))));
        self
    }

    /// Hides it: it always has this value, and a client that sends it is refused.
    #[must_use]
    pub fn hide<T: Serialize>(self, value: T) -> Self {
        let mut hidden = self.default(value);
        hidden.hidden = true;
        hidden
    }

    /// Hides it: it has what `make` makes, call by call.
    #[must_use]
    pub fn hide_with<T, F>(self, make: F) -> Self
    where
        T: Serialize,
        F: Fn() -> T + Send + Sync + 'static,
    {
        let mut hidden = self.default_factory(make);
        hidden.hidden = true;
        hidden
    }

    /// Takes it away: the tool goes without it.
    #[must_use]
    pub const fn drop_argument(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Demands it of clients.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

impl fmt::Debug for ArgTransform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArgTransform")
            .field("name", &self.name)
            .field("hidden", &self.hidden)
            .finish_non_exhaustive()
    }
}

/// How the arguments of one tool are read.
pub(super) struct Reshaped {
    /// What clients call arguments that have another name in the tool.
    renamed: BTreeMap<String, String>,
    /// Names that clients must not use: those of hidden and of renamed arguments.
    gone: Vec<String>,
    /// What is there without the client, by the tool's names; whether it may say otherwise.
    given: Vec<(String, Given)>,
    /// What clients must send though the tool may go without it.
    required: Vec<String>,
    /// Checks of arguments whose schema was replaced.
    checks: Option<Constraints>,
}

impl Reshaped {
    /// Changes `schema`, and says how calls are read.
    pub(super) fn of(
        schema: &mut Map<String, Value>,
        arguments: &BTreeMap<String, ArgTransform>,
    ) -> Result<Self> {
        check(schema, arguments)?;
        let mut before = take(schema, "properties");
        let mut required: Vec<String> = match schema.remove("required") {
            Some(names) => serde_json::from_value(names)?,
            None => Vec::new(),
        };
        let mut reshaped = Self {
            renamed: BTreeMap::new(),
            gone: Vec::new(),
            given: Vec::new(),
            required: Vec::new(),
            checks: None,
        };
        let (mut after, mut replaced) = (Map::new(), Map::new());
        for (name, change) in arguments {
            let Some(property) = before.remove(name) else {
                return Err(Error::internal(format!("it has no argument `{name}`")));
            };
            let demanded = required.iter().any(|one| one == name);
            required.retain(|one| one != name);
            if let Some(given) = &change.default {
                reshaped.given.push((name.clone(), given.clone()));
            }
            if change.hidden {
                if demanded && change.default.is_none() {
                    return Err(Error::internal(format!(
                        "argument `{name}` is required and cannot go without a value; hide it with one"
                    )));
                }
                reshaped.gone.push(name.clone());
                continue;
            }
            let shown = change.name.as_ref().unwrap_or(name).clone();
            let property = change.property(property)?;
            if change.schema.is_some() {
                replaced.insert(shown.clone(), property.clone());
            }
            if change.required || (demanded && change.default.is_none()) {
                required.push(shown.clone());
                reshaped.required.push(shown.clone());
            }
            if shown != *name {
                reshaped.gone.push(name.clone());
                reshaped.renamed.insert(shown.clone(), name.clone());
            }
            if before.contains_key(&shown) && !arguments.contains_key(&shown)
                || after.insert(shown.clone(), property).is_some()
            {
                return Err(Error::internal(format!(
                    "two arguments are named `{shown}`"
                )));
            }
        }
        // A name that one argument gave up, another may have.
        reshaped.gone.retain(|name| !after.contains_key(name));
        if !replaced.is_empty() {
            let mut checked = json!({"type": "object", "properties": replaced});
            if let (Some(definitions), Some(checked)) =
                (schema.get("$defs"), checked.as_object_mut())
            {
                checked.insert("$defs".to_owned(), definitions.clone());
            }
            reshaped.checks = Some(Constraints::compile(&checked)?);
        }
        before.extend(after);
        schema.insert("properties".to_owned(), Value::Object(before));
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        Ok(reshaped)
    }

    /// The tool's own arguments of those that a client sent.
    pub(super) fn read(&self, sent: Option<&Raw>) -> Result<Raw> {
        let sent: Ordered<Raw> = match sent {
            Some(sent) => sent
                .decode()
                .map_err(|e| Error::validation(format!("invalid arguments: {e}")))?,
            None => Ordered::new(),
        };
        if let Some(missing) = self.required.iter().find(|name| sent.get(name).is_none()) {
            return Err(Error::validation(format!(
                "invalid arguments: `{missing}` is required"
            )));
        }
        if let Some(checks) = &self.checks {
            checks.check(Raw::of(&sent)?.as_str())?;
        }
        let mut args = Ordered::new();
        for (name, value) in sent {
            if self.gone.contains(&name) {
                return Err(Error::validation(format!(
                    "invalid arguments: `{name}` is not one of this tool"
                )));
            }
            args.set(self.renamed.get(&name).unwrap_or(&name), value);
        }
        for (name, Given(make)) in &self.given {
            if args.get(name).is_none() {
                args.set(name, Raw::of(&make()?)?);
            }
        }
        Ok(Raw::of(&args)?)
    }

    /// A refusal of arguments under the names that the client knows.
    pub(super) fn explain(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Validation {
            return error;
        }
        let mut message = error.message().to_owned();
        for (shown, name) in &self.renamed {
            message = message.replace(&format!("`{name}`"), &format!("`{shown}`"));
        }
        Error::validation(message)
    }
}

impl ArgTransform {
    /// The schema of the argument as clients see it.
    fn property(&self, property: Value) -> Result<Value> {
        let mut property = match &self.schema {
            Some(schema) => schema.clone(),
            None => property,
        };
        if property == json!(true) {
            property = json!({});
        }
        let Some(object) = property.as_object_mut() else {
            return Err(Error::internal(
                "the schema of an argument must be an object",
            ));
        };
        if let Some(description) = &self.description {
            object.insert("description".to_owned(), json!(description));
        }
        if let Some(examples) = &self.examples {
            object.insert("examples".to_owned(), examples.clone());
        }
        if let Some(Given(make)) = &self.default {
            object.insert("default".to_owned(), make()?);
        }
        Ok(property)
    }
}

/// Refuses what cannot be reshaped and stay right.
fn check(schema: &Map<String, Value>, arguments: &BTreeMap<String, ArgTransform>) -> Result<()> {
    let moves = |one: &ArgTransform| one.name.is_some() || one.hidden;
    if !arguments.values().any(moves) {
        return Ok(());
    }
    if let Some(word) = ENTANGLED.iter().find(|word| schema.contains_key(**word)) {
        return Err(Error::internal(format!(
            "its schema has `{word}` at its root, which may name arguments; describe them anew, but do not \
             rename or hide them"
        )));
    }
    if serde_json::to_string(schema)?.contains("\"#/properties/") {
        return Err(Error::internal(
            "its schema refers to one argument from another; they cannot be renamed or hidden",
        ));
    }
    Ok(())
}

fn take(schema: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match schema.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}
