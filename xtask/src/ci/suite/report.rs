//! What the suite writes of a scenario: a folder with the file `checks.json`.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde_json::Value;

/// The check that every scenario adds by itself: that messages are valid against the schema.
const WIRE: &str = "wire-schema-valid";
/// How long `-2026-11-21T10-13-29-767Z` is, in bytes.
const STAMP: usize = 25;

/// The checks of one scenario.
#[derive(Debug)]
pub(crate) struct Report {
    /// The scenario's name, for example `auth/dpop`.
    pub(crate) scenario: String,
    checks: Vec<Value>,
}

impl Report {
    #[cfg(test)]
    pub(crate) fn new(scenario: &str, checks: Vec<Value>) -> Self {
        Self {
            scenario: scenario.to_owned(),
            checks,
        }
    }

    /// Why the scenario does not hold, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        let bad: Vec<_> = self
            .checks
            .iter()
            .filter(|check| matches!(text(check, "status"), "FAILURE" | "WARNING"))
            .map(|check| {
                format!(
                    "{} {}: {}",
                    text(check, "status"),
                    text(check, "id"),
                    text(check, "errorMessage")
                )
            })
            .collect();
        if !bad.is_empty() {
            return Some(format!("has {}", bad.join("; ")));
        }
        let shown = self
            .checks
            .iter()
            .any(|check| text(check, "status") == "SUCCESS" && text(check, "id") != WIRE);
        (!shown).then(|| "shows nothing: no check of its own succeeded".to_owned())
    }
}

fn text<'a>(check: &'a Value, key: &str) -> &'a str {
    check.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Reads every report below a folder whose name begins with `prefix`.
///
/// # Errors
///
/// When a folder or a report cannot be read.
pub(crate) fn reports(folder: &Path, prefix: &str) -> anyhow::Result<Vec<Report>> {
    let mut found = Vec::new();
    gather(folder, folder, prefix, &mut found)?;
    found.sort_by(|a, b| a.scenario.cmp(&b.scenario));
    Ok(found)
}

fn gather(top: &Path, folder: &Path, prefix: &str, found: &mut Vec<Report>) -> anyhow::Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot read `{}`", folder.display()))?
            .path();
        if path.is_dir() {
            gather(top, &path, prefix, found)?;
        } else if path.ends_with("checks.json") {
            let name = folder.strip_prefix(top).unwrap_or(folder).to_string_lossy();
            let Some(scenario) = scenario(&name, prefix) else {
                continue;
            };
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            let checks = serde_json::from_str(&text)
                .with_context(|| format!("`{}` is no list of checks", path.display()))?;
            found.push(Report {
                scenario: scenario.to_owned(),
                checks,
            });
        }
    }
    Ok(())
}

/// The scenario in a folder's name: between the prefix and the time.
fn scenario<'a>(folder: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = folder.strip_prefix(prefix)?;
    rest.get(..rest.len().checked_sub(STAMP)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{reports, scenario};

    #[test]
    fn scenarios_stand_in_the_names_of_folders() {
        let time = "2026-11-21T10-13-29-767Z";
        let named = |prefix, name: &str| {
            let folder = format!("{name}-{time}");
            scenario(&folder, prefix).map(str::to_owned)
        };
        assert_eq!(named("", "auth/dpop").as_deref(), Some("auth/dpop"));
        assert_eq!(named("server-", "server-ping").as_deref(), Some("ping"));
        assert_eq!(named("server-", "ping"), None);
        assert_eq!(scenario("short", ""), None);
    }

    #[test]
    fn reports_are_found_in_folders_of_folders() {
        let top = tempfile::tempdir().expect("a folder");
        for name in ["server-a/b", "server-ping", "initialize"] {
            let folder = top.path().join(format!("{name}-2026-11-21T10-13-29-767Z"));
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(
                folder.join("checks.json"),
                r#"[{"id": "one", "status": "SUCCESS"}]"#,
            )
            .expect("a report");
        }
        let found = reports(top.path(), "server-").expect("reports");
        let names: Vec<_> = found.iter().map(|one| one.scenario.as_str()).collect();
        assert_eq!(names, ["a/b", "ping"]);
        assert!(found.iter().all(|report| report.fault().is_none()));
    }
}
