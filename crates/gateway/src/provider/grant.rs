//! The credential of adapters whose system lives in this process.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fastmcp_guard::random::Random;

use super::{Effect, Grant, ProviderError};

/// How long an internal grant lives.
const LIFETIME: Duration = Duration::from_secs(300);

/// Makes a grant for `provider_id`: 32 random bytes, good for five minutes, for this provider alone.
///
/// # Errors
///
/// When the source of randomness fails.
pub(super) fn internal(provider_id: &str, random: &dyn Random) -> Result<Grant, ProviderError> {
    let mut secret = [0_u8; 32];
    random.fill(&mut secret).map_err(|error| {
        ProviderError::failed(Effect::None, "no credential could be made")
            .with_detail(error.to_string())
    })?;
    Ok(
        Grant::new("Bearer", URL_SAFE_NO_PAD.encode(secret), LIFETIME)
            .with_audience(format!("fastmcp:{provider_id}")),
    )
}
