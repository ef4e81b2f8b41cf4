//! From governed arguments to what an adapter works with.

use fastmcp_protocol::{Raw, args::Args};
use serde::de::DeserializeOwned;

use super::{Effect, ProviderError};

/// Messages that quote what a caller sent are cut here, in characters.
const MAX_MESSAGE: usize = 300;

/// Decodes `args` into `T`.
///
/// # Errors
///
/// An invalid-argument error that names the argument.
pub(super) fn decode<T: DeserializeOwned>(args: &Args) -> Result<T, ProviderError> {
    args.decode()
        .map_err(|complaint| ProviderError::invalid(shorten(&complaint)))
}

/// The first [`MAX_MESSAGE`] characters of `text`.
pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// An adapter's own JSON as an answer.
///
/// # Errors
///
/// A failure of unknown effect when `json` is not well formed, which would be a mistake of ours.
pub(super) fn raw(json: String) -> Result<Raw, ProviderError> {
    Raw::parse(json).map_err(|error| {
        ProviderError::failed(Effect::Maybe, "the result has no JSON form")
            .with_detail(error.to_string())
    })
}

/// The refusal of a tool that `provider` does not have.
pub(super) fn unknown_endpoint(provider: &str, endpoint: &str) -> ProviderError {
    ProviderError::invalid(shorten(&format!("`{provider}` has no tool `{endpoint}`")))
}

#[cfg(test)]
mod tests {
    use fastmcp_protocol::args::ArgsLimits;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        #[serde(rename = "query")]
        _query: String,
    }

    fn message(text: &str) -> String {
        let args = Args::parse_str(text, &ArgsLimits::default()).unwrap();
        decode::<Input>(&args).unwrap_err().message
    }

    #[test]
    fn errors_name_the_argument() {
        assert!(message("{}").contains("`query`"), "{}", message("{}"));
        assert!(
            message(r#"{"query":3}"#).contains("query"),
            "{}",
            message(r#"{"query":3}"#)
        );
        assert!(message(r#"{"query":"q","limit":1}"#).contains("`limit`"));
    }

    #[test]
    fn messages_are_bounded() {
        let text = format!(r#"{{"query":"q","{}":1}}"#, "é".repeat(5000));
        assert!(message(&text).chars().count() <= MAX_MESSAGE + 1);
    }
}
