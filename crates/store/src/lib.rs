//! Key-value storage with a time to live.
//!
//! What is short-lived and looked up by name lives here: cached answers, replay guards, sessions, one-time codes. The
//! trait is [`KeyValueStore`]; [`MemoryStore`] keeps everything in this process, within stated bounds; `DiskStore`
//! (feature `disk`) in a file that survives it; `RedisStore` (feature `redis`) in a server that processes share. Every
//! backend keeps the same contract, which is a test suite (`contract`, feature `testing`).
//!
//! This room knows no SQL and no meaning of what it keeps: values are bytes.

#[cfg(any(test, feature = "testing"))]
pub mod contract;
#[cfg(feature = "disk")]
mod disk;
mod error;
mod memory;
mod name;
#[cfg(feature = "redis")]
mod redis;
mod store;

#[cfg(feature = "disk")]
pub use crate::disk::{DiskConfig, DiskStore};
pub use crate::error::StoreError;
pub use crate::memory::{MemoryLimits, MemoryStore, Usage, WhenFull};
pub use crate::name::{Collection, Key};
#[cfg(feature = "redis")]
pub use crate::redis::{RedisConfig, RedisStore};
pub use crate::store::{Capabilities, Entry, KeyValueStore, Page, Put, Swap, Ttl, Version};
