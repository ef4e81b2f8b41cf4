//! Schemas of the document as JSON Schema 2020-12 that stands on its own.
//!
//! What is used once is put in place; what is used more often, or contains itself, stands in `$defs`
//! once. So nothing grows by being resolved, and recursion stays what it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Number, Value, json};

use super::document::{Document, Node, Version, below, wrong};
use crate::error::Result;

/// How deep a schema may nest in the document.
const MAX_DEPTH: usize = 100;
/// How deep definitions are put in place; below that they stay references.
const MAX_INLINE_DEPTH: usize = 32;
/// The most subschemas of one tool.
const MAX_NODES: usize = 20_000;
/// The longest example that is shown, in bytes.
const MAX_EXAMPLE: usize = 256;

/// Words that mean the same here and there, and hold no schemas.
const KEPT: &[&str] = &[
    "$comment",
    "const",
    "contentEncoding",
    "contentMediaType",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "enum",
    "format",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "title",
    "uniqueItems",
];
/// Words that hold a schema.
const ONE: &[&str] = &[
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Words that hold a list of schemas.
const LIST: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
/// Words that hold schemas by names, which may be any text, `$ref` too.
const NAMED: &[&str] = &["dependentSchemas", "patternProperties", "properties"];
/// Words that only describe: beside a reference they say more of this use of it.
const NOTES: &[&str] = &["$comment", "default", "deprecated", "description", "title"];
const TYPES: &[&str] = &[
    "array", "boolean", "integer", "null", "number", "object", "string",
];

/// Whether a schema is of what is sent or of what comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

/// Whether patterns can be checked, each tried once for a whole document.
pub(super) type Patterns = HashMap<String, bool>;

/// Schemas of one tool in the making.
pub(super) struct Schemas<'a, 'p> {
    document: &'a Document,
    direction: Direction,
    patterns: &'p mut Patterns,
    /// The names of definitions by their pointers.
    names: BTreeMap<String, String>,
    /// Definitions that are still to be converted.
    pending: Vec<(String, &'a Value, String)>,
    definitions: BTreeMap<String, Value>,
    nodes: usize,
}

impl<'a, 'p> Schemas<'a, 'p> {
    pub(super) fn new(
        document: &'a Document,
        direction: Direction,
        patterns: &'p mut Patterns,
    ) -> Self {
        Self {
            document,
            direction,
            patterns,
            names: BTreeMap::new(),
            pending: Vec::new(),
            definitions: BTreeMap::new(),
            nodes: 0,
        }
    }

    /// One schema, its references not yet put in place.
    pub(super) fn convert(&mut self, node: &Node<'a>) -> Result<Value> {
        self.schema(node.value, &node.at, 0)
    }

    fn schema(&mut self, value: &'a Value, at: &str, depth: usize) -> Result<Value> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(wrong(
                at,
                &format!("more than {MAX_NODES} schemas in one tool"),
            ));
        }
        if depth > MAX_DEPTH {
            return Err(wrong(at, &format!("nests deeper than {MAX_DEPTH} schemas")));
        }
        match value {
            Value::Bool(_) => Ok(value.clone()),
            Value::Object(object) => match object.get("$ref") {
                Some(Value::String(to)) => self.reference(object, to, at, depth),
                Some(_) => Err(wrong(&below(at, "$ref"), "must be a text")),
                None => self.plain(object, at, depth),
            },
            _ => Err(wrong(at, "must be a schema: an object")),
        }
    }

    /// A reference, with what stands beside it.
    fn reference(
        &mut self,
        object: &'a Map<String, Value>,
        to: &str,
        at: &str,
        depth: usize,
    ) -> Result<Value> {
        let target = self.document.follow(at, to)?;
        let name = match self.names.get(&target.at) {
            Some(name) => name.clone(),
            None => {
                let name = self.free_name(&target.at);
                self.names.insert(target.at.clone(), name.clone());
                self.pending.push((name.clone(), target.value, target.at));
                name
            }
        };
        let mut converted = match self.document.version() {
            Version::V31 => match self.plain(object, at, depth)? {
                Value::Object(beside) => beside,
                _ => Map::new(),
            },
            // Says nothing beside a reference, by the letter; what only describes does no harm.
            Version::V30 => object
                .iter()
                .filter(|(key, value)| NOTES.contains(&key.as_str()) && !value.is_null())
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        };
        converted.insert("$ref".to_owned(), json!(format!("#/$defs/{name}")));
        Ok(Value::Object(converted))
    }

    fn plain(&mut self, object: &'a Map<String, Value>, at: &str, depth: usize) -> Result<Value> {
        let mut converted = Map::new();
        for (key, value) in object {
            let here = below(at, key);
            let word = key.as_str();
            if KEPT.contains(&word) {
                converted.insert(key.clone(), value.clone());
            } else if ONE.contains(&word) {
                converted.insert(key.clone(), self.schema(value, &here, depth + 1)?);
            } else if LIST.contains(&word) {
                let list = value.as_array().filter(|list| !list.is_empty());
                let list = list.ok_or_else(|| wrong(&here, "must be a list of schemas"))?;
                let list = list.iter().enumerate();
                let list: Result<Vec<_>> = list
                    .map(|(i, item)| self.schema(item, &format!("{here}/{i}"), depth + 1))
                    .collect();
                converted.insert(key.clone(), Value::Array(list?));
            } else if NAMED.contains(&word) {
                let named = self.named(value, &here, depth)?;
                converted.insert(key.clone(), Value::Object(named));
            } else {
                self.word(word, value, &mut converted);
            }
        }
        if converted.contains_key("properties") && !converted.contains_key("type") {
            // Meant, though not said; nobody describes the properties of a text.
            converted.insert("type".to_owned(), json!("object"));
        }
        bounds(object, &mut converted);
        self.required(object, &mut converted);
        Ok(nullable(object, converted))
    }

    /// Schemas by names; what goes the other way alone is left out.
    fn named(&mut self, value: &'a Value, at: &str, depth: usize) -> Result<Map<String, Value>> {
        let members = value
            .as_object()
            .ok_or_else(|| wrong(at, "must be an object"))?;
        let mut named = Map::new();
        for (name, schema) in members {
            if !self.goes_elsewhere(schema) {
                let schema = self.schema(schema, &below(at, name), depth + 1)?;
                named.insert(name.clone(), schema);
            }
        }
        Ok(named)
    }

    /// Whether a property is only sent where this only comes back, or the other way round.
    pub(super) fn goes_elsewhere(&self, schema: &Value) -> bool {
        let mark = match self.direction {
            Direction::Request => "readOnly",
            Direction::Response => "writeOnly",
        };
        schema.get(mark) == Some(&Value::Bool(true))
    }

    /// Words that need a look; all others are of OpenAPI alone and left out.
    fn word(&mut self, word: &str, value: &Value, converted: &mut Map<String, Value>) {
        match word {
            "type" => {
                let known = |t: &Value| t.as_str().is_some_and(|t| TYPES.contains(&t));
                let fits = match value {
                    Value::Array(types) => !types.is_empty() && types.iter().all(known),
                    one => known(one),
                };
                if fits {
                    converted.insert("type".to_owned(), value.clone());
                }
            }
            "pattern" => {
                let fits = value
                    .as_str()
                    .is_some_and(|pattern| self.can_be_checked(pattern));
                if fits {
                    converted.insert("pattern".to_owned(), value.clone());
                }
            }
            "example" if value.to_string().len() <= MAX_EXAMPLE => {
                converted.insert("examples".to_owned(), json!([value]));
            }
            "examples" if value.is_array() && value.to_string().len() <= MAX_EXAMPLE => {
                converted.insert("examples".to_owned(), value.clone());
            }
            _ => {}
        }
    }

    /// Whether a pattern is one that we can check; others are left to the other side.
    fn can_be_checked(&mut self, pattern: &str) -> bool {
        if let Some(known) = self.patterns.get(pattern) {
            return *known;
        }
        let can = crate::schema::Constraints::compile(&json!({"pattern": pattern})).is_ok();
        self.patterns.insert(pattern.to_owned(), can);
        can
    }

    /// The names that must be there, without those that go elsewhere.
    fn required(&self, object: &Map<String, Value>, converted: &mut Map<String, Value>) {
        let Some(Value::Array(names)) = object.get("required") else {
            return;
        };
        let properties = object.get("properties");
        let elsewhere = |name: &str| {
            let property = properties.and_then(|p| p.get(name));
            property.is_some_and(|schema| self.goes_elsewhere(schema))
        };
        let names: BTreeSet<&str> = names
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| !elsewhere(name))
            .collect();
        if !names.is_empty() {
            converted.insert("required".to_owned(), json!(names));
        }
    }

    /// A name for the definition at `pointer` that no other has.
    fn free_name(&self, pointer: &str) -> String {
        let last = pointer.rsplit('/').next().unwrap_or_default();
        let mut base: String = last
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "_.-".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .take(64)
            .collect();
        if base.is_empty() {
            base.push_str("schema");
        }
        let taken = |name: &str| self.names.values().any(|other| other == name);
        let mut name = base.clone();
        let mut number = 2;
        while taken(&name) {
            name = format!("{base}_{number}");
            number += 1;
        }
        name
    }

    /// Converts what was referred to, and puts in place what is used once: `root` then stands on its own.
    pub(super) fn finish(mut self, mut root: Value) -> Result<Value> {
        while let Some((name, value, at)) = self.pending.pop() {
            let converted = self.schema(value, &at, 0)?;
            self.definitions.insert(name, converted);
        }
        let mut uses = HashMap::new();
        count(&root, &mut uses);
        self.definitions.values().for_each(|d| count(d, &mut uses));
        let once = |name: &str| uses.get(name) == Some(&1);
        inline(&mut root, &mut self.definitions, &once, 0);
        // What was put in place is gone from here; the rest may hold what is used once.
        let names: Vec<String> = self.definitions.keys().cloned().collect();
        for name in names {
            if let Some(mut definition) = self.definitions.remove(&name) {
                inline(&mut definition, &mut self.definitions, &once, 0);
                self.definitions.insert(name, definition);
            }
        }
        root = self.unwrapped(root);
        let mut used = HashMap::new();
        count(&root, &mut used);
        self.definitions.values().for_each(|d| count(d, &mut used));
        self.definitions.retain(|name, _| used.contains_key(name));
        if let (false, Value::Object(object)) = (self.definitions.is_empty(), &mut root) {
            object.insert("$defs".to_owned(), json!(self.definitions));
        }
        Ok(root)
    }

    /// A root that is a mere reference, as what it refers to: readers look at its `type`.
    fn unwrapped(&self, root: Value) -> Value {
        let mut root = root;
        for _ in 0..MAX_INLINE_DEPTH {
            let Some(name) = referred(&root) else {
                return root;
            };
            let Some(definition) = self.definitions.get(name) else {
                return root;
            };
            root = placed(definition.clone(), root);
        }
        root
    }
}

