//! How the ads tools present themselves.

use serde_json::json;

use super::{MAX_NAME, SCOPE_WRITE};
use crate::{manifest::Manifest, provider::define::Definition};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The manifests of all tools.
pub(super) fn all() -> Vec<Manifest> {
    let date =
        json!({"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"});
    let create = Definition {
        id: "ads:createCampaign",
        title: "Create Ad Campaign",
        description: "Creates an advertising campaign with a budget. In this deployment it is created paused in a sandbox account that spends no money; the result says `mode: sandbox`. Ask the person before you set a budget; the call may have to be confirmed.",
        inputs: json!({
            "$schema": DIALECT,
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME, "description": "What the campaign is called."},
                "budget": {"type": "number", "exclusiveMinimum": 0, "maximum": 1_000_000_000, "description": "The budget in the account's currency, at most 6 decimal places."},
                "startDate": date,
                "endDate": {"description": "The last day; without it the campaign has no end.", "anyOf": [date, {"type": "null"}]}
            },
            "required": ["name", "budget", "startDate"],
            "additionalProperties": false
        }),
        outputs: json!({
            "$schema": DIALECT,
            "type": "object",
            "properties": {
                "campaignId": {"type": "string"},
                "status": {"type": "string"},
                "mode": {"const": "sandbox"},
                "account": {"type": "string"},
                "name": {"type": "string"},
                "budget": {"type": "number"},
                "startDate": {"type": "string", "format": "date"},
                "endDate": {"type": ["string", "null"], "format": "date"}
            },
            "required": ["campaignId", "status", "mode", "account", "name", "budget", "startDate", "endDate"],
            "additionalProperties": false
        }),
        scope: SCOPE_WRITE,
        safety_tags: &["financial", "destructive"],
        read_only: false,
        latency_ms: 50,
        examples: vec![
            json!({"name": "Spring sale", "budget": 250, "startDate": "2026-03-01", "endDate": "2026-03-31"}),
        ],
    };
    vec![create.manifest()]
}
