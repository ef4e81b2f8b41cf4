//! A text with one server more, and everything else as it was. What was made is read again and compared before anybody
//! gets it: a file that cannot be changed so is left alone.

use jsonc_parser::cst::{CstInputValue, CstRootNode};
use serde_json::{Map, Value};

use crate::configured::{dialect, parse_json, parse_yaml};

/// What became of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Edited {
    /// The server is there already, exactly so.
    Same,
    /// The new text.
    Text(String),
}

/// Puts `entry` under `member` and `name` into a text of JSON, with comments or without.
pub(super) fn json(
    before: &str,
    member: &str,
    name: &str,
    entry: &Map<String, Value>,
    force: bool,
) -> Result<Edited, String> {
    let value = parse_json(before)?;
    let Some(wanted) = with_entry(&value, member, name, entry, force)? else {
        return Ok(Edited::Same);
    };
    let text = if before.trim().is_empty() {
        serde_json::to_string_pretty(&wanted).map_err(|error| error.to_string())? + "\n"
    } else {
        let root = CstRootNode::parse(before, &dialect()).map_err(|error| error.to_string())?;
        let servers = root.object_value().ok_or("it is no object")?;
        let servers = servers
            .object_value_or_create(member)
            .ok_or_else(|| format!("`{member}` is no object"))?;
        let entry = input(&Value::Object(entry.clone()));
        match servers.get(name) {
            Some(there) => there.set_value(entry),
            None => drop(servers.append(name, entry)),
        }
        root.to_string()
    };
    if parse_json(&text).as_ref() != Ok(&wanted) {
        return Err("it cannot be changed without touching something else".to_owned());
    }
    Ok(Edited::Text(text))
}

/// As [`json`], for YAML: the server is written behind the line of `member`.
pub(super) fn yaml(
    before: &str,
    member: &str,
    name: &str,
    entry: &Map<String, Value>,
    force: bool,
) -> Result<Edited, String> {
    let value = parse_yaml(before)?;
    let Some(wanted) = with_entry(&value, member, name, entry, force)? else {
        return Ok(Edited::Same);
    };
    if has(before, true, (member, name)) {
        return Err(format!(
            "it has another server `{name}`, which is not replaced in YAML; take it out first"
        ));
    }
    // JSON is YAML too: on one line it needs no indentation.
    let line = |indent: &str| -> Result<String, String> {
        let entry = serde_json::to_string(entry).map_err(|error| error.to_string())?;
        Ok(format!("{indent}{}: {entry}\n", Value::from(name)))
    };
    let head = format!("{member}:");
    let is_head = |text: &str| text.trim_end() == head || text.trim_end() == format!("{head} {{}}");
    let mut text = String::with_capacity(before.len() + 1_024);
    let mut lines = before.split_inclusive('\n').peekable();
    let mut is_done = false;
    while let Some(one) = lines.next() {
        if is_done || !is_head(one) {
            text.push_str(one);
            continue;
        }
        let next = lines
            .clone()
            .find(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
        let indent = next.map_or(0, |line| line.len() - line.trim_start_matches(' ').len());
        text.push_str(&head);
        text.push('\n');
        text.push_str(&line(&" ".repeat(if indent == 0 { 2 } else { indent }))?);
        is_done = true;
    }
    if !is_done {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("{head}\n{}", line("  ")?));
    }
    if parse_yaml(&text).as_ref() != Ok(&wanted) {
        return Err(
            "it cannot be changed without touching something else; add the server by hand"
                .to_owned(),
        );
    }
    Ok(Edited::Text(text))
}

/// Whether a text has a server of that name under that member. What cannot be read has none.
pub(super) fn has(before: &str, is_yaml: bool, (member, name): (&str, &str)) -> bool {
    let parse = if is_yaml { parse_yaml } else { parse_json };
    let value = parse(before).unwrap_or_default();
    value
        .get(member)
        .is_some_and(|servers| servers.get(name).is_some())
}

