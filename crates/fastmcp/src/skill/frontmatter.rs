//! What a manifest says of its skill before the text begins.

use fastmcp_protocol::{
    content::JsonObject,
    skill::{MANIFEST, split_manifest},
};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy};

use crate::error::{Error, Result};

/// The most bytes of a frontmatter.
const BYTES_MAX: usize = 64 * 1024;
/// The deepest nesting.
const DEPTH_MAX: usize = 16;
/// The most nodes.
const NODES_MAX: usize = 10_000;

/// Reads the frontmatter of a skill's manifest; see [`split`].
pub(crate) fn read(manifest: &str) -> Result<JsonObject> {
    split(manifest)
        .map(|(frontmatter, _)| frontmatter)
        .map_err(|error| Error::internal(format!("{MANIFEST}: {}", error.message())))
}

/// Splits a text into its frontmatter, as JSON, and what stands behind. Duplicate keys, merge keys and
/// unknown tags are errors, since readers disagree about them.
pub(crate) fn split(text: &str) -> Result<(JsonObject, &str)> {
    let unfit = |why: &dyn std::fmt::Display| Error::internal(why.to_string());
    let Some((yaml, rest)) = split_manifest(text) else {
        return Err(unfit(
            &"must begin with YAML frontmatter between two lines `---`",
        ));
    };
    if yaml.len() > BYTES_MAX {
        return Err(unfit(&"frontmatter is longer than 64 KiB"));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_documents: 1,
            max_aliases: 100,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let read = serde_saphyr::from_str_with_options(yaml, options).map_err(|e| unfit(&e))?;
    Ok((read, rest))
}
