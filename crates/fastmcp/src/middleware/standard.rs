//! The layers that most servers in production want.

use std::time::Duration;

use super::{
    CallToolSettings, ErrorHandlingMiddleware, Layer, ListPromptsSettings, ListResourcesSettings,
    ListToolsSettings, RateLimitingMiddleware, ResponseCachingMiddleware,
    StructuredLoggingMiddleware, TimingMiddleware,
};

/// What [`standard`] goes by; [`ServerConfig`](crate::config::ServerConfig) becomes one.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StandardSettings {
    /// Requests of each caller in a second, above zero. Default 10.
    pub rate_limit: f64,
    /// How long lists and results of read-only tools are kept; `None` for not at all, which is the default.
    pub cache_ttl: Option<Duration>,
}

impl Default for StandardSettings {
    fn default() -> Self {
        Self {
            rate_limit: 10.0,
            cache_ttl: None,
        }
    }
}

/// Errors logged and counted, then limits, times, a line for each message, and answers that were kept; the first is the
/// outermost. Whether internal errors are masked, the server says.
///
/// ```
/// use fastmcp::{config::ServerConfig, middleware::standard, prelude::*};
///
/// # fn example() -> Result<FastMcp> {
/// let config = ServerConfig::from_vars([("RATE_LIMIT", "50")])?;
/// let server = standard(&config).into_iter().fold(config.server(), FastMcp::middleware);
/// # Ok(server)
/// # }
/// # example().unwrap();
/// ```
pub fn standard(settings: impl Into<StandardSettings>) -> Vec<Layer> {
    let settings = settings.into();
    let mut layers = vec![
        Layer::new(ErrorHandlingMiddleware::new()),
        Layer::new(RateLimitingMiddleware::new(settings.rate_limit)),
        Layer::new(TimingMiddleware::new()),
        Layer::new(StructuredLoggingMiddleware::new()),
    ];
    if let Some(ttl) = settings.cache_ttl {
        let caching = ResponseCachingMiddleware::new()
            .list_tools_settings(ListToolsSettings::new().ttl(ttl))
            .list_resources_settings(ListResourcesSettings::new().ttl(ttl))
            .list_prompts_settings(ListPromptsSettings::new().ttl(ttl))
            .call_tool_settings(CallToolSettings::new().ttl(ttl));
        layers.push(Layer::new(caching));
    }
    layers
}
