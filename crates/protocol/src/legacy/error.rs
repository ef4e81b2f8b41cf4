//! Error codes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;

use crate::{
    elicit::ElicitUrl,
    error::{ErrorCode, RpcError},
    method::Method,
};

/// Renders an error for a legacy peer that called `method`.
///
/// | modern | legacy |
/// |---|---|
/// | `-32602` of `resources/read` with `data.uri` | `-32002`. Source: MCP 2025-11-25, server/resources, "Error Handling" |
/// | `-32020`, a header does not agree | `-32600` |
/// | `-32021`, a capability is missing | `-32600` |
/// | `-32022`, the revision is not served | `-32602`. Source: MCP 2025-11-25, basic/lifecycle, "Error Handling" |
#[must_use]
pub fn error(error: &RpcError, method: Option<Method>) -> Cow<'_, RpcError> {
    let code = match error.code {
        ErrorCode::INVALID_PARAMS if method == Some(Method::ResourcesRead) && names_uri(error) => {
            ErrorCode::RESOURCE_NOT_FOUND
        }
        ErrorCode::HEADER_MISMATCH | ErrorCode::MISSING_CAPABILITY => ErrorCode::INVALID_REQUEST,
        ErrorCode::UNSUPPORTED_VERSION => ErrorCode::INVALID_PARAMS,
        _ => return Cow::Borrowed(error),
    };
    Cow::Owned(RpcError {
        code,
        ..error.clone()
    })
}

/// The canonical form of a legacy server's error.
///
/// `-32042` stays: it asks for something first, see [`url_elicitations`].
#[must_use]
pub fn canonical_error(mut error: RpcError) -> RpcError {
    if error.code == ErrorCode::RESOURCE_NOT_FOUND {
        error.code = ErrorCode::INVALID_PARAMS;
    }
    error
}

fn names_uri(error: &RpcError) -> bool {
    error
        .data
        .as_ref()
        .is_some_and(|data| data.get("uri").is_some_and(serde_json::Value::is_string))
}

/// The error that asks a 2025-11-25 client to open addresses and call again, each with its id.
///
/// Source: MCP 2025-11-25, client/elicitation, "URL Elicitation Required Error".
#[must_use]
pub fn url_elicitation_required(elicitations: &[(&str, &ElicitUrl)]) -> RpcError {
    let elicitations: Vec<_> = elicitations
        .iter()
        .map(|(id, url)| json!({ "mode": "url", "elicitationId": id, "url": url.url, "message": url.message }))
        .collect();
    RpcError::new(
        ErrorCode::URL_ELICITATION_REQUIRED,
        "the user has to open an address first",
    )
    .with_data(json!({ "elicitations": elicitations }))
}

/// The addresses that a legacy server wants opened before it is called again, each with its id.
///
/// None where the error does not ask for that, or not in a form that can be read.
#[must_use]
pub fn url_elicitations(error: &RpcError) -> Option<Vec<(String, ElicitUrl)>> {
    #[derive(Deserialize)]
    struct Data {
        elicitations: Vec<Elicitation>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Elicitation {
        elicitation_id: String,
        url: String,
        message: String,
    }
    if error.code != ErrorCode::URL_ELICITATION_REQUIRED {
        return None;
    }
    let data = Data::deserialize(&**error.data.as_ref()?).ok()?;
    let pair = |e: Elicitation| {
        (
            e.elicitation_id,
            ElicitUrl {
                message: e.message,
                url: e.url,
            },
        )
    };
    Some(data.elicitations.into_iter().map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::not_found;

    #[test]
    fn missing_resources_have_their_old_code() {
        let gone = not_found("a:b");
        let old = error(&gone, Some(Method::ResourcesRead)).into_owned();
        assert_eq!(old.code, ErrorCode::RESOURCE_NOT_FOUND);
        assert_eq!(canonical_error(old), gone);
        assert_eq!(
            error(&gone, Some(Method::ToolsCall)).code,
            ErrorCode::INVALID_PARAMS
        );
        let plain = RpcError::invalid_params("no");
        assert_eq!(
            error(&plain, Some(Method::ResourcesRead)).code,
            ErrorCode::INVALID_PARAMS
        );
    }

    #[test]
    fn modern_codes_are_never_shown() {
        for code in [
            ErrorCode::HEADER_MISMATCH,
            ErrorCode::MISSING_CAPABILITY,
            ErrorCode::UNSUPPORTED_VERSION,
        ] {
            let modern = RpcError::new(code, "m").with_data(json!({ "k": 1 }));
            let old = error(&modern, None).into_owned();
            assert!(!(-32099..=-32020).contains(&old.code.0), "{:?}", old.code);
            assert_eq!((old.message, old.data), (modern.message, modern.data));
        }
    }

    #[test]
    fn addresses_survive_the_error() {
        let url = ElicitUrl {
            message: "m".to_owned(),
            url: "https://a.example/".to_owned(),
        };
        let asks = url_elicitation_required(&[("e1", &url)]);
        assert_eq!(url_elicitations(&asks), Some(vec![("e1".to_owned(), url)]));
        assert_eq!(url_elicitations(&RpcError::internal("x")), None);
        assert_eq!(
            url_elicitations(&RpcError::new(ErrorCode::URL_ELICITATION_REQUIRED, "x")),
            None
        );
    }
}
