//! What came of a call, for people and for scripts.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use fastmcp::protocol::{
    content::{ContentBlock, MediaContent, ResourceContents, Role},
    prompt::GetPromptResult,
    resource::ReadResourceResult,
    tool::CallToolResult,
};
use serde_json::Value;

use crate::{
    output::{self, printable},
    target::plain_name,
};

/// How many names are tried for one file.
const MAX_NAMES: usize = 10_000;

/// What is shown.
pub(super) enum Shown {
    Tool {
        name: String,
        result: Box<CallToolResult>,
    },
    Resource(ReadResourceResult),
    Prompt(GetPromptResult),
}

impl Shown {
    /// Whether a tool failed.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Self::Tool { result, .. } if result.is_error)
    }

    /// Prints it; what is no text goes into `folder`.
    pub(super) fn print(&self, as_json: bool, folder: Option<&Path>) -> anyhow::Result<()> {
        if as_json {
            match self {
                Self::Tool { result, .. } => output::say_json(result)?,
                Self::Resource(read) => output::say_json(read)?,
                Self::Prompt(got) => output::say_json(got)?,
            }
        }
        let keep = Keep {
            folder,
            quiet: as_json,
        };
        match self {
            Self::Tool { name, result } => keep.tool(name, result),
            Self::Resource(read) => read
                .contents
                .iter()
                .try_for_each(|contents| keep.contents(contents)),
            Self::Prompt(got) => keep.prompt(got),
        }
    }
}

/// Prints texts, and keeps what is none.
struct Keep<'a> {
    folder: Option<&'a Path>,
    /// Nothing is printed but where files are.
    quiet: bool,
}

impl Keep<'_> {
    fn tool(&self, name: &str, result: &CallToolResult) -> anyhow::Result<()> {
        if result.content.is_empty()
            && !self.quiet
            && let Some(content) = &result.structured_content
        {
            return output::say_json(&content.decode::<Value>()?);
        }
        if result.is_error && !self.quiet {
            output::complain(&format!("`{}` failed:", printable(name)));
        }
        result
            .content
            .iter()
            .try_for_each(|block| self.block(name, block))
    }

    fn prompt(&self, got: &GetPromptResult) -> anyhow::Result<()> {
        for message in &got.messages {
            let role = match message.role {
                Role::User => "user",
                Role::Assistant => "assistant",
            };
            self.say(&format!("[{role}]"))?;
            self.block("prompt", &message.content)?;
        }
        Ok(())
    }

    fn block(&self, name: &str, block: &ContentBlock) -> anyhow::Result<()> {
        match block {
            ContentBlock::Text(text) => self.say(&text.text),
            ContentBlock::Image(media) | ContentBlock::Audio(media) => self.media(name, media),
            ContentBlock::ResourceLink(link) => {
                self.say(&format!("[resource {}: {}]", link.uri, link.name))
            }
            ContentBlock::Resource(embedded) => self.contents(&embedded.resource),
            ContentBlock::Unknown(raw) => self.say(&raw.decode::<Value>()?.to_string()),
            _ => self.say("[content of a kind that is not known here]"),
        }
    }

    fn media(&self, name: &str, media: &MediaContent) -> anyhow::Result<()> {
        let bytes = media
            .bytes()
            .context("the server sent bytes that cannot be read")?;
        self.bytes(name, &media.mime_type, &bytes)
    }

    fn contents(&self, contents: &ResourceContents) -> anyhow::Result<()> {
        match contents {
            ResourceContents::Text(text) => self.say(&text.text),
            ResourceContents::Blob(blob) => {
                let kind = blob
                    .mime_type
                    .as_deref()
                    .unwrap_or("application/octet-stream");
                let name = blob
                    .uri
                    .rsplit('/')
                    .find(|part| !part.is_empty())
                    .unwrap_or("resource");
                let media = MediaContent {
                    data: blob.blob.clone(),
                    mime_type: kind.to_owned(),
                    ..MediaContent::default()
                };
                let bytes = media
                    .bytes()
                    .context("the server sent bytes that cannot be read")?;
                self.bytes(name, kind, &bytes)
            }
            _ => self.say("[contents of a kind that is not known here]"),
        }
    }

    fn bytes(&self, name: &str, kind: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let count = bytes.len();
        match self.folder {
            Some(folder) => {
                let path = write_new(folder, name, kind, bytes)?;
                output::complain(&format!(
                    "{count} bytes of {} are in {}",
                    printable(kind),
                    path.display()
                ));
                Ok(())
            }
            None => self.say(&format!(
                "[{kind}, {count} bytes; --output-dir DIR keeps it]"
            )),
        }
    }

    /// Prints a text; a terminal is not steered by it.
    fn say(&self, text: &str) -> anyhow::Result<()> {
        if self.quiet {
            return Ok(());
        }
        if !io::stdout().is_terminal() {
            return output::say(text);
        }
        let lines: Vec<_> = text
            .split('\n')
            .map(|line| {
                line.trim_end_matches('\r')
                    .split('\t')
                    .map(printable)
                    .collect::<Vec<_>>()
                    .join("\t")
            })
            .collect();
        output::say(&lines.join("\n"))
    }
}

/// Writes a file of a name that is free.
fn write_new(folder: &Path, name: &str, kind: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    let name = plain_name(name);
    let stem =
        name.split_once('.').map_or(
            name.as_str(),
            |(stem, _)| if stem.is_empty() { "file" } else { stem },
        );
    for number in 1..=MAX_NAMES {
        let path = folder.join(format!("{stem}-{number}.{}", extension(kind)));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(bytes)
                    .with_context(|| format!("`{}` cannot be written", path.display()))?;
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("`{}` cannot be written", path.display()));
            }
        }
    }
    bail!("`{}` has too many files of this name", folder.display())
}

/// What files of a media type end in.
fn extension(kind: &str) -> &'static str {
    match kind.split(';').next().unwrap_or_default().trim() {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/svg+xml" => "svg",
        "audio/wav" | "audio/x-wav" => "wav",
        "audio/mpeg" => "mp3",
        "audio/ogg" => "ogg",
        "application/pdf" => "pdf",
        "application/zip" => "zip",
        "application/gzip" => "gz",
        "application/json" => "json",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_names_of_their_own_and_none_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let write = |bytes: &[u8]| {
            write_new(folder.path(), "../draw/it.x", "image/png; q=1", bytes).unwrap()
        };
        let (one, two) = (write(b"one"), write(b"two"));
        assert_eq!(one.parent(), Some(folder.path()));
        assert_ne!(one, two);
        assert_eq!(std::fs::read(one).unwrap(), b"one");
        assert!(two.extension().is_some_and(|extension| extension == "png"));
    }
}
