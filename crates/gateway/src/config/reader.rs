//! Reads one setting after the other, and keeps on after a fault, so that all are told at once.

use std::path::{Path, PathBuf};

use super::{
    error::Problem,
    layer::{Given, Layers, Setting, Source},
    parse::Reject,
    variable::{self, Variable},
};

/// The layers while they are read.
pub(super) struct Reader<'a> {
    layers: Layers,
    folder: &'a Path,
    settings: Vec<Setting>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(layers: Layers, folder: &'a Path) -> Self {
        Self {
            layers,
            folder,
            settings: Vec::new(),
        }
    }

    /// The parsed value, or the parsed default of the table. `None` means that a problem was noted.
    pub(super) fn read<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Reject>,
    ) -> Option<T> {
        let default = variable::find(name)
            .and_then(|variable| variable.default)
            .unwrap_or_default();
        let given = self.given(name).unwrap_or(Given {
            value: default.to_owned(),
            source: Source::Default,
        });
        self.parse(name, given, parse)
    }

    /// The parsed value, if one was set. `None` outside means that a problem was noted.
    #[expect(
        clippy::option_option,
        reason = "not set and not usable are two things"
    )]
    pub(super) fn read_if_set<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Reject>,
    ) -> Option<Option<T>> {
        match self.given(name) {
            Some(given) => self.parse(name, given, parse).map(Some),
            None => {
                self.settings.push(Setting {
                    name: name.to_owned(),
                    value: String::new(),
                    source: Source::Default,
                });
                Some(None)
            }
        }
    }

    /// The path that was set, relative to the working folder, or `default` as it is.
    pub(super) fn path(&mut self, name: &'static str, default: PathBuf) -> PathBuf {
        let given = self.given(name);
        let (path, source) = match given {
            Some(given) => (self.folder.join(given.value), given.source),
            None => (default, Source::Default),
        };
        self.settings.push(Setting {
            name: name.to_owned(),
            value: path.display().to_string(),
            source,
        });
        path
    }

    /// The path relative to the working folder.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// Whether the setting was set somewhere.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.layers.values.contains_key(name)
    }

    /// Puts in place what follows from other settings, for the list of settings.
    pub(super) fn derived(&mut self, name: &'static str, value: impl Into<String>) {
        let value = value.into();
        match self
            .settings
            .iter_mut()
            .find(|setting| setting.name == name)
        {
            Some(setting) => setting.value = value,
            None => self.settings.push(Setting {
                name: name.to_owned(),
                value,
                source: Source::Default,
            }),
        }
    }

    /// Notes what is wrong with a setting beyond its form.
    pub(super) fn problem(&mut self, name: &'static str, fault: impl Into<String>) {
        let given = self.given(name);
        let source = given
            .as_ref()
            .map_or(Source::Default, |given| given.source.clone());
        let value = given.map(|given| variable::shown(name, &given.value).into_owned());
        self.layers.problems.push(Problem {
            name: spelled(name, &source),
            value,
            fault: fault.into(),
            source,
        });
    }

    /// Notes what the operator should know about a setting.
    pub(super) fn warn(&mut self, name: &str, text: &str) {
        let source = self
            .layers
            .values
            .get(name)
            .map_or(Source::Default, |given| given.source.clone());
        self.layers
            .warnings
            .push(format!("`{}` ({source}) {text}", spelled(name, &source)));
    }

    /// The settings in the order of the table, the warnings and the problems.
    pub(super) fn finish(mut self) -> (Vec<Setting>, Vec<String>, Vec<Problem>) {
        let idle: Vec<_> = self
            .layers
            .values
            .keys()
            .filter_map(|name| Some((name.clone(), variable::idle_reason(name)?)))
            .collect();
        for (name, why) in idle {
            self.warn(&name, &format!("has no effect in this version: {why}"));
            if let Some(given) = self.layers.values.get(&name) {
                let value = variable::shown(&name, &given.value).into_owned();
                self.settings.push(Setting {
                    name,
                    value,
                    source: given.source.clone(),
                });
            }
        }
        let place = |setting: &Setting| {
            variable::VARIABLES
                .iter()
                .position(|v| v.name == setting.name)
                .unwrap_or(usize::MAX)
        };
        self.settings.sort_by_key(place);
        (self.settings, self.layers.warnings, self.layers.problems)
    }

    fn given(&self, name: &str) -> Option<Given> {
        self.layers.values.get(name).cloned()
    }

    fn parse<T>(
        &mut self,
        name: &'static str,
        given: Given,
        parse: impl FnOnce(&str) -> Result<T, Reject>,
    ) -> Option<T> {
        let Given { value, source } = given;
        let shown = variable::shown(name, &value).into_owned();
        let parsed = parse(value.trim());
        self.settings.push(Setting {
            name: name.to_owned(),
            value: shown.clone(),
            source: source.clone(),
        });
        let fault = match parsed {
            Ok(parsed) => return Some(parsed),
            Err(Reject::Because(why)) => why,
            Err(Reject::Range) => format!(
                "it takes {}",
                variable::find(name).map_or("something else", takes)
            ),
        };
        self.layers.problems.push(Problem {
            name: spelled(name, &source),
            value: Some(shown),
            fault,
            source,
        });
        None
    }
}

const fn takes(variable: &Variable) -> &'static str {
    variable.takes
}

/// The name as it is spelled where it was set.
fn spelled(name: &str, source: &Source) -> String {
    match source {
        Source::File(_) => name.to_ascii_lowercase(),
        _ => name.to_owned(),
    }
}
