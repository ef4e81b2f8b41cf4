//! The tools of a server as commands of a program: what a stranger wrote, parsed once into names that a person can type and
//! texts that show nothing but themselves.

use fastmcp::protocol::tool::Tool;
use fastmcp_guard::display::unmistakable;
use serde_json::Value;

use crate::{call::arguments, output};

/// The most flags of a tool; more arguments are given as JSON.
const MAX_FLAGS: usize = 256;
/// The longest name of a tool and of an argument, in bytes.
const MAX_NAME: usize = 128;
/// The most lines of a description, and the most characters of a line.
const MAX_LINES: usize = 60;
const MAX_LINE: usize = 2_000;
/// The longest description of one line: in the list of tools, in characters.
const BRIEF: usize = 80;
/// The most choices that the program checks itself.
const MAX_CHOICES: usize = 64;
/// Flags of the program itself, which no argument takes.
const OWN: [&str; 3] = ["help", "json-args", "args-file"];

/// A tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) name: String,
    /// Its description, line by line.
    pub(super) about: Vec<String>,
    pub(super) flags: Vec<Flag>,
    /// Arguments that no flag can name.
    pub(super) others: Vec<Other>,
}

/// An argument that has a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flag {
    /// How the tool calls it.
    pub(super) argument: String,
    /// How it is given, with the dashes; the first is the one that is shown.
    pub(super) spellings: Vec<String>,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
    /// What stands for its value.
    pub(super) placeholder: String,
    pub(super) about: String,
    /// What the tool takes where it is not given.
    pub(super) default: Option<String>,
    /// The values that it may have, as they are given.
    pub(super) choices: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Given or not; `=false` is possible.
    Switch,
    /// With a value.
    Value,
    /// With a value, as often as there are any.
    List,
}

/// An argument without a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Other {
    /// Its name as it can be shown.
    pub(super) shown: String,
    pub(super) is_required: bool,
}

impl Command {
    /// A tool as a command; `None` where its name cannot be one.
    pub(super) fn of(tool: &Tool) -> anyhow::Result<Option<Self>> {
        if !is_callable(&tool.name) {
            return Ok(None);
        }
        let schema = tool.input_schema.to_value()?;
        let mut command = Self {
            name: tool.name.clone(),
            about: lines(tool.description.as_deref().unwrap_or_default()),
            flags: Vec::new(),
            others: Vec::new(),
        };
        let none = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties = properties.unwrap_or(&none);
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        // Those that must be given come first, in the order in which the schema names them.
        let (mut first, rest): (Vec<_>, Vec<_>) = properties
            .iter()
            .partition(|(name, _)| required.contains(&name.as_str()));
        first.sort_by_key(|(name, _)| required.iter().position(|one| one == name));
        for (name, property) in first.into_iter().chain(rest) {
            let is_required = required.contains(&name.as_str());
            let spellings = spellings(name, properties.keys());
            if spellings.is_empty() || command.flags.len() == MAX_FLAGS {
                let shown = cut(&unmistakable(name), MAX_NAME);
                command.others.push(Other { shown, is_required });
            } else {
                let flag = Flag::of(name, spellings, property, &schema);
                command.flags.push(Flag {
                    is_required,
                    ..flag
                });
            }
        }
        Ok(Some(command))
    }

    /// What it does, on one line.
    pub(super) fn brief(&self) -> String {
        let line = self.about.iter().find(|line| !line.is_empty());
        line.map_or_else(|| "-".to_owned(), |line| cut(line, BRIEF))
    }

    /// How it is called, without the program's name.
    pub(super) fn synopsis(&self) -> String {
        let mut words = vec![self.name.clone()];
        for flag in &self.flags {
            let form = flag.form();
            words.push(match (flag.is_required, flag.kind) {
                (true, Kind::List) => format!("{form}..."),
                (true, _) => form,
                (false, Kind::List) => format!("[{form}]..."),
                (false, _) => format!("[{form}]"),
            });
        }
        if !self.others.is_empty() {
            words.push("[--json-args JSON]".to_owned());
        }
        words.join(" ")
    }
}

