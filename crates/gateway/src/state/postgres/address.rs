//! Where a PostgreSQL database is.

use std::{fmt, str::FromStr as _, sync::Arc};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

/// The longest address, in bytes.
const MAX_BYTES: usize = 4_096;
/// The parameters of an address. Source: postgresql.org, "Parameter Key Words", as far as the driver knows them.
const PARAMETERS: [&str; 13] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

/// The address of a PostgreSQL database: `postgres://user:password@host:5432/database?sslmode=verify-full`.
///
/// Neither `Debug` nor `Display` shows the password or anything behind the question mark. What the address leaves out
/// the driver takes where every client of PostgreSQL takes it: `PGPASSWORD`, `PGSSLROOTCERT` and their like, and
/// `~/.pgpass`.
#[derive(Clone)]
pub struct Address {
    parsed: Arc<Parsed>,
}

struct Parsed {
    options: PgConnectOptions,
    url: Url,
}

/// A text that is not an [`Address`]. It does not repeat the text, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// It is no address of PostgreSQL.
    #[error("it takes an address such as postgres://user:password@host:5432/database")]
    Form,
    /// It names no database.
    #[error("it must name a database: postgres://user:password@host:5432/database")]
    Database,
    /// It names no host.
    #[error("it must name a host: postgres://user:password@host:5432/database")]
    Host,
    /// A parameter is not known.
    #[error(
        "`{0}` is no parameter of an address; sslmode, sslrootcert, sslcert, sslkey, host, application_name and options are"
    )]
    Parameter(String),
    /// A parameter has a value that it cannot have.
    #[error(
        "a parameter has a value that it cannot have; sslmode takes disable, prefer, require, verify-ca or verify-full"
    )]
    Value,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`] says what is wrong, without repeating the text.
    ///
    /// ```
    /// use fastmcp_gateway::state::Address;
    ///
    /// let address = Address::parse("postgres://gateway:hunter2@db.internal/fastmcp?sslmode=verify-full")?;
    /// assert_eq!(address.to_string(), "postgres://gateway@db.internal:5432/fastmcp");
    /// # Ok::<_, fastmcp_gateway::state::InvalidAddress>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let url = Url::parse(text)
            .ok()
            .filter(|_| text.len() <= MAX_BYTES)
            .filter(|url| matches!(url.scheme(), "postgres" | "postgresql"))
            .ok_or(InvalidAddress::Form)?;
        let mut named = (!url.host_str().unwrap_or_default().is_empty(), false);
        named.1 = !url.path().trim_matches('/').is_empty();
        for (key, _) in url.query_pairs() {
            // A setting of the session: options[statement_timeout]=1000.
            let is_known = PARAMETERS.contains(&&*key) || key.starts_with("options[");
            if !is_known {
                return Err(InvalidAddress::Parameter(key.chars().take(64).collect()));
            }
            named.0 |= matches!(&*key, "host" | "hostaddr");
            named.1 |= key == "dbname";
        }
        match named {
            (false, _) => return Err(InvalidAddress::Host),
            (_, false) => return Err(InvalidAddress::Database),
            (true, true) => {}
        }
        let options = PgConnectOptions::from_str(text).map_err(|_| InvalidAddress::Value)?;
        let parsed = Arc::new(Parsed { options, url });
        Ok(Self { parsed })
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.parsed.options
    }

    /// Whether the server is on this machine, or its certificate is checked: whether nobody between can read or change
    /// what is said.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        let host = self.options().get_host();
        let is_near = self.options().get_socket().is_some()
            || host.starts_with('/')
            || host.eq_ignore_ascii_case("localhost")
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        is_near
            || matches!(
                self.options().get_ssl_mode(),
                PgSslMode::VerifyCa | PgSslMode::VerifyFull
            )
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.parsed.url == other.parsed.url
    }
}

impl Eq for Address {}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = self.options();
        let (user, host, port) = (
            options.get_username(),
            options.get_host(),
            options.get_port(),
        );
        let database = options.get_database().unwrap_or_default();
        match options.get_socket() {
            Some(socket) => write!(f, "postgres://{user}@[{}]/{database}", socket.display()),
            None => write!(f, "postgres://{user}@{host}:{port}/{database}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.to_string()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_never_shows_its_password() {
        for text in [
            "postgres://ada:hunter2@db/fastmcp",
            "postgresql://ada@db/fastmcp?password=hunter2",
            "postgres://ada:hunter2@db:5432/fastmcp?sslmode=require&options[search_path]=hunter2",
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), "postgres://ada@db:5432/fastmcp");
            assert!(!format!("{address:?}").contains("hunter2"));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_repeated() {
        for (text, why) in [
            ("hunter2", InvalidAddress::Form),
            ("mysql://ada:hunter2@db/fastmcp", InvalidAddress::Form),
            ("postgres://ada:hunter2@db", InvalidAddress::Database),
            ("postgres:///fastmcp", InvalidAddress::Host),
            (
                "postgres://db/fastmcp?sslmod=require",
                InvalidAddress::Parameter("sslmod".to_owned()),
            ),
            (
                "postgres://db/fastmcp?sslmode=hunter2",
                InvalidAddress::Value,
            ),
            ("postgres://db/fastmcp?port=x", InvalidAddress::Value),
        ] {
            let refused = Address::parse(text).unwrap_err();
            assert_eq!(refused, why, "{text}");
            assert!(!refused.to_string().contains("hunter2"));
        }
        let long = format!("postgres://db/{}", "x".repeat(MAX_BYTES));
        assert_eq!(Address::parse(&long), Err(InvalidAddress::Form));
    }

    #[test]
    fn only_what_is_near_or_checked_is_guarded() {
        for (text, is_guarded) in [
            ("postgres://127.0.0.1/x", true),
            ("postgres://[::1]/x", true),
            ("postgres://localhost/x", true),
            ("postgres:///x?host=/run/postgresql", true),
            ("postgres://db/x?sslmode=verify-full", true),
            ("postgres://db/x?sslmode=require", false),
            ("postgres://db/x?sslmode=prefer", false),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.is_guarded(), is_guarded, "{text}");
        }
    }
}
