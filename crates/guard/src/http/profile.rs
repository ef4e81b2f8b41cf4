//! Who may be reached: anybody public, or hosts that were named.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

use super::address::AddressKind;
use super::config::{Ports, Schemes};
use super::error::{FetchError, Refusal};

/// Longest URL that is looked at, in bytes; servers commonly take 8 KiB.
const MAX_URL_BYTES: usize = 8 * 1024;

/// Who may be reached.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Profile {
    /// Any host all of whose addresses are public: for URLs that come from outside.
    Public,
    /// The named hosts alone, which may be on this machine or in a private network: for URLs of the operator.
    Configured(Vec<AllowedHost>),
}

/// A host that an operator named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    host: Host<String>,
    port: Option<u16>,
    networks: Vec<IpNet>,
}

impl AllowedHost {
    /// The host of that name or address, on any port; an IPv6 address stands in brackets.
    ///
    /// Its addresses may be public, loopback, private or carrier-shared, but no cloud's metadata service: for others,
    /// name the network with [`AllowedHost::within`].
    ///
    /// # Errors
    ///
    /// [`FetchError::Config`] if this is no host.
    pub fn new(host: &str) -> Result<Self, FetchError> {
        match Host::parse(host) {
            Ok(host) => Ok(Self {
                host: absolute(host),
                port: None,
                networks: Vec::new(),
            }),
            Err(error) => Err(FetchError::Config {
                field: "host",
                reason: format!(
                    "{error}: give a name, an IPv4 address or an IPv6 address in brackets"
                ),
            }),
        }
    }

    /// The host and port of `url`.
    ///
    /// # Errors
    ///
    /// [`FetchError::Config`] if the URL has no host or no port.
    pub fn of_url(url: &Url) -> Result<Self, FetchError> {
        match (url.host(), url.port_or_known_default()) {
            (Some(host), Some(port)) => Ok(Self {
                host: absolute(host.to_owned()),
                port: Some(port),
                networks: Vec::new(),
            }),
            _ => Err(FetchError::Config {
                field: "url",
                reason: "it names no host: give an http or https url".into(),
            }),
        }
    }

    /// Allows this port alone.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Allows addresses in `network`, of whatever kind; once a network is named, only named ones may be reached.
    #[must_use]
    pub fn within(mut self, network: IpNet) -> Self {
        self.networks.push(network);
        self
    }

    fn names(&self, host: &Host<String>, port: u16) -> bool {
        self.host == *host && self.port.is_none_or(|allowed| allowed == port)
    }

    fn may_be_at(&self, address: IpAddr) -> bool {
        if self.networks.is_empty() {
            AddressKind::of(address).is_usual_upstream()
        } else {
            self.networks
                .iter()
                .any(|network| network.contains(&address))
        }
    }
}

/// A host without the dot that marks a name as complete: it is the same host.
fn absolute(host: Host<String>) -> Host<String> {
    match host {
        Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(&name).to_owned()),
        address => address,
    }
}

/// The rules that every connection and every URL is held against.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) profile: Profile,
    pub(super) schemes: Schemes,
    pub(super) ports: Ports,
}

/// Where a URL leads, once its text was accepted.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    /// The host as it is looked up and shown.
    pub(super) name: String,
    pub(super) port: u16,
    /// The address, if the host is one and nothing is to be looked up.
    pub(super) literal: Option<IpAddr>,
    host: Host<String>,
}