impl Flag {
    fn of(name: &str, spellings: Vec<String>, property: &Value, root: &Value) -> Self {
        let types = arguments::types(property, root);
        let types: Vec<_> = types.into_iter().filter(|word| *word != "null").collect();
        let choices = choices(property, root);
        let kind = match types.as_slice() {
            ["boolean"] => Kind::Switch,
            ["array"] => Kind::List,
            _ => Kind::Value,
        };
        let placeholder = if kind == Kind::List {
            word(&arguments::types(arguments::items(property, root), root))
        } else {
            word(&types)
        };
        let text = |member: &str| property.get(member).and_then(Value::as_str);
        let default = property.get("default").filter(|value| !value.is_null());
        Self {
            argument: name.to_owned(),
            spellings,
            kind,
            is_required: false,
            placeholder: placeholder.to_owned(),
            about: one_line(text("description").unwrap_or_default()),
            default: default.map(|value| one_line(&given_as(value))),
            choices,
        }
    }

    /// The flag and what follows it.
    pub(super) fn form(&self) -> String {
        let shown = self.spellings.first().map_or("", String::as_str);
        match self.kind {
            Kind::Switch => shown.to_owned(),
            Kind::Value | Kind::List => format!("{shown} {}", self.placeholder),
        }
    }

    /// What there is to know about it, on one line.
    pub(super) fn told(&self) -> String {
        let mut parts = Vec::new();
        if !self.about.is_empty() {
            parts.push(self.about.clone());
        }
        if self.kind == Kind::List {
            parts.push("(may be repeated)".to_owned());
        }
        if !self.choices.is_empty() {
            parts.push(format!("[one of: {}]", self.choices.join(", ")));
        }
        if let Some(default) = &self.default {
            parts.push(format!("[default: {default}]"));
        }
        if self.is_required {
            parts.push("(required)".to_owned());
        }
        parts.join(" ")
    }
}

/// Whether a tool of this name can be called by typing it, and is what it looks like.
fn is_callable(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.trim() == name
        && !name.starts_with('-')
        // What `fastmcp call` takes for an argument or a resource.
        && !name.contains('=')
        && !name.contains("://")
        && unmistakable(name) == name
}

/// How an argument is given; none where no flag can name it.
fn spellings<'a>(name: &str, all: impl Iterator<Item = &'a String>) -> Vec<String> {
    let rest = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    let begins = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let dashed = |name: &str| name.replace('_', "-");
    if name.len() > MAX_NAME || !name.starts_with(begins) || !name.bytes().all(rest) {
        return Vec::new();
    }
    if OWN.contains(&dashed(name).as_str()) {
        return Vec::new();
    }
    let exact = format!("--{name}");
    let alike = all.filter(|other| dashed(other) == dashed(name)).count();
    if !name.contains('_') || name.starts_with('_') || alike > 1 {
        return vec![exact];
    }
    vec![format!("--{}", dashed(name)), exact]
}

/// The choices as they are given, where the program can check them: texts and the like that show as what they are.
fn choices(property: &Value, root: &Value) -> Vec<String> {
    let Some(choices) = arguments::choices_of(property, root) else {
        return Vec::new();
    };
    let is_plain = |value: &Value| !value.is_array() && !value.is_object();
    let texts: Vec<String> = choices.iter().map(given_as).collect();
    let shows = |text: &String| unmistakable(text) == *text && text.len() <= MAX_NAME;
    if texts.len() > MAX_CHOICES || !choices.iter().all(is_plain) || !texts.iter().all(shows) {
        return Vec::new();
    }
    texts
}

/// A value as it is given on a command line.
fn given_as(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// What stands for a value of these types.
fn word(types: &[&str]) -> &'static str {
    match types {
        ["integer"] => "INTEGER",
        ["number"] => "NUMBER",
        ["string"] => "TEXT",
        ["object" | "array"] => "JSON",
        ["boolean"] => "BOOLEAN",
        _ => "VALUE",
    }
}

/// A text of a stranger on one line.
pub(super) fn one_line(text: &str) -> String {
    cut(&unmistakable(&output::one_line(text)), MAX_LINE)
}

