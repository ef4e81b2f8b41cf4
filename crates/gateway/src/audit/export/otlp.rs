//! OTLP logs in their JSON encoding.
//!
//! Source: OpenTelemetry protocol 1.9, "JSON Protobuf Encoding"; `opentelemetry/proto/logs/v1/logs.proto`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Failure, Origin};

/// What attributes are called, by the members that they come from.
const ATTRIBUTES: [(&str, &str); 9] = [
    ("phase", "fastmcp.audit.phase"),
    ("action", "fastmcp.audit.action"),
    ("status", "fastmcp.audit.status"),
    ("corr_id", "fastmcp.audit.corr_id"),
    ("operation_id", "fastmcp.audit.operation_id"),
    ("event_hash", "fastmcp.audit.event_hash"),
    ("tenant", "fastmcp.tenant"),
    ("toolId", "fastmcp.tool_id"),
    ("sub", "user.id"),
];

/// Makes requests to a collector.
pub(super) struct Otlp {
    resource: Value,
    scope: Value,
}

impl Otlp {
    pub(super) fn new(origin: &Origin) -> Self {
        Self {
            resource: json!({"attributes": [
                text("service.name", &origin.service),
                text("service.instance.id", &origin.instance),
                text("service.version", &origin.version),
            ]}),
            scope: json!({"name": "fastmcp.audit", "version": origin.version}),
        }
    }

    /// An `ExportLogsServiceRequest`.
    pub(super) fn request(&self, lines: &[Arc<str>]) -> Result<Vec<u8>, Failure> {
        let records = lines.iter().map(|line| record(line));
        let records = records.collect::<Result<Vec<_>, _>>();
        let records = records.map_err(|e| Failure::Refused(e.to_string()))?;
        let request = json!({"resourceLogs": [{
            "resource": self.resource,
            "scopeLogs": [{"scope": self.scope, "logRecords": records}],
        }]});
        Ok(request.to_string().into_bytes())
    }

    /// How many records an answer of success says were not taken.
    pub(super) fn rejected(body: &[u8]) -> u64 {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            partial_success: Option<Partial>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Partial {
            /// A 64-bit integer, and so a string; numbers are to be taken as well.
            rejected_log_records: Option<Value>,
        }
        let answer: Option<Answer> = serde_json::from_slice(body).ok();
        let rejected = answer.and_then(|answer| answer.partial_success?.rejected_log_records);
        match rejected {
            Some(Value::String(text)) => text.parse().unwrap_or(0),
            Some(Value::Number(number)) => number.as_u64().unwrap_or(0),
            _ => 0,
        }
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// A `LogRecord`: the line is its body, byte for byte, so that its hash can be checked there too.
fn record(line: &str) -> Result<Value, serde_json::Error> {
    let members: Map<String, Value> = serde_json::from_str(line)?;
    let of = |name: &str| members.get(name).and_then(Value::as_str);
    let mut attributes: Vec<_> = ATTRIBUTES
        .iter()
        .filter_map(|(member, key)| Some(text(key, of(member)?)))
        .collect();
    if let Some(seq) = members.get("seq") {
        attributes
            .push(json!({"key": "fastmcp.audit.seq", "value": {"intValue": seq.to_string()}}));
    }
    let nanoseconds = of("ts")
        .and_then(|ts| ts.parse::<jiff::Timestamp>().ok())
        .map_or(0, jiff::Timestamp::as_nanosecond);
    // Source: logs.proto, `SeverityNumber`.
    let (number, name) = match of("status") {
        Some("success" | "pending") => (9, "INFO"),
        Some("denied") => (13, "WARN"),
        _ => (17, "ERROR"),
    };
    Ok(json!({
        "timeUnixNano": nanoseconds.to_string(),
        "observedTimeUnixNano": nanoseconds.to_string(),
        "severityNumber": number,
        "severityText": name,
        "eventName": of("action"),
        "body": {"stringValue": line},
        "attributes": attributes,
    }))
}
