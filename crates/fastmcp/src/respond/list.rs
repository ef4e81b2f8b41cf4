//! Lists as wire bytes.

use bytestring::ByteString;
use fastmcp_protocol::{
    Era, ProtocolVersion, legacy,
    prompt::ListPromptsResult,
    resource::{ListResourceTemplatesResult, ListResourcesResult},
    tool::{ListToolsResult, Tool},
};

use crate::{call::Kind, component::Definition, error::Result};

/// One page of the list of `kind`, as clients of `version` read it; `tasks` says whether older ones may ask for tasks.
pub(crate) fn encode_list(
    kind: Kind,
    version: ProtocolVersion,
    tasks: bool,
    page: &[&Definition],
    next_cursor: Option<String>,
) -> Result<ByteString> {
    let older = version.era() == Era::Legacy;
    macro_rules! collect {
        ($variant:ident, $render:path) => {
            page.iter()
                .filter_map(|d| match d {
                    Definition::$variant(d) if older => Some($render(d, version).into_owned()),
                    Definition::$variant(d) => Some(d.clone()),
                    _ => None,
                })
                .collect()
        };
    }
    let mut tools: Vec<Tool> = match kind {
        Kind::Tool => collect!(Tool, legacy::tool),
        _ => Vec::new(),
    };
    if !older || !tasks {
        // Whether a call becomes a task, the server decides; modern clients are told by the answer.
        tools.iter_mut().for_each(|tool| tool.execution = None);
    }
    let text = match kind {
        Kind::Tool => serde_json::to_string(&ListToolsResult {
            tools,
            next_cursor,
            meta: None,
        }),
        Kind::Resource => serde_json::to_string(&ListResourcesResult {
            resources: collect!(Resource, legacy::resource),
            next_cursor,
            meta: None,
        }),
        Kind::Template => serde_json::to_string(&ListResourceTemplatesResult {
            resource_templates: collect!(Template, legacy::resource_template),
            next_cursor,
            meta: None,
        }),
        Kind::Prompt => serde_json::to_string(&ListPromptsResult {
            prompts: collect!(Prompt, legacy::prompt),
            next_cursor,
            meta: None,
        }),
    };
    Ok(text?.into())
}
