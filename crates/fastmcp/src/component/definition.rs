//! What clients are told of a component.

use fastmcp_protocol::{
    prompt::Prompt,
    resource::{Resource, ResourceTemplate},
    tool::Tool,
};

/// What clients are told of a component.
#[derive(Clone, Debug, PartialEq)]
pub enum Definition {
    /// A tool.
    Tool(Tool),
    /// A resource with one URI.
    Resource(Resource),
    /// Resources with URIs of one form.
    Template(ResourceTemplate),
    /// A prompt.
    Prompt(Prompt),
}

impl Definition {
    /// The name of a tool or prompt, the URI of a resource, the form of a template.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Tool(tool) => &tool.name,
            Self::Resource(resource) => &resource.uri,
            Self::Template(template) => &template.uri_template,
            Self::Prompt(prompt) => &prompt.name,
        }
    }
}
