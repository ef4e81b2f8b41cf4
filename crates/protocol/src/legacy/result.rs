//! Results and content.

use std::borrow::Cow;

use super::{Knows, forget, forget_icons};
use crate::{
    content::{ContentBlock, ResourceContents},
    prompt::GetPromptResult,
    raw::Raw,
    resource::ReadResourceResult,
    tool::CallToolResult,
    version::ProtocolVersion,
};

/// Renders a tool's result for `version`.
///
/// A structured result that the revision cannot carry is given as text, unless there is text already.
#[must_use]
pub fn call_tool_result(
    result: &CallToolResult,
    version: ProtocolVersion,
) -> Cow<'_, CallToolResult> {
    let knows = Knows(version);
    let mut out = Cow::Borrowed(result);
    if knows.any_json() {
        return out;
    }
    if result.content.iter().any(|block| touches(block, knows)) {
        out.to_mut().content = result
            .content
            .iter()
            .map(|block| content(block, version).into_owned())
            .collect();
    }
    if let Some(value) = result
        .structured_content
        .as_ref()
        .filter(|value| !knows.titles() || !value.is_object())
    {
        let out = out.to_mut();
        out.structured_content = None;
        if !result.content.iter().any(|block| block.as_text().is_some()) {
            out.content.push(ContentBlock::text(value.as_str()));
        }
    }
    out
}

/// Renders a prompt's result for `version`.
#[must_use]
pub fn get_prompt_result(
    result: &GetPromptResult,
    version: ProtocolVersion,
) -> Cow<'_, GetPromptResult> {
    let knows = Knows(version);
    let mut out = Cow::Borrowed(result);
    if result
        .messages
        .iter()
        .any(|message| touches(&message.content, knows))
    {
        for message in &mut out.to_mut().messages {
            message.content = content(&message.content, version).into_owned();
        }
    }
    out
}

/// Renders a resource's contents for `version`.
#[must_use]
pub fn read_resource_result(
    result: &ReadResourceResult,
    version: ProtocolVersion,
) -> Cow<'_, ReadResourceResult> {
    let mut out = Cow::Borrowed(result);
    if !Knows(version).titles() && result.contents.iter().any(has_meta) {
        out.to_mut().contents.iter_mut().for_each(forget_meta);
    }
    out
}

/// Renders a piece of content for `version`.
///
/// What the revision has no type for becomes text, so that the model still reads it.
#[must_use]
pub fn content(block: &ContentBlock, version: ProtocolVersion) -> Cow<'_, ContentBlock> {
    let knows = Knows(version);
    if !touches(block, knows) {
        return Cow::Borrowed(block);
    }
    let mut block = block.clone();
    match &mut block {
        ContentBlock::Unknown(raw) => return Cow::Owned(ContentBlock::text(raw.as_str())),
        ContentBlock::ResourceLink(link) if knows.titles() => forget_icons(&mut link.icons),
        ContentBlock::ResourceLink(link) => {
            return Cow::Owned(ContentBlock::text(format!("{}: {}", link.name, link.uri)));
        }
        ContentBlock::Text(text) => forget(&mut text.annotations, &mut text.meta),
        ContentBlock::Image(media) | ContentBlock::Audio(media) => {
            forget(&mut media.annotations, &mut media.meta)
        }
        ContentBlock::Resource(embedded) => {
            forget(&mut embedded.annotations, &mut embedded.meta);
            forget_meta(&mut embedded.resource);
        }
    }
    Cow::Owned(block)
}

/// Whether [`content`] would change `block`.
fn touches(block: &ContentBlock, knows: Knows) -> bool {
    match block {
        ContentBlock::Unknown(_) => !knows.any_json(),
        ContentBlock::ResourceLink(link) => {
            !knows.titles() || (!knows.icons() && link.icons.is_some())
        }
        ContentBlock::Text(_)
        | ContentBlock::Image(_)
        | ContentBlock::Audio(_)
        | ContentBlock::Resource(_) => !knows.titles(),
    }
}

const fn has_meta(contents: &ResourceContents) -> bool {
    match contents {
        ResourceContents::Text(contents) => contents.meta.is_some(),
        ResourceContents::Blob(contents) => contents.meta.is_some(),
    }
}

fn forget_meta(contents: &mut ResourceContents) {
    match contents {
        ResourceContents::Text(contents) => contents.meta = None,
        ResourceContents::Blob(contents) => contents.meta = None,
    }
}

