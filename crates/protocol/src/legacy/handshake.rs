//! Capabilities and the handshake.

use super::Knows;
use crate::{
    app,
    capability::{
        ClientCapabilities, ElicitationCapability, ListCapability, ResourcesCapability,
        RootsCapability, SamplingCapability, ServerCapabilities,
    },
    content::JsonObject,
    discover::DiscoverResult,
    initialize::InitializeResult,
    meta::Implementation,
    task::EXTENSION,
    version::ProtocolVersion,
};

/// The answer to `initialize` of a server that describes itself by `discover`.
#[must_use]
pub fn initialize_result(
    discover: &DiscoverResult,
    server: &Implementation,
    version: ProtocolVersion,
) -> InitializeResult {
    InitializeResult {
        protocol_version: version.as_str().to_owned(),
        capabilities: server_capabilities(&discover.capabilities),
        server_info: implementation(server, version),
        instructions: discover.instructions.clone(),
        meta: None,
    }
}

/// What a server offers a client to which it speaks only in answers: no changes, no subscriptions, no log levels.
#[must_use]
pub fn without_session(mut capabilities: ServerCapabilities) -> ServerCapabilities {
    for list in [&mut capabilities.tools, &mut capabilities.prompts] {
        *list = list.take().map(|_| ListCapability::default());
    }
    capabilities.resources = capabilities
        .resources
        .map(|_| ResourcesCapability::default());
    capabilities.logging = None;
    capabilities.tasks = None;
    if let Some(extensions) = &mut capabilities.extensions {
        // Nobody remembers whether the client shows documents.
        extensions.remove(app::EXTENSION);
    }
    capabilities
}

/// What a legacy server says about itself, as a modern one would, and its name.
#[must_use]
pub fn discover_result(initialized: InitializeResult) -> (DiscoverResult, Implementation) {
    let discover = DiscoverResult {
        supported_versions: vec![initialized.protocol_version],
        capabilities: server_capabilities(&initialized.capabilities),
        instructions: initialized.instructions,
        meta: initialized.meta,
    };
    (discover, initialized.server_info)
}

/// A server's capabilities in the other era.
///
/// Other extensions than tasks stay: clients of MCP Apps name theirs in `initialize`, although no
/// legacy schema has the member.
#[must_use]
pub fn server_capabilities(capabilities: &ServerCapabilities) -> ServerCapabilities {
    let mut out = capabilities.clone();
    out.extensions = without_tasks(out.extensions);
    // Those of one era are not those of the other: who serves both says so itself.
    out.tasks = None;
    out
}

/// A client's capabilities for `version`. `roots_change` says whether the client tells when its roots change.
#[must_use]
pub fn client_capabilities(
    capabilities: &ClientCapabilities,
    version: ProtocolVersion,
    roots_change: bool,
) -> ClientCapabilities {
    let knows = Knows(version);
    let mut out = capabilities.clone();
    out.extensions = without_tasks(out.extensions);
    if let Some(roots) = &mut out.roots {
        *roots = RootsCapability {
            list_changed: roots_change.then_some(true),
        };
    }
    if !knows.icons() {
        // Before 2025-11-25 elicitation is by form, and neither capability has members.
        out.elicitation =
            (knows.titles() && capabilities.has_form()).then(ElicitationCapability::default);
        out.sampling = out.sampling.map(|_| SamplingCapability::default());
    }
    out
}

/// An implementation for `version`.
#[must_use]
pub fn implementation(implementation: &Implementation, version: ProtocolVersion) -> Implementation {
    let knows = Knows(version);
    if knows.icons() {
        return implementation.clone();
    }
    Implementation {
        title: implementation.title.clone().filter(|_| knows.titles()),
        ..Implementation::new(&*implementation.name, &*implementation.version)
    }
}

fn without_tasks(extensions: Option<JsonObject>) -> Option<JsonObject> {
    let mut extensions = extensions?;
    extensions.remove(EXTENSION);
    (!extensions.is_empty()).then_some(extensions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V03: ProtocolVersion = ProtocolVersion::V2025_03_26;
    const V06: ProtocolVersion = ProtocolVersion::V2025_06_18;
    const V11: ProtocolVersion = ProtocolVersion::V2025_11_25;

    fn server(text: &str) -> ServerCapabilities {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn handshake_tells_what_discovery_tells() {
        let discover = DiscoverResult {
            supported_versions: vec!["2026-07-28".to_owned()],
            capabilities: server(
                r#"{"tools":{"listChanged":true},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
            ),
            instructions: Some("i".to_owned()),
            meta: None,
        };
        let mut name = Implementation::new("s", "1");
        name.title = Some("S".to_owned());
        name.description = Some("d".to_owned());
        let result = initialize_result(&discover, &name, V06);
        assert_eq!(
            serde_json::to_string(&result).unwrap(),
            r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"s","title":"S","version":"1"},"instructions":"i"}"#
        );
        let (back, server_name) = discover_result(result);
        assert_eq!(back.supported_versions, ["2025-06-18"]);
        assert_eq!(
            (back.instructions.as_deref(), server_name.name.as_str()),
            (Some("i"), "s")
        );
        assert_eq!(implementation(&name, V11), name);
        assert_eq!(implementation(&name, V03), Implementation::new("s", "1"));
    }

    #[test]
    fn other_extensions_stay() {
        let capabilities = server(
            r#"{"extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/ui":{}}}"#,
        );
        let extensions = server_capabilities(&capabilities).extensions.unwrap();
        assert_eq!(
            extensions.keys().collect::<Vec<_>>(),
            ["io.modelcontextprotocol/ui"]
        );
    }

    #[test]
    fn clients_declare_what_the_revision_has() {
        let all: ClientCapabilities = serde_json::from_str(
            r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#,
        )
        .unwrap();
        let written =
            |version| serde_json::to_string(&client_capabilities(&all, version, true)).unwrap();
        assert_eq!(
            written(V11),
            r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{"listChanged":true}}"#
        );
        assert_eq!(
            written(V06),
            r#"{"elicitation":{},"sampling":{},"roots":{"listChanged":true}}"#
        );
        assert_eq!(
            written(V03),
            r#"{"sampling":{},"roots":{"listChanged":true}}"#
        );
        let url: ClientCapabilities =
            serde_json::from_str(r#"{"elicitation":{"url":{}}}"#).unwrap();
        assert_eq!(client_capabilities(&url, V06, false).elicitation, None);
    }
}
