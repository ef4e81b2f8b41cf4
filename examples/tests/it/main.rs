//! Every example: its own tests, and what a client meets that starts it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy knows a test by its attribute, not the helpers that tests share"
)]

mod deploy;
mod http;
mod login;
mod page;
mod stdio;

macro_rules! examples {
    ($($name:ident: $file:literal,)*) => {$(
        #[expect(dead_code, reason = "its `main` is run as a program")]
        #[path = $file]
        mod $name;
    )*};
}

examples! {
    configuration: "../../configuration.rs",
    error_classification: "../../error_classification.rs",
    timed_cache: "../../timed_cache.rs",
    production_server: "../../production_server.rs",
    composition: "../../composition.rs",
    concurrent_calls: "../../concurrent_calls.rs",
    connection_pool: "../../connection_pool.rs",
    context_state: "../../context_state.rs",
    enterprise: "../../enterprise.rs",
    environment: "../../environment.rs",
    error_middleware: "../../error_middleware.rs",
    error_handling: "../../error_handling.rs",
    github_login: "../../github_login.rs",
    graceful_degradation: "../../graceful_degradation.rs",
    in_memory_testing: "../../in_memory_testing.rs",
    middleware: "../../middleware.rs",
    migration: "../../migration.rs",
    modular_server: "../../modular_server.rs",
    monitored_tool: "../../monitored_tool.rs",
    performance: "../../performance.rs",
    progress: "../../progress.rs",
    quickstart: "../../quickstart.rs",
    rate_limiting: "../../rate_limiting.rs",
    sanitised_input: "../../sanitised_input.rs",
    security: "../../security.rs",
    testing: "../../testing.rs",
}
