//! The arguments of an operation: one flat object, and where each of its members goes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    document::{Document, Node},
    encode::Encoding,
    operation::{Body, Media, Operation, Parameter, Place},
    route::free,
    schema::{Direction, Patterns, Schemas},
};
use crate::error::{Error, Result};

/// The longest name of an argument: what models may be given.
const MAX_NAME: usize = 64;
/// The most fields of a body that become arguments of their own.
const MAX_FIELDS: usize = 256;
/// How deep `allOf` is looked into for fields.
const MAX_DEPTH: usize = 8;

/// A parameter and the argument that fills it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) argument: String,
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) required: bool,
    pub(super) encoding: Encoding,
}

/// What the body is made of.
#[derive(Debug)]
pub(super) enum Content {
    /// One argument is the body.
    Whole(String),
    /// Arguments are its fields.
    Fields(Vec<Field>),
}

/// A field of a body and the argument that fills it.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) argument: String,
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) encoding: Option<Encoding>,
}

/// How the body is made.
#[derive(Debug)]
pub(super) struct Filling {
    pub(super) media: Media,
    pub(super) required: bool,
    pub(super) content: Content,
    /// Whether arguments that nobody declared are fields of it.
    pub(super) open: bool,
}

/// Where arguments go.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) slots: Vec<Slot>,
    pub(super) body: Option<Filling>,
}

/// Arguments in the making.
struct Arguments<'d, 'p> {
    schemas: Schemas<'d, 'p>,
    properties: Map<String, Value>,
    required: BTreeSet<String>,
    additional: Value,
}

/// The schema of the arguments of `operation`, and where they go. `given` are headers and the like that
/// nobody may set by an argument.
pub(super) fn plan<'d>(
    document: &'d Document,
    operation: &Operation<'d>,
    given: &dyn Fn(Place, &str) -> bool,
    patterns: &mut Patterns,
) -> Result<(Value, Plan)> {
    let parameters: Vec<_> = operation
        .parameters(document)?
        .into_iter()
        .filter(|p| !given(p.place, p.name))
        .collect();
    let body = operation.body(document)?;
    let mut arguments = Arguments {
        schemas: Schemas::new(document, Direction::Request, patterns),
        properties: Map::new(),
        required: BTreeSet::new(),
        additional: json!(false),
    };
    // Fields of the body keep their names; a parameter of the same name says where it goes.
    let body = match &body {
        Some(body) => Some(arguments.body(document, body)?),
        None => None,
    };
    let mut slots = Vec::new();
    for parameter in &parameters {
        let twice = parameters
            .iter()
            .filter(|p| p.name == parameter.name)
            .count()
            > 1;
        slots.push(arguments.parameter(parameter, twice)?);
    }
    let mut root = Map::new();
    root.insert("type".to_owned(), json!("object"));
    root.insert("properties".to_owned(), Value::Object(arguments.properties));
    if !arguments.required.is_empty() {
        root.insert("required".to_owned(), json!(arguments.required));
    }
    root.insert("additionalProperties".to_owned(), arguments.additional);
    let schema = arguments.schemas.finish(Value::Object(root))?;
    Ok((schema, Plan { slots, body }))
}

impl<'d> Arguments<'d, '_> {
    fn parameter(&mut self, parameter: &Parameter<'d>, twice: bool) -> Result<Slot> {
        let schema = match &parameter.schema {
            Some(schema) => self.schemas.convert(schema)?,
            None => json!({}),
        };
        let schema = described(schema, parameter.description, parameter.deprecated);
        let base = plain(parameter.name);
        let wanted = if twice || self.properties.contains_key(&base) {
            format!("{base}__{}", parameter.place.as_str())
        } else {
            base
        };
        let argument = self.add(&wanted, schema, parameter.required);
        Ok(Slot {
            argument,
            name: parameter.name.to_owned(),
            place: parameter.place,
            required: parameter.required,
            encoding: parameter.encoding,
        })
    }

    fn body(&mut self, document: &'d Document, body: &Body<'d>) -> Result<Filling> {
        let fields = match (&body.schema, &body.media) {
            (Some(schema), Media::Json(_) | Media::Form) => fields(document, schema)?,
            _ => None,
        };
        let Some(fields) = fields else {
            return self.whole(body);
        };
        let mut filled = Vec::new();
        for (name, schema) in &fields.properties {
            if self.schemas.goes_elsewhere(schema.value) {
                continue;
            }
            let required = fields.required.contains(name);
            let converted = self.schemas.convert(schema)?;
            let argument = self.add(&plain(name), converted, required && body.required);
            filled.push(Field {
                argument,
                name: (*name).to_owned(),
                required,
                encoding: body.encodings.get(name).copied(),
            });
        }
        if let Some(additional) = &fields.additional {
            self.additional = self.schemas.convert(additional)?;
        }
        Ok(Filling {
            media: body.media.clone(),
            required: body.required,
            content: Content::Fields(filled),
            open: self.additional != json!(false),
        })
    }

    /// The body as one argument, where it has no fields of its own.
    fn whole(&mut self, body: &Body<'d>) -> Result<Filling> {
        let schema = match (&body.schema, &body.media) {
            (_, Media::Text(_)) => json!({"type": "string"}),
            (Some(schema), _) => self.schemas.convert(schema)?,
            (None, Media::Form) => json!({"type": "object"}),
            (None, _) => json!({}),
        };
        let schema = described(schema, body.description, false);
        let argument = self.add("body", schema, body.required);
        Ok(Filling {
            media: body.media.clone(),
            required: body.required,
            content: Content::Whole(argument),
            open: false,
        })
    }

    fn add(&mut self, name: &str, schema: Value, required: bool) -> String {
        let properties = &self.properties;
        let name = free(name, MAX_NAME, |name| !properties.contains_key(name));
        self.properties.insert(name.clone(), schema);
        if required {
            self.required.insert(name.clone());
        }
        name
    }
}