/// A text of a stranger, line by line.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .trim()
        .lines()
        .take(MAX_LINES + 1)
        .map(|line| cut(&unmistakable(&line.replace('\t', "    ")), MAX_LINE))
        .map(|line| line.trim_end().to_owned())
        .collect();
    if lines.len() > MAX_LINES {
        lines.truncate(MAX_LINES);
        lines.push("…".to_owned());
    }
    lines
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default().trim_end()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use fastmcp::protocol::tool::JsonSchema;
    use serde_json::json;

    use super::*;

    fn command(name: &str, schema: &Value) -> Option<Command> {
        let schema: JsonSchema = serde_json::from_value(schema.clone()).unwrap();
        Command::of(&Tool::new(name, schema)).unwrap()
    }

    #[test]
    fn flags_come_of_the_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "note": {"type": "string", "default": "none", "description": "A\n  note."},
                "start_date": {"type": "string"},
                "size": {"enum": ["small", "large"]},
                "loud": {"type": ["boolean", "null"]},
                "tags": {"type": "array", "items": {"type": "string"}},
                "place": {"type": "object"},
                "ratio": {"type": "number", "default": 0.5}
            },
            "required": ["ratio", "start_date"]
        });
        let command = command("plan", &schema).unwrap();
        let synopsis = command.synopsis();
        assert!(
            synopsis.starts_with("plan --ratio NUMBER --start-date TEXT ["),
            "{synopsis}"
        );
        for flag in [
            "[--loud]",
            "[--note TEXT]",
            "[--place JSON]",
            "[--size TEXT]",
            "[--tags TEXT]...",
        ] {
            assert!(synopsis.contains(flag), "{flag}: {synopsis}");
        }
        let told = |name: &str| {
            let flag = command.flags.iter().find(|flag| flag.argument == name);
            flag.unwrap().told()
        };
        assert_eq!(told("note"), "A note. [default: none]");
        assert_eq!(told("size"), "[one of: small, large]");
        assert_eq!(told("ratio"), "[default: 0.5] (required)");
        assert_eq!(told("tags"), "(may be repeated)");
        let date = command.flags.iter().find(|f| f.argument == "start_date");
        assert_eq!(date.unwrap().spellings, ["--start-date", "--start_date"]);
    }

    #[test]
    fn arguments_that_no_flag_can_name_are_given_as_json() {
        let schema = json!({"properties": {
            "a b": {}, "$x": {}, "-x": {}, "": {}, ".x": {}, "help": {}, "json_args": {}, "x;y": {}, "ok": {}, "a\u{202e}": {}
        }, "required": ["a\u{202e}"]});
        let command = command("t", &schema).unwrap();
        assert_eq!(command.flags.len(), 1);
        assert_eq!(command.others.len(), 9);
        let first = command.others.first().unwrap();
        assert!(
            first.is_required && first.shown == "a\\u{202e}",
            "{first:?}"
        );
        let alike = json!({"properties": {"a_b": {}, "a-b": {}, "_c": {}}});
        let all: Vec<_> =
            super::Command::of(&Tool::new("t", serde_json::from_value(alike).unwrap()))
                .unwrap()
                .unwrap()
                .flags
                .into_iter()
                .flat_map(|flag| flag.spellings)
                .collect();
        assert_eq!(all.len(), 3, "{all:?}");
        for spelling in ["--a_b", "--a-b", "--_c"] {
            assert!(all.iter().any(|one| one == spelling), "{all:?}");
        }
    }

    #[test]
    fn names_that_nobody_can_type_are_no_commands() {
        let none = json!({"type": "object"});
        for name in [
            "add",
            "a.b/c:d",
            "it's; rm -rf ~",
            "$(x)",
            "`x`",
            "日本",
            "esac",
        ] {
            assert!(command(name, &none).is_some(), "{name}");
        }
        for name in [
            "",
            " add",
            "-x",
            "--help",
            "a=b",
            "x://y",
            "a\nb",
            "a\u{0}",
            "a\u{202e}b",
            "a\u{1b}[2J",
            &"a".repeat(129),
        ] {
            assert!(command(name, &none).is_none(), "{name:?}");
        }
    }

    #[test]
    fn texts_show_nothing_but_themselves() {
        assert_eq!(
            lines("one\n\ttwo\u{1b}[2J\n\n"),
            ["one", "    two\\u{1b}[2J"]
        );
        assert_eq!(lines(&"x\n".repeat(100)).len(), MAX_LINES + 1);
        assert_eq!(one_line("a\u{202e}\n b"), "a\\u{202e} b");
        assert_eq!(
            cut(&"é".repeat(MAX_LINE + 1), MAX_LINE).chars().count(),
            MAX_LINE + 1
        );
    }
}
