//! Issuers that speak for some tenants, not for all.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures_core::future::BoxFuture;

use super::{TokenVerifier, VerifyError};
use crate::caller::Caller;
use crate::claims::read::is_text;
use crate::error::ConfigError;

/// Accepts the tokens of a verifier for the tenants that its issuer speaks for.
///
/// A server that trusts several issuers belongs behind one of these for each: otherwise every issuer could name callers of
/// every tenant.
///
/// ```
/// # use std::sync::Arc;
/// # use fastmcp_auth::{TenantVerifier, TokenVerifier};
/// # fn example(customer: Arc<dyn TokenVerifier>) -> Result<TenantVerifier, fastmcp_auth::ConfigError> {
/// TenantVerifier::new(customer, ["acme".to_owned()])
/// # }
/// ```
pub struct TenantVerifier {
    inner: Arc<dyn TokenVerifier>,
    tenants: BTreeSet<String>,
}

impl TenantVerifier {
    /// Puts the check behind `inner`.
    ///
    /// # Errors
    /// If there is no tenant, or one whose name no token can bear.
    pub fn new(
        inner: Arc<dyn TokenVerifier>,
        tenants: impl IntoIterator<Item = String>,
    ) -> Result<Self, ConfigError> {
        let tenants: BTreeSet<String> = tenants.into_iter().collect();
        ConfigError::unless_empty("tenants", tenants.is_empty())?;
        match tenants.iter().find(|tenant| !is_text(tenant)) {
            Some(tenant) => Err(ConfigError::Unfit {
                field: "tenants",
                value: tenant.chars().take(80).collect(),
                problem: "must be 1 to 255 bytes, printable, without spaces at its ends",
            }),
            None => Ok(Self { inner, tenants }),
        }
    }
}

impl TokenVerifier for TenantVerifier {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, VerifyError>> {
        Box::pin(async move {
            let caller = self.inner.verify(token).await?;
            match caller.tenant() {
                Some(tenant) if self.tenants.contains(tenant) => Ok(caller),
                Some(_) => Err(VerifyError::Tenant),
                None => Err(VerifyError::NoTenant),
            }
        })
    }

    fn required_scopes(&self) -> &[String] {
        self.inner.required_scopes()
    }
}

impl fmt::Debug for TenantVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantVerifier")
            .field("tenants", &self.tenants)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    struct Knows(Option<&'static str>);

    impl TokenVerifier for Knows {
        fn verify<'a>(&'a self, _token: &'a str) -> BoxFuture<'a, Result<Caller, VerifyError>> {
            let caller = testing::caller("ada");
            let caller = match self.0 {
                Some(tenant) => caller.tenant(tenant),
                None => caller,
            };
            Box::pin(async move { Ok(caller.build()) })
        }
    }

    #[tokio::test]
    async fn an_issuer_speaks_for_its_own_tenants() {
        let verify = async |tenant| {
            let verifier = TenantVerifier::new(Arc::new(Knows(tenant)), ["acme".to_owned()]);
            let verifier = verifier.unwrap();
            verifier.verify("token").await.map_err(|e| e.reason())
        };
        assert_eq!(verify(Some("acme")).await.unwrap().tenant(), Some("acme"));
        assert_eq!(verify(Some("globex")).await.unwrap_err(), "tenant");
        assert_eq!(verify(None).await.unwrap_err(), "no_tenant");
    }

    #[test]
    fn tenants_are_named() {
        let verifier = |tenants: &[&str]| {
            TenantVerifier::new(Arc::new(Knows(None)), tenants.iter().map(|&t| t.to_owned()))
        };
        assert!(verifier(&[]).is_err());
        assert!(verifier(&["acme", " x"]).is_err());
    }
}
