//! Who hears of calls that wait for a person.

use std::sync::Arc;

use fastmcp_guard::clock::Clock;
use secrecy::ExposeSecret as _;

use super::{Error, verifier::secret_file};
use crate::{
    announce::{Announcer, Webhook},
    config::Config,
};

const PART: &str = "APPROVAL_WEBHOOK_SECRET_FILE";

/// What sends, and what hands it notices, where an address is configured.
pub(super) fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Option<(Arc<Webhook>, Announcer)>, Error> {
    let Some(webhook) = &config.approval_webhook else {
        return Ok(None);
    };
    let secret = secret_file(&webhook.secret_file)?;
    if !(32..=1_024).contains(&secret.expose_secret().len()) {
        let why = "it must hold a secret of 32 to 1024 bytes; `openssl rand -hex 32` makes one";
        return Err(Error::part(PART)(why));
    }
    let made = Webhook::new(webhook.url.clone(), &secret, Arc::clone(clock));
    made.map(Some).map_err(Error::part("APPROVAL_WEBHOOK_URL"))
}
