//! What a server is, as files and command lines say it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fastmcp::guard::redact::Redactor;
use serde_json::{Map, Value, json};
use url::Url;

use crate::{output::printable, project::Project, surroundings::Surroundings};

/// The most arguments, variables or headers of one server.
const MAX_PARTS: usize = 1_024;

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Definition {
    /// A process that speaks on its standard input and output.
    Process(Process),
    /// An address.
    Remote(Remote),
    /// A package whose binary is built first.
    Project(Project),
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    /// Its variables, beside those that it gets anyway.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) folder: Option<PathBuf>,
    /// Whether it gets every variable of this process: what a person starts here has the environment that it would have
    /// in the person's shell, and what a client's file names has the small one that clients give.
    pub(crate) whole_environment: bool,
}

/// An address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) url: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// Whether it speaks HTTP with SSE, as 2024-11-05 had it.
    pub(crate) is_sse: bool,
    /// Whether somebody logs in for it.
    pub(crate) oauth: bool,
}

impl Definition {
    /// Reads a server as clients write it into their files: `command`, `args`, `env`, `cwd`, or `url` and `headers`.
    pub(crate) fn read(entry: &Value) -> Result<Self, String> {
        let fields = Fields(entry.as_object().ok_or("give an object")?);
        let url = ["url", "httpUrl", "serverUrl"]
            .into_iter()
            .find_map(|name| fields.0.get_key_value(name));
        let kind = fields.text("type")?.or(fields.text("transport")?);
        match (fields.text("command")?, url) {
            (Some(command), None) if !command.is_empty() => Ok(Self::Process(Process {
                program: command.to_owned(),
                args: fields.texts("args")?,
                env: fields.pairs("env")?,
                folder: fields.text("cwd")?.map(PathBuf::from),
                whole_environment: false,
            })),
            (None, Some((name, url))) => {
                let url = url
                    .as_str()
                    .ok_or_else(|| format!("`{name}`: give a text"))?;
                let mut headers = fields.pairs("headers")?;
                let auth = fields.0.get("auth").and_then(Value::as_str);
                if let Some(token) = auth.filter(|auth| *auth != "oauth") {
                    headers.insert("Authorization".to_owned(), format!("Bearer {token}"));
                }
                Ok(Self::Remote(Remote {
                    url: url.to_owned(),
                    headers,
                    is_sse: kind == Some("sse"),
                    oauth: auth == Some("oauth"),
                }))
            }
            (Some(_), Some(_)) => Err("`command` and `url`: give one of them".to_owned()),
            _ => Err(
                "give `command`, the program to start, or `url`, where the server is".to_owned(),
            ),
        }
    }

    /// The server as clients write it into their files.
    pub(crate) fn entry(&self) -> Option<Value> {
        let mut entry = Map::new();
        match self {
            Self::Process(process) => {
                entry.insert("command".to_owned(), json!(process.program));
                entry.insert("args".to_owned(), json!(process.args));
                if !process.env.is_empty() {
                    entry.insert("env".to_owned(), json!(process.env));
                }
                if let Some(folder) = &process.folder {
                    entry.insert("cwd".to_owned(), json!(folder));
                }
            }
            Self::Remote(remote) => {
                entry.insert("url".to_owned(), json!(remote.url));
                if !remote.headers.is_empty() {
                    entry.insert("headers".to_owned(), json!(remote.headers));
                }
            }
            Self::Project(_) => return None,
        }
        Some(Value::Object(entry))
    }

    /// The server with the variables filled in that its texts name.
    pub(crate) fn expanded(mut self, around: &Surroundings) -> Result<Self, String> {
        let fill = |what: &str, text: &mut String| {
            *text = around
                .expand(text)
                .map_err(|why| format!("`{what}`: {why}"))?;
            Ok::<_, String>(())
        };
        match &mut self {
            Self::Process(process) => {
                fill("command", &mut process.program)?;
                for (at, arg) in process.args.iter_mut().enumerate() {
                    fill(&format!("args[{at}]"), arg)?;
                }
                for (name, value) in &mut process.env {
                    fill(&format!("env.{name}"), value)?;
                }
                if let Some(folder) = &mut process.folder {
                    let mut text = folder.to_string_lossy().into_owned();
                    fill("cwd", &mut text)?;
                    *folder = text.into();
                }
            }
            Self::Remote(remote) => {
                fill("url", &mut remote.url)?;
                for (name, value) in &mut remote.headers {
                    fill(&format!("headers.{name}"), value)?;
                }
            }
            Self::Project(project) => {
                for (name, value) in &mut project.env {
                    fill(&format!("env.{name}"), value)?;
                }
            }
        }
        Ok(self)
    }

