//! What a server asks while it works: answered beforehand, at the terminal, or not at all.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    sync::{Mutex, PoisonError},
};

use fastmcp::{
    protocol::elicit::{ElicitForm, ElicitParams, ElicitResult, ElicitUrl, PrimitiveSchema},
    transport::browser,
};
use fastmcp_guard::display::unmistakable;
use serde_json::{Map, Value};
use tokio::sync::Mutex as Turn;

use super::arguments;
use crate::list;

/// The longest line that is read.
const MAX_LINE: u64 = 64 * 1024;
/// How often a line may not fit before the question is called off.
const TRIES: usize = 5;

/// Where questions of a server arrive.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// `NAME=VALUE`, given beforehand.
    answers: Vec<String>,
    server: Mutex<String>,
    refusals: Mutex<Vec<String>>,
    /// One question at a time.
    turn: Turn<()>,
}

impl Desk {
    pub(super) fn new(answers: Vec<String>) -> Self {
        Self {
            answers,
            ..Self::default()
        }
    }

    /// Says who asks.
    pub(super) fn asks_for(&self, server: &str) {
        server.clone_into(&mut self.server.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Why questions were not answered.
    pub(super) fn refusals(&self) -> Vec<String> {
        std::mem::take(&mut self.refusals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers a question.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the terminal may still wait for a line.
    pub(super) async fn answer(&self, question: ElicitParams) -> ElicitResult {
        let _turn = self.turn.lock().await;
        if let (ElicitParams::Form(form), false) = (&question, self.answers.is_empty()) {
            return match prepared(&self.answers, form) {
                Ok(content) => ElicitResult::accept(content),
                Err(why) => self.refuse(&question, &format!("--elicit does not answer it: {why}")),
            };
        }
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            let way = match &question {
                ElicitParams::Form(_) => {
                    "nobody is at the terminal; call where somebody is, or answer with --elicit NAME=VALUE"
                }
                _ => "nobody is at the terminal; call where somebody is",
            };
            return self.refuse(&question, way);
        }
        let server = self
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let asking = tokio::task::spawn_blocking(move || at_terminal(&server, &question));
        // A question that nobody could be asked is called off.
        asking
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or_else(ElicitResult::cancel)
    }

    fn refuse(&self, question: &ElicitParams, why: &str) -> ElicitResult {
        let mut told = format!("the server asks: {}", unmistakable(question.message()));
        if let ElicitParams::Form(form) = question
            && let Ok(schema) = serde_json::to_value(&form.requested_schema)
        {
            told.push_str(&format!(" ({})", list::signature(&schema)));
        }
        told.push_str(&format!("\n{why}"));
        self.refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(told);
        ElicitResult::cancel()
    }
}

/// The answers that were given beforehand, as the form wants them.
fn prepared(answers: &[String], form: &ElicitForm) -> Result<Map<String, Value>, String> {
    let schema = serde_json::to_value(&form.requested_schema).map_err(|error| error.to_string())?;
    let of_form: Vec<String> = answers
        .iter()
        .filter(|answer| {
            let name = answer
                .split_once('=')
                .map(|(name, _)| name.trim_end_matches(':'));
            name.is_none_or(|name| form.requested_schema.properties.get(name).is_some())
        })
        .cloned()
        .collect();
    let mut content = arguments::assemble(&of_form, Map::new(), &schema)?;
    form.requested_schema.fill_defaults(&mut content);
    form.requested_schema
        .check(&content)
        .map_err(|unfit| unfit.to_string())?;
    Ok(content)
}

/// What a line at the terminal was.
enum Line {
    Text(String),
    /// Input has ended.
    End,
}

fn read() -> io::Result<Line> {
    let mut line = String::new();
    let read = io::stdin().lock().take(MAX_LINE).read_line(&mut line)?;
    Ok(if read == 0 {
        Line::End
    } else {
        Line::Text(line.trim().to_owned())
    })
}

fn at_terminal(server: &str, question: &ElicitParams) -> io::Result<ElicitResult> {
    let mut out = io::stderr().lock();
    writeln!(out, "\n`{}` asks:", unmistakable(server))?;
    for line in question.message().lines() {
        writeln!(out, "  {}", unmistakable(line))?;
    }
    match question {
        ElicitParams::Form(form) => fill_in(&mut out, form),
        ElicitParams::Url(url) => visit(&mut out, url),
        // A kind of question that is not known here.
        _ => Ok(ElicitResult::cancel()),
    }
}

fn fill_in(out: &mut impl io::Write, form: &ElicitForm) -> io::Result<ElicitResult> {
    let fields: Vec<_> = form.requested_schema.properties.iter().collect();
    // A question that is answered by yes or no is asked once.
    if let [(name, PrimitiveSchema::Boolean(_))] = fields.as_slice() {
        return Ok(
            match decide(
                out,
                &format!("{}? [y]es, [n]o, [c]ancel: ", unmistakable(name)),
            )? {
                Some(true) => {
                    ElicitResult::accept(Map::from_iter([((*name).to_owned(), Value::Bool(true))]))
                }
                Some(false) => ElicitResult::decline(),
                None => ElicitResult::cancel(),
            },
        );
    }
    let mut content = Map::new();
    for (name, field) in fields {
        let required = form.requested_schema.required.iter().any(|one| one == name);
        match ask_field(out, form, (name, field), required)? {
            Some(Value::Null) => {}
            Some(value) => {
                content.insert(name.to_owned(), value);
            }
            None => return Ok(ElicitResult::cancel()),
        }
    }
    Ok(match decide(out, "send this? [y]es, [n]o, [c]ancel: ")? {
        Some(true) => ElicitResult::accept(content),
        Some(false) => ElicitResult::decline(),
        None => ElicitResult::cancel(),
    })
}

/// One field: its value, null where it is left out, nothing where the question is called off.
fn ask_field(
    out: &mut impl io::Write,
    form: &ElicitForm,
    (name, field): (&str, &PrimitiveSchema),
    required: bool,
) -> io::Result<Option<Value>> {
    let schema = serde_json::to_value(&form.requested_schema).unwrap_or_default();
    let property = schema.pointer(&format!(
        "/properties/{}",
        name.replace('~', "~0").replace('/', "~1")
    ));
    let property = property.cloned().unwrap_or_default();
    let mut head = unmistakable(field.title().unwrap_or(name));
    if let Some(text) = property.get("description").and_then(Value::as_str) {
        head.push_str(&format!(" ({})", unmistakable(text)));
    }
    head.push_str(&format!(", {}", list::kind(&property, &schema)));
    let choices = choices(field);
    if !choices.is_empty() {
        head.push_str(&format!(", of {}", unmistakable(&choices.join(", "))));
    }
    match field.default() {
        Some(default) => head.push_str(&format!(" [{}]", unmistakable(&default.to_string()))),
        None if !required => head.push_str(" [leave out]"),
        None => {}
    }
    for _ in 0..TRIES {
        write!(out, "{head}: ")?;
        out.flush()?;
        let text = match read()? {
            Line::End => return Ok(None),
            Line::Text(text) if text.is_empty() => match field.default() {
                Some(default) => return Ok(Some(default)),
                None if !required => return Ok(Some(Value::Null)),
                None => text,
            },
            Line::Text(text) => text,
        };
        match fitting(name, &text, form) {
            Ok(value) => return Ok(Some(value)),
            Err(why) => writeln!(out, "  {why}")?,
        }
    }
    writeln!(
        out,
        "  that did not fit {TRIES} times; the question is called off"
    )?;
    Ok(None)
}

/// The text as the field's value; several choices are parted by commas.
fn fitting(name: &str, text: &str, form: &ElicitForm) -> Result<Value, String> {
    let schema = serde_json::to_value(&form.requested_schema).map_err(|error| error.to_string())?;
    let mut alone = schema;
    if let Some(members) = alone.as_object_mut() {
        members.remove("required");
    }
    let is_multi = matches!(
        form.requested_schema.properties.get(name),
        Some(PrimitiveSchema::Multi(_))
    );
    let words: Vec<String> = if is_multi && !text.starts_with('[') {
        text.split(',')
            .map(|part| format!("{name}={}", part.trim()))
            .collect()
    } else {
        vec![format!("{name}={text}")]
    };
    let content = arguments::assemble(&words, Map::new(), &alone)?;
    let mut field = form.requested_schema.clone();
    field.required.clear();
    field.check(&content).map_err(|unfit| unfit.to_string())?;
    content
        .get(name)
        .cloned()
        .ok_or_else(|| "give a value".to_owned())
}

fn choices(field: &PrimitiveSchema) -> Vec<String> {
    use fastmcp::protocol::elicit::Choices;
    let choices = match field {
        PrimitiveSchema::Single(select) => &select.choices,
        PrimitiveSchema::Multi(select) => &select.choices,
        _ => return Vec::new(),
    };
    match choices {
        Choices::Untitled(values) => values.clone(),
        Choices::Titled(choices) => choices
            .iter()
            .map(|choice| {
                if choice.title == choice.value {
                    choice.value.clone()
                } else {
                    format!("{} ({})", choice.value, choice.title)
                }
            })
            .collect(),
    }
}

fn visit(out: &mut impl io::Write, url: &ElicitUrl) -> io::Result<ElicitResult> {
    writeln!(out, "at {}", unmistakable(&url.url))?;
    Ok(
        match decide(out, "open this address? [y]es, [n]o, [c]ancel: ")? {
            Some(true) => {
                if browser::open(&url.url).is_err() {
                    writeln!(out, "no browser opens; go there yourself")?;
                }
                ElicitResult::accept_url()
            }
            Some(false) => ElicitResult::decline(),
            None => ElicitResult::cancel(),
        },
    )
}

/// Yes, no, or neither.
fn decide(out: &mut impl io::Write, question: &str) -> io::Result<Option<bool>> {
    for _ in 0..TRIES {
        write!(out, "{question}")?;
        out.flush()?;
        match read()? {
            Line::End => return Ok(None),
            Line::Text(text) => match text.to_ascii_lowercase().as_str() {
                "y" | "yes" => return Ok(Some(true)),
                "n" | "no" => return Ok(Some(false)),
                "c" | "cancel" => return Ok(None),
                _ => {}
            },
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use fastmcp::protocol::elicit::{
        BooleanSchema, Choices, ElicitSchema, MultiSelect, NumberSchema, SingleSelect, StringSchema,
    };
    use serde_json::json;

    use super::*;

    fn form() -> ElicitForm {
        ElicitForm {
            message: "m".to_owned(),
            requested_schema: ElicitSchema::default()
                .required("count", NumberSchema::integer().between(1, 9))
                .optional("note", StringSchema::default().with_default("none"))
                .optional("size", SingleSelect::new(Choices::untitled(["s", "m"])))
                .optional("tags", MultiSelect::new(Choices::untitled(["a", "b"])))
                .optional("sure", BooleanSchema::default()),
        }
    }

    #[test]
    fn answers_that_were_given_beforehand_are_typed_and_checked() {
        let of = |answers: &[&str]| {
            let answers: Vec<_> = answers.iter().map(|answer| (*answer).to_owned()).collect();
            prepared(&answers, &form()).map(Value::Object)
        };
        assert_eq!(
            of(&["count=3", "tags=a", "tags=b", "sure=true", "another=form's"]),
            Ok(json!({"count": 3, "note": "none", "tags": ["a", "b"], "sure": true}))
        );
        assert_eq!(of(&["note=x"]).unwrap_err(), "missing: `count`");
        assert_eq!(
            of(&["count=12"]).unwrap_err(),
            "field `count` must be at most 9"
        );
        assert!(of(&["count=x"]).unwrap_err().contains("a whole number"));
    }

    #[test]
    fn lines_are_typed_field_by_field() {
        assert_eq!(fitting("count", "3", &form()), Ok(json!(3)));
        assert_eq!(fitting("tags", "a, b", &form()), Ok(json!(["a", "b"])));
        assert_eq!(fitting("size", "m", &form()), Ok(json!("m")));
        assert!(
            fitting("count", "0", &form())
                .unwrap_err()
                .contains("at least 1")
        );
        assert!(
            fitting("size", "xl", &form())
                .unwrap_err()
                .contains("give one of s, m")
        );
    }
}
