//! What the command finds around itself: variables, the working folder, the system. Handed in, so that tests may.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Which conventions the files of clients follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Linux,
    Mac,
    Windows,
}

/// What stands around the command.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) variables: BTreeMap<String, String>,
    /// The working folder.
    pub(crate) folder: PathBuf,
    pub(crate) system: System,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_process() -> anyhow::Result<Self> {
        Ok(Self {
            variables: crate::place::environment().collect(),
            folder: std::env::current_dir().context("the working folder cannot be told")?,
            system: if cfg!(windows) {
                System::Windows
            } else if cfg!(target_os = "macos") {
                System::Mac
            } else {
                System::Linux
            },
        })
    }

    /// A variable that is set, and not to nothing.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// The person's folder.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        let name = match self.system {
            System::Windows => "USERPROFILE",
            System::Linux | System::Mac => "HOME",
        };
        self.variable(name).map(PathBuf::from)
    }

    /// Where programs keep the person's settings.
    pub(crate) fn settings(&self) -> Option<PathBuf> {
        match self.system {
            System::Windows => self.variable("APPDATA").map(PathBuf::from),
            System::Mac => Some(self.home()?.join("Library/Application Support")),
            System::Linux => match self.variable("XDG_CONFIG_HOME") {
                Some(folder) if Path::new(folder).is_absolute() => Some(folder.into()),
                _ => Some(self.home()?.join(".config")),
            },
        }
    }

    /// `path` from the root on, as seen from the working folder.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        let joined = self.folder.join(path);
        // `.` alone would stand at the end of every path.
        joined.components().collect()
    }

    /// `text` with the values of the variables that it names: `${NAME}`, `${NAME:-otherwise}`, and `${env:NAME}` as
    /// editors write it.
    ///
    /// Says which variable is missing, never what `text` is: it may hold secrets beside the name.
    pub(crate) fn expand(&self, text: &str) -> Result<String, String> {
        let (mut done, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((before, after)) = rest.split_once("${") {
            let Some((inside, behind)) = after.split_once('}') else {
                break;
            };
            done.push_str(before);
            done.push_str(&self.value_of(inside)?);
            rest = behind;
        }
        done.push_str(rest);
        Ok(done)
    }

    fn value_of(&self, inside: &str) -> Result<String, String> {
        if matches!(inside, "workspaceFolder" | "workspaceRoot") {
            return Ok(self.folder.to_string_lossy().into_owned());
        }
        let (name, otherwise) = match inside.split_once(":-") {
            Some((name, otherwise)) => (name, Some(otherwise)),
            None => (inside.strip_prefix("env:").unwrap_or(inside), None),
        };
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if !is_name(name) {
            let shown: String = inside.chars().take(64).collect();
            return Err(format!(
                "`${{{}}}` is filled in by an editor, and means nothing here; give the value, or `${{VARIABLE}}`",
                shown.escape_debug()
            ));
        }
        match (self.variable(name), otherwise) {
            (Some(value), _) => Ok(value.to_owned()),
            (None, Some(otherwise)) => Ok(otherwise.to_owned()),
            (None, None) => Err(format!("the variable `{name}` is not set")),
        }
    }
}

/// The name among `known` that was probably meant by `given`.
pub(crate) fn nearest<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Longer texts are nothing that a slip of the finger makes, and comparing costs the product of the lengths.
    if !(1..=64).contains(&given.len()) {
        return None;
    }
    known
        .into_iter()
        .filter(|known| known.len() <= 128)
        .map(|known| (strsim::damerau_levenshtein(given, known), known))
        .min()
        .filter(|(distance, known)| *distance <= (given.len().max(known.len()) / 3).max(1))
        .map(|(_, known)| known)
}

/// `; did you mean ...?`, or nothing.
pub(crate) fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, known).map_or_else(String::new, |known| {
        format!("; did you mean `{}`?", crate::output::printable(known))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Surroundings of a test.
    pub(crate) fn around(system: System, variables: &[(&str, &str)]) -> Surroundings {
        Surroundings {
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            folder: PathBuf::from("/project"),
            system,
        }
    }

    #[test]
    fn variables_are_filled_in() {
        let around = around(System::Linux, &[("TOKEN", "t0p"), ("EMPTY", "")]);
        for (text, filled) in [
            ("plain $TOKEN", "plain $TOKEN"),
            ("Bearer ${TOKEN}", "Bearer t0p"),
            ("${env:TOKEN}${TOKEN}", "t0pt0p"),
            ("${NONE:-8000}/${EMPTY:-x}", "8000/x"),
            ("${NONE:-}", ""),
            ("${workspaceFolder}/data", "/project/data"),
            ("${open", "${open"),
        ] {
            assert_eq!(around.expand(text).as_deref(), Ok(filled), "{text}");
        }
        assert_eq!(
            around.expand("secret${NONE}").unwrap_err(),
            "the variable `NONE` is not set"
        );
        assert!(
            around
                .expand("${input:key}")
                .unwrap_err()
                .contains("editor")
        );
    }

    #[test]
    fn settings_are_where_each_system_has_them() {
        let home = [
            ("HOME", "/u"),
            ("USERPROFILE", "C:/u"),
            ("APPDATA", "C:/u/a"),
        ];
        let at = |system| around(system, &home).settings().unwrap();
        assert_eq!(at(System::Linux), Path::new("/u/.config"));
        assert_eq!(at(System::Mac), Path::new("/u/Library/Application Support"));
        assert_eq!(at(System::Windows), Path::new("C:/u/a"));
        let xdg = around(System::Linux, &[("HOME", "/u"), ("XDG_CONFIG_HOME", "/x")]);
        assert_eq!(xdg.settings().unwrap(), Path::new("/x"));
        assert_eq!(around(System::Linux, &[]).settings(), None);
    }

    #[test]
    fn slips_are_seen() {
        assert_eq!(nearest("ad", ["add", "subtract"]), Some("add"));
        assert_eq!(nearest("weather", ["add", "subtract"]), None);
        assert_eq!(nearest(&"a".repeat(1_000), ["a"]), None);
    }
}
