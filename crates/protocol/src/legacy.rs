//! The words of older revisions.
//!
//! Pure functions from canonical values to what a legacy peer reads, and back. What differs, from the
//! schemas of each revision; a row holds for that revision and all before it:
//!
//! | revision | what it lacks |
//! |---|---|
//! | 2025-11-25 | results without `resultType`, `ttlMs`, `cacheScope`; `structuredContent` and the root of `outputSchema` are objects; schemas of properties are objects, not booleans; a missing resource is `-32002`; no codes from `-32020` on; elicitation by address has an `elicitationId` |
//! | 2025-06-18 | icons; tasks; `description`, `websiteUrl` of implementations; elicitation by address, `mode`, defaults of texts and numbers, choices with titles except by `enumNames`, choosing several; tools in sampling, several pieces in one sampling message |
//! | 2025-03-26 | titles; `_meta` of definitions and content; `outputSchema`, `structuredContent`; resource links; `lastModified`; elicitation |
//!
//! The tasks of 2025-11-25 have shapes of their own, [`Task`] and what stands beside it. Older revisions
//! have none, and the modern extension of that name is not shown to legacy peers.

use std::borrow::Cow;

use crate::{
    content::{Annotations, Icon, Meta},
    prompt::Prompt,
    resource::{Resource, ResourceTemplate},
    tool::{Tool, ToolAnnotations},
    version::{Era, ProtocolVersion},
};

mod ask;
mod error;
mod handshake;
mod result;
mod schema;
mod task;

pub use ask::{Unrepresentable, asked, input_request, url_elicitation_id};
pub use error::{canonical_error, error, url_elicitation_required, url_elicitations};
pub use handshake::{
    client_capabilities, discover_result, implementation, initialize_result, server_capabilities,
    without_session,
};
pub use result::{
    call_tool_result, canonical_call_tool_result, content, get_prompt_result, read_resource_result,
};
pub use task::{
    CreateTaskResult, ListTasksResult, RELATED_TASK, Task, TaskMetadata, task_capability,
};

/// What a revision knows.
#[derive(Clone, Copy)]
struct Knows(ProtocolVersion);

impl Knows {
    fn icons(self) -> bool {
        self.0 >= ProtocolVersion::V2025_11_25
    }

    /// Titles, `_meta` of definitions and content, structured content, resource links.
    fn titles(self) -> bool {
        self.0 >= ProtocolVersion::V2025_06_18
    }

    fn any_json(self) -> bool {
        self.0.era() == Era::Modern
    }
}

/// Empties `slot` where it is full; clones what it stands in only then.
macro_rules! drop_field {
    ($value:ident, $field:ident) => {
        if $value.$field.is_some() {
            $value.to_mut().$field = None;
        }
    };
}

/// Renders a tool for `version`.
///
/// Its execution and output never depend on this: where `outputSchema` is dropped, so is
/// `structuredContent` by [`call_tool_result`].
#[must_use]
pub fn tool(tool: &Tool, version: ProtocolVersion) -> Cow<'_, Tool> {
    let knows = Knows(version);
    let mut out = Cow::Borrowed(tool);
    if knows.any_json() {
        return out;
    }
    if let Some(schema) = schema::of_properties(&tool.input_schema) {
        out.to_mut().input_schema = schema;
    }
    match &tool.output_schema {
        Some(schema) if !knows.titles() || !schema.describes_object() => {
            out.to_mut().output_schema = None
        }
        Some(schema) => {
            if let Some(schema) = schema::of_properties(schema) {
                out.to_mut().output_schema = Some(schema);
            }
        }
        None => {}
    }
    if !knows.icons() {
        drop_field!(out, icons);
        // Tasks came in the same revision.
        drop_field!(out, execution);
    }
    if !knows.titles() {
        drop_field!(out, meta);
        if let Some(title) = &tool.title {
            // The annotations had a title first.
            let out = out.to_mut();
            out.title = None;
            out.annotations
                .get_or_insert_with(ToolAnnotations::default)
                .title
                .get_or_insert_with(|| title.clone());
        }
    }
    out
}

/// Renders a resource for `version`.
#[must_use]
pub fn resource(resource: &Resource, version: ProtocolVersion) -> Cow<'_, Resource> {
    let mut out = Cow::Borrowed(resource);
    if !Knows(version).icons() {
        drop_field!(out, icons);
    }
    if !Knows(version).titles() {
        drop_field!(out, title);
        drop_field!(out, meta);
        if has_last_modified(resource.annotations.as_ref()) {
            forget_last_modified(&mut out.to_mut().annotations);
        }
    }
    out
}

/// Renders a resource template for `version`.
#[must_use]
pub fn resource_template(
    template: &ResourceTemplate,
    version: ProtocolVersion,
) -> Cow<'_, ResourceTemplate> {
    let mut out = Cow::Borrowed(template);
    if !Knows(version).icons() {
        drop_field!(out, icons);
    }
    if !Knows(version).titles() {
        drop_field!(out, title);
        drop_field!(out, meta);
        if has_last_modified(template.annotations.as_ref()) {
            forget_last_modified(&mut out.to_mut().annotations);
        }
    }
    out
}

