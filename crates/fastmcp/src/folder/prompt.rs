//! A prompt from Markdown.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fastmcp_protocol::{
    RpcError,
    prompt::{GetPromptResult, Prompt, PromptArgument, PromptMessage},
};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    call::{Input, Outcome},
    component::{Component, Definition},
    context::Context,
    error::{Error, Result},
    skill::frontmatter,
};

/// The most arguments of a prompt.
const MAX_ARGUMENTS: usize = 64;
/// The longest name.
const MAX_NAME: usize = 128;
/// The most bytes of a prompt with its arguments.
const MAX_RENDERED: usize = 4 * 1024 * 1024;

/// What a file says of its prompt.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Front {
    name: Option<String>,
    title: Option<String>,
    description: Option<String>,
    arguments: Option<Vec<Argument>>,
    #[serde(default)]
    tags: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Argument {
    name: String,
    title: Option<String>,
    description: Option<String>,
    #[serde(default = "needed")]
    required: bool,
}

const fn needed() -> bool {
    true
}

/// A text with places.
#[derive(Debug)]
struct Text {
    pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Argument(String),
}

/// The prompt of the file at `path`, which is relative to the folder of prompts.
pub(super) fn component(path: &str, text: &str) -> Result<Component> {
    let (front, body) = frontmatter::split(text)?;
    let front: Front = serde_json::from_value(Value::Object(front))
        .map_err(|e| Error::internal(format!("frontmatter: {e}")))?;
    let name = match front.name {
        Some(name) => name,
        None => name_of(path),
    };
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Error::internal(
            "frontmatter: `name` must have 1 to 128 bytes of visible text",
        ));
    }
    let text = Text::read(body.trim())?;
    let arguments = arguments(front.arguments, &text)?;
    let mut prompt = Prompt::new(name);
    prompt.title = front.title;
    prompt.description = front.description;
    prompt.arguments = (!arguments.is_empty()).then(|| arguments.clone());
    let description = prompt.description.clone();
    let (text, arguments) = (Arc::new(text), Arc::new(arguments));
    let handler = move |_: Context, input: Input| -> BoxFuture<'static, Result<Outcome>> {
        let rendered = given(&input, &arguments).and_then(|given| text.render(&given));
        let description = description.clone();
        Box::pin(async move {
            Ok(GetPromptResult {
                description,
                messages: vec![PromptMessage::user(rendered?)],
                ..GetPromptResult::default()
            }
            .into())
        })
    };
    Ok(Component::new(Definition::Prompt(prompt), handler).with_tags(front.tags))
}

/// `code/review.md` is `code_review`.
fn name_of(path: &str) -> String {
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    stem.replace('/', "_")
}

/// The arguments that the file declares, or else those that its text names, which are all needed.
fn arguments(declared: Option<Vec<Argument>>, text: &Text) -> Result<Vec<PromptArgument>> {
    let arguments: Vec<_> = match declared {
        None => text
            .names()
            .map(|name| PromptArgument::new(name, true))
            .collect(),
        Some(declared) => declared
            .into_iter()
            .map(|argument| PromptArgument {
                title: argument.title,
                description: argument.description,
                ..PromptArgument::new(argument.name, argument.required)
            })
            .collect(),
    };
    if arguments.len() > MAX_ARGUMENTS {
        return Err(Error::internal(format!(
            "has more than {MAX_ARGUMENTS} arguments"
        )));
    }
    let mut known = BTreeSet::new();
    for argument in &arguments {
        if !is_name(&argument.name) || !known.insert(argument.name.as_str()) {
            return Err(Error::internal(format!(
                "argument `{}`: names have letters, digits, `_` and `-`, and are there once",
                argument.name.chars().take(64).collect::<String>()
            )));
        }
    }
    match text.names().find(|name| !known.contains(name)) {
        Some(name) => Err(Error::internal(format!(
            "text has `{{{{{name}}}}}`, and `arguments` has no such name"
        ))),
        None => Ok(arguments),
    }
}

fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    !name.is_empty() && name.len() <= 64 && name.bytes().all(fits)
}

/// The arguments of a call.
fn given(input: &Input, arguments: &[PromptArgument]) -> Result<BTreeMap<String, String>> {
    let unfit = |why: String| Error::protocol(RpcError::invalid_params(why));
    let given: BTreeMap<String, Value> = match &input.args {
        Some(args) => args.decode()?,
        None => BTreeMap::new(),
    };
    let mut texts = BTreeMap::new();
    for (name, value) in given {
        if !arguments.iter().any(|argument| argument.name == name) {
            let name: String = name.chars().take(64).collect();
            return Err(unfit(format!("unknown argument `{name}`")));
        }
        match value {
            Value::String(text) => drop(texts.insert(name, text)),
            _ => return Err(unfit(format!("argument `{name}` must be a string"))),
        }
    }
    let missing = arguments
        .iter()
        .find(|a| a.required == Some(true) && !texts.contains_key(&a.name));
    match missing {
        Some(argument) => Err(unfit(format!("argument `{}` is needed", argument.name))),
        None => Ok(texts),
    }
}

impl Text {
    fn read(text: &str) -> Result<Self> {
        let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find("{{") {
            let (before, behind) = rest.split_at(at);
            let behind = behind.get(2..).unwrap_or_default();
            if let Some(before) = before.strip_suffix('\\') {
                literal.push_str(before);
                literal.push_str("{{");
                rest = behind;
                continue;
            }
            literal.push_str(before);
            let closed = behind
                .split_once("}}")
                .map(|(name, after)| (name.trim(), after));
            let Some((name, after)) = closed.filter(|(name, _)| is_name(name)) else {
                let shown: String = behind.chars().take(32).collect();
                return Err(Error::internal(format!(
                    "text has `{{{{{shown}`, which names no argument; write `\\{{{{` for two braces"
                )));
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Argument(name.to_owned()));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }

    /// The names of its arguments, each once.
    fn names(&self) -> impl Iterator<Item = &str> {
        let mut seen = BTreeSet::new();
        let names = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Argument(name) => Some(name.as_str()),
            Piece::Literal(_) => None,
        });
        names.filter(move |name| seen.insert(*name))
    }

    /// The text with `given` in its places. What is put in is not looked at again.
    fn render(&self, given: &BTreeMap<String, String>) -> Result<String> {
        let mut out = String::new();
        for piece in &self.pieces {
            let text = match piece {
                Piece::Literal(text) => text,
                Piece::Argument(name) => given.get(name).map_or("", String::as_str),
            };
            if out.len() + text.len() > MAX_RENDERED {
                return Err(Error::validation(
                    "the arguments make the prompt longer than 4 MiB",
                ));
            }
            out.push_str(text);
        }
        Ok(out)
    }
}
