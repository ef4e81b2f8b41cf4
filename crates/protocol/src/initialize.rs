//! The handshake of legacy peers.
//!
//! Source: MCP 2025-11-25, basic/lifecycle.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{
    capability::{ClientCapabilities, ServerCapabilities},
    content::Meta,
    meta::Implementation,
    raw::from_object,
    version::{Era, ProtocolVersion},
};

/// The parameters of `initialize`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitializeParams<'a> {
    /// The newest revision that the client speaks.
    #[serde(borrow)]
    pub protocol_version: Cow<'a, str>,
    /// What the client can do.
    #[serde(deserialize_with = "from_object")]
    pub capabilities: ClientCapabilities,
    /// Which client this is.
    #[serde(deserialize_with = "from_object")]
    pub client_info: Implementation,
}

impl InitializeParams<'_> {
    /// The revision to answer: the one asked for, where it is a legacy one that is known here, else
    /// [`ProtocolVersion::LATEST_LEGACY`].
    #[must_use]
    pub fn negotiate(&self) -> ProtocolVersion {
        ProtocolVersion::parse(&self.protocol_version)
            .filter(|version| version.era() == Era::Legacy)
            .unwrap_or(ProtocolVersion::LATEST_LEGACY)
    }
}

/// The result of `initialize`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitializeResult {
    /// The revision that the session speaks.
    pub protocol_version: String,
    /// What the server can do.
    #[serde(deserialize_with = "from_object")]
    pub capabilities: ServerCapabilities,
    /// Which server this is.
    #[serde(deserialize_with = "from_object")]
    pub server_info: Implementation,
    /// How to use the server, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Raw;

    #[test]
    fn revision_is_the_asked_one_or_the_newest_legacy_one() {
        let negotiate = |version: &str| {
            let text = format!(
                r#"{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"c","version":"1"}}}}"#
            );
            let raw = Raw::parse(text).unwrap();
            Raw::decode_params::<InitializeParams<'_>>(Some(&raw))
                .unwrap()
                .negotiate()
        };
        assert_eq!(negotiate("2025-06-18"), ProtocolVersion::V2025_06_18);
        assert_eq!(negotiate("2024-11-05"), ProtocolVersion::V2025_11_25);
        assert_eq!(negotiate("2026-07-28"), ProtocolVersion::V2025_11_25);
    }

    #[test]
    fn capabilities_of_a_list_are_refused() {
        let raw = Raw::parse(
            r#"{"protocolVersion":"2025-06-18","capabilities":[],"clientInfo":{"name":"c","version":"1"}}"#,
        )
        .unwrap();
        let error = Raw::decode_params::<InitializeParams<'_>>(Some(&raw)).unwrap_err();
        assert_eq!(
            error.message,
            "`params.capabilities`: invalid type: sequence, expected an object"
        );
    }

    #[test]
    fn handshake_without_client_info_is_refused() {
        let raw = Raw::parse(r#"{"protocolVersion":"2025-06-18","capabilities":{}}"#).unwrap();
        let error = Raw::decode_params::<InitializeParams<'_>>(Some(&raw)).unwrap_err();
        assert_eq!(error.message, "`params`: missing field `clientInfo`");
    }
}
