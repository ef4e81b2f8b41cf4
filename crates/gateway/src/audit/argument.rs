//! Which values of arguments the log may hold: none, unless somebody says so by name.

use std::borrow::Cow;

use fastmcp_audit::Object;
use fastmcp_guard::redact::Redactor;
use fastmcp_protocol::args::{Args, Node};
use serde_json::{Map, Value};

use super::secret::plain;

/// Bytes of one value; longer ones are left out.
const MAX_VALUE_BYTES: usize = 4_096;
/// Bytes of the values of one record, as they stand in it; what does not fit is left out.
const MAX_BYTES: usize = 16_384;
/// Bytes of the names of those that were left out, as they stand in the record.
const MAX_LEFT_OUT_BYTES: usize = 4_096;

/// The arguments of a tool whose values are recorded: `tool.argument`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    tool: Pattern,
    argument: Pattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Exactly(String),
    Beginning(String),
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('*') {
            Some(beginning) => {
                (!beginning.contains('*')).then(|| Self::Beginning(beginning.into()))
            }
            None => (!text.is_empty() && !text.contains('*')).then(|| Self::Exactly(text.into())),
        }
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Exactly(wanted) => text == wanted,
            Self::Beginning(beginning) => text.starts_with(beginning.as_str()),
        }
    }
}

impl Recorded {
    /// Reads `tool.argument`, such as `database:executeQuery.query`; either may end in `*`, for all that begin so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (tool, argument) = text.rsplit_once('.')?;
        Some(Self {
            tool: Pattern::parse(tool).filter(|_| tool.contains(':') || tool == "*")?,
            argument: Pattern::parse(argument)?,
        })
    }
}

/// The values of `args` that `recorded` names, as texts: a string is its own, everything else its JSON. Without secrets.
pub(super) fn values(
    recorded: &[Recorded],
    redactor: &Redactor,
    (tool_id, args): (&str, &Args),
) -> Option<Object> {
    let of_tool: Vec<_> = recorded.iter().filter(|r| r.tool.fits(tool_id)).collect();
    if of_tool.is_empty() {
        return None;
    }
    let mut values = Object::default();
    let (mut bytes, mut left_out) = (0, Vec::new());
    let named = args
        .iter()
        .filter(|(name, _)| of_tool.iter().any(|r| r.argument.fits(name)));
    for (name, node) in named {
        let text = text(redactor, name, node);
        let takes = bytes_of(name) + bytes_of(&text);
        let fits = text.len() <= MAX_VALUE_BYTES && bytes + takes <= MAX_BYTES;
        // A record with such a name would be refused, and its call with it.
        if !fits || name.starts_with("$serde_json::private::") {
            left_out.push(name);
            continue;
        }
        bytes += takes;
        values.text(name.to_owned(), text.as_str());
    }
    let mut arguments = Object::default();
    arguments.object("values", &values);
    if !left_out.is_empty() {
        // Names come from outside as well: so many as have a place.
        let most = left_out.into_iter().filter(|name| name.len() <= 128);
        let mut bytes = 0;
        let most = most.take(32).take_while(|name| {
            bytes += bytes_of(name);
            bytes <= MAX_LEFT_OUT_BYTES
        });
        arguments.texts("left_out", most);
    }
    Some(arguments)
}

/// How many bytes a text takes in a record, without its quotes. Source: `docs/audit-format.md`, "Strings".
fn bytes_of(text: &str) -> usize {
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\t' | b'\n' | b'\r' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    });
    bytes.sum()
}

