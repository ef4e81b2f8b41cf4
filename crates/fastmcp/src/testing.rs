//! What tests of servers need: contexts to call handlers with, a recorder of what a server says, callers
//! and tokens, and the lists of a server as text (feature `testing`).
//!
//! Turn the feature on for tests alone, under `[dev-dependencies]`: whoever can [make a caller](caller) needs
//! no token.
//!
//! # One handler, by itself
//!
//! The attributes keep the function callable: `NAME::call(...)`. What it is handed is a real context, of a
//! call that is going on; see [`create_mock_context`].
//!
//! ```
//! use fastmcp::{prelude::*, testing::create_mock_context};
//!
//! /// Deletes a document.
//! #[tool]
//! async fn delete(context: Context, id: String) -> Result<String> {
//!     if !context.caller().has_scope("delete:documents") {
//!         context.warning(format!("{} may not", context.caller().subject())).await;
//!         Err(ToolError::new("Permission denied"))?;
//!     }
//!     Ok(format!("{id} is gone"))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let mock = create_mock_context().subject("ada").scopes(["read:documents"]).build().await?;
//! let refused = delete::call(mock.context(), "d1".to_owned()).await.unwrap_err();
//! assert_eq!(refused.message(), "Permission denied");
//! assert_eq!(mock.logs().await?[0].text(), "ada may not");
//! # Ok(())
//! # }
//! ```
//!
//! # A server, through a client
//!
//! [`Client::connect`] talks to a server of this process: everything but the socket is what it is in
//! production. A [`Recorder`] keeps what the server says without being asked, and [`snapshot`] makes the lists
//! of a server a text that can be compared with the one of yesterday.
//!
//! ```
//! use fastmcp::{prelude::*, testing::{self, caller}};
//!
//! /// Adds two numbers.
//! #[tool]
//! async fn add(context: Context, a: i64, b: i64) -> i64 {
//!     context.info("adding").await;
//!     a + b
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let server = FastMcp::new("demo").tool(add).build()?;
//! let (client, recorder) = testing::connect(&server, caller("ada").tenant("a").build()).await?;
//! assert_eq!(client.call_tool("add", json!({"a": 5, "b": 3})).await?.data::<i64>()?, 8);
//! let said = recorder.until("notifications/message", 1).await?;
//! assert_eq!(said[0].params["data"], "adding");
//! assert!(testing::snapshot(&client).await?.contains("Adds two numbers."));
//! # Ok(())
//! # }
//! ```
//!
//! With `insta`, the snapshot is one line: `insta::assert_snapshot!(testing::snapshot(&client).await?)`.
//!
//! # Tokens
//!
//! A [`SigningKey`] signs what an issuer would sign, and its [public half](SigningKey::jwks) verifies it.
//!
//! ```
//! use std::sync::Arc;
//! use fastmcp::{auth::{JwtConfig, JwtVerifier}, testing::{Clock, ManualClock, SigningKey, Timestamp}};
//!
//! let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_800_000_000)));
//! let key = SigningKey::ec("key-1");
//! let config = JwtConfig::new("https://idp.test", "fastmcp");
//! let verifier = JwtVerifier::new(config, key.jwks(), clock.clone()).unwrap();
//! let token = key.token("ada", clock.now()).claim("scope", "read:documents").sign();
//! ```
//!
//! # Time
//!
//! No test has to sleep. Under `#[tokio::test(start_paused = true)]` time stands still while anything can
//! run and jumps to the next timer when nothing can, so a tool that waits an hour is tested in a
//! millisecond, time limits of calls among it. A server reads dates from
//! [`FastMcp::clock`](crate::FastMcp::clock), which a [`ManualClock`] moves by hand. Sockets and threads know
//! nothing of paused time: keep it to servers that are reached in memory.

mod mock;
mod record;
mod snapshot;

use fastmcp_auth::Caller;

use crate::{client::Client, error::Result, server::Server};

pub use fastmcp_auth::testing::{CallerBuilder, SigningKey, TokenBuilder, caller};
pub use fastmcp_guard::clock::{Clock, ManualClock, Timestamp};
pub use mock::{Logged, MockContext, MockContextBuilder, create_mock_context};
pub use record::Recorder;
pub use snapshot::snapshot;

/// Connects to `server` as `caller`, and records what it says: every log message, the progress of every call,
/// every change.
///
/// # Errors
///
/// As [`Client::connect`].
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn connect(server: &Server, caller: Caller) -> Result<(Client, Recorder)> {
    let recorder = Recorder::new();
    let builder = recorder.attach(Client::builder());
    let client = builder.connect_server_as(server, caller).await?;
    Ok((client, recorder))
}
