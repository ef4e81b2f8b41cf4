//! Content: what tools, prompts and resources answer with, and what is shown with it.
//!
//! Source: MCP 2026-07-28, schema, `ContentBlock`.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Serialize,
    de::{Deserializer, Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::raw::Raw;

mod meta;
mod tagged;

pub use meta::Meta;

pub(crate) use tagged::{Tagged, read as read_tagged, read_map as read_tagged_map};

/// A JSON object whose members are not interpreted here.
pub type JsonObject = Map<String, Value>;

/// Who speaks, or whom content is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The model.
    Assistant,
    /// The person.
    User,
}

/// Hints about content for the client.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Annotations {
    /// Whom this is meant for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<Vec<Role>>,
    /// How much it matters, from 0 (optional) to 1 (required).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<f64>,
    /// When it last changed, in ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// A background that an icon is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IconTheme {
    /// A dark background.
    Dark,
    /// A light background.
    Light,
}

/// An icon that a client may show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Icon {
    /// An `https:` or `data:` URI.
    pub src: String,
    /// The media type, where `src` does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Sizes such as `48x48`, or `any`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<Vec<String>>,
    /// The background it is made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theme: Option<IconTheme>,
}

impl Icon {
    /// An icon at `src`.
    pub fn new(src: impl Into<String>) -> Self {
        Self {
            src: src.into(),
            ..Self::default()
        }
    }

    /// Whether clients may fetch it: `src` is an `https:` or a `data:` URI.
    ///
    /// Source: MCP 2026-07-28, basic, "Icons", security considerations.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        let begins = |scheme: &str| {
            let begin = self.src.get(..scheme.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
        };
        begins("https://") || begins("data:")
    }
}

/// Text.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct TextContent {
    /// The text.
    pub text: String,
    /// Hints for the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl TextContent {
    /// Plain text.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }
}

/// An image or a sound, in base64.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MediaContent {
    /// The bytes in standard base64.
    pub data: String,
    /// The media type.
    pub mime_type: String,
    /// Hints for the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl MediaContent {
    /// `bytes` of the type `mime_type`.
    pub fn new(bytes: &[u8], mime_type: impl Into<String>) -> Self {
        Self {
            data: STANDARD.encode(bytes),
            mime_type: mime_type.into(),
            ..Self::default()
        }
    }

    /// The bytes.
    ///
    /// # Errors
    ///
    /// When `data` is not standard base64.
    pub fn bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        STANDARD.decode(&self.data)
    }
}

/// A pointer to a resource that the client may read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceLink {
    /// The resource's URI.
    pub uri: String,
    /// The resource's name.
    pub name: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// The size in bytes, before any encoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Icons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icons: Option<Vec<Icon>>,
    /// Hints for the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// A resource's contents inside other content.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct EmbeddedResource {
    /// The contents.
    pub resource: ResourceContents,
    /// Hints for the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// The contents of a resource, or of a part of it.
///
/// On the wire the member `text` or `blob` tells which; both or neither is refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum ResourceContents {
    /// Text.
    Text(TextResourceContents),
    /// Bytes.
    Blob(BlobResourceContents),
}

/// Contents that are text.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TextResourceContents {
    /// The URI.
    pub uri: String,
    /// The media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// The text.
    pub text: String,
    /// `_meta`.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// Contents that are bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlobResourceContents {
    /// The URI.
    pub uri: String,
    /// The media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// The bytes in standard base64.
    pub blob: String,
    /// `_meta`.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl ResourceContents {
    /// Text at `uri`.
    pub fn text(uri: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Text(TextResourceContents {
            uri: uri.into(),
            text: text.into(),
            ..Default::default()
        })
    }

    /// Bytes at `uri`.
    pub fn blob(uri: impl Into<String>, bytes: &[u8]) -> Self {
        Self::Blob(BlobResourceContents {
            uri: uri.into(),
            blob: STANDARD.encode(bytes),
            ..Default::default()
        })
    }

    /// Sets the media type.
    #[must_use]
    pub fn with_mime_type(mut self, mime_type: impl Into<String>) -> Self {
        match &mut self {
            Self::Text(contents) => contents.mime_type = Some(mime_type.into()),
            Self::Blob(contents) => contents.mime_type = Some(mime_type.into()),
        }
        self
    }

    /// `_meta`.
    pub const fn meta_mut(&mut self) -> &mut Option<Meta> {
        match self {
            Self::Text(contents) => &mut contents.meta,
            Self::Blob(contents) => &mut contents.meta,
        }
    }

    /// The URI.
    #[must_use]
    pub fn uri(&self) -> &str {
        match self {
            Self::Text(contents) => &contents.uri,
            Self::Blob(contents) => &contents.uri,
        }
    }

    /// The media type.
    #[must_use]
    pub fn mime_type(&self) -> Option<&str> {
        match self {
            Self::Text(contents) => contents.mime_type.as_deref(),
            Self::Blob(contents) => contents.mime_type.as_deref(),
        }
    }
}

impl<'de> Deserialize<'de> for ResourceContents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            uri: String,
            mime_type: Option<String>,
            text: Option<String>,
            blob: Option<String>,
            #[serde(rename = "_meta")]
            meta: Option<Meta>,
        }
        let Wire {
            uri,
            mime_type,
            text,
            blob,
            meta,
        } = Wire::deserialize(deserializer)?;
        match (text, blob) {
            (Some(text), None) => Ok(Self::Text(TextResourceContents {
                uri,
                mime_type,
                text,
                meta,
            })),
            (None, Some(blob)) => Ok(Self::Blob(BlobResourceContents {
                uri,
                mime_type,
                blob,
                meta,
            })),
            (Some(_), Some(_)) => Err(D::Error::custom(
                "contents have either `text` or `blob`, not both",
            )),
            (None, None) => Err(D::Error::custom("contents need `text` or `blob`")),
        }
    }
}

