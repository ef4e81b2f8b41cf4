//! The wall: what SQLite itself may do for one statement.
//!
//! SQLite asks an authorizer for every table, column and function while it compiles a statement; what is not
//! on the list does not compile. Source: <https://www.sqlite.org/c3ref/set_authorizer.html>.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{
    Connection,
    hooks::{AuthAction, AuthContext, Authorization},
};

use super::classify::{Class, Kind};
use crate::provider::work::Deadline;

/// What the functions of one statement may cost together, by [`cost`]. Each may hold a value of the greatest length in
/// memory, and while one runs, nothing can stop it.
const MAX_FUNCTION_COST: u32 = 400;
/// After how many steps of SQLite's machine the deadline is looked at.
const STEPS_BETWEEN_LOOKS: i32 = 50;
/// Tables that are functions, and harmless.
const TABLE_FUNCTIONS: [&str; 4] = ["json_each", "json_tree", "jsonb_each", "jsonb_tree"];

/// The functions that may be used, sorted. Left out is what reaches beyond the database or tells of the build:
/// `load_extension`, `readfile`, `writefile`, `edit`, `fts3_tokenizer`, `sqlite_compileoption_get` and whatever
/// is not known here.
const FUNCTIONS: &[&str] = &[
    "->",
    "->>",
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "avg",
    "bm25",
    "ceil",
    "ceiling",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "cos",
    "cosh",
    "count",
    "cume_dist",
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "degrees",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "format",
    "glob",
    "group_concat",
    "hex",
    "highlight",
    "if",
    "ifnull",
    "iif",
    "instr",
    "json",
    "json_array",
    "json_array_insert",
    "json_array_length",
    "json_error_position",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_insert",
    "json_object",
    "json_patch",
    "json_pretty",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_set",
    "json_type",
    "json_valid",
    "jsonb",
    "jsonb_array",
    "jsonb_array_insert",
    "jsonb_extract",
    "jsonb_group_array",
    "jsonb_group_object",
    "jsonb_insert",
    "jsonb_object",
    "jsonb_patch",
    "jsonb_remove",
    "jsonb_replace",
    "jsonb_set",
    "julianday",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "likelihood",
    "likely",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "match",
    "max",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "pi",
    "pow",
    "power",
    "printf",
    "quote",
    "radians",
    "random",
    "randomblob",
    "rank",
    "regexp",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "sin",
    "sinh",
    "snippet",
    "soundex",
    "sqlite_version",
    "sqrt",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "sum",
    "tan",
    "tanh",
    "time",
    "timediff",
    "total",
    "trim",
    "trunc",
    "typeof",
    "unhex",
    "unicode",
    "unistr",
    "unistr_quote",
    "unixepoch",
    "unlikely",
    "upper",
    "zeroblob",
];

/// What a name in the schema stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableKind {
    /// An ordinary table.
    Table,
    /// A view.
    View,
    /// A virtual table, for example a full-text index.
    Virtual,
    /// A table in which a virtual one keeps its data.
    Shadow,
}

/// The tables of the schema, by their names in lower case; SQLite's own are not among them.
pub(super) type Tables = HashMap<String, TableKind>;

/// What one statement may do.
#[derive(Debug)]
pub(super) struct Rules {
    /// What the statement was classified as.
    pub(super) kind: Kind,
    /// The tables that exist.
    pub(super) tables: Arc<Tables>,
    /// Virtual table modules, each of which may be read as a table of its own name.
    pub(super) modules: Arc<Vec<String>>,
}

/// Rules and a deadline in force on a connection, until this is dropped.
#[derive(Debug)]
pub(super) struct InForce<'c> {
    connection: &'c Connection,
    denial: Arc<Mutex<Option<String>>>,
}

