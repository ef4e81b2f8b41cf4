//! Rows on their way out, as one JSON text under a cap of rows and of bytes.

use std::collections::HashSet;

use rusqlite::{Row, Rows};

use super::value;
use crate::provider::ProviderError;

/// How many rows, and how many bytes of them, a result holds at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// Why rows could not be collected.
#[derive(Debug)]
pub(super) enum Stopped {
    /// SQLite failed.
    Sqlite(rusqlite::Error),
    /// The caller asked for what does not fit.
    Refused(ProviderError),
}

impl From<rusqlite::Error> for Stopped {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// The rows of a result, written down.
#[derive(Debug)]
pub(super) struct Written {
    columns: Vec<String>,
    rows: String,
    count: usize,
    truncated: bool,
}

impl Written {
    /// Collects `rows` of the columns `names` up to `caps`; with `drain` the rest is stepped through as well.
    pub(super) fn collect(
        names: &[String],
        rows: &mut Rows<'_>,
        caps: Caps,
        drain: bool,
    ) -> Result<Self, Stopped> {
        let mut written = Self {
            columns: unique(names),
            rows: String::new(),
            count: 0,
            truncated: false,
        };
        while let Some(row) = rows.next()? {
            if !written.truncated && !written.add(row, caps)? {
                written.truncated = true;
            }
            if written.truncated && !drain {
                break;
            }
        }
        Ok(written)
    }

    /// Adds `row`; `false` when it does not fit any more.
    fn add(&mut self, row: &Row<'_>, caps: Caps) -> Result<bool, Stopped> {
        if self.count == caps.rows {
            return Ok(false);
        }
        let start = self.rows.len();
        self.rows.push_str(if self.count == 0 { "{" } else { ",{" });
        for (index, name) in self.columns.iter().enumerate() {
            let value = row.get_ref(index)?;
            if self.rows.len() + value::least_size(&value) > caps.bytes {
                return self.overflow(start, caps);
            }
            if index > 0 {
                self.rows.push(',');
            }
            value::write_text(&mut self.rows, name);
            self.rows.push(':');
            value::write(&mut self.rows, value);
        }
        self.rows.push('}');
        if self.rows.len() > caps.bytes {
            return self.overflow(start, caps);
        }
        self.count += 1;
        Ok(true)
    }

    fn overflow(&mut self, start: usize, caps: Caps) -> Result<bool, Stopped> {
        if self.count == 0 {
            return Err(Stopped::Refused(ProviderError::invalid(format!(
                "the first row alone is larger than {} bytes: select fewer columns, or shorten them with `substr`",
                caps.bytes
            ))));
        }
        self.rows.truncate(start);
        Ok(false)
    }

    /// The members of the result object, without its braces.
    pub(super) fn members(&self) -> String {
        let mut out = String::with_capacity(self.rows.len() + 128);
        out.push_str("\"columns\":[");
        for (index, name) in self.columns.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            value::write_text(&mut out, name);
        }
        out.push_str("],\"rows\":[");
        out.push_str(&self.rows);
        out.push_str(&format!(
            "],\"row_count\":{},\"truncated\":{}",
            self.count, self.truncated
        ));
        out
    }
}

/// The names, where one that came before has a number behind it: `id`, `id_2`.
fn unique(names: &[String]) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::with_capacity(names.len());
    // Names that stand as they are come first, so that `id, id, id_2` gives `id, id_3, id_2`.
    let given: HashSet<&String> = names.iter().collect();
    let mut unique = Vec::with_capacity(names.len());
    for name in names {
        let mut candidate = name.clone();
        let mut number = 2_usize;
        while taken.contains(&candidate) || (candidate != *name && given.contains(&candidate)) {
            candidate = format!("{name}_{number}");
            number += 1;
        }
        taken.insert(candidate.clone());
        unique.push(candidate);
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_unique() {
        let names =
            |list: &[&str]| unique(&list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["id", "name"]), ["id", "name"]);
        assert_eq!(
            names(&["id", "id", "id_2", "id"]),
            ["id", "id_3", "id_2", "id_4"]
        );
        assert_eq!(names(&["", ""]), ["", "_2"]);
    }
}
