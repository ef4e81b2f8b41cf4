//! Servers that a file of the folder names: whoever made the folder chose what they start and what they are told.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::PathBuf,
};

use anyhow::bail;

use super::shown;
use crate::{
    configured::Configured,
    definition::Definition,
    output::{Usage, printable},
};

/// What is to be asked before a server is used that a person did not set up.
#[derive(Debug)]
pub(super) struct Doubt {
    name: String,
    file: PathBuf,
    /// What would be done.
    act: String,
}

impl Doubt {
    /// What is to be asked about `definition`, which `all` give that name.
    pub(super) fn of(name: &str, definition: &Definition, all: &[&Configured]) -> Option<Self> {
        let same = |one: &&&Configured| one.definition.as_ref() == Ok(definition);
        let mut owners = all.iter().filter(same);
        // What a person has set up too is the person's.
        if !owners.clone().all(|one| one.of_project) {
            return None;
        }
        let act = match definition {
            Definition::Process(process) => {
                let words = std::iter::once(&process.program).chain(&process.args);
                let words: Vec<_> = words.map(|word| printable(word)).collect();
                format!("start `{}`", words.join(" "))
            }
            Definition::Project(_) => format!("build and start {}", shown(definition)),
            // An address alone learns nothing; with variables it is told what is in them.
            Definition::Remote(remote) => {
                let mut texts = std::iter::once(&remote.url).chain(remote.headers.values());
                if !texts.any(|text| text.contains("${")) {
                    return None;
                }
                format!("send variables of yours to {}", shown(definition))
            }
        };
        Some(Self {
            name: name.to_owned(),
            file: owners.next()?.file.clone(),
            act,
        })
    }

    /// Asks whoever is at the terminal.
    pub(super) fn settled(&self) -> anyhow::Result<()> {
        let (name, act) = (printable(&self.name), &self.act);
        // The folder is named by whoever made it, too.
        let file = self.file.display().to_string();
        let file = printable(&file);
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Err(Usage::new(format!(
                "`{name}` is named by {file}, which came with the folder, and would {act}; if you trust the folder, add \
                 --trust, or name the file: --config"
            )));
        }
        let mut stderr = io::stderr().lock();
        write!(
            stderr,
            "`{name}` is named by {file}, which came with the folder, and would {act}\ngo on? [yes/no] "
        )?;
        stderr.flush()?;
        drop(stderr);
        let mut said = String::new();
        io::stdin().lock().read_line(&mut said)?;
        if said.trim() != "yes" {
            bail!("nothing was done");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn server(of_project: bool, entry: &Value) -> Configured {
        Configured {
            name: "x".to_owned(),
            source: "claude-code",
            file: PathBuf::from(if of_project { ".mcp.json" } else { "mine.json" }),
            of_project,
            definition: Definition::read(entry),
            is_disabled: false,
        }
    }

    fn doubt(all: &[Configured]) -> Option<Doubt> {
        let definition = all[0].definition.clone().unwrap();
        Doubt::of("x", &definition, &all.iter().collect::<Vec<_>>())
    }

    #[test]
    fn what_a_folder_brings_along_is_asked_about() {
        let process = json!({"command": "sh", "args": ["-c", "x"]});
        let asked = doubt(&[server(true, &process)]).expect("asked about");
        assert_eq!(asked.act, "start `sh -c x`");
        assert_eq!(asked.file, PathBuf::from(".mcp.json"));
        assert!(doubt(&[server(false, &process)]).is_none());
        // Set up by the person as well, exactly so.
        assert!(doubt(&[server(true, &process), server(false, &process)]).is_none());
        let other = json!({"command": "sh"});
        assert!(doubt(&[server(true, &process), server(false, &other)]).is_some());

        let plain = json!({"url": "https://h.example/mcp"});
        assert!(doubt(&[server(true, &plain)]).is_none());
        let told = json!({"url": "https://h.example/mcp", "headers": {"X": "${TOKEN}"}});
        let asked = doubt(&[server(true, &told)]).expect("asked about");
        assert!(
            asked.act.starts_with("send variables of yours to"),
            "{}",
            asked.act
        );
    }
}