impl<'c> InForce<'c> {
    /// Puts `rules` (none for statements of our own) and `deadline` in force.
    pub(super) fn begin(
        connection: &'c Connection,
        rules: Option<Rules>,
        deadline: &Deadline,
    ) -> rusqlite::Result<Self> {
        let in_force = Self {
            connection,
            denial: Arc::default(),
        };
        let deadline = deadline.clone();
        connection.busy_timeout(deadline.left())?;
        connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || deadline.over()))?;
        if let Some(rules) = rules {
            let denial = Arc::clone(&in_force.denial);
            let mut spent = 0;
            connection.authorizer(Some(move |asked: AuthContext<'_>| {
                match rules.decide(&asked, &mut spent) {
                    Ok(()) => Authorization::Allow,
                    Err(reason) => {
                        let mut first = denial.lock().unwrap_or_else(PoisonError::into_inner);
                        first.get_or_insert(reason);
                        Authorization::Deny
                    }
                }
            }))?;
        }
        Ok(in_force)
    }

    /// Why the authorizer said no, if it did: what it refused first.
    pub(super) fn denial(&self) -> Option<String> {
        self.denial
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for InForce<'_> {
    fn drop(&mut self) {
        type NoAuthorizer = fn(AuthContext<'_>) -> Authorization;
        type NoHandler = fn() -> bool;
        // Both fail only on a connection that rusqlite does not own.
        let authorizer = self.connection.authorizer(None::<NoAuthorizer>);
        let handler = self.connection.progress_handler(0, None::<NoHandler>);
        if authorizer.and(handler).is_err() {
            tracing::error!("a database connection kept its rules");
        }
    }
}

/// What a use of the function `name` costs. Searches compare everything with everything: on two texts of the greatest
/// length they take about a second.
fn cost(name: &str) -> u32 {
    match name {
        "instr" | "replace" | "trim" | "ltrim" | "rtrim" => 16,
        "like" | "glob" => 4,
        _ => 1,
    }
}

impl Rules {
    /// Whether SQLite may do what it asks; the error is one clause for the caller.
    fn decide(&self, asked: &AuthContext<'_>, spent: &mut u32) -> Result<(), String> {
        let database = asked.database_name.unwrap_or("main");
        match asked.action {
            AuthAction::Select | AuthAction::Recursive => Ok(()),
            AuthAction::Function { function_name } => {
                let name = function_name.to_ascii_lowercase();
                *spent = spent.saturating_add(cost(&name));
                if *spent > MAX_FUNCTION_COST {
                    return Err("using so many functions in one statement".to_owned());
                }
                self.function(&name)
            }
            AuthAction::Read {
                table_name,
                column_name,
            } => self.read(table_name, column_name, database),
            AuthAction::Insert { table_name } | AuthAction::Update { table_name, .. } => {
                self.write(table_name, database)
            }
            AuthAction::Delete { table_name } => {
                self.write(table_name, database)?;
                let by_trigger = asked.accessor.is_some();
                let by_module = self.table(table_name) == Some(TableKind::Shadow);
                if self.kind.destructive || by_trigger || by_module {
                    Ok(())
                } else {
                    Err(format!("deleting from `{table_name}`"))
                }
            }
            _ => self.define(&asked.action, database),
        }
    }

    fn table(&self, name: &str) -> Option<TableKind> {
        self.tables.get(&name.to_ascii_lowercase()).copied()
    }

    /// Whether the function `name`, in lower case, may be used.
    fn function(&self, name: &str) -> Result<(), String> {
        // What ALTER TABLE is made of; SQLite does not let statements call it.
        let of_alter = self.kind.class == Class::Define
            && [
                "sqlite_rename_",
                "sqlite_drop_",
                "sqlite_fail",
                "sqlite_add_",
            ]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if of_alter || FUNCTIONS.binary_search(&name).is_ok() {
            Ok(())
        } else {
            Err(format!("the function `{name}`"))
        }
    }

    fn read(&self, table: &str, column: &str, database: &str) -> Result<(), String> {
        let lower = table.to_ascii_lowercase();
        let defines = self.kind.class == Class::Define;
        let own = lower.starts_with("sqlite_");
        let allowed = if own {
            defines
        } else if database != "main" {
            false
        } else if self.tables.contains_key(&lower) || TABLE_FUNCTIONS.contains(&lower.as_str()) {
            true
        } else if lower == "pragma_quick_check" {
            // ALTER TABLE ADD COLUMN checks the rows that are there.
            defines
        } else if defines {
            // A table that this very statement makes.
            !self.is_module(&lower)
        } else {
            // Of a common table expression SQLite asks the bare name, never a column.
            column.is_empty() && !self.is_module(&lower)
        };
        if allowed {
            Ok(())
        } else {
            Err(format!("reading `{table}`"))
        }
    }

    fn is_module(&self, lower: &str) -> bool {
        lower.starts_with("pragma_") || self.modules.iter().any(|module| module == lower)
    }

    fn write(&self, table: &str, database: &str) -> Result<(), String> {
        let own = table.to_ascii_lowercase().starts_with("sqlite_");
        let allowed = match self.kind.class {
            Class::Read => false,
            Class::Change => !own && database == "main",
            // SQLite writes its catalogue, and renames in the catalogue of temporary tables.
            Class::Define => database == "main" || own,
        };
        if allowed {
            Ok(())
        } else {
            Err(format!("writing to `{table}`"))
        }
    }

    fn define(&self, action: &AuthAction<'_>, database: &str) -> Result<(), String> {
        let defines = self.kind.class == Class::Define && database == "main";
        let destroys = defines && self.kind.destructive;
        let (allowed, what) = match action {
            AuthAction::CreateTable { .. }
            | AuthAction::CreateIndex { .. }
            | AuthAction::CreateView { .. } => (defines, "creating tables, indexes or views"),
            AuthAction::Reindex { .. } => (defines, "rebuilding indexes"),
            AuthAction::CreateTrigger { .. } => (destroys, "creating triggers"),
            AuthAction::DropTable { .. }
            | AuthAction::DropIndex { .. }
            | AuthAction::DropView { .. }
            | AuthAction::DropTrigger { .. } => {
                (destroys, "dropping tables, indexes, views or triggers")
            }
            // The name of the database is an argument of this one.
            AuthAction::AlterTable { database_name, .. } => (
                self.kind.class == Class::Define
                    && self.kind.destructive
                    && *database_name == "main",
                "altering tables",
            ),
            AuthAction::Pragma {
                pragma_name,
                pragma_value,
            } => (
                // ALTER TABLE ADD COLUMN checks the rows that are there; a full-text table asks whether others wrote.
                (destroys && pragma_name.eq_ignore_ascii_case("quick_check"))
                    || (pragma_name.eq_ignore_ascii_case("data_version") && pragma_value.is_none()),
                "`PRAGMA`",
            ),
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => (false, "attaching databases"),
            AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
                (false, "transactions")
            }
            _ => (false, "an action of this kind"),
        };
        if allowed {
            Ok(())
        } else {
            Err(what.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_are_sorted_and_harmless() {
        assert!(FUNCTIONS.is_sorted());
        for name in [
            "load_extension",
            "readfile",
            "writefile",
            "edit",
            "fts3_tokenizer",
            "eval",
            "sqlite_offset",
        ] {
            assert!(!FUNCTIONS.contains(&name), "{name}");
        }
    }
}