/// Renders a prompt for `version`.
#[must_use]
pub fn prompt(prompt: &Prompt, version: ProtocolVersion) -> Cow<'_, Prompt> {
    let mut out = Cow::Borrowed(prompt);
    if !Knows(version).icons() {
        drop_field!(out, icons);
    }
    if !Knows(version).titles() {
        drop_field!(out, title);
        drop_field!(out, meta);
        if prompt
            .arguments
            .iter()
            .flatten()
            .any(|argument| argument.title.is_some())
        {
            for argument in out.to_mut().arguments.iter_mut().flatten() {
                argument.title = None;
            }
        }
    }
    out
}

fn has_last_modified(annotations: Option<&Annotations>) -> bool {
    annotations.is_some_and(|annotations| annotations.last_modified.is_some())
}

fn forget_last_modified(annotations: &mut Option<Annotations>) {
    if let Some(annotations) = annotations {
        annotations.last_modified = None;
    }
}

/// Empties what content and definitions share and 2025-03-26 does not know.
fn forget(annotations: &mut Option<Annotations>, meta: &mut Option<Meta>) {
    *meta = None;
    forget_last_modified(annotations);
}

fn forget_icons(icons: &mut Option<Vec<Icon>>) {
    *icons = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{content::Icon, prompt::PromptArgument, tool::JsonSchema};

    const V03: ProtocolVersion = ProtocolVersion::V2025_03_26;
    const V06: ProtocolVersion = ProtocolVersion::V2025_06_18;
    const V11: ProtocolVersion = ProtocolVersion::V2025_11_25;

    fn rich_tool() -> Tool {
        Tool {
            title: Some("T".to_owned()),
            icons: Some(vec![Icon::new("https://a.example/i.png")]),
            output_schema: Some(JsonSchema::parse(r#"{"type":"object"}"#).unwrap()),
            meta: Some(Meta::default().with("k", 1)),
            ..Tool::new("t", JsonSchema::empty())
        }
    }

    fn written(tool_: &Tool, version: ProtocolVersion) -> String {
        serde_json::to_string(&tool(tool_, version)).unwrap()
    }

    #[test]
    fn modern_definitions_are_not_touched() {
        let rich = rich_tool();
        assert!(matches!(
            tool(&rich, ProtocolVersion::V2026_07_28),
            Cow::Borrowed(_)
        ));
        assert!(matches!(tool(&rich, V11), Cow::Borrowed(_)));
    }

    #[test]
    fn older_tools_lack_what_their_revision_lacks() {
        let rich = rich_tool();
        assert_eq!(
            written(&rich, V06),
            r#"{"name":"t","title":"T","inputSchema":{"type":"object","additionalProperties":false},"outputSchema":{"type":"object"},"_meta":{"k":1}}"#
        );
        assert_eq!(
            written(&rich, V03),
            r#"{"name":"t","inputSchema":{"type":"object","additionalProperties":false},"annotations":{"title":"T"}}"#
        );
    }

    #[test]
    fn legacy_output_schemas_describe_objects() {
        let listing = Tool {
            output_schema: Some(JsonSchema::parse(r#"{"type":"array"}"#).unwrap()),
            ..Tool::new("t", JsonSchema::empty())
        };
        assert_eq!(tool(&listing, V11).output_schema, None);
        assert_eq!(
            tool(&listing, ProtocolVersion::V2026_07_28).output_schema,
            listing.output_schema
        );
    }

    #[test]
    fn legacy_properties_are_not_booleans() {
        let any = Tool::new(
            "t",
            JsonSchema::parse(r#"{"type":"object","properties":{"z":true,"a":{"maximum":1.10},"n": false},"required":["z"]}"#)
                .unwrap(),
        );
        assert_eq!(
            tool(&any, V11).input_schema.as_str(),
            r#"{"type":"object","properties":{"z":{},"a":{"maximum":1.10},"n":{"not":{}}},"required":["z"]}"#
        );
    }

    #[test]
    fn resources_and_prompts_lose_titles_and_icons() {
        let icons = Some(vec![Icon::new("https://a.example/i.png")]);
        let file = Resource {
            title: Some("T".to_owned()),
            icons: icons.clone(),
            size: Some(3),
            annotations: Some(Annotations {
                priority: Some(1.0),
                last_modified: Some("2026-01-01T00:00:00Z".to_owned()),
                ..Annotations::default()
            }),
            ..Resource::new("a:b", "n")
        };
        assert_eq!(resource(&file, V06).icons, None);
        assert_eq!(resource(&file, V06).title, file.title);
        assert_eq!(
            serde_json::to_string(&resource(&file, V03)).unwrap(),
            r#"{"uri":"a:b","name":"n","size":3,"annotations":{"priority":1.0}}"#
        );
        let form = ResourceTemplate {
            title: Some("T".to_owned()),
            icons: icons.clone(),
            ..ResourceTemplate::new("a:{b}", "n")
        };
        assert_eq!(
            resource_template(&form, V03).into_owned(),
            ResourceTemplate::new("a:{b}", "n")
        );
        let greeting = Prompt {
            icons,
            arguments: Some(vec![PromptArgument {
                title: Some("T".to_owned()),
                ..PromptArgument::new("a", true)
            }]),
            ..Prompt::new("p")
        };
        assert_eq!(
            serde_json::to_string(&prompt(&greeting, V03)).unwrap(),
            r#"{"name":"p","arguments":[{"name":"a","required":true}]}"#
        );
        assert!(matches!(prompt(&greeting, V11), Cow::Borrowed(_)));
    }
}