    /// What kind it is, for people.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Process(_) => "stdio",
            Self::Remote(remote) if remote.is_sse => "sse",
            Self::Remote(_) => "http",
            Self::Project(_) => "cargo",
        }
    }

    /// The server on one line, without values of variables and headers, and without what looks like a secret among
    /// arguments and in the address.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Process(process) => {
                let mut line = printable(&process.program);
                for arg in without_secrets(&process.args) {
                    line.push(' ');
                    line.push_str(&printable(&arg));
                }
                line
            }
            Self::Remote(remote) => told_url(&remote.url),
            Self::Project(project) => project.told(),
        }
    }

    /// The names of its variables or headers.
    pub(crate) fn carried(&self) -> Vec<&str> {
        let names = match self {
            Self::Process(process) => &process.env,
            Self::Remote(remote) => &remote.headers,
            Self::Project(project) => &project.env,
        };
        names.keys().map(String::as_str).collect()
    }

    /// Gives it variables on top of its own; an address has none.
    pub(crate) fn add_variables(
        &mut self,
        variables: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        if variables.is_empty() {
            return Ok(());
        }
        let own = match self {
            Self::Process(process) => &mut process.env,
            Self::Project(project) => &mut project.env,
            Self::Remote(_) => {
                return Err(
                    "a server at an address has no variables; leave out --env and --env-file"
                        .to_owned(),
                );
            }
        };
        own.extend(variables.clone());
        Ok(())
    }

    /// Sees relative folders from `base`.
    pub(crate) fn within(mut self, base: &Path) -> Self {
        if let Self::Process(process) = &mut self
            && let Some(folder) = &mut process.folder
            // An editor fills in the beginning.
            && !folder.to_string_lossy().starts_with("${")
        {
            *folder = base.join(&*folder);
        }
        self
    }
}

/// What stands for a secret.
const HIDDEN: &str = "***";

/// Arguments without those that look like secrets: what follows `--api-key`, and what `--token=` and `TOKEN=` give.
fn without_secrets(args: &[String]) -> Vec<String> {
    let redactor = Redactor::default();
    let is_secret = |name: &str| redactor.is_secret_name(name.trim_start_matches('-'));
    let mut follows = false;
    args.iter()
        .map(|arg| {
            let hidden = std::mem::take(&mut follows);
            match arg.split_once('=') {
                _ if hidden => HIDDEN.to_owned(),
                Some((name, _)) if is_secret(name) => format!("{name}={HIDDEN}"),
                // A header on the command line: `Authorization: Bearer ...`.
                _ if arg.split_once(':').is_some_and(|(name, _)| is_secret(name)) => {
                    let name = arg.split(':').next().unwrap_or_default();
                    format!("{name}: {HIDDEN}")
                }
                None if arg.starts_with('-') && is_secret(arg) => {
                    follows = true;
                    arg.clone()
                }
                _ if Url::parse(arg).is_ok_and(|url| url.has_host()) => told_url(arg),
                _ => arg.clone(),
            }
        })
        .collect()
}

/// The position of the first argument that looks like a secret and names no variable: it stands there for everybody to read.
pub(crate) fn open_secret(args: &[String]) -> Option<usize> {
    let shown = without_secrets(args);
    let mut both = args.iter().zip(&shown);
    both.position(|(arg, shown)| {
        shown.contains(HIDDEN) && !arg.contains(HIDDEN) && !arg.contains("${")
    })
}