/// A name that every model may be given: `filter[name]` becomes `filter_name`.
fn plain(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if !name.is_empty() && name.chars().all(fits) {
        return name.to_owned();
    }
    let mut out = String::new();
    for c in name.chars() {
        if fits(c) {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
    }
    out.truncate(out.trim_end_matches('_').len());
    if out.is_empty() {
        out.push_str("value");
    }
    out
}

/// A schema with what its parameter says of it.
fn described(schema: Value, description: Option<&str>, deprecated: bool) -> Value {
    let mut object = match schema {
        Value::Object(object) => object,
        Value::Bool(true) => Map::new(),
        other => return other,
    };
    if let Some(text) = description.filter(|text| !text.is_empty()) {
        object.insert("description".to_owned(), json!(text));
    }
    if deprecated {
        object.insert("deprecated".to_owned(), json!(true));
    }
    Value::Object(object)
}

/// The fields of a body that is an object and nothing but that.
struct Fields<'d> {
    properties: BTreeMap<&'d str, Node<'d>>,
    required: BTreeSet<&'d str>,
    additional: Option<Node<'d>>,
}

fn fields<'d>(document: &'d Document, schema: &Node<'d>) -> Result<Option<Fields<'d>>> {
    let mut found = Fields {
        properties: BTreeMap::new(),
        required: BTreeSet::new(),
        additional: None,
    };
    let flat = collect(document, schema.clone(), 0, &mut found)?;
    let some = (1..=MAX_FIELDS).contains(&found.properties.len());
    // A name that must be there and is described nowhere has no argument.
    let known = found
        .required
        .iter()
        .all(|r| found.properties.contains_key(r));
    Ok((flat && some && known).then_some(found))
}

/// Collects the fields of a schema and of all that it is composed of; false where it says more than fields do.
fn collect<'d>(
    document: &'d Document,
    schema: Node<'d>,
    depth: usize,
    found: &mut Fields<'d>,
) -> Result<bool> {
    let says_more = [
        "anyOf",
        "const",
        "else",
        "enum",
        "if",
        "maxProperties",
        "minProperties",
        "not",
        "oneOf",
        "patternProperties",
        "propertyNames",
        "then",
        "dependentSchemas",
        "dependentRequired",
        "unevaluatedProperties",
    ];
    let schema = document.resolve(schema)?;
    let is_object = match schema.get("type").map(|t| t.value) {
        None => true,
        Some(Value::Array(types)) => types.iter().any(|t| t == "object"),
        Some(one) => one == "object",
    };
    if depth > MAX_DEPTH
        || !is_object
        || !schema.value.is_object()
        || says_more.iter().any(|word| schema.get(word).is_some())
    {
        return Ok(false);
    }
    for (name, property) in schema.get("properties").iter().flat_map(Node::members) {
        let before = found.properties.insert(name, property.clone());
        if before.is_some_and(|before| before.value != property.value) {
            return Ok(false);
        }
    }
    let required = schema.get("required");
    let required = required.iter().flat_map(Node::items);
    found
        .required
        .extend(required.filter_map(|r| r.value.as_str()));
    if let Some(additional) = schema.get("additionalProperties") {
        if depth > 0 && additional.value != &Value::Bool(true) {
            return Ok(false);
        }
        found.additional = Some(additional);
    }
    for part in schema.get("allOf").iter().flat_map(Node::items) {
        if !collect(document, part, depth + 1, found)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Refuses names of fields that were given although their body is not whole.
pub(super) fn missing(argument: &str) -> Error {
    Error::validation(format!(
        "invalid arguments: `{argument}` is needed once any other field of the body is given"
    ))
}