/// 3.0 marks a bound as exclusive, 2020-12 names it so.
fn bounds(object: &Map<String, Value>, converted: &mut Map<String, Value>) {
    for (inclusive, exclusive) in [
        ("minimum", "exclusiveMinimum"),
        ("maximum", "exclusiveMaximum"),
    ] {
        match object.get(exclusive) {
            Some(Value::Number(bound)) => {
                converted.insert(exclusive.to_owned(), Value::Number(Number::clone(bound)));
            }
            Some(Value::Bool(true)) => {
                if let Some(bound) = converted.remove(inclusive) {
                    converted.insert(exclusive.to_owned(), bound);
                }
            }
            _ => {}
        }
    }
}

/// `nullable` as a type, beside whatever else may be.
///
/// Source: OpenAPI 3.0.4, section 4.7.24; 3.1 has `"null"` in `type`.
fn nullable(object: &Map<String, Value>, mut converted: Map<String, Value>) -> Value {
    if object.get("nullable") != Some(&Value::Bool(true)) {
        return Value::Object(converted);
    }
    let combined = LIST
        .iter()
        .chain(&["not", "const"])
        .any(|word| converted.contains_key(*word));
    let types = match converted.get("type") {
        Some(Value::Array(types)) => types.clone(),
        Some(one) => vec![one.clone()],
        // Anything fits, null too.
        None if !combined && !converted.contains_key("enum") => return Value::Object(converted),
        None => Vec::new(),
    };
    if combined || types.is_empty() {
        let mut outer = Map::new();
        for note in NOTES {
            if let Some(value) = converted.remove(*note) {
                outer.insert((*note).to_owned(), value);
            }
        }
        outer.insert("anyOf".to_owned(), json!([converted, {"type": "null"}]));
        return Value::Object(outer);
    }
    let null = (!types.iter().any(|t| t == "null")).then(|| json!("null"));
    let types: Vec<_> = types.into_iter().chain(null).collect();
    converted.insert("type".to_owned(), Value::Array(types));
    if let Some(Value::Array(values)) = converted.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    Value::Object(converted)
}

