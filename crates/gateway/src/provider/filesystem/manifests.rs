//! How the filesystem's tools present themselves.

use serde_json::{Value, json};

use super::{SCOPE_READ, SCOPE_WRITE};
use crate::{manifest::Manifest, provider::define::Definition};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The manifests of all tools.
pub(super) fn all() -> Vec<Manifest> {
    vec![list_directory(), read_file(), write_file()]
}

fn path(description: &str) -> Value {
    json!({"type": "string", "maxLength": 4095, "description": description})
}

fn list_directory() -> Manifest {
    Definition {
        id: "filesystem:listDirectory",
        title: "List Directory",
        description: "Lists the files and folders in a folder of your storage area, sorted by path. Use `.` for the top; set `recursive` to descend into folders.",
        inputs: json!({
            "$schema": DIALECT,
            "type": "object",
            "properties": {
                "path": path("The folder, relative to the top, parts separated by `/`; `.` is the top itself."),
                "recursive": {"type": "boolean", "default": false, "description": "Whether to list what is in folders within, too."}
            },
            "required": ["path"],
            "additionalProperties": false
        }),
        outputs: json!({
            "$schema": DIALECT,
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "entries": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "path": {"type": "string", "description": "relative to the top"},
                            "type": {"enum": ["file", "directory"]},
                            "size": {"type": "integer", "minimum": 0, "description": "bytes; 0 for a directory"},
                            "modified": {"type": ["string", "null"], "format": "date-time"}
                        },
                        "required": ["path", "type", "size", "modified"],
                        "additionalProperties": false
                    }
                }
            },
            "required": ["path", "entries"],
            "additionalProperties": false
        }),
        scope: SCOPE_READ,
        safety_tags: &[],
        read_only: true,
        latency_ms: 20,
        examples: vec![json!({"path": "."}), json!({"path": "reports", "recursive": true})],
    }
    .manifest()
}

fn read_file() -> Manifest {
    Definition {
        id: "filesystem:readFile",
        title: "Read File",
        description: "Reads a whole file of your storage area. Text comes as `content`; set `as_base64` for files that are not UTF-8 text, such as images, and find them in `content_base64`.",
        inputs: json!({
            "$schema": DIALECT,
            "type": "object",
            "properties": {
                "path": path("The file, relative to the top, parts separated by `/`."),
                "as_base64": {"type": "boolean", "default": false, "description": "Whether to return the bytes as base64."}
            },
            "required": ["path"],
            "additionalProperties": false
        }),
        outputs: json!({
            "$schema": DIALECT,
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "size": {"type": "integer", "minimum": 0, "description": "bytes"},
                "content": {"type": "string"},
                "content_base64": {"type": "string", "contentEncoding": "base64"}
            },
            "required": ["path", "size"],
            "oneOf": [{"required": ["content"]}, {"required": ["content_base64"]}],
            "additionalProperties": false
        }),
        scope: SCOPE_READ,
        safety_tags: &[],
        read_only: true,
        latency_ms: 20,
        examples: vec![json!({"path": "reports/2025-q1.md"}), json!({"path": "logo.png", "as_base64": true})],
    }
    .manifest()
}

fn write_file() -> Manifest {
    Definition {
        id: "filesystem:writeFile",
        title: "Write File",
        description: "Writes a whole file into your storage area, making the folders on its way. An existing file is kept and the call refused, unless `overwrite` is true, which loses what was there. Give text as `content`, or any bytes as `content_base64`.",
        inputs: json!({
            "$schema": DIALECT,
            "type": "object",
            "properties": {
                "path": path("The file, relative to the top, parts separated by `/`."),
                "content": {"type": "string", "description": "The text of the file."},
                "content_base64": {"type": "string", "contentEncoding": "base64", "description": "The bytes of the file, instead of `content`."},
                "overwrite": {"type": "boolean", "default": false, "description": "Whether to replace a file that is there."}
            },
            "required": ["path"],
            "oneOf": [{"required": ["content"]}, {"required": ["content_base64"]}],
            "additionalProperties": false
        }),
        outputs: json!({
            "$schema": DIALECT,
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "bytes": {"type": "integer", "minimum": 0},
                "created": {"type": "boolean", "description": "whether nothing was there before"}
            },
            "required": ["path", "bytes", "created"],
            "additionalProperties": false
        }),
        scope: SCOPE_WRITE,
        safety_tags: &[],
        read_only: false,
        latency_ms: 30,
        examples: vec![json!({"path": "notes/todo.md", "content": "- call Ines\n"})],
    }
    .manifest()
}