/// `value` as it shall be; `None` where it is so already.
fn with_entry(
    value: &Value,
    member: &str,
    name: &str,
    entry: &Map<String, Value>,
    force: bool,
) -> Result<Option<Value>, String> {
    let mut wanted = value.as_object().ok_or("it is no object")?.clone();
    let servers = wanted
        .entry(member)
        .or_insert_with(|| Value::Object(Map::new()));
    if servers.is_null() {
        *servers = Value::Object(Map::new());
    }
    let servers = servers
        .as_object_mut()
        .ok_or_else(|| format!("`{member}` is no object"))?;
    match servers.get(name) {
        Some(there) if there.as_object() == Some(entry) => return Ok(None),
        Some(_) if !force => {
            return Err(format!(
                "it has another server `{name}` already; replace it with --force, or give another --name"
            ));
        }
        _ => {}
    }
    servers.insert(name.to_owned(), Value::Object(entry.clone()));
    Ok(Some(Value::Object(wanted)))
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(members) => CstInputValue::Object(
            members
                .iter()
                .map(|(name, value)| (name.clone(), input(value)))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn entry() -> Map<String, Value> {
        json!({"command": "x y"}).as_object().unwrap().clone()
    }

    fn text(edited: Result<Edited, String>) -> String {
        match edited.unwrap() {
            Edited::Text(text) => text,
            Edited::Same => panic!("nothing changed"),
        }
    }

    #[test]
    fn comments_order_and_neighbours_stay() {
        let before = "// mine\n{\n  \"zoom\": 2, // larger\n  \"mcpServers\": {\n    \"old\": {\"command\": \"y\"}\n  },\n  \"a\": 1\n}\n";
        let after = text(json(before, "mcpServers", "new", &entry(), false));
        insta::assert_snapshot!(after, @r#"
        // mine
        {
          "zoom": 2, // larger
          "mcpServers": {
            "old": {"command": "y"},
            "new": {
              "command": "x y"
            }
          },
          "a": 1
        }
        "#);
        assert_eq!(
            json(&after, "mcpServers", "new", &entry(), false),
            Ok(Edited::Same)
        );
    }

    #[test]
    fn what_is_not_there_is_made() {
        for before in ["", "{}", "{\"a\": 1}"] {
            let after = text(json(before, "servers", "new", &entry(), false));
            assert_eq!(
                parse_json(&after).unwrap()["servers"]["new"],
                json!(entry()),
                "{before}"
            );
        }
    }

    #[test]
    fn another_server_of_the_name_is_replaced_on_request_alone() {
        let before = "{\"mcpServers\": {\"new\": {\"command\": \"y\"}, \"old\": {}}}";
        let error = json(before, "mcpServers", "new", &entry(), false).unwrap_err();
        assert!(error.contains("--force"), "{error}");
        let after = text(json(before, "mcpServers", "new", &entry(), true));
        assert_eq!(
            parse_json(&after).unwrap(),
            json!({"mcpServers": {"new": entry(), "old": {}}})
        );
    }

    #[test]
    fn what_cannot_be_changed_is_left() {
        for before in ["[]", "{\"mcpServers\": 1}", "{a: 1}", "{\"mcpServers\": {}"] {
            assert!(
                json(before, "mcpServers", "new", &entry(), true).is_err(),
                "{before}"
            );
        }
        for before in [
            "- a",
            "extensions: 1",
            "extensions: [",
            "extensions: {a: {}}",
        ] {
            assert!(
                yaml(before, "extensions", "new", &entry(), true).is_err(),
                "{before}"
            );
        }
    }

    #[test]
    fn yaml_gets_a_line_more() {
        let before = "# mine\nGOOSE_PROVIDER: x\nextensions:\n    # first\n    old:\n        type: builtin\nlast: 1\n";
        insta::assert_snapshot!(text(yaml(before, "extensions", "new", &entry(), false)), @r#"
        # mine
        GOOSE_PROVIDER: x
        extensions:
            "new": {"command":"x y"}
            # first
            old:
                type: builtin
        last: 1
        "#);
        for before in ["", "a: 1", "extensions:\n", "extensions: {}\na: 1\n"] {
            let after = text(yaml(before, "extensions", "new", &entry(), false));
            assert_eq!(
                parse_yaml(&after).unwrap()["extensions"]["new"],
                json!(entry()),
                "{before}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_changed_rightly_or_left(before in ".{0,80}") {
            if let Ok(Edited::Text(after)) = json(&before, "mcpServers", "new", &entry(), true) {
                prop_assert_eq!(&parse_json(&after).unwrap()["mcpServers"]["new"], &json!(entry()));
            }
            if let Ok(Edited::Text(after)) = yaml(&before, "extensions", "new", &entry(), true) {
                prop_assert_eq!(&parse_yaml(&after).unwrap()["extensions"]["new"], &json!(entry()));
            }
        }
    }
}
