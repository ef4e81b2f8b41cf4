//! The stable key of a caller.

use std::fmt;
use std::sync::Arc;

use super::CallerKind;

/// Who somebody is, as one comparable value: kind, issuer, tenant and subject.
///
/// Sessions, tickets, cursors and handles are bound to it; a request by another principal meets them as unknown. Two
/// different quadruples never share a key, whatever characters they hold. Cheap to clone; stable across processes and
/// releases, so that it may be stored.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal(Arc<str>);

impl Principal {
    pub(super) fn of(
        kind: CallerKind,
        issuer: Option<&str>,
        tenant: Option<&str>,
        subject: &str,
    ) -> Self {
        // A JSON array is injective: quotes and separators inside the parts are escaped.
        let parts = serde_json::json!([kind.as_str(), issuer, tenant, subject]);
        Self(parts.to_string().into())
    }

    /// The key as text: a JSON array of kind, issuer, tenant and subject.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principal({})", self.0)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_is_fixed() {
        let principal = Principal::of(CallerKind::Token, Some("https://idp"), Some("acme"), "a\"b");
        assert_eq!(
            principal.as_str(),
            r#"["token","https://idp","acme","a\"b"]"#
        );
    }

    proptest! {
        #[test]
        fn different_parts_give_different_keys(
            left in (".{0,6}", proptest::option::of(".{0,6}"), ".{0,6}"),
            right in (".{0,6}", proptest::option::of(".{0,6}"), ".{0,6}"),
        ) {
            let key = |(issuer, tenant, subject): &(String, Option<String>, String)| {
                Principal::of(CallerKind::Token, Some(issuer), tenant.as_deref(), subject)
            };
            prop_assert_eq!(key(&left) == key(&right), left == right);
        }
    }
}
