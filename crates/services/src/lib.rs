//! Real servers for tests: what a user would run beside FastMCP, started by the test that needs it.
//!
//! Each server listens on a loopback port of its own, keeps its data in a temporary folder, and ends when its value is
//! dropped. It can be stopped and started again with its port and data kept, as in an outage.
//!
//! The programs are those of Debian's packages `redis-server` and `postgresql`. Where one is missing, starting it says
//! which package has it. Only tests use this room.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests wait for processes in true time and without a runtime"
)]

mod authority;
mod error;
mod postgres;
mod process;
mod redis;

pub use crate::error::ServiceError;
pub use crate::postgres::Postgres;
pub use crate::redis::Redis;
