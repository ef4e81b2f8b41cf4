//! Files of settings in YAML: strict, bounded, and with the names that were meant.

use serde::de::DeserializeOwned;
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy};

/// Reads one document.
///
/// # Errors
///
/// What is wrong and where, on one line; with the nearest name where one is not known.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 8,
            max_nodes: 64 * 1024,
            max_documents: 1,
            max_aliases: 100,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| with_nearest(&error.to_string()))
}

/// The message on one line, and after an unknown key the nearest of those that were expected.
fn with_nearest(message: &str) -> String {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let (given, known) = message
        .split_once("unknown field `")
        .and_then(|(_, rest)| rest.split_once("`, expected "))
        .unwrap_or_default();
    let known = known
        .split_once(" at line")
        .map_or(known, |(known, _)| known);
    let near = known
        .trim_start_matches("one of ")
        .split(", ")
        .flat_map(|known| known.split(" or "))
        .map(|known| known.trim_matches('`'))
        .map(|known| (strsim::damerau_levenshtein(given, known), known))
        .min()
        .filter(|(distance, known)| *distance <= (given.len().max(known.len()) / 3).max(1));
    match near {
        Some((_, known)) if (1..=64).contains(&given.len()) => {
            format!("{message}; did you mean `{known}`?")
        }
        _ => message,
    }
}
