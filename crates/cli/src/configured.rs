//! The clients of this machine, and the servers that their files name.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use jsonc_parser::{ParseOptions, cst::CstRootNode};
use serde_json::{Map, Value};

use crate::{
    definition::Definition,
    surroundings::{Surroundings, System},
};

/// The most bytes of a client's file. That of Claude Code holds much besides.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// A program that uses MCP servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Client {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    #[value(name = "vscode")]
    VsCode,
    GeminiCli,
    Goose,
}

/// A file in which a client looks for servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) file: PathBuf,
    /// Whether it belongs to the project, not to the person.
    pub(crate) of_project: bool,
}

/// A server that a file names.
#[derive(Debug)]
pub(crate) struct Configured {
    pub(crate) name: String,
    /// Whose file it is, as people name it.
    pub(crate) source: &'static str,
    pub(crate) file: PathBuf,
    /// Whether the file came with the folder, so that anybody may have written it.
    pub(crate) of_project: bool,
    /// What it is, or why that cannot be told.
    pub(crate) definition: Result<Definition, String>,
    pub(crate) is_disabled: bool,
}

/// What the files of this machine say.
#[derive(Debug, Default)]
pub(crate) struct Everything {
    pub(crate) servers: Vec<Configured>,
    /// Files that are there and cannot be read, and why.
    pub(crate) unread: Vec<(PathBuf, String)>,
}

impl Client {
    const ALL: [Self; 6] = [
        Self::ClaudeDesktop,
        Self::ClaudeCode,
        Self::Cursor,
        Self::VsCode,
        Self::GeminiCli,
        Self::Goose,
    ];

    /// Its name, as arguments and tables have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "claude-desktop",
            Self::ClaudeCode => "claude-code",
            Self::Cursor => "cursor",
            Self::VsCode => "vscode",
            Self::GeminiCli => "gemini-cli",
            Self::Goose => "goose",
        }
    }

    /// The member of its file that holds the servers.
    pub(crate) const fn member(self) -> &'static str {
        match self {
            Self::VsCode => "servers",
            Self::Goose => "extensions",
            _ => "mcpServers",
        }
    }

    /// The person's own file; `None` where the person's folder is not known.
    pub(crate) fn own_file(self, around: &Surroundings) -> Option<PathBuf> {
        let path = match self {
            Self::ClaudeDesktop => around.settings()?.join("Claude/claude_desktop_config.json"),
            Self::ClaudeCode => around.home()?.join(".claude.json"),
            Self::Cursor => around.home()?.join(".cursor/mcp.json"),
            Self::VsCode => around.settings()?.join("Code/User/mcp.json"),
            Self::GeminiCli => around.home()?.join(".gemini/settings.json"),
            Self::Goose if around.system == System::Windows => {
                around.settings()?.join("Block/goose/config/config.yaml")
            }
            // On a Mac too it is where Linux has it.
            Self::Goose => around.home()?.join(".config/goose/config.yaml"),
        };
        Some(path)
    }

    /// The file for one project; `None` where the client has none.
    pub(crate) fn project_file(self, folder: &Path) -> Option<PathBuf> {
        let file = match self {
            Self::ClaudeDesktop | Self::Goose => return None,
            Self::ClaudeCode => ".mcp.json",
            Self::Cursor => ".cursor/mcp.json",
            Self::VsCode => ".vscode/mcp.json",
            Self::GeminiCli => ".gemini/settings.json",
        };
        Some(folder.join(file))
    }
}

/// Every file in which clients look from here.
pub(crate) fn places(around: &Surroundings) -> Vec<Place> {
    let mut places = Vec::new();
    for client in Client::ALL {
        let own = client.own_file(around);
        // In the person's folder, the project's file may be the person's.
        let project = client.project_file(&around.folder);
        let project = project.filter(|file| Some(file) != own.as_ref());
        let project = project.map(|file| (file, true));
        for (file, of_project) in project.into_iter().chain(own.map(|file| (file, false))) {
            if !places.iter().any(|place: &Place| place.file == file) {
                places.push(Place {
                    client,
                    file,
                    of_project,
                });
            }
        }
    }
    places
}