/// The address without what may be a secret in it.
pub(crate) fn told_url(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else {
        return printable(text.split(['?', '#']).next().unwrap_or_default());
    };
    if !url.username().is_empty() || url.password().is_some() {
        // Addresses that have a user have a host, and one that has a host takes both.
        let _ = url.set_username(HIDDEN);
        let _ = url.set_password(None);
    }
    if url.query().is_some() {
        url.set_query(Some(HIDDEN));
    }
    url.set_fragment(None);
    printable(url.as_str())
}

/// The members of one server.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn text(&self, field: &str) -> Result<Option<&'a str>, String> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("`{field}`: give a text")),
        }
    }

    fn texts(&self, field: &str) -> Result<Vec<String>, String> {
        let all = match self.0.get(field) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(all)) if all.len() <= MAX_PARTS => all,
            Some(_) => {
                return Err(format!(
                    "`{field}`: give a list of at most {MAX_PARTS} texts"
                ));
            }
        };
        let text = |(at, value): (usize, &Value)| {
            let text = value
                .as_str()
                .ok_or_else(|| format!("`{field}[{at}]`: give a text"))?;
            Ok(text.to_owned())
        };
        all.iter().enumerate().map(text).collect()
    }

    fn pairs(&self, field: &str) -> Result<BTreeMap<String, String>, String> {
        let all = match self.0.get(field) {
            None | Some(Value::Null) => return Ok(BTreeMap::new()),
            Some(Value::Object(all)) if all.len() <= MAX_PARTS => all,
            Some(_) => {
                return Err(format!(
                    "`{field}`: give an object of at most {MAX_PARTS} texts"
                ));
            }
        };
        let pair = |(name, value): (&String, &Value)| {
            let shown: String = name.chars().take(64).collect();
            let value = value
                .as_str()
                .ok_or_else(|| format!("`{field}.{}`: give a text", shown.escape_debug()))?;
            Ok((name.clone(), value.to_owned()))
        };
        all.iter().map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surroundings::{System, tests::around};

    #[test]
    fn the_forms_of_clients_are_read() {
        let process = Definition::read(&json!({
            "command": "npx", "args": ["-y", "x", "--api-key", "hunter2", "--token=hunter2"],
            "env": {"TOKEN": "hunter2"}, "disabled": false
        }))
        .unwrap();
        assert_eq!(process.told(), "npx -y x --api-key *** --token=***");
        assert_eq!(
            (process.kind(), process.carried()),
            ("stdio", vec!["TOKEN"])
        );
        for entry in [
            json!({"type": "http", "url": "https://u:p@h.example/mcp?key=hunter2", "headers": {"X-Key": "hunter2"}}),
            json!({"httpUrl": "https://u:p@h.example/mcp?key=hunter2", "headers": {"X-Key": "hunter2"}}),
        ] {
            let remote = Definition::read(&entry).unwrap();
            assert_eq!(remote.told(), "https://***@h.example/mcp?***");
            assert_eq!((remote.kind(), remote.carried()), ("http", vec!["X-Key"]));
        }
    }

    #[test]
    fn unfit_entries_are_refused_by_field() {
        for (entry, why) in [
            (json!([]), "give an object"),
            (json!({}), "give `command`"),
            (json!({"command": 1}), "`command`: give a text"),
            (json!({"command": "x", "args": [1]}), "`args[0]`"),
            (json!({"command": "x", "env": {"A": 1}}), "`env.A`"),
            (json!({"command": "x", "url": "http://h"}), "one of them"),
            (json!({"url": 7}), "`url`: give a text"),
        ] {
            let error = Definition::read(&entry).unwrap_err();
            assert!(error.contains(why), "{entry}: {error}");
        }
    }

    #[test]
    fn variables_are_filled_in_and_missing_ones_named() {
        let around = around(System::Linux, &[("KEY", "k")]);
        let entry = json!({"command": "x", "env": {"A": "${KEY}", "B": "${NONE}"}});
        let error = Definition::read(&entry)
            .unwrap()
            .expanded(&around)
            .unwrap_err();
        assert_eq!(error, "`env.B`: the variable `NONE` is not set");
    }
}