impl Rules {
    /// Judges the text of a URL; an address that stands in it is judged as well.
    pub(super) fn destination(&self, url: &Url) -> Result<Destination, Refusal> {
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(Refusal::UrlTooLong {
                max_bytes: MAX_URL_BYTES,
            });
        }
        if !self.schemes.allow(url.scheme()) {
            return Err(Refusal::Scheme {
                scheme: url.scheme().to_owned(),
                allowed: self.schemes.as_str(),
            });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo);
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Refusal::NoHost);
        };
        let (name, host) = (host.to_string(), absolute(host.to_owned()));
        if self.ports == Ports::Standard && url.port().is_some() {
            return Err(Refusal::Port { host: name, port });
        }
        let literal = match host {
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
            Host::Domain(_) => None,
        };
        let destination = Destination {
            name,
            port,
            literal,
            host,
        };
        if !self.names(&destination) {
            return Err(Refusal::HostNotAllowed {
                host: destination.name,
                port,
            });
        }
        if let Some(address) = literal {
            self.judge(&destination, address)?;
        }
        Ok(destination)
    }

    fn names(&self, to: &Destination) -> bool {
        match &self.profile {
            Profile::Public => true,
            Profile::Configured(hosts) => {
                hosts.iter().any(|allowed| allowed.names(&to.host, to.port))
            }
        }
    }

    /// Judges one address of a destination.
    pub(super) fn judge(&self, to: &Destination, address: IpAddr) -> Result<(), Refusal> {
        let kind = AddressKind::of(address);
        let allowed = match &self.profile {
            Profile::Public => kind == AddressKind::Public,
            Profile::Configured(hosts) => hosts
                .iter()
                .filter(|allowed| allowed.names(&to.host, to.port))
                .any(|allowed| allowed.may_be_at(address.to_canonical())),
        };
        if allowed {
            return Ok(());
        }
        tracing::debug!(host = %to.name, %address, %kind, "address refused");
        Err(Refusal::Address {
            host: to.name.clone(),
            address,
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public() -> Rules {
        Rules {
            profile: Profile::Public,
            schemes: Schemes::HttpAndHttps,
            ports: Ports::Any,
        }
    }

    fn configured(hosts: Vec<AllowedHost>) -> Rules {
        Rules {
            profile: Profile::Configured(hosts),
            schemes: Schemes::HttpAndHttps,
            ports: Ports::Any,
        }
    }

    fn ask(rules: &Rules, url: &str) -> Result<(), Refusal> {
        let url = Url::parse(url).map_err(|_| Refusal::Unparsable)?;
        rules.destination(&url).map(|_| ())
    }

    /// Spellings of addresses that are not public, as attackers write them.
    const HOSTILE: &[&str] = &[
        "http://127.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://017700000001/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://①②⑦.⓪.⓪.①/",
        "http://１２７.0.0.1/",
        "http://%31%32%37.0.0.1/",
        "http://0/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://192.168.1.1/",
        "http://100.64.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0xa9fea9fe/",
        "http://2852039166/",
        "http://168.63.129.16/",
        "http://255.255.255.255/",
        "http://224.0.0.1/",
        "http://[::1]/",
        "http://[::]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:1::1]/",
        "http://[2606:4700::5efe:7f00:1]/",
        "http://[fe80::1]/",
        "http://[fc00::1]/",
        "http://[fd00:ec2::254]/",
        "http://[ff02::1]/",
    ];

    #[test]
    fn hostile_literals_are_refused_in_every_spelling() {
        assert!(HOSTILE.len() >= 27);
        for url in HOSTILE {
            assert!(
                matches!(ask(&public(), url), Err(Refusal::Address { .. })),
                "{url}: {:?}",
                ask(&public(), url)
            );
        }
        for url in [
            "http://8.8.8.8/",
            "https://[2606:4700::1111]/",
            "https://example.com:8443/x?y#z",
        ] {
            assert_eq!(ask(&public(), url), Ok(()), "{url}");
        }
    }

    #[test]
    fn the_text_of_a_url_is_judged_first() {
        let rules = Rules {
            schemes: Schemes::HttpsOnly,
            ports: Ports::Standard,
            ..public()
        };
        for url in [
            "http://example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com/",
            "data:,x",
        ] {
            assert!(
                matches!(ask(&rules, url), Err(Refusal::Scheme { .. })),
                "{url}"
            );
        }
        for url in [
            "https://user@example.com/",
            "https://user:pass@example.com/",
            "https://:pass@example.com/",
        ] {
            assert_eq!(ask(&rules, url), Err(Refusal::UserInfo), "{url}");
        }
        assert!(matches!(
            ask(&rules, "https://example.com:22/"),
            Err(Refusal::Port { port: 22, .. })
        ));
        assert_eq!(ask(&rules, "https://example.com:443/"), Ok(()));
        let long = format!("https://example.com/{}", "x".repeat(MAX_URL_BYTES));
        assert!(matches!(
            ask(&rules, &long),
            Err(Refusal::UrlTooLong { .. })
        ));
        for url in [
            "https://",
            "https://[fe80::1%25eth0]/",
            "https://exa mple.com/",
            "https://example.com:99999/",
        ] {
            assert_eq!(ask(&rules, url), Err(Refusal::Unparsable), "{url}");
        }
    }

    #[test]
    fn configured_hosts_are_matched_whole_and_with_their_port() {
        let upstream =
            AllowedHost::of_url(&Url::parse("http://Tools.internal:8080/mcp").unwrap()).unwrap();
        let rules = configured(vec![
            upstream,
            AllowedHost::new("[::1]").unwrap().with_port(9000),
        ]);
        for url in [
            "http://tools.internal:8080/",
            "http://TOOLS.internal.:8080/x",
            "http://[::1]:9000/",
        ] {
            assert_eq!(ask(&rules, url), Ok(()), "{url}");
        }
        for url in [
            "http://tools.internal/",
            "http://tools.internal:8081/",
            "http://evil.tools.internal:8080/",
            "http://tools.internal.evil.com:8080/",
            "http://[::1]:9001/",
            "http://127.0.0.1:9000/",
        ] {
            assert!(
                matches!(ask(&rules, url), Err(Refusal::HostNotAllowed { .. })),
                "{url}"
            );
        }
        assert!(AllowedHost::new("a b").is_err());
        assert!(AllowedHost::of_url(&Url::parse("data:,x").unwrap()).is_err());
    }

    #[test]
    fn a_configured_host_is_no_way_to_metadata_unless_its_network_is_named() {
        let at = |rules: &Rules, address: &str| {
            let to = rules
                .destination(&Url::parse("http://up.test/").unwrap())
                .unwrap();
            rules.judge(&to, address.parse().unwrap()).is_ok()
        };
        let usual = configured(vec![AllowedHost::new("up.test").unwrap()]);
        assert!(at(&usual, "10.0.0.1") && at(&usual, "127.0.0.1") && at(&usual, "8.8.8.8"));
        assert!(
            !at(&usual, "169.254.169.254")
                && !at(&usual, "::ffff:169.254.169.254")
                && !at(&usual, "0.0.0.0")
        );
        let named = AllowedHost::new("up.test")
            .unwrap()
            .within("169.254.169.254/32".parse().unwrap());
        let named = configured(vec![named]);
        assert!(at(&named, "169.254.169.254") && at(&named, "::ffff:169.254.169.254"));
        assert!(!at(&named, "10.0.0.1") && !at(&named, "8.8.8.8"));
    }

    #[test]
    fn a_message_does_not_map_the_inner_network() {
        let to = public()
            .destination(&Url::parse("http://inner.example/").unwrap())
            .unwrap();
        let message = public()
            .judge(&to, "10.11.12.13".parse().unwrap())
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "host `inner.example` has a private address, which may not be reached"
        );
    }
}
