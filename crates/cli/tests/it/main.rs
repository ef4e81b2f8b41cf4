//! The built binary, from outside: over sockets, pipes, signals and files.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy knows a test by its attribute, not the helpers that tests share"
)]
#![expect(
    clippy::too_many_lines,
    reason = "a test tells its story from beginning to end"
)]

mod attacks;
mod attacks_outage;
mod cli_audit;
mod cli_audit_keep;
mod cli_call;
mod cli_cimd;
mod cli_dev;
mod cli_doctor;
mod cli_generate;
mod cli_help;
mod cli_install;
mod cli_list;
mod cli_operations;
mod cli_policy;
mod cli_policy_change;
mod cli_policy_prove;
mod cli_run;
mod cli_serve;
mod cli_token;
mod gateway_api_keys;
mod gateway_approval_rules;
mod gateway_approvals;
mod gateway_audit;
mod gateway_bounds;
mod gateway_confirmation_binding;
mod gateway_confirmation_flow;
mod gateway_desk;
mod gateway_happy_path;
mod gateway_idempotency;
mod gateway_issuers;
mod gateway_keys;
mod gateway_labels;
mod gateway_legacy;
mod gateway_limits;
mod gateway_manifest;
mod gateway_modern;
mod gateway_policy_denial;
mod gateway_process;
mod gateway_reload;
mod gateway_replicas;
mod gateway_streams;
mod gateway_tls;
mod gateway_trail;
mod gateway_who;
mod support;
mod tenants;