/// The canonical form of a legacy server's result: structured content that is not an object is none,
/// since old servers write `null` for what they leave out.
#[must_use]
pub fn canonical_call_tool_result(mut result: CallToolResult) -> CallToolResult {
    if !result
        .structured_content
        .as_ref()
        .is_some_and(Raw::is_object)
    {
        result.structured_content = None;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        content::{Icon, Meta, ResourceLink, TextContent},
        prompt::PromptMessage,
    };

    const V03: ProtocolVersion = ProtocolVersion::V2025_03_26;
    const V06: ProtocolVersion = ProtocolVersion::V2025_06_18;
    const V11: ProtocolVersion = ProtocolVersion::V2025_11_25;
    const NEW: ProtocolVersion = ProtocolVersion::V2026_07_28;

    fn json(result: &CallToolResult, version: ProtocolVersion) -> String {
        serde_json::to_string(&call_tool_result(result, version)).unwrap()
    }

    #[test]
    fn structured_lists_become_text() {
        let list = CallToolResult {
            structured_content: Some(Raw::parse("[1.0,2]").unwrap()),
            ..CallToolResult::default()
        };
        assert_eq!(
            json(&list, NEW),
            r#"{"content":[],"structuredContent":[1.0,2]}"#
        );
        assert_eq!(
            json(&list, V11),
            r#"{"content":[{"type":"text","text":"[1.0,2]"}]}"#
        );
        let mirrored = CallToolResult::structured(Raw::parse("[1]").unwrap());
        assert_eq!(
            json(&mirrored, V11),
            r#"{"content":[{"type":"text","text":"[1]"}]}"#
        );
    }

    #[test]
    fn structured_objects_stay_until_their_revision() {
        let object = CallToolResult::structured(Raw::parse(r#"{"a":1}"#).unwrap());
        assert!(matches!(call_tool_result(&object, V06), Cow::Borrowed(_)));
        assert_eq!(
            json(&object, V03),
            r#"{"content":[{"type":"text","text":"{\"a\":1}"}]}"#
        );
    }

    #[test]
    fn content_without_a_type_becomes_text() {
        let link = ContentBlock::ResourceLink(ResourceLink {
            icons: Some(vec![Icon::new("https://a.example/i.png")]),
            uri: "a:b".to_owned(),
            name: "n".to_owned(),
            ..ResourceLink::default()
        });
        assert_eq!(
            content(&link, V06).into_owned(),
            ContentBlock::link("a:b", "n")
        );
        assert_eq!(
            content(&link, V03).into_owned(),
            ContentBlock::text("n: a:b")
        );
        let unknown: ContentBlock = serde_json::from_str(r#"{"type":"x","n":1.0}"#).unwrap();
        assert_eq!(
            content(&unknown, V11).as_text(),
            Some(r#"{"type":"x","n":1.0}"#)
        );
        assert!(matches!(content(&unknown, NEW), Cow::Borrowed(_)));
    }

    #[test]
    fn the_oldest_content_has_no_meta() {
        let text = ContentBlock::Text(TextContent {
            meta: Some(Meta::default()),
            ..TextContent::new("a")
        });
        let prompt = GetPromptResult {
            messages: vec![PromptMessage::user(text.clone())],
            ..GetPromptResult::default()
        };
        assert!(matches!(get_prompt_result(&prompt, V06), Cow::Borrowed(_)));
        assert_eq!(
            get_prompt_result(&prompt, V03).messages,
            [PromptMessage::user("a")]
        );
        let mut contents = ResourceContents::text("a:b", "c");
        if let ResourceContents::Text(text) = &mut contents {
            text.meta = Some(Meta::default());
        }
        let read = ReadResourceResult::new(contents);
        assert!(matches!(read_resource_result(&read, V06), Cow::Borrowed(_)));
        assert_eq!(
            read_resource_result(&read, V03).contents,
            [ResourceContents::text("a:b", "c")]
        );
    }

    #[test]
    fn null_of_an_old_server_is_nothing() {
        let read = |text: &str| {
            canonical_call_tool_result(serde_json::from_str(text).unwrap()).structured_content
        };
        assert_eq!(read(r#"{"content":[],"structuredContent":null}"#), None);
        assert!(read(r#"{"content":[],"structuredContent":{}}"#).is_some());
    }
}
