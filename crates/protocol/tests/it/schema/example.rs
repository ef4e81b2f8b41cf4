//! Every example of the specification is read into its type and written again.

use std::fs;

use bytestring::ByteString;
use fastmcp_protocol::{
    Message, Method, Raw, RpcError,
    capability::{ClientCapabilities, ServerCapabilities},
    completion::{CompleteParams, CompleteResult},
    content::{ContentBlock, ResourceContents},
    discover::{DiscoverResult, PaginatedParams, ResultEnvelope, ResultKind},
    elicit::{ElicitParams, ElicitResult, PrimitiveSchema},
    jsonrpc::{DEFAULT_DEPTH, encode_call, encode_error, encode_result},
    logging::{CancelledParams, LogMessageParams, ProgressParams},
    mrtr::{InputRequest, InputRequests, InputRequired, InputResponses},
    prompt::{GetPromptParams, GetPromptResult, ListPromptsResult},
    resource::{
        ListResourceTemplatesResult, ListResourcesResult, ReadResourceParams, ReadResourceResult,
        Resource,
    },
    roots::{ListRootsResult, Root},
    sampling::{
        CreateMessageParams, CreateMessageResult, ModelPreferences, SamplingContent,
        SamplingMessage,
    },
    subscription::{AcknowledgedParams, ListenParams, ResourceUpdatedParams},
    tool::{CallToolParams, CallToolResult, ListToolsResult, Tool},
    wire::{self, CacheHint},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Schema, folder};

const REVISION: &str = "2026-07-28";

/// Examples that the specification's own schema refuses: they lack `ttlMs` and `cacheScope`.
const WRONG: &[&str] = &["ReadResourceResultResponse/read-resource-result-response.json"];

/// Reads `text` as a `T` and writes it.
fn again<'a, T: Deserialize<'a> + Serialize>(text: &'a Raw) -> Value {
    serde_json::to_value(text.decode::<T>().unwrap()).unwrap()
}

/// As [`again`], for parameters, whose `_meta` is read elsewhere.
fn params<'a, T: Deserialize<'a> + Serialize>(text: &'a Raw) -> Value {
    let typed = Raw::of(&Raw::decode_params::<T>(Some(text)).unwrap()).unwrap();
    let whole: Value = text.decode().unwrap();
    match whole.get("_meta") {
        Some(meta) if !typed.as_str().contains("\"_meta\"") => {
            serde_json::from_str(&wire::with_meta(typed.as_str(), &meta.to_string())).unwrap()
        }
        _ => typed.decode().unwrap(),
    }
}

/// As [`again`], for results, whose modern members are put in front of them.
fn result<'a, T: Deserialize<'a> + Serialize>(text: &'a Raw) -> Value {
    let envelope = ResultEnvelope::peek(text).unwrap();
    if envelope.kind() == ResultKind::InputRequired {
        return again::<InputRequired>(text);
    }
    assert_eq!(envelope.kind(), ResultKind::Complete);
    let cache = text.as_str().contains("\"ttlMs\"").then(|| CacheHint {
        ttl_ms: envelope.fresh_ms(),
        scope: envelope.scope(),
    });
    let body = Raw::of(&text.decode::<T>().unwrap()).unwrap();
    serde_json::from_str(&wire::complete(body.as_str(), cache, None)).unwrap()
}

fn params_of(method: &str, text: &Raw) -> Value {
    match Method::parse(method).unwrap() {
        Method::ToolsCall => params::<CallToolParams<'_>>(text),
        Method::PromptsGet => params::<GetPromptParams<'_>>(text),
        Method::ResourcesRead => params::<ReadResourceParams<'_>>(text),
        Method::Complete => params::<CompleteParams<'_>>(text),
        Method::SubscriptionsListen => params::<ListenParams>(text),
        Method::ToolsList
        | Method::PromptsList
        | Method::ResourcesList
        | Method::ResourcesTemplatesList
        | Method::Discover => params::<PaginatedParams<'_>>(text),
        Method::NotificationCancelled => params::<CancelledParams<'_>>(text),
        Method::NotificationMessage => params::<LogMessageParams>(text),
        Method::NotificationProgress => params::<ProgressParams<'_>>(text),
        Method::NotificationResourcesUpdated => params::<ResourceUpdatedParams<'_>>(text),
        Method::NotificationSubscriptionsAcknowledged => params::<AcknowledgedParams>(text),
        Method::NotificationToolsListChanged
        | Method::NotificationPromptsListChanged
        | Method::NotificationResourcesListChanged => text.decode().unwrap(),
        other => panic!("no parameters for {other}"),
    }
}

fn result_of(name: &str, text: &Raw) -> Value {
    match name {
        "CallToolResult" => result::<CallToolResult>(text),
        "CompleteResult" => result::<CompleteResult>(text),
        "DiscoverResult" => result::<DiscoverResult>(text),
        "GetPromptResult" => result::<GetPromptResult>(text),
        "ListPromptsResult" => result::<ListPromptsResult>(text),
        "ListResourceTemplatesResult" => result::<ListResourceTemplatesResult>(text),
        "ListResourcesResult" => result::<ListResourcesResult>(text),
        "ListToolsResult" => result::<ListToolsResult>(text),
        "ReadResourceResult" => result::<ReadResourceResult>(text),
        // Nothing but metadata.
        "SubscriptionsListenResult" => {
            let meta = ResultEnvelope::peek(text)
                .unwrap()
                .meta
                .unwrap()
                .get()
                .to_owned();
            serde_json::from_str(&wire::complete("{}", None, Some(&meta))).unwrap()
        }
        other => panic!("no type for the result {other}"),
    }
}

