//! Doing something at most once per operation.
//!
//! A note is written to the store before the deed and its result after it. Whoever finds the note of
//! an operation does not do the deed again: it is given the result, or told that none is recorded.

use std::{future::Future, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use fastmcp_protocol::{
    Raw,
    args::{Args, ArgsLimits},
};
use fastmcp_store::{Collection, Key, KeyValueStore, Put, Swap, Version};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// The collection of the notes.
const COLLECTION: &str = "fastmcp.once";
/// How long a note is kept.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of a result that is kept.
const MAX_RESULT_BYTES: usize = 256 * 1024;

/// What a note is about.
pub(super) struct Deed<'a> {
    pub(super) store: &'a Arc<dyn KeyValueStore>,
    pub(super) principal: &'a str,
    /// What is called.
    pub(super) target: &'a str,
    pub(super) operation: &'a str,
    pub(super) key: &'a str,
    pub(super) args: Option<&'a Raw>,
}

/// What stands in the store.
#[derive(Deserialize, Serialize)]
struct Note {
    /// SHA-256 of the canonical arguments: another call with the same operation id is another call.
    args: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<End>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum End {
    Done(Value),
    Failed { message: String, shown: bool },
}

impl Deed<'_> {
    /// Does it, unless it was begun before.
    pub(super) async fn once<T, F, Fut>(self, make: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let (collection, key) = self.place()?;
        let args = Args::parse(self.args, &ArgsLimits::default())
            .map_err(|e| Error::validation(e.to_string()))?;
        let mut note = Note {
            args: HEXLOWER.encode(digest(&SHA256, &args.canonical()).as_ref()),
            end: None,
        };
        let begun = serde_json::to_vec(&note)?;
        let version = match self
            .store
            .put_if_absent(&collection, &key, begun.into(), Some(TTL))
            .await?
        {
            Swap::Stored(version) => version,
            Swap::Conflict { current: None } => {
                return Err(Error::internal("the store gave a note and took it away"));
            }
            Swap::Conflict {
                current: Some(entry),
            } => {
                let earlier: Note = serde_json::from_slice(&entry.value)?;
                return self.repeat(&note.args, earlier);
            }
        };
        let outcome = make().await;
        note.end = Some(match &outcome {
            Ok(value) => End::Done(serde_json::to_value(value)?),
            Err(error) => End::Failed {
                message: error.message().chars().take(1_024).collect(),
                shown: error.kind() != ErrorKind::Internal,
            },
        });
        self.record(&collection, &key, version, &note).await;
        outcome
    }

    /// What an operation is answered that was begun before.
    fn repeat<T: DeserializeOwned>(&self, args: &str, earlier: Note) -> Result<T> {
        if earlier.args != args {
            return Err(Error::validation(
                "this operation id was used with other arguments; take a new one",
            ));
        }
        match earlier.end {
            Some(End::Done(value)) => Ok(serde_json::from_value(value)?),
            Some(End::Failed {
                message,
                shown: true,
            }) => Err(Error::tool(message)),
            Some(End::Failed { message, .. }) => Err(Error::internal(message)),
            None => Err(Error::tool(format!(
                "`{}` was begun by this operation before and its end is not recorded; it is not done again",
                self.key
            ))),
        }
    }

    /// Writes down how it ended. What cannot be written counts as begun, so that it is not done again.
    async fn record(&self, collection: &Collection, key: &Key, version: Version, note: &Note) {
        let recorded = match written(note) {
            Ok(new) => {
                let swap = self.store.compare_and_swap(collection, key, version, new);
                swap.await.map(drop).map_err(Error::from)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            tracing::warn!(key = self.key, %error, "result could not be recorded");
        }
    }

    fn place(&self) -> Result<(Collection, Key)> {
        let parts = serde_json::to_vec(&[self.principal, self.target, self.operation, self.key])?;
        Ok((
            Collection::new(COLLECTION)?,
            Key::new(&HEXLOWER.encode(digest(&SHA256, &parts).as_ref()))?,
        ))
    }
}

/// What stands in the store for `note`.
fn written(note: &Note) -> Result<Put> {
    let text = serde_json::to_vec(note)?;
    if text.len() > MAX_RESULT_BYTES {
        return Err(Error::internal(format!(
            "the result has {} bytes, and {MAX_RESULT_BYTES} can be recorded",
            text.len()
        )));
    }
    Ok(Put {
        value: text.into(),
        ttl: Some(TTL),
    })
}