fn text(redactor: &Redactor, name: &str, node: &Node) -> String {
    let value = Map::from_iter([(name.to_owned(), node.to_value())]);
    let value = Value::Object(value);
    let mut shown = redactor.redacted(&value);
    without_secrets(redactor, &mut shown);
    if shown == value {
        // Numbers of any size are exact in this form.
        return node
            .as_str()
            .map_or_else(|| node.canonical(), str::to_owned);
    }
    match shown.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Takes out of every text what is secret by its form. What lies deep was taken out before.
fn without_secrets(redactor: &Redactor, value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = plain(redactor, text) {
                *text = shown;
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| without_secrets(redactor, item)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|member| without_secrets(redactor, member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use fastmcp_audit::{Draft, Status};
    use fastmcp_protocol::args::ArgsLimits;
    use serde_json::json;

    use super::*;

    fn shown(rules: &[&str], tool: &str, args: &str) -> Option<Value> {
        let rules: Vec<_> = rules.iter().map(|r| Recorded::parse(r).unwrap()).collect();
        let args = Args::parse_str(args, &ArgsLimits::default()).unwrap();
        let object = values(&rules, &Redactor::default(), (tool, &args))?;
        let mut draft = Draft::event("test", Status::Success);
        draft.details = Some(object);
        let text = format!("{:?}", draft.details.unwrap());
        Some(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn only_what_is_named_is_recorded() {
        let args = r#"{"budget": 12345678901234567890.10, "name": "x", "tags": ["a", 1]}"#;
        let recorded = |rules: &[&str]| shown(rules, "ads:createCampaign", args);
        assert_eq!(recorded(&[]), None);
        assert_eq!(recorded(&["crm:*.*", "ads:create.*"]), None);
        assert_eq!(
            recorded(&["ads:createCampaign.budget"]),
            Some(json!({"values": {"budget": "12345678901234567890.1"}}))
        );
        assert_eq!(
            recorded(&["ads:*.ta*", "*.name", "*.other"]),
            Some(json!({"values": {"name": "x", "tags": r#"["a",1]"#}}))
        );
    }

    #[test]
    fn secrets_and_long_values_are_not_recorded() {
        let long = "x".repeat(MAX_VALUE_BYTES + 1);
        let args = json!({"password": "hunter2", "inner": {"apiKey": "k", "a": 1}, "long": long});
        assert_eq!(
            shown(&["*.*"], "a:b", &args.to_string()),
            Some(json!({
                "values": {"password": "[REDACTED]", "inner": r#"{"a":1,"apiKey":"[REDACTED]"}"#},
                "left_out": ["long"],
            }))
        );
    }

    #[test]
    fn tokens_within_texts_are_not_recorded() {
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
        let secret = "a1".repeat(20);
        let args = json!({
            "query": format!("SELECT 1 FROM t WHERE t.note='{jwt}' AND n = 2"),
            "inner": {"headers": [format!("Authorization: Bearer {secret}"), "x"], "n": 1.50},
            "link": format!("see https://x.example/?t={jwt}&k=fmk_0123456789abcdef_{secret}."),
        });
        assert_eq!(
            shown(&["*.*"], "a:b", &args.to_string()),
            Some(json!({"values": {
                "query": "SELECT 1 FROM t WHERE t.note='[REDACTED]' AND n = 2",
                "inner": r#"{"headers":["Authorization: Bearer [REDACTED]","x"],"n":1.5}"#,
                "link": "see https://x.example/?t=[REDACTED]&k=[REDACTED].",
            }}))
        );
    }

    #[test]
    fn values_are_counted_as_they_stand_in_the_record() {
        let control = "\u{1}".repeat(MAX_VALUE_BYTES);
        let many: Map<_, _> = (0..32)
            .map(|n| (format!("{n}{}", "\u{1}".repeat(100)), json!(control)))
            .collect();
        let shown = shown(&["*.*"], "a:b", &Value::Object(many).to_string()).unwrap();
        assert_eq!(shown["values"], json!({}));
        let room = MAX_BYTES + MAX_LEFT_OUT_BYTES + 1_024;
        assert!(shown.to_string().len() < room, "{shown}");
        let quotes = "\"".repeat(MAX_VALUE_BYTES);
        let args = json!({"a": quotes, "b": quotes, "c": quotes});
        let shown = super::tests::shown(&["*.*"], "a:b", &args.to_string()).unwrap();
        assert_eq!(shown["left_out"], json!(["b", "c"]));
    }

    #[test]
    fn a_rule_names_a_tool_and_an_argument() {
        for text in [
            "",
            "query",
            "database.query",
            "database:executeQuery",
            "a:b.",
            "a:*b.c",
            "a:b.**",
        ] {
            assert_eq!(Recorded::parse(text), None, "{text}");
        }
        assert!(Recorded::parse("database:run.now.query").is_some());
    }
}