/// The servers that clients of this machine have, those of the project first.
pub(crate) fn everything(around: &Surroundings) -> Everything {
    let mut all = Everything::default();
    let own = around.folder.join("mcp.json");
    collect(&mut all, "mcp.json", (&own, true), |value| {
        servers(value, "mcpServers")
    });
    let mut places = places(around);
    places.sort_by_key(|place| !place.of_project);
    for place in places {
        let client = place.client;
        let file = (place.file.as_path(), place.of_project);
        collect(&mut all, client.name(), file, |value| {
            of_client(client, value, around)
        });
    }
    all
}

fn collect(
    all: &mut Everything,
    source: &'static str,
    (file, of_project): (&Path, bool),
    read: impl FnOnce(&Value) -> Map<String, Value>,
) {
    let value = match read_file(file) {
        Ok(Some(value)) => value,
        Ok(None) => return,
        Err(why) => return all.unread.push((file.to_owned(), why)),
    };
    let base = file.parent().unwrap_or(Path::new(""));
    for (name, entry) in read(&value) {
        let is_disabled = entry.get("disabled") == Some(&Value::Bool(true))
            || entry.get("enabled") == Some(&Value::Bool(false));
        let definition = Definition::read(&entry).map(|definition| definition.within(base));
        all.servers.push(Configured {
            name,
            source,
            file: file.to_owned(),
            of_project,
            definition,
            is_disabled,
        });
    }
}

/// The servers of a client, each as most clients would write it.
fn of_client(client: Client, value: &Value, around: &Surroundings) -> Map<String, Value> {
    let mut found = servers(value, client.member());
    match client {
        Client::ClaudeCode => {
            let folder = around.folder.to_string_lossy();
            if let Some(project) = value
                .get("projects")
                .and_then(|projects| projects.get(&*folder))
            {
                found.extend(servers(project, client.member()));
            }
        }
        Client::Goose => {
            // Others are built in.
            found.retain(|_, entry| entry.get("cmd").is_some() || entry.get("uri").is_some());
            for entry in found.values_mut() {
                *entry = from_goose(entry);
            }
        }
        _ => {}
    }
    found
}

fn servers(value: &Value, member: &str) -> Map<String, Value> {
    let servers = value.get(member).and_then(Value::as_object);
    servers.cloned().unwrap_or_default()
}

/// Goose has names of its own for the same things.
fn from_goose(entry: &Value) -> Value {
    let Some(entry) = entry.as_object() else {
        return entry.clone();
    };
    let renamed = entry.iter().filter_map(|(name, value)| {
        let name = match name.as_str() {
            "cmd" => "command",
            "envs" => "env",
            "uri" => "url",
            "args" | "headers" | "enabled" => name,
            "type" if value == "sse" => name,
            _ => return None,
        };
        Some((name.to_owned(), value.clone()))
    });
    Value::Object(renamed.collect())
}

/// The file as JSON, whether it is that, JSON with comments, or YAML; `None` where it is not there.
pub(crate) fn read_file(file: &Path) -> Result<Option<Value>, String> {
    let Some(text) = read_text(file)? else {
        return Ok(None);
    };
    if file
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml")
    {
        return parse_yaml(&text).map(Some);
    }
    parse_json(&text).map(Some)
}

/// The file as text; `None` where it is not there.
pub(crate) fn read_text(file: &Path) -> Result<Option<String>, String> {
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = String::new();
    opened
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    Ok(Some(text))
}

/// What editors take: JSON with comments and commas at the end of lists. Nothing more of what others allow.
pub(crate) const fn dialect() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_loose_object_property_names: false,
        allow_trailing_commas: true,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// The value of a text of JSON, with comments or without; an empty text is an empty object.
pub(crate) fn parse_json(text: &str) -> Result<Value, String> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let parsed =
        CstRootNode::parse(text, &dialect()).map_err(|error| format!("it is no JSON: {error}"))?;
    parsed
        .to_serde_value()
        .ok_or_else(|| "it is no JSON".to_owned())
}