fn message(name: &str, text: &Raw) -> Value {
    let whole = ByteString::from(text.as_str());
    let out = match Message::parse(&whole, DEFAULT_DEPTH).unwrap() {
        Message::Request(request) => {
            let params = params_of(&request.method, &request.params.unwrap()).to_string();
            encode_call(Some(&request.id), &request.method, Some(&params))
        }
        Message::Notification(notification) => {
            let params = notification
                .params
                .map(|params| params_of(&notification.method, &params).to_string());
            encode_call(None, &notification.method, params.as_deref())
        }
        Message::Response(response) => match response.outcome {
            Ok(result) => {
                let result = result_of(name.strip_suffix("Response").unwrap(), &result).to_string();
                encode_result(&response.id.unwrap(), &result)
            }
            Err(error) => encode_error(response.id.as_ref(), &error),
        },
    };
    serde_json::from_str(&out).unwrap()
}

fn read_and_write(name: &str, text: &Raw) -> Value {
    if text.as_str().contains("\"jsonrpc\"") {
        return message(name, text);
    }
    match name {
        "AudioContent" | "ImageContent" | "TextContent" | "EmbeddedResource" | "ResourceLink" => {
            again::<ContentBlock>(text)
        }
        "BlobResourceContents" | "TextResourceContents" => again::<ResourceContents>(text),
        "CallToolRequestParams" => params_of("tools/call", text),
        "CancelledNotificationParams" => params_of("notifications/cancelled", text),
        "ClientCapabilities" => again::<ClientCapabilities>(text),
        "CompleteRequestParams" => params_of("completion/complete", text),
        "CreateMessageRequest" | "ElicitRequest" | "ListRootsRequest" => {
            again::<InputRequest>(text)
        }
        "CreateMessageRequestParams" => again::<CreateMessageParams>(text),
        "CreateMessageResult" => again::<CreateMessageResult>(text),
        "ElicitRequestFormParams" | "ElicitRequestURLParams" => again::<ElicitParams>(text),
        "ElicitResult" => again::<ElicitResult>(text),
        "GetPromptRequestParams" => params_of("prompts/get", text),
        "InputRequests" => again::<InputRequests>(text),
        "InputRequiredResult" => again::<InputRequired>(text),
        "InputResponses" => again::<InputResponses>(text),
        "ListRootsResult" => again::<ListRootsResult>(text),
        "LoggingMessageNotificationParams" => params_of("notifications/message", text),
        "ModelPreferences" => again::<ModelPreferences>(text),
        "PaginatedRequestParams" => params_of("tools/list", text),
        "ProgressNotificationParams" => params_of("notifications/progress", text),
        "Resource" => again::<Resource>(text),
        "ResourceUpdatedNotificationParams" => params_of("notifications/resources/updated", text),
        "Root" => again::<Root>(text),
        "SamplingMessage" => again::<SamplingMessage>(text),
        "ServerCapabilities" => again::<ServerCapabilities>(text),
        "Tool" => again::<Tool>(text),
        "ToolResultContent" | "ToolUseContent" => again::<SamplingContent>(text),
        _ if name.ends_with("Schema") => again::<PrimitiveSchema>(text),
        _ if name.ends_with("Error") => again::<RpcError>(text),
        _ => result_of(name, text),
    }
}

/// What may be left out and is written, or the other way round.
fn plain(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if object.get("isError") == Some(&json!(false)) {
                object.remove("isError");
            }
            if object.contains_key("requestedSchema") {
                object.entry("mode").or_insert(json!("form"));
            }
            object.values_mut().for_each(plain);
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        // 1 and 1.0 are one number.
        Value::Number(n) => *value = json!(n.as_f64()),
        _ => {}
    }
}

#[test]
fn every_example_is_read_and_written_again() {
    let (Some(folder), Some(schema)) = (folder(), Schema::load(REVISION)) else {
        return;
    };
    let mut count = 0;
    for definition in fs::read_dir(folder.join("examples").join(REVISION)).unwrap() {
        let definition = definition.unwrap();
        let name = definition.file_name().into_string().unwrap();
        for file in fs::read_dir(definition.path()).unwrap() {
            let file = file.unwrap().path();
            let text = Raw::parse(fs::read_to_string(&file).unwrap()).unwrap();
            let mut written = read_and_write(&name, &text);
            let mut read: Value = text.decode().unwrap();
            if WRONG.iter().any(|wrong| file.ends_with(wrong)) {
                assert!(
                    !schema.problems(&name, &read).is_empty(),
                    "{} is right now",
                    file.display()
                );
            } else {
                schema.check(&name, &written);
            }
            if name == "ListRootsRequest" {
                // The example has an id that its definition has no place for.
                read.as_object_mut().unwrap().remove("id");
            }
            plain(&mut read);
            plain(&mut written);
            assert_eq!(written, read, "{}", file.display());
            count += 1;
        }
    }
    assert!(count > 100, "only {count} examples in {}", folder.display());
}
