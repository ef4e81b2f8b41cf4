//! A record as people and scripts see it.

use fastmcp_audit::Record;
use serde_json::{Map, Value, json};

use crate::output::printable;

/// The heads of the columns.
pub(super) const HEADS: [&str; 8] = [
    "SEQ",
    "TIME",
    "ACTION",
    "PHASE",
    "STATUS",
    "TENANT/SUBJECT",
    "TOOL",
    "REASON",
];

/// The record's row.
pub(super) fn cells(record: &Record) -> Vec<String> {
    let text = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
    let who = match (&record.tenant, &record.sub) {
        (None, None) => "-".to_owned(),
        (tenant, sub) => format!("{}/{}", text(tenant), text(sub)),
    };
    vec![
        record.seq.to_string(),
        format!("{:.3}", record.ts),
        printable(&record.action),
        record.phase.as_str().to_owned(),
        record.status.as_str().to_owned(),
        who,
        text(&record.tool_id),
        text(&record.reason),
    ]
}

/// How wide the columns are by now.
pub(super) type Widths = [usize; HEADS.len()];

/// As wide as the heads and the rows of `records` are.
pub(super) fn widths(records: &[Record]) -> Widths {
    let mut widths = HEADS.map(str::len);
    for record in records {
        widen(&mut widths, &cells(record));
    }
    widths
}

fn widen(widths: &mut Widths, cells: &[String]) {
    for (width, cell) in widths.iter_mut().zip(cells) {
        *width = (*width).max(cell.chars().count());
    }
}

/// The record's row beneath others.
pub(super) fn padded(record: &Record, widths: &mut Widths) -> String {
    let cells = cells(record);
    widen(widths, &cells);
    let columns = cells.iter().zip(*widths);
    let columns: Vec<_> = columns
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    columns.join("  ").trim_end().to_owned()
}

/// The record with the names that its line in the log has; what is absent there is absent here.
pub(super) fn json(record: &Record) -> Value {
    let mut value = json!({
        "seq": record.seq,
        "ts": format!("{:.3}", record.ts),
        "corr_id": record.corr_id,
        "phase": record.phase.as_str(),
        "action": record.action,
        "status": record.status.as_str(),
        "reason": record.reason,
        "resource_type": record.resource_type,
        "resource_id": record.resource_id,
        "toolId": record.tool_id,
        "user_id": record.user_id,
        "sub": record.sub,
        "tenant_id": record.tenant_id,
        "tenant": record.tenant,
        "ip_address": record.ip_address,
        "user_agent": record.user_agent,
        "request_hash": record.request_hash,
        "result_hash": record.result_hash,
        "policy_decision": record.policy_decision,
        "policy_ids": (!record.policy_ids.is_empty()).then_some(&record.policy_ids),
        "policy_version": record.policy_version,
        "rate_limit": record.rate_limit,
        "provider_call_meta": record.provider_call_meta,
        "details": record.details,
        "operation_id": record.operation_id,
        "instance": record.instance,
        "prev_hash": record.prev_hash.to_string(),
        "event_hash": record.event_hash.to_string(),
    });
    if let Value::Object(members) = &mut value {
        let present: Map<String, Value> = std::mem::take(members)
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect();
        *members = present;
    }
    value
}
