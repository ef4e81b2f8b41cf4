//! The platform: one governed endpoint over many providers.
//!
//! Two doors, [`rest`] and [`mcp`], lead into one [`pipeline`]. Each stage is a room; what a stage
//! proves is a type that only it can make, so that no stage can be left out by mistake.

pub mod announce;
pub mod app;
pub mod approvals;
pub mod audit;
pub mod broker;
pub mod call;
pub mod catalog;
pub mod config;
pub mod confirm;
pub mod consent;
pub mod door;
pub mod error;
pub mod keys;
pub mod label;
pub mod limit;
pub mod manifest;
pub mod mcp;
pub mod once;
pub mod pipeline;
pub mod policy;
pub mod provider;
pub mod rest;
pub mod settlement;
pub mod state;
pub mod telemetry;
pub mod tls;
