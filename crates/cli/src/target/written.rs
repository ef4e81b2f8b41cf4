//! A target as a program of its own writes it down: good from any folder, and without a secret.

use std::path::Path;

use url::Url;

use super::Reach;
use crate::{
    definition::open_secret,
    output::{Usage, printable},
    surroundings::Surroundings,
};

/// How long a server may be silent where nobody says so.
pub(super) const SILENCE: u64 = 60;

/// The words that name a server on a command line of `fastmcp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Options and target, which stand before everything else.
    pub(crate) before: Vec<String>,
    /// `--` and the command that is the server, which stand behind everything else.
    pub(crate) after: Vec<String>,
    /// The variables that the words name, which have to be set where they are used.
    pub(crate) variables: Vec<String>,
}

impl Reach {
    /// The words that name this target from any folder.
    ///
    /// # Errors
    ///
    /// Where a word holds a value that could be a secret: it must name a variable in its place.
    pub(crate) fn written(
        &self,
        target: Option<&str>,
        command: &[String],
        around: &Surroundings,
    ) -> anyhow::Result<Written> {
        let mut written = Written::default();
        self.options(&mut written, around)?;
        if let Some((program, args)) = command.split_first() {
            if let Some(at) = open_secret(command) {
                return Err(no_secrets(
                    &format!("the command: its word {}", at + 1),
                    "hand the value on by a variable: --env NAME",
                ));
            }
            let program = if program.contains('/') {
                text(&around.absolute(Path::new(program)))?
            } else {
                program.clone()
            };
            written.after = ["--".to_owned(), program].into();
            for arg in args {
                written.names_of(arg);
                written.after.push(arg.clone());
            }
            return Ok(written);
        }
        let target = match target {
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
                check_address(url)?;
                written.names_of(url);
                url.to_owned()
            }
            // The name of a server in the file.
            Some(name) if self.config.is_some() => name.to_owned(),
            None if self.config.is_some() => return Ok(written),
            Some(target) => {
                let path = around.absolute(Path::new(target));
                if path.exists() {
                    text(&path)?
                } else {
                    target.to_owned()
                }
            }
            None => text(&around.folder)?,
        };
        written.before.push(target);
        Ok(written)
    }

    fn options(&self, written: &mut Written, around: &Surroundings) -> anyhow::Result<()> {
        let mut add = |option: &str, value: &str| written.before.push(format!("{option}={value}"));
        for (option, path) in [("--config", &self.config), ("--env-file", &self.env_file)] {
            if let Some(path) = path {
                add(option, &text(&around.absolute(path))?);
            }
        }
        for (option, value) in [
            ("--package", &self.package),
            ("--bin", &self.bin),
            ("--bearer-env", &self.bearer_env),
        ] {
            if let Some(value) = value {
                add(option, value);
            }
        }
        if self.timeout != SILENCE {
            add("--timeout", &self.timeout.to_string());
        }
        if let Some(revision) = self.revision {
            add("--revision", revision.as_str());
        }
        for header in &self.headers {
            let (name, value) = header.split_once(':').unwrap_or((header, ""));
            if !is_variable(without_scheme(value.trim())) {
                return Err(no_secrets(
                    &format!("--header `{}`", brief(name)),
                    "name a variable: `NAME: ${VARIABLE}` or `Authorization: Bearer ${VARIABLE}`",
                ));
            }
            add("--header", header);
        }
        for given in &self.env {
            if given
                .split_once('=')
                .is_some_and(|(_, value)| !is_variable(value))
            {
                let name = given.split('=').next().unwrap_or_default();
                return Err(no_secrets(
                    &format!("--env `{}`", brief(name)),
                    "set the variable where the program runs, and give `--env NAME`",
                ));
            }
            add("--env", given);
        }
        let switches = [("--release", self.release), ("--oauth", self.oauth)];
        let on = switches.into_iter().filter(|(_, on)| *on);
        written
            .before
            .extend(on.map(|(option, _)| option.to_owned()));
        written.variables.extend(self.bearer_env.clone());
        for header in &self.headers {
            written.names_of(header);
        }
        for given in &self.env {
            match given.split_once('=') {
                Some((_, value)) => written.names_of(value),
                None => written.name(given),
            }
        }
        Ok(())
    }
}

impl Written {
    /// Takes note of the variables that `text` names.
    fn names_of(&mut self, text: &str) {
        for part in text.split("${").skip(1) {
            if let Some((name, _)) = part.split_once('}') {
                let name = name.strip_prefix("env:").unwrap_or(name);
                // What has a value of its own need not be set.
                if !name.contains(":-") {
                    self.name(name);
                }
            }
        }
    }

    fn name(&mut self, variable: &str) {
        if !self.variables.iter().any(|known| known == variable) {
            self.variables.push(variable.to_owned());
        }
    }
}