/// The value of a text of YAML.
pub(crate) fn parse_yaml(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let told = error.to_string();
        format!("it is no YAML: {}", told.lines().next().unwrap_or_default())
    })
}

/// The servers of one file of `mcpServers`, or `servers` as VS Code calls them.
pub(crate) fn servers_of(
    file: &Path,
) -> Result<BTreeMap<String, Result<Definition, String>>, String> {
    let value = read_file(file)?.ok_or("there is no such file")?;
    let member = ["mcpServers", "servers"]
        .into_iter()
        .find(|member| value.get(*member).is_some());
    let Some(servers) = member
        .and_then(|member| value.get(member))
        .and_then(Value::as_object)
    else {
        return Err("`mcpServers`: give an object with a member for each server".to_owned());
    };
    let base = file.parent().unwrap_or(Path::new(""));
    Ok(servers
        .iter()
        .filter(|(_, entry)| entry.get("disabled") != Some(&Value::Bool(true)))
        .map(|(name, entry)| {
            let definition = Definition::read(entry).map(|definition| definition.within(base));
            (name.clone(), definition)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::surroundings::tests::around;

    #[test]
    fn clients_have_their_files_where_each_system_has_them() {
        let variables = [
            ("HOME", "/u"),
            ("USERPROFILE", "C:/u"),
            ("APPDATA", "C:/u/a"),
        ];
        let files = |system| {
            let around = around(system, &variables);
            let own = Client::ALL.map(|client| client.own_file(&around).unwrap());
            own.map(|file| file.to_string_lossy().replace('\\', "/"))
        };
        assert_eq!(
            files(System::Linux),
            [
                "/u/.config/Claude/claude_desktop_config.json",
                "/u/.claude.json",
                "/u/.cursor/mcp.json",
                "/u/.config/Code/User/mcp.json",
                "/u/.gemini/settings.json",
                "/u/.config/goose/config.yaml"
            ]
        );
        assert_eq!(
            files(System::Mac),
            [
                "/u/Library/Application Support/Claude/claude_desktop_config.json",
                "/u/.claude.json",
                "/u/.cursor/mcp.json",
                "/u/Library/Application Support/Code/User/mcp.json",
                "/u/.gemini/settings.json",
                "/u/.config/goose/config.yaml"
            ]
        );
        assert_eq!(
            files(System::Windows),
            [
                "C:/u/a/Claude/claude_desktop_config.json",
                "C:/u/.claude.json",
                "C:/u/.cursor/mcp.json",
                "C:/u/a/Code/User/mcp.json",
                "C:/u/.gemini/settings.json",
                "C:/u/a/Block/goose/config/config.yaml"
            ]
        );
    }

    #[test]
    fn without_a_home_only_projects_have_files() {
        let around = around(System::Linux, &[]);
        assert!(places(&around).iter().all(|place| place.of_project));
        assert_eq!(places(&around).len(), 4);
    }

    #[test]
    fn comments_are_read_and_other_dialects_are_not() {
        let text = "// mine\n{\"servers\": {\"a\": {\"url\": \"http://h/mcp\",},},}";
        assert_eq!(
            parse_json(text).unwrap(),
            json!({"servers": {"a": {"url": "http://h/mcp"}}})
        );
        assert!(parse_json("{'a': 1}").is_err());
        assert!(parse_json("{a: 1}").is_err());
        assert_eq!(parse_json(" \n").unwrap(), json!({}));
    }

    #[test]
    fn goose_says_the_same_in_other_words() {
        let value = parse_yaml(
            "extensions:\n  developer:\n    type: builtin\n  files:\n    type: stdio\n    cmd: npx\n    args: [-y, x]\n    envs: {A: b}\n    enabled: true\n",
        )
        .unwrap();
        let found = of_client(Client::Goose, &value, &around(System::Linux, &[]));
        assert_eq!(
            Value::Object(found),
            json!({"files": {"command": "npx", "args": ["-y", "x"], "env": {"A": "b"}, "enabled": true}})
        );
    }
}
