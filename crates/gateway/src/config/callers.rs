//! How callers are known beside their tokens: API keys and client certificates.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use fastmcp_guard::http::Trust;

use super::{
    WebhookConfig,
    parse::{self, truth},
    reader::Reader,
};
use crate::{keys::API_KEYS_FILE, tls::TlsFiles};

/// The file of API keys; it need not be there.
pub(super) fn api_keys(reader: &mut Reader<'_>, data_dir: &Path) -> PathBuf {
    const NAME: &str = "API_KEYS_FILE";
    let path = reader.path(NAME, data_dir.join(API_KEYS_FILE));
    if reader.is_set(NAME) && !path.exists() {
        reader.warn(
            NAME,
            "names a file that is not there: no key lets anybody in until `fastmcp token key create` has made it",
        );
    }
    path
}

/// The files of TLS. `None` outside means that a problem was noted.
#[expect(
    clippy::option_option,
    reason = "not set and not usable are two things"
)]
pub(super) fn tls(reader: &mut Reader<'_>) -> Option<Option<TlsFiles>> {
    let require = reader.read("REQUIRE_MTLS", truth);
    let mut file = |name| {
        let named = reader.read_if_set(name, |text| Ok(PathBuf::from(text)))?;
        let Some(path) = named.map(|path| reader.resolve(&path)) else {
            return Some(None);
        };
        if path.is_file() {
            return Some(Some(path));
        }
        reader.problem(name, "there is no such file; name one in PEM");
        None
    };
    let (certificate, key) = (file("TLS_CERT_FILE"), file("TLS_KEY_FILE"));
    let client_ca = file("TLS_CLIENT_CA_FILE");
    let (certificate, key, client_ca, require) = (certificate?, key?, client_ca?, require?);
    let files = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsFiles {
            certificate,
            key,
            client_ca,
            require,
        }),
        (None, None) => {
            if client_ca.is_some() {
                reader.problem("TLS_CLIENT_CA_FILE", "clients show certificates only where TLS is spoken; set `TLS_CERT_FILE` and `TLS_KEY_FILE`");
            }
            None
        }
        (Some(_), None) => {
            reader.problem("TLS_CERT_FILE", "its key is missing; set `TLS_KEY_FILE`");
            None
        }
        (None, Some(_)) => {
            reader.problem(
                "TLS_KEY_FILE",
                "its certificate is missing; set `TLS_CERT_FILE`",
            );
            None
        }
    };
    let verifies = files
        .as_ref()
        .is_some_and(|files| files.client_ca.is_some());
    if require && !verifies {
        reader.problem("REQUIRE_MTLS", "client certificates can be required only where the gateway itself speaks TLS and knows who vouches for them; set `TLS_CERT_FILE`, `TLS_KEY_FILE` and `TLS_CLIENT_CA_FILE`");
    }
    Some(files)
}

/// Who hears of approvals. `None` outside means that a problem was noted.
#[expect(
    clippy::option_option,
    reason = "not set and not usable are two things"
)]
pub(super) fn approval_webhook(reader: &mut Reader<'_>) -> Option<Option<WebhookConfig>> {
    const SECRET: &str = "APPROVAL_WEBHOOK_SECRET_FILE";
    let url = reader.read_if_set("APPROVAL_WEBHOOK_URL", parse::jwks_url);
    let file = reader.read_if_set(SECRET, |text| Ok(PathBuf::from(text)));
    match (url?, file?) {
        (None, None) => Some(None),
        (None, Some(_)) => {
            reader.problem(SECRET, "it signs nothing without `APPROVAL_WEBHOOK_URL`");
            None
        }
        (Some(_), None) => {
            let fault = "what is sent there is signed; set `APPROVAL_WEBHOOK_SECRET_FILE` to a file with a secret of 32 to 1024 bytes";
            reader.problem("APPROVAL_WEBHOOK_URL", fault);
            None
        }
        (Some(url), Some(file)) => {
            let secret_file = reader.resolve(&file);
            if !secret_file.is_file() {
                reader.problem(
                    SECRET,
                    "there is no such file; put a secret of 32 to 1024 bytes into one",
                );
                return None;
            }
            Some(Some(WebhookConfig { url, secret_file }))
        }
    }
}

/// Whom Redis is vouched for by. `None` outside means that a problem was noted.
#[expect(
    clippy::option_option,
    reason = "not set and not usable are two things"
)]
pub(super) fn redis_authorities(reader: &mut Reader<'_>) -> Option<Option<Arc<[u8]>>> {
    const NAME: &str = "REDIS_CA_FILE";
    let Some(path) = reader.read_if_set(NAME, |text| Ok(PathBuf::from(text)))? else {
        return Some(None);
    };
    let read = std::fs::read(reader.resolve(&path)).map_err(|error| error.to_string());
    let read = read.and_then(|pem| match Trust::none().with_pem(&pem) {
        Ok(_) => Ok(pem),
        Err(error) => Err(error.to_string()),
    });
    match read {
        Ok(pem) => Some(Some(pem.into())),
        Err(fault) => {
            reader.problem(NAME, format!("it cannot be used: {fault}"));
            None
        }
    }
}
