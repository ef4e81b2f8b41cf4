//! How a fetcher is set up.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio_util::task::TaskTracker;
use url::Url;

use super::error::FetchError;
use super::profile::{AllowedHost, Profile, Rules};
use super::resolver::{Resolver, SystemResolver};
use super::tls::Trust;

/// Most redirects that can be asked for.
const LIMIT_REDIRECTS: u8 = 5;

/// Most bytes of a body that can be asked for: 1 GiB. A body is held in memory whole.
const LIMIT_BYTES: usize = 1 << 30;

/// Longest time that can be asked for: 1 hour.
const LIMIT_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Which schemes may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Schemes {
    /// `https` alone.
    HttpsOnly,
    /// `http` too; a redirect still never leads from `https` to it.
    HttpAndHttps,
}

impl Schemes {
    pub(super) fn allow(self, scheme: &str) -> bool {
        scheme == "https" || (scheme == "http" && self == Self::HttpAndHttps)
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::HttpsOnly => "https",
            Self::HttpAndHttps => "http or https",
        }
    }
}

/// Which ports may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ports {
    /// The scheme's own: 443 for `https`, 80 for `http`. Others speak protocols that a crafted request can confuse.
    Standard,
    /// Any.
    Any,
}

/// How a fetcher is set up. Begin with [`Config::public`] or [`Config::configured`] and change fields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Who may be reached.
    pub profile: Profile,
    /// Which schemes may be used; default `https` alone for public hosts, both for configured ones.
    pub schemes: Schemes,
    /// Which ports may be used; default the standard ones for public hosts, any for configured ones.
    pub ports: Ports,
    /// Time for looking up the host, connecting and the TLS handshake; above zero, at most 1 hour, default 5 s.
    pub connect_timeout: Duration,
    /// Time for a whole request with its redirects and body; above zero, at most 1 hour, default 30 s.
    pub total_timeout: Duration,
    /// Most bytes of the body of an answer; 1 byte to 1 GiB, default 512 KiB.
    pub max_bytes: usize,
    /// Most redirects that a `GET` or `HEAD` follows; 0 to 5, default 5 for public hosts, 0 for configured ones.
    pub max_redirects: u8,
    /// What `user-agent` says where a request does not; default `fastmcp/` and the version.
    pub user_agent: String,
    /// Whose certificates are trusted; default Mozilla's roots.
    pub trust: Trust,
    /// What looks up names; default the operating system.
    pub resolver: Arc<dyn Resolver>,
    /// Where the tasks that drive connections run, for an owner who waits for them. They end when the last clone of the
    /// fetcher and the last body of its answers are gone.
    pub tasks: TaskTracker,
}

impl Config {
    /// For URLs that come from outside: public hosts alone.
    #[must_use]
    pub fn public() -> Self {
        Self::new(
            Profile::Public,
            Schemes::HttpsOnly,
            Ports::Standard,
            LIMIT_REDIRECTS,
        )
    }

    /// For URLs of the operator: the named hosts alone, wherever they are.
    #[must_use]
    pub fn configured(hosts: Vec<AllowedHost>) -> Self {
        Self::new(
            Profile::Configured(hosts),
            Schemes::HttpAndHttps,
            Ports::Any,
            0,
        )
    }

    /// For one server that a person named, at a terminal or in a configuration: the host and port of `url` alone, which
    /// may be on this machine or in a private network, over `http` too.
    ///
    /// # Errors
    ///
    /// [`FetchError::Config`] if the URL names no host.
    pub fn upstream(url: &Url) -> Result<Self, FetchError> {
        Ok(Self::configured(vec![AllowedHost::of_url(url)?]))
    }

    fn new(profile: Profile, schemes: Schemes, ports: Ports, max_redirects: u8) -> Self {
        Self {
            profile,
            schemes,
            ports,
            connect_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(30),
            max_bytes: 512 * 1024,
            max_redirects,
            user_agent: concat!("fastmcp/", env!("CARGO_PKG_VERSION")).to_owned(),
            trust: Trust::default(),
            resolver: Arc::new(SystemResolver),
            tasks: TaskTracker::new(),
        }
    }

    pub(super) fn rules(&self) -> Rules {
        Rules {
            profile: self.profile.clone(),
            schemes: self.schemes,
            ports: self.ports,
        }
    }

    /// Refuses settings out of their range, and returns the user agent as a header.
    pub(super) fn check(&self) -> Result<HeaderValue, FetchError> {
        let refuse = |field, reason: &str| {
            Err(FetchError::Config {
                field,
                reason: reason.to_owned(),
            })
        };
        let in_range = |timeout: Duration| !timeout.is_zero() && timeout <= LIMIT_TIMEOUT;
        if !in_range(self.connect_timeout) {
            return refuse(
                "connect_timeout",
                "give more than 0 seconds and at most 1 hour",
            );
        }
        if !in_range(self.total_timeout) {
            return refuse(
                "total_timeout",
                "give more than 0 seconds and at most 1 hour",
            );
        }
        if !(1..=LIMIT_BYTES).contains(&self.max_bytes) {
            return refuse("max_bytes", "give 1 to 1073741824");
        }
        if self.max_redirects > LIMIT_REDIRECTS {
            return refuse("max_redirects", "give 0 to 5");
        }
        match HeaderValue::from_str(&self.user_agent) {
            Ok(value) if !value.is_empty() => Ok(value),
            _ => refuse("user_agent", "give visible ASCII characters"),
        }
    }
}
