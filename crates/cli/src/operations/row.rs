//! An operation as people and scripts see it.

use fastmcp_gateway::{
    audit::rfc3339,
    state::operation::{Binding, Report, Stored},
};
use serde_json::{Map, Value, json};

use crate::output::printable;

/// The heads of the columns.
pub(super) const HEADS: [&str; 8] = [
    "ID", "STATUS", "TENANT", "SUBJECT", "TOOL", "CREATED", "UPDATED", "DETAIL",
];
/// The widest detail in a table, in characters; `show` prints it whole.
const WIDEST_DETAIL: usize = 80;

/// The operation's row.
pub(super) fn cells(report: &Report) -> Vec<String> {
    let detail = report.detail.as_deref().map_or_else(|| "-".to_owned(), cut);
    vec![
        report.operation_id.to_string(),
        report.status.to_string(),
        printable(&report.binding.tenant),
        printable(&report.binding.subject),
        report.binding.tool_id.as_str().to_owned(),
        rfc3339(report.created_at),
        rfc3339(report.updated_at),
        detail,
    ]
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(WIDEST_DETAIL) {
        Some((at, _)) => format!("{}…", printable(text.get(..at).unwrap_or_default())),
        None => printable(text),
    }
}

/// Who acts for the caller; nothing where nobody does.
fn actors(binding: &Binding) -> Value {
    let actors = binding.actors();
    if actors.is_empty() {
        Value::Null
    } else {
        Value::Array(actors)
    }
}

/// The operation as JSON, without its result; what is absent has no member.
pub(super) fn json(report: &Report) -> Map<String, Value> {
    let result_bytes = report.result.as_ref().map(|result| match result {
        Stored::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        Stored::TooLarge { bytes } => *bytes,
    });
    let binding = &report.binding;
    [
        ("operation_id", json!(report.operation_id.as_str())),
        ("status", json!(report.status.as_str())),
        ("effect", json!(report.effect.map(|e| e.as_str()))),
        ("tenant", json!(binding.tenant)),
        ("subject", json!(binding.subject)),
        ("actors", actors(binding)),
        ("client", json!(binding.client)),
        ("toolId", json!(binding.tool_id.as_str())),
        ("created_at", json!(rfc3339(report.created_at))),
        ("updated_at", json!(rfc3339(report.updated_at))),
        ("expires_at", json!(rfc3339(report.expires_at))),
        ("lease_until", json!(report.lease_until.map(rfc3339))),
        ("confirmed_by", json!(report.confirmed_by)),
        ("policy_version", json!(binding.policy_version)),
        (
            "redeemed_policy_version",
            json!(report.redeemed_policy_version),
        ),
        ("detail", json!(report.detail)),
        ("result_bytes", json!(result_bytes)),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_null())
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_cut_between_characters_and_cannot_steer_the_terminal() {
        assert_eq!(cut("timed\u{1b}[2J out"), "timed\u{fffd}[2J out");
        let cut = cut(&"ä".repeat(WIDEST_DETAIL + 1));
        assert_eq!(cut, format!("{}…", "ä".repeat(WIDEST_DETAIL)));
    }
}