/// A piece of a tool's or prompt's answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContentBlock {
    /// Text.
    Text(TextContent),
    /// An image.
    Image(MediaContent),
    /// A sound.
    Audio(MediaContent),
    /// A pointer to a resource.
    ResourceLink(ResourceLink),
    /// A resource's contents.
    Resource(EmbeddedResource),
    /// A type that this crate does not know, as it came.
    #[serde(untagged)]
    Unknown(Raw),
}

impl ContentBlock {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(TextContent::new(text))
    }

    /// An image.
    pub fn image(bytes: &[u8], mime_type: impl Into<String>) -> Self {
        Self::Image(MediaContent::new(bytes, mime_type))
    }

    /// A sound.
    pub fn audio(bytes: &[u8], mime_type: impl Into<String>) -> Self {
        Self::Audio(MediaContent::new(bytes, mime_type))
    }

    /// A resource's contents.
    #[must_use]
    pub const fn resource(resource: ResourceContents) -> Self {
        Self::Resource(EmbeddedResource {
            resource,
            annotations: None,
            meta: None,
        })
    }

    /// A pointer to the resource `name` at `uri`.
    pub fn link(uri: impl Into<String>, name: impl Into<String>) -> Self {
        Self::ResourceLink(ResourceLink {
            uri: uri.into(),
            name: name.into(),
            ..Default::default()
        })
    }

    /// The text, where this is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(content) => Some(&content.text),
            _ => None,
        }
    }
}

impl From<String> for ContentBlock {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<&str> for ContentBlock {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl Tagged for ContentBlock {
    const TAGS: &'static [&'static str] = &["text", "image", "audio", "resource_link", "resource"];

    fn decode<'de, D: Deserializer<'de>>(tag: &str, body: D) -> Result<Self, D::Error> {
        match tag {
            "text" => TextContent::deserialize(body).map(Self::Text),
            "image" => MediaContent::deserialize(body).map(Self::Image),
            "audio" => MediaContent::deserialize(body).map(Self::Audio),
            "resource_link" => ResourceLink::deserialize(body).map(Self::ResourceLink),
            "resource" => EmbeddedResource::deserialize(body).map(Self::Resource),
            other => Err(D::Error::unknown_variant(other, Self::TAGS)),
        }
    }

    fn unknown(text: Raw) -> Self {
        Self::Unknown(text)
    }
}

impl<'de> Deserialize<'de> for ContentBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_tagged(deserializer)
    }
}

/// Reads one block or a list of them.
pub(crate) fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Tagged + Deserialize<'de>,
{
    struct OneOrMany<T>(std::marker::PhantomData<T>);
    impl<'de, T: Tagged + Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a content block or a list of them")
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
            read_tagged_map(map).map(|block| vec![block])
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut blocks = Vec::new();
            while let Some(block) = seq.next_element()? {
                blocks.push(block);
            }
            Ok(blocks)
        }
    }
    deserializer.deserialize_any(OneOrMany(std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> serde_json::Result<ContentBlock> {
        serde_json::from_str(text)
    }

    #[test]
    fn type_decides_wherever_it_stands() {
        let first = block(r#"{"type":"text","text":"a","_meta":{"k":1}}"#).unwrap();
        let last = block(r#"{"text":"a","_meta":{"k":1},"type":"text"}"#).unwrap();
        assert_eq!(first, last);
        assert_eq!(first.as_text(), Some("a"));
        assert_eq!(
            serde_json::to_string(&first).unwrap(),
            r#"{"type":"text","text":"a","_meta":{"k":1}}"#
        );
    }

    #[test]
    fn unknown_types_are_kept_as_they_came() {
        for text in [
            r#"{"type":"hologram","text":5,"big":12345678901234567890123,"x":[1.10]}"#,
            r#"{"text":5,"type":"hologram","a\nb":{"c":1e400}}"#,
        ] {
            let kept = block(text).unwrap();
            assert!(matches!(kept, ContentBlock::Unknown(_)), "{kept:?}");
            assert_eq!(serde_json::to_string(&kept).unwrap(), text);
        }
    }

    #[test]
    fn a_block_without_one_type_is_refused() {
        assert!(
            block(r#"{"text":"a"}"#)
                .unwrap_err()
                .to_string()
                .contains("missing field `type`")
        );
        assert!(block(r#"{"type":7}"#).is_err());
        assert!(block(r#"{"type":"text","type":"image","text":"a"}"#).is_err());
        assert!(block(r#"{"text":"a","type":"text","type":"image"}"#).is_err());
        assert!(
            block(r#"{"type":"text"}"#)
                .unwrap_err()
                .to_string()
                .contains("missing field `text`")
        );
        assert!(block("[]").is_err());
    }

    #[test]
    fn contents_are_text_or_blob() {
        let read = serde_json::from_str::<ResourceContents>;
        assert_eq!(
            read(r#"{"uri":"a:b","text":""}"#).unwrap(),
            ResourceContents::text("a:b", "")
        );
        assert_eq!(
            read(r#"{"uri":"a:b","blob":"AQ=="}"#).unwrap(),
            ResourceContents::blob("a:b", &[1])
        );
        assert!(read(r#"{"uri":"a:b"}"#).is_err());
        assert!(read(r#"{"uri":"a:b","text":"","blob":""}"#).is_err());
    }

    #[test]
    fn media_is_base64() {
        let media = MediaContent::new(&[0, 255], "image/png");
        assert_eq!(media.data, "AP8=");
        assert_eq!(media.bytes().unwrap(), [0, 255]);
    }
}
