//! Where values come from, and which one wins.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};

use super::{DEFAULT_CONFIG_FILE, DEFAULT_ENV_FILE, Flags, error::Problem, variable, yaml};

/// The longest configuration or environment file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Nowhere: the default.
    Default,
    /// In the configuration file.
    File(PathBuf),
    /// In the environment file.
    EnvFile(PathBuf),
    /// In the environment of the process.
    Environment,
    /// On the command line, by this flag.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::EnvFile(path) => write!(f, "env file {}", path.display()),
            Self::Environment => f.write_str("environment"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A setting as `--print-config` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The name of the variable.
    pub name: String,
    /// Its value; `[redacted]` for secrets, empty for what is not set.
    pub value: String,
    /// Where it was set.
    pub source: Source,
}

/// A value and where it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) value: String,
    pub(super) source: Source,
}

/// The values that won, by the names of the variables.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) values: BTreeMap<String, Given>,
    pub(super) warnings: Vec<String>,
    pub(super) problems: Vec<Problem>,
}

/// Reads all layers. An empty value counts as not set.
pub(super) fn collect(
    folder: &Path,
    vars: impl Iterator<Item = (String, String)>,
    flags: &Flags,
) -> Layers {
    let mut layers = Layers::default();
    let environment: BTreeMap<String, String> = vars
        .filter(|(name, value)| {
            !value.is_empty() && (variable::is_known(name) || name.starts_with("FASTMCP_"))
        })
        .collect();
    layers.read_config_file(folder, &environment, flags);
    layers.read_env_file(folder, &environment);
    for (name, value) in environment {
        layers.set_or_warn(&name, value, Source::Environment);
    }
    if let Some(bind) = flags.bind {
        layers.set("HOST", bind.ip().to_string(), Source::Flag("--bind"));
        layers.set("PORT", bind.port().to_string(), Source::Flag("--bind"));
    }
    if let Some(data_dir) = &flags.data_dir {
        layers.set(
            "FASTMCP_DATA_DIR",
            data_dir.to_string_lossy().into_owned(),
            Source::Flag("--data-dir"),
        );
    }
    layers
}

impl Layers {
    fn set(&mut self, name: &str, value: String, source: Source) {
        self.values.insert(name.to_owned(), Given { value, source });
    }

    fn set_or_warn(&mut self, name: &str, value: String, source: Source) {
        if variable::is_known(name) {
            self.set(name, value, source);
        } else {
            self.warnings.push(format!(
                "`{name}` ({source}) is not known and has no effect{}",
                did_you_mean(variable::nearest(name))
            ));
        }
    }

    fn problem(&mut self, name: impl Into<String>, source: Source, fault: impl Into<String>) {
        self.problems.push(Problem {
            name: name.into(),
            value: None,
            fault: fault.into(),
            source,
        });
    }

    fn read_config_file(
        &mut self,
        folder: &Path,
        environment: &BTreeMap<String, String>,
        flags: &Flags,
    ) {
        let named = match (&flags.config, environment.get("FASTMCP_CONFIG")) {
            (Some(path), _) => Some((path.clone(), Source::Flag("--config"))),
            (None, Some(path)) => Some((PathBuf::from(path), Source::Environment)),
            (None, None) => None,
        };
        let default = || (PathBuf::from(DEFAULT_CONFIG_FILE), Source::Default);
        let (path, source) = named.unwrap_or_else(default);
        let text = match read_text(&folder.join(&path)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && source == Source::Default => {
                return;
            }
            Err(error) => {
                return self.problem(
                    path.display().to_string(),
                    source,
                    format!("cannot be read: {error}"),
                );
            }
        };
        if source != Source::Default {
            self.set("FASTMCP_CONFIG", path.display().to_string(), source);
        }
        let source = Source::File(path.clone());
        match parse_yaml(&text) {
            Ok(entries) => entries
                .into_iter()
                .for_each(|(key, value)| self.take_key(&key, value.0, &source)),
            Err(error) => self.problem(path.display().to_string(), source, error),
        }
    }

    fn take_key(&mut self, key: &str, value: Option<String>, source: &Source) {
        let name = key.to_ascii_uppercase();
        let is_lower = !key.contains(|c: char| c.is_ascii_uppercase());
        if !is_lower || !variable::is_known(&name) || name == "FASTMCP_CONFIG" {
            let near = variable::nearest(&name).map(str::to_ascii_lowercase);
            let fault = format!("unknown key{}", did_you_mean(near.as_deref()));
            let shown: String = key.chars().filter(|c| !c.is_control()).take(100).collect();
            return self.problem(shown, source.clone(), fault);
        }
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.set(&name, value, source.clone());
        }
    }

    fn read_env_file(&mut self, folder: &Path, environment: &BTreeMap<String, String>) {
        let named = environment
            .get("ENV_FILE")
            .cloned()
            .or_else(|| self.values.get("ENV_FILE").map(|given| given.value.clone()));
        let path = PathBuf::from(named.as_deref().unwrap_or(DEFAULT_ENV_FILE));
        let text = match read_text(&folder.join(&path)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => return,
            Err(error) => {
                return self.problem(
                    "ENV_FILE",
                    Source::EnvFile(path),
                    format!("cannot be read: {error}"),
                );
            }
        };
        let source = Source::EnvFile(path.clone());
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        for item in dotenvy::from_read_iter(text.as_bytes()) {
            match item {
                Ok((name, _)) if name == "ENV_FILE" || name == "FASTMCP_CONFIG" => {
                    self.warnings.push(format!(
                        "`{name}` ({source}) has no effect there; set it in the environment"
                    ));
                }
                Ok((_, value)) if value.is_empty() => {}
                Ok((name, value)) => self.set_or_warn(&name, value, source.clone()),
                Err(error) => {
                    return self.problem(
                        path.display().to_string(),
                        source,
                        env_file_fault(text, &error),
                    );
                }
            }
        }
    }
}

/// What is wrong with a line, without the line: it may hold a secret.
fn env_file_fault(text: &str, error: &dotenvy::Error) -> String {
    let line = match error {
        dotenvy::Error::LineParse(line, _) => line.lines().next(),
        _ => None,
    };
    let number = line.and_then(|line| text.lines().position(|known| known == line));
    let place = number.map_or_else(String::new, |number| format!("line {}: ", number + 1));
    format!("{place}expected NAME=value, with quotes that close and `$` written as `\\$`")
}

pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is larger than {MAX_FILE_BYTES} bytes"),
        ));
    }
    Ok(text)
}

fn parse_yaml(text: &str) -> Result<BTreeMap<String, Text>, String> {
    // A file of comments alone says nothing, which is fine.
    yaml::parse::<Option<BTreeMap<String, Text>>>(text)
        .map(Option::unwrap_or_default)
        .map_err(|message| format!("not a YAML map of `key: value`: {message}"))
}

/// A scalar as the text that the environment would hold; a list is joined by commas, nothing is `None`.
#[derive(Debug)]
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value, or a list of values")
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_none<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text, D::Error> {
        Text::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }

    fn visit_str<E>(self, value: &str) -> Result<Text, E> {
        Ok(Text(Some(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Text, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = list.next_element::<Text>()? {
            let part = part
                .0
                .ok_or_else(|| A::Error::custom("an entry of a list is empty"))?;
            if part.contains(',') {
                return Err(A::Error::custom(
                    "an entry of a list has a comma; write one entry for each value",
                ));
            }
            parts.push(part);
        }
        Ok(Text(Some(parts.join(","))))
    }
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
