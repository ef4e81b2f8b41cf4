//! The file of limits, while the gateway runs.

use fastmcp_audit::Status;
use serde_json::json;

use super::{App, watch::Stamp};
use crate::config::limits_of;

impl App {
    /// Loads the file of limits again. A bad file changes nothing; without one the default limit holds alone. What calls
    /// took stays counted where a rule keeps its name and kind. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// What is wrong, with the rule or the line.
    pub fn reload_limits(&self) -> Result<(), String> {
        let look = || Stamp::of(&self.config.limits_path);
        self.limits_loaded.load(look, || self.load_limits())
    }

    pub(super) fn load_limits(&self) -> Result<(), String> {
        let limit = &self.pipeline.limit;
        let path = &self.config.limits_path;
        let read = limits_of(path).map(Option::unwrap_or_default);
        let read = read.map_err(|fault| format!("`{}`: {fault}", path.display()));
        let read = read.map(|rules| {
            limit.reload(&rules);
            limit.names()
        });
        let audit = &self.pipeline.audit;
        match &read {
            Ok(names) => {
                tracing::info!(rules = names.join(" "), "limits loaded");
                audit.event("limits.reloaded", Status::Success, json!({"rules": names}));
            }
            Err(error) => {
                tracing::error!(error, "limits not loaded; those in force stay");
                let shown: String = error.chars().take(2_000).collect();
                audit.event("limits.reloaded", Status::Failed, json!({"error": shown}));
            }
        }
        read.map(drop)
    }
}