/// Whether a text is `${NAME}` and nothing else.
fn is_variable(text: &str) -> bool {
    let name = text
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

/// What follows `Bearer` or another word of that kind.
fn without_scheme(value: &str) -> &str {
    match value.split_once(' ') {
        Some((scheme, rest))
            if scheme.len() <= 16 && scheme.bytes().all(|b| b.is_ascii_alphabetic()) =>
        {
            rest.trim_start()
        }
        _ => value,
    }
}

/// Refuses an address that carries what could be a secret.
fn check_address(text: &str) -> anyhow::Result<()> {
    let url =
        Url::parse(text).map_err(|_| Usage::new("give an address such as `https://host/mcp`"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(no_secrets(
            "the address: its user name and password",
            "use --header 'Authorization: Basic ${VARIABLE}'",
        ));
    }
    let query = text.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or(("?", pair));
        if !is_variable(value) {
            return Err(no_secrets(
                &format!("the address: `{}` of its query", brief(name)),
                "name a variable: `?name=${VARIABLE}`",
            ));
        }
    }
    Ok(())
}

fn no_secrets(what: &str, instead: &str) -> anyhow::Error {
    Usage::new(format!(
        "{what}: it could be a secret, and would stand in the program for everybody to read; {instead}"
    ))
}

fn brief(text: &str) -> String {
    printable(&text.chars().take(64).collect::<String>())
}

fn text(path: &Path) -> anyhow::Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        anyhow::anyhow!(
            "`{}` is not UTF-8, and cannot be written down",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::surroundings::{System, tests::around};

    #[derive(Parser)]
    struct Line {
        target: Option<String>,
        #[arg(last = true)]
        command: Vec<String>,
        #[command(flatten)]
        reach: Reach,
    }

    fn of(words: &[&str]) -> Result<Written, String> {
        let line = Line::try_parse_from([&["x"], words].concat()).unwrap();
        let around = around(System::Linux, &[]);
        let written = line
            .reach
            .written(line.target.as_deref(), &line.command, &around);
        written.map_err(|error| error.to_string())
    }

    #[test]
    fn a_target_is_good_from_any_folder() {
        for (words, before, after) in [
            (&["https://h/mcp"][..], &["https://h/mcp"][..], &[][..]),
            (&[], &["/project"], &[]),
            (&["cursor:github"], &["cursor:github"], &[]),
            (
                &["--config", "m.json", "one"],
                &["--config=/project/m.json", "one"],
                &[],
            ),
            (&["--config", "m.json"], &["--config=/project/m.json"], &[]),
            (
                &["--timeout", "5", "--oauth", "https://h/mcp"],
                &["--timeout=5", "--oauth", "https://h/mcp"],
                &[],
            ),
            (
                &["--", "./server", "-x"],
                &[],
                &["--", "/project/server", "-x"],
            ),
            (&["--", "npx", "-y", "s"], &[], &["--", "npx", "-y", "s"]),
        ] {
            let written = of(words).unwrap();
            assert_eq!(written.before, before, "{words:?}");
            assert_eq!(written.after, after, "{words:?}");
        }
        let secret = of(&[
            "https://h/mcp?key=${KEY}",
            "--header",
            "Authorization: Bearer ${TOKEN}",
            "--header",
            "X-Key: ${KEY}",
        ])
        .unwrap();
        assert_eq!(secret.variables, ["TOKEN", "KEY"]);
        let handed = of(&["--env", "A", "--env", "B=${C}", "--", "s", "${D}"]).unwrap();
        assert_eq!(handed.variables, ["A", "C", "D"]);
    }

    #[test]
    fn what_could_be_a_secret_is_refused_and_not_repeated() {
        for (words, what) in [
            (
                &["https://h", "--header", "X-Key: hunter2"][..],
                "--header `X-Key`",
            ),
            (
                &["https://h", "--header", "Authorization: Bearer hunter2"],
                "--header `Authorization`",
            ),
            (
                &["https://h", "--header", "X-Key: hunter2${KEY}"],
                "--header `X-Key`",
            ),
            (
                &["https://h", "--header", "X-Key: ${KEY:-hunter2}"],
                "--header `X-Key`",
            ),
            (&["https://u:hunter2@h/mcp"], "user name and password"),
            (&["https://h/mcp?key=hunter2"], "`key` of its query"),
            (&["--env", "TOKEN=hunter2", "--", "s"], "--env `TOKEN`"),
            (&["https://h/mcp?hunter2"], "`?` of its query"),
            (
                &["--", "s", "--api-key", "hunter2"],
                "the command: its word 3",
            ),
            (&["--", "s", "--token=hunter2"], "the command: its word 2"),
        ] {
            let error = of(words).unwrap_err();
            assert!(error.contains(what), "{words:?}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
