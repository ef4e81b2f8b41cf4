//! Pictures, sounds and files as results of tools.

use std::path::Path;

use fastmcp_protocol::content::{ContentBlock, ResourceContents};

use super::{ToolOutput, media_type};
use crate::{
    call::Outcome,
    error::{Error, Result},
};
use fastmcp_protocol::tool::CallToolResult;

/// What is a piece of a tool's result, alone or in a list.
///
/// For lists of several kinds there is `Vec<ContentBlock>`: `vec![Image::png(bytes).into_content(),
/// ContentBlock::text("a chart")]`.
pub trait IntoContent: Send {
    /// The piece.
    fn into_content(self) -> ContentBlock;
}

impl IntoContent for ContentBlock {
    fn into_content(self) -> ContentBlock {
        self
    }
}

impl<T: IntoContent> ToolOutput for Vec<T> {
    fn into_outcome(self) -> Result<Outcome> {
        let pieces = self.into_iter().map(T::into_content).collect();
        Ok(CallToolResult::new(pieces).into())
    }
}

impl<T: IntoContent> ToolOutput for Option<T> {
    fn into_outcome(self) -> Result<Outcome> {
        let pieces = self.into_iter().map(T::into_content).collect();
        Ok(CallToolResult::new(pieces).into())
    }
}

/// Reads a file whole, where that may block: on the blocking pool.
async fn read(path: &Path) -> Result<Vec<u8>> {
    tokio::fs::read(path).await.map_err(|error| {
        Error::internal(format!("file `{}` cannot be read: {error}", path.display()))
    })
}

macro_rules! media {
    ($(#[$doc:meta])* $name:ident, $make:ident, $otherwise:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            bytes: Vec<u8>,
            mime_type: String,
        }

        impl $name {
            /// Of a MIME type.
            pub fn new(bytes: impl Into<Vec<u8>>, mime_type: impl Into<String>) -> Self {
                Self {
                    bytes: bytes.into(),
                    mime_type: mime_type.into(),
                }
            }

            /// Reads a file, whose name says its MIME type. The path is the author's: never make one of
            /// what a client sent.
            ///
            /// # Errors
            ///
            /// When the file cannot be read.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe.
            pub async fn from_path(path: impl AsRef<Path> + Send) -> Result<Self> {
                let path = path.as_ref();
                Ok(Self::new(read(path).await?, Self::mime_type_of(path)))
            }

            /// The MIME type that a file's name suggests.
            #[must_use]
            pub fn mime_type_of(path: &Path) -> &'static str {
                media_type::named(&path.to_string_lossy()).unwrap_or($otherwise)
            }

            /// The bytes.
            #[must_use]
            pub fn bytes(&self) -> &[u8] {
                &self.bytes
            }

            /// As a `data:` URI, for texts that show it.
            #[must_use]
            pub fn to_data_uri(&self) -> String {
                use base64::{Engine as _, engine::general_purpose::STANDARD};
                format!("data:{};base64,{}", self.mime_type, STANDARD.encode(&self.bytes))
            }
        }

        impl IntoContent for $name {
            fn into_content(self) -> ContentBlock {
                ContentBlock::$make(&self.bytes, self.mime_type)
            }
        }

        impl ToolOutput for $name {
            fn into_outcome(self) -> Result<Outcome> {
                self.into_content().into_outcome()
            }
        }
    };
}

media!(
    /// A picture.
    ///
    /// Source: FastMCP, `Image`.
    Image, image, "image/png"
);
media!(
    /// A sound.
    ///
    /// Source: FastMCP, `Audio`.
    Audio, audio, "audio/wav"
);

impl Image {
    /// A PNG picture.
    pub fn png(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(bytes, "image/png")
    }
}

impl Audio {
    /// A WAV sound.
    pub fn wav(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(bytes, "audio/wav")
    }
}

/// A file, within the result: text where its bytes are text, else bytes.
///
/// Source: FastMCP, `File`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    name: String,
    bytes: Vec<u8>,
    mime_type: Option<String>,
}

impl File {
    /// A file by its name, which says its MIME type.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            bytes: bytes.into(),
            mime_type: None,
        }
    }

    /// Reads a file. The path is the author's: never make one of what a client sent.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or the path names none.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn from_path(path: impl AsRef<Path> + Send) -> Result<Self> {
        let path = path.as_ref();
        let name = path
            .file_name()
            .ok_or_else(|| Error::internal(format!("path `{}` names no file", path.display())))?;
        Ok(Self::new(name.to_string_lossy(), read(path).await?))
    }

    /// Says of what type it is.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }
}

impl IntoContent for File {
    fn into_content(self) -> ContentBlock {
        let known = media_type::of(&self.name, &self.bytes);
        let mime_type = self.mime_type.unwrap_or_else(|| known.to_owned());
        let uri = format!("file:///{}", encoded(&self.name));
        let contents = match String::from_utf8(self.bytes) {
            Ok(text) => ResourceContents::text(uri, text),
            Err(bytes) => ResourceContents::blob(uri, bytes.as_bytes()),
        };
        ContentBlock::resource(contents.with_mime_type(mime_type))
    }
}

impl ToolOutput for File {
    fn into_outcome(self) -> Result<Outcome> {
        self.into_content().into_outcome()
    }
}

/// A name as a segment of a URI.
fn encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
