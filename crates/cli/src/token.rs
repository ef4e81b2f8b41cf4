//! `fastmcp token`: tokens for development, keys for machines.

mod key;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use fastmcp_auth::certificate::Thumbprint;
use fastmcp_gateway::{
    config::JwtKeys,
    keys::{Development, Mint},
};
use fastmcp_guard::clock::{Clock as _, SystemClock};
use jiff::SpanRelativeTo;

use crate::{Outcome, output, place::Place};

/// Make tokens for development, and keys for machines
#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    Mint(MintToken),
    Key(key::Key),
}

/// Mint a token with the gateway's development key, and print it alone
///
/// The gateway in the same data folder takes it. Roles say what the caller may do; `policies.yml` in the data folder
/// says what the roles are. Where the keys of an identity provider are configured, tokens come from there instead.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp token mint --sub agent-1 --role data-analyst
  TOKEN=$(fastmcp token mint --sub agent-1 --tenant acme --role data-analyst --role finance-write --ttl 1h)
  fastmcp token mint --sub reader --role data-admin --scope database.read --scope tools.invoke:read   narrower than its role")]
struct MintToken {
    /// Who calls: the subject of the token
    #[arg(long, value_name = "NAME")]
    sub: String,
    /// For whom: the tenant
    #[arg(long, value_name = "NAME", default_value = "public")]
    tenant: String,
    /// A role; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A scope that the roles give and the token keeps; may be repeated [default: all that the roles give]
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// How long it lives, such as 90s, 30m, 1h: up to 720h [default: JWT_TTL_MIN, 10 minutes]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    ttl: Option<Duration>,
    /// Client certificate (PEM) that callers have to show with it
    #[arg(long, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl Token {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self.command {
            TokenCommand::Mint(mint) => mint.run(),
            TokenCommand::Key(key) => key.run(),
        }
    }
}

impl MintToken {
    fn run(self) -> anyhow::Result<Outcome> {
        let jwt = self.place.tokens()?;
        if jwt.keys == JwtKeys::None {
            bail!(
                "tokens for this gateway come from the issuers in JWT_ISSUERS_FILE; unset it to use development keys"
            );
        }
        if jwt.keys != JwtKeys::Development {
            bail!(
                "tokens for this gateway come from `{}`: JWT_JWKS_FILE or JWT_JWKS_URL is set; unset it to use development keys",
                jwt.issuer
            );
        }
        let keys = Development::open_or_generate(&jwt.data_dir)
            .context("development keys cannot be used")?;
        let certificate = self.client_cert.as_deref().map(certificate).transpose()?;
        let token = keys.mint(&Mint {
            sub: self.sub,
            tenant: self.tenant,
            roles: self.roles,
            scopes: self.scopes,
            ttl: self.ttl.unwrap_or(jwt.ttl),
            issuer: jwt.issuer,
            audience: jwt.audience,
            certificate,
            issued_at: SystemClock.now(),
        })?;
        output::say(&token)?;
        Ok(Outcome::Passed)
    }
}

/// The thumbprint of the certificate in a file.
fn certificate(path: &Path) -> anyhow::Result<Thumbprint> {
    let text = output::read_small(path, 1024 * 1024)?;
    Thumbprint::of_pem(&text)
        .with_context(|| format!("`{}` holds no certificate in PEM", path.display()))
}

/// Reads a lifetime such as `1h`: whole seconds, 1 s to 30 days.
fn lifetime(text: &str) -> Result<Duration, String> {
    let time = time(text, Duration::from_secs(30 * 24 * 3_600));
    time.ok_or_else(|| "use a time such as 90s, 30m or 1h, 1s to 720h".to_owned())
}

/// Reads a time as people write it: whole seconds, 1 s to `most`. A day has 24 hours.
fn time(text: &str, most: Duration) -> Option<Duration> {
    let span: jiff::Span = text.parse().ok()?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let time = Duration::try_from(time).ok()?;
    let fits = time.subsec_nanos() == 0 && !time.is_zero() && time <= most;
    fits.then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1_800),
            ("1h", 3_600),
            ("1h 30m", 5_400),
            ("720h", 2_592_000),
        ] {
            assert_eq!(lifetime(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "0s",
            "-1h",
            "721h",
            "10",
            "soon",
            "1.5s",
            "99999999999999999999h",
        ] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }
}
