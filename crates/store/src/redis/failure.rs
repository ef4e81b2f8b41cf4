//! What is said when Redis does not do what it was asked.

use std::borrow::Cow;
use std::time::Duration;

use ::redis::{ErrorKind, RedisError};
use thiserror::Error;

use crate::error::StoreError;

/// Which server it is, without user and password.
#[derive(Clone, Debug)]
pub(super) struct Server {
    address: String,
    prefix: String,
}

/// Why it did not, and what to do.
#[derive(Debug, Error)]
#[error("Redis at `{address}` {advice}")]
struct Failure {
    address: String,
    advice: Cow<'static, str>,
    #[source]
    source: Option<RedisError>,
}

impl Server {
    pub(super) fn new(address: String, prefix: &str) -> Self {
        Self {
            address,
            prefix: prefix.to_owned(),
        }
    }

    /// It answered with an error, or could not be asked.
    pub(super) fn failed(&self, error: RedisError) -> StoreError {
        let advice = self.advice(&error);
        self.unavailable(advice, Some(error))
    }

    /// It did not answer in time.
    pub(super) fn silent(&self, timeout: Duration) -> StoreError {
        let advice = format!(
            "did not answer within {timeout:?}: look at its load and the network, or give a longer `timeout`"
        );
        self.unavailable(advice.into(), None)
    }

    /// Something stands where an entry should.
    pub(super) fn foreign(&self) -> StoreError {
        self.unavailable(self.foreign_advice(), None)
    }

    fn unavailable(&self, advice: Cow<'static, str>, source: Option<RedisError>) -> StoreError {
        let failure = Failure {
            address: self.address.clone(),
            advice,
            source,
        };
        StoreError::Unavailable {
            source: Box::new(failure),
        }
    }

    fn advice(&self, error: &RedisError) -> Cow<'static, str> {
        let advice = match error.code() {
            Some("WRONGPASS" | "NOAUTH") => REFUSES_USER,
            _ if error.kind() == ErrorKind::AuthenticationFailed => REFUSES_USER,
            Some("NOPERM") => {
                return format!(
                    "lets its user not do this: allow keys `~{}:*` and commands `+@read +@write +@scripting +time +ping`",
                    self.prefix
                )
                .into();
            }
            Some("OOM") => "is full: raise its `maxmemory`",
            Some("READONLY") => {
                "is a replica that cannot be written: give the address of the primary"
            }
            Some("LOADING") => "still loads its data: try again in a moment",
            Some("MISCONF") => "cannot write to its disk and takes nothing more: make room there",
            Some("MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN") => {
                "is a cluster: give a server that is none"
            }
            Some("WRONGTYPE") => return self.foreign_advice(),
            _ if error.is_timeout() => "did not answer in time: look at its load and the network",
            _ if error.kind() == ErrorKind::Io => {
                "cannot be reached: start it, or correct host and port of the URL"
            }
            _ => "refused the command",
        };
        advice.into()
    }

    fn foreign_advice(&self) -> Cow<'static, str> {
        format!(
            "has something below `{}:` that is no entry of a store: give a prefix that nothing else uses",
            self.prefix
        )
        .into()
    }
}

const REFUSES_USER: &str = "refuses user and password: correct those of the URL";
