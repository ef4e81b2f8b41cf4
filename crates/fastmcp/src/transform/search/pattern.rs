//! Regular expressions, by an engine without backtracking.

use regex::RegexBuilder;

use crate::error::{Error, Result};

/// Bytes that a compiled expression may have.
const MAX_COMPILED: usize = 256 * 1024;

/// The places of the texts that match and may be found, in order.
pub(super) fn search(
    pattern: &str,
    texts: impl Iterator<Item = (String, bool)>,
) -> Result<Vec<usize>> {
    let expression = RegexBuilder::new(pattern)
        .case_insensitive(true)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .nest_limit(32)
        .build()
        .map_err(|_| {
            Error::validation(
                "invalid arguments: `pattern` is no regular expression, or too large a one",
            )
        })?;
    let found = texts
        .enumerate()
        .filter(|(_, (text, may))| *may && expression.is_match(text));
    Ok(found.map(|(at, _)| at).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(pattern: &str) -> Result<Vec<usize>> {
        let texts = ["send_email Sends", "list_files", "email_secret"];
        let may = [true, true, false];
        super::search(pattern, texts.iter().map(|&text| text.to_owned()).zip(may))
    }

    #[test]
    fn what_matches_and_may_be_found_is_found() {
        assert_eq!(search("EMAIL").unwrap(), [0]);
        assert_eq!(search("^(list|send)_").unwrap(), [0, 1]);
        assert!(search("none").unwrap().is_empty());
    }

    #[test]
    fn patterns_are_checked_and_bounded() {
        for wrong in ["(", "a{1000}{1000}{1000}", &"(".repeat(500)] {
            let error = search(wrong).unwrap_err();
            assert!(error.message().contains("`pattern`"), "{error}");
        }
        assert!(search(&"(a*)*".repeat(50)).is_ok(), "linear all the same");
    }
}
