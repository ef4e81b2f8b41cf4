//! How often it was tried.

use std::collections::HashMap;
use std::time::Duration;

use fastmcp_guard::clock::Timestamp;

use super::super::error::OAuthError;
use super::super::scope::Scopes;

/// The most authorizations for one operation within [`WINDOW`].
const MAX_ATTEMPTS: usize = 3;

/// How long an attempt counts.
const WINDOW: Duration = Duration::from_secs(300);

/// The most operations that are counted apart, and the longest name of one, in characters.
const MAX_OPERATIONS: usize = 256;
const MAX_NAME: usize = 200;

/// The authorizations of late, by operation.
///
/// Source: MCP 2026-07-28, basic/authorization, "Step-Up Authorization Flow".
#[derive(Debug, Default)]
pub(super) struct Attempts(HashMap<String, Vec<Timestamp>>);

impl Attempts {
    /// Counts one more attempt for `operation`, which asks for `wanted`.
    ///
    /// Where `nothing_new` would be asked for, one attempt fewer is made: a server that refuses what it asks for will
    /// hardly change its mind.
    pub(super) fn count(
        &mut self,
        operation: &str,
        now: Timestamp,
        wanted: &Scopes,
        nothing_new: bool,
    ) -> Result<(), OAuthError> {
        let operation: String = operation.chars().take(MAX_NAME).collect();
        let recent = |at: &Timestamp| now.since(*at) < WINDOW;
        self.0.retain(|_, made| {
            made.retain(recent);
            !made.is_empty()
        });
        let limit = if nothing_new {
            MAX_ATTEMPTS - 1
        } else {
            MAX_ATTEMPTS
        };
        let made = self.0.get(&operation).map_or(0, Vec::len);
        let full = made == 0 && self.0.len() >= MAX_OPERATIONS;
        if made >= limit || full {
            return Err(OAuthError::TooManyAttempts {
                operation,
                attempts: made,
                scopes: wanted.to_string(),
            });
        }
        self.0.entry(operation).or_default().push(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(1_700_000_000 + seconds)
    }

    #[test]
    fn three_in_five_minutes_each() {
        let (mut attempts, wanted) = (Attempts::default(), Scopes::parse("a"));
        for seconds in [0, 1, 2] {
            attempts
                .count("tools/call", at(seconds), &wanted, false)
                .unwrap();
        }
        let error = attempts
            .count("tools/call", at(3), &wanted, false)
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("after 3 authorizations") && text.contains("`a`"),
            "{text}"
        );
        attempts.count("tools/list", at(3), &wanted, false).unwrap();
        attempts
            .count("tools/call", at(300), &wanted, false)
            .unwrap();
    }

    #[test]
    fn two_where_nothing_new_is_asked_for() {
        let (mut attempts, wanted) = (Attempts::default(), Scopes::default());
        attempts.count("x", at(0), &wanted, true).unwrap();
        attempts.count("x", at(0), &wanted, true).unwrap();
        assert!(attempts.count("x", at(0), &wanted, true).is_err());
        attempts.count("x", at(0), &wanted, false).unwrap();
    }

    #[test]
    fn operations_are_bounded() {
        let (mut attempts, wanted) = (Attempts::default(), Scopes::default());
        for n in 0..MAX_OPERATIONS {
            attempts
                .count(&format!("m{n}"), at(0), &wanted, false)
                .unwrap();
        }
        assert!(attempts.count("one-more", at(0), &wanted, false).is_err());
        attempts.count("one-more", at(400), &wanted, false).unwrap();
        assert_eq!(attempts.0.len(), 1);
    }
}