/// The definition that a schema refers to.
fn referred(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

/// Calls `visit` with each schema right below `schema`.
fn each_below(schema: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    let Value::Object(object) = schema else {
        return;
    };
    for (key, value) in object {
        let word = key.as_str();
        match value {
            value if ONE.contains(&word) => visit(value),
            Value::Array(list) if LIST.contains(&word) => list.iter_mut().for_each(&mut *visit),
            Value::Object(named) if NAMED.contains(&word) => {
                named.values_mut().for_each(&mut *visit);
            }
            _ => {}
        }
    }
}

/// Counts how often each definition is referred to.
fn count(schema: &Value, uses: &mut HashMap<String, usize>) {
    if let Some(name) = referred(schema) {
        *uses.entry(name.to_owned()).or_default() += 1;
    }
    let Value::Object(object) = schema else {
        return;
    };
    for (key, value) in object {
        let word = key.as_str();
        match value {
            value if ONE.contains(&word) => count(value, uses),
            Value::Array(list) if LIST.contains(&word) => {
                list.iter().for_each(|item| count(item, uses));
            }
            Value::Object(named) if NAMED.contains(&word) => {
                named.values().for_each(|item| count(item, uses));
            }
            _ => {}
        }
    }
}

/// Puts definitions in place that are used once. One that is used once and can be reached is not part of
/// itself, so this ends.
fn inline(
    schema: &mut Value,
    definitions: &mut BTreeMap<String, Value>,
    once: &dyn Fn(&str) -> bool,
    depth: usize,
) {
    if depth > MAX_INLINE_DEPTH {
        return;
    }
    let definition = match referred(schema) {
        Some(name) if once(name) => definitions.remove(name),
        _ => None,
    };
    if let Some(definition) = definition {
        *schema = placed(definition, std::mem::take(schema));
        return inline(schema, definitions, once, depth + 1);
    }
    each_below(schema, &mut |below| {
        inline(below, definitions, once, depth + 1);
    });
}

/// `definition` in the place of a reference to it; what stood beside the reference still holds.
fn placed(definition: Value, reference: Value) -> Value {
    let Value::Object(mut beside) = reference else {
        return definition;
    };
    beside.remove("$ref");
    if beside.is_empty() {
        return definition;
    }
    match definition {
        Value::Object(mut object) if beside.keys().all(|k| NOTES.contains(&k.as_str())) => {
            object.extend(beside);
            Value::Object(object)
        }
        definition => {
            let mut both = match beside.remove("allOf") {
                Some(Value::Array(list)) => list,
                _ => Vec::new(),
            };
            both.push(definition);
            beside.insert("allOf".to_owned(), Value::Array(both));
            Value::Object(beside)
        }
    }
}

/// Whether only objects fit a finished schema.
pub(super) fn describes_object(schema: &Value) -> bool {
    fn object(root: &Value, schema: &Value, depth: usize) -> bool {
        if depth > 8 {
            return false;
        }
        if let Some(kind) = schema.get("type") {
            return kind == "object";
        }
        let target = referred(schema).and_then(|name| root.get("$defs")?.get(name));
        if target.is_some_and(|target| object(root, target, depth + 1)) {
            return true;
        }
        let list = |word| schema.get(word).and_then(Value::as_array);
        let any = list("allOf").is_some_and(|l| l.iter().any(|s| object(root, s, depth + 1)));
        let all = ["anyOf", "oneOf"]
            .iter()
            .any(|word| list(word).is_some_and(|l| l.iter().all(|s| object(root, s, depth + 1))));
        any || all
    }
    object(schema, schema, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(version: &str, direction: Direction, schema: &Value, schemas: &Value) -> Value {
        let document = Document::of(json!({
            "openapi": version,
            "here": schema,
            "components": {"schemas": schemas},
        }))
        .unwrap();
        let mut patterns = Patterns::new();
        let mut schemas = Schemas::new(&document, direction, &mut patterns);
        let root = schemas
            .convert(&document.root().get("here").unwrap())
            .unwrap();
        let schema = schemas.finish(root).unwrap();
        crate::schema::Constraints::compile(&schema).unwrap();
        schema
    }

    fn old(schema: &Value) -> Value {
        converted("3.0.0", Direction::Request, schema, &json!({}))
    }

    #[test]
    fn the_dialect_of_3_0_becomes_2020_12() {
        let cases = [
            (
                json!({"type": "string", "nullable": true, "enum": ["a"]}),
                json!({"type": ["string", "null"], "enum": ["a", null]}),
            ),
            (
                json!({"type": "integer", "minimum": 0, "exclusiveMinimum": true, "maximum": 9, "exclusiveMaximum": false}),
                json!({"type": "integer", "exclusiveMinimum": 0, "maximum": 9}),
            ),
            (
                json!({"nullable": true, "allOf": [{"type": "string"}], "description": "d"}),
                json!({"anyOf": [{"allOf": [{"type": "string"}]}, {"type": "null"}], "description": "d"}),
            ),
            (
                json!({"type": "any", "xml": {}, "discriminator": {}, "x-mcp-header": "a", "required": true}),
                json!({}),
            ),
            (
                json!({"type": "string", "example": "e", "pattern": "(?<a"}),
                json!({"type": "string", "examples": ["e"]}),
            ),
        ];
        for (schema, expected) in cases {
            assert_eq!(old(&schema), expected, "{schema}");
        }
        let new =
            json!({"type": ["string", "null"], "exclusiveMinimum": 3, "const": {"$ref": "#/x"}});
        assert_eq!(
            converted("3.1.0", Direction::Request, &new, &json!({})),
            new
        );
    }

    #[test]
    fn what_is_used_once_is_put_in_place_and_recursion_stays() {
        let schemas = json!({
            "Node": {"type": "object", "properties": {
                "next": {"$ref": "#/components/schemas/Node"},
                "name": {"$ref": "#/components/schemas/Name"},
            }},
            "Name": {"type": "string", "maxLength": 5},
        });
        let root = json!({"$ref": "#/components/schemas/Node", "description": "first"});
        let schema = converted("3.1.0", Direction::Request, &root, &schemas);
        assert_eq!(
            schema,
            json!({
                "type": "object",
                "description": "first",
                "properties": {
                    "next": {"$ref": "#/$defs/Node"},
                    "name": {"type": "string", "maxLength": 5},
                },
                "$defs": {"Node": {"type": "object", "properties": {
                    "next": {"$ref": "#/$defs/Node"},
                    "name": {"type": "string", "maxLength": 5},
                }}},
            }),
        );
        assert!(describes_object(&schema));
    }

    #[test]
    fn a_property_may_be_named_like_a_reference() {
        let schema = json!({"type": "object", "properties": {"$ref": {"type": "string"}}, "required": ["$ref"]});
        assert_eq!(old(&schema), schema);
    }

    #[test]
    fn properties_of_the_other_direction_are_left_out() {
        let schema = json!({
            "type": "object",
            "required": ["id", "name", "password"],
            "properties": {
                "id": {"type": "integer", "readOnly": true},
                "name": {"type": "string"},
                "password": {"type": "string", "writeOnly": true},
            },
        });
        let sent = old(&schema);
        assert_eq!(sent["required"], json!(["name", "password"]));
        assert!(sent["properties"].get("id").is_none());
        let back = converted("3.0.0", Direction::Response, &schema, &json!({}));
        assert_eq!(back["required"], json!(["id", "name"]));
        assert!(back["properties"].get("password").is_none());
    }

    #[test]
    fn long_chains_and_wide_graphs_have_an_end() {
        // A chain, each link used once: put in place to a depth that readers of JSON take.
        let mut schemas = Map::new();
        for i in 0..500 {
            let next = json!({"type": "object", "properties": {"next": {"$ref": format!("#/components/schemas/L{}", i + 1)}}});
            schemas.insert(format!("L{i}"), next);
        }
        schemas.insert("L500".to_owned(), json!({"type": "string"}));
        let root = json!({"$ref": "#/components/schemas/L0"});
        let schema = converted("3.1.0", Direction::Request, &root, &Value::Object(schemas));
        let text = schema.to_string();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), schema);
        // Twice the next, thirty times: 2^30 copies where everything is put in place.
        let mut schemas = Map::new();
        for i in 0..30 {
            let next = json!({"$ref": format!("#/components/schemas/L{}", i + 1)});
            schemas.insert(
                format!("L{i}"),
                json!({"type": "array", "prefixItems": [next, next]}),
            );
        }
        schemas.insert("L30".to_owned(), json!({"type": "string"}));
        let root = json!({"$ref": "#/components/schemas/L0"});
        let schema = converted("3.1.0", Direction::Request, &root, &Value::Object(schemas));
        assert!(schema.to_string().len() < 10_000);
    }

    #[test]
    fn unfit_schemas_are_named_by_their_pointer() {
        let refused = |here: Value| {
            let document = Document::of(json!({"openapi": "3.0.0", "here": here})).unwrap();
            let mut patterns = Patterns::new();
            let mut schemas = Schemas::new(&document, Direction::Request, &mut patterns);
            let node = document.root().get("here").unwrap();
            let made = schemas.convert(&node).and_then(|root| schemas.finish(root));
            made.unwrap_err().message().to_owned()
        };
        for (here, at) in [
            (json!({"properties": {"a/b": 1}}), "#/here/properties/a~1b"),
            (json!({"items": []}), "#/here/items"),
            (json!({"allOf": {}}), "#/here/allOf"),
            (json!({"items": {"$ref": "#/x"}}), "#/here/items"),
            (
                json!({"items": {"$ref": "http://169.254.169.254/x"}}),
                "#/here/items",
            ),
        ] {
            let message = refused(here);
            assert!(message.contains(&format!("`{at}`")), "{message}");
        }
        let mut deep = json!({});
        for _ in 0..200 {
            deep = json!({"items": deep});
        }
        assert!(refused(deep).contains("nests deeper"));
        let wide = json!({"allOf": vec![json!({}); 30_000]});
        assert!(refused(wide).contains("more than 20000 schemas"));
    }
}
