//! Who comes in: the same for both doors.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use fastmcp::{
    server::{Admission, Authenticate},
    transport::{ClientCertificate, Denied, Peer, TurnedAway},
};
use fastmcp_auth::{
    AuthenticateError, Authenticator, Caller, Connection,
    certificate::{self, BindingError},
};
use fastmcp_guard::random::Random;
use fastmcp_protocol::{ErrorCode, RpcError};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use crate::{
    audit::{Audit, From},
    call::CorrId,
    error::{Code, Error},
    telemetry::Telemetry,
};

/// Carries a correlation id, both ways.
pub const CORRELATION_ID: &str = "x-correlation-id";

/// Authenticates requests, and records whom it turns away.
#[derive(Clone, Debug)]
pub struct Door {
    authenticator: Arc<Authenticator>,
    audit: Audit,
    telemetry: Telemetry,
    random: Arc<dyn Random>,
    proxies: Arc<[IpNet]>,
    bound: bool,
}

/// Why somebody is turned away.
#[derive(Debug)]
pub struct Refused {
    /// For the caller.
    pub error: Error,
    /// The `WWW-Authenticate` header.
    pub challenge: Option<HeaderValue>,
    status: u16,
}

impl Door {
    /// Creates a door. Addresses in `X-Forwarded-For` count only behind `proxies`.
    #[must_use]
    pub fn new(
        authenticator: Arc<Authenticator>,
        audit: Audit,
        telemetry: Telemetry,
        random: Arc<dyn Random>,
        proxies: Vec<IpNet>,
    ) -> Self {
        Self {
            authenticator,
            audit,
            telemetry,
            random,
            proxies: proxies.into(),
            bound: false,
        }
    }

    /// Lets in only those whose token is bound to the client certificate that they show.
    #[must_use]
    pub const fn require_bound(mut self, bound: bool) -> Self {
        self.bound = bound;
        self
    }

    /// The correlation id of a request: the client's own, or a new one.
    #[must_use]
    pub fn corr_id(&self, headers: &HeaderMap) -> CorrId {
        let sent = headers
            .get(CORRELATION_ID)
            .and_then(|v| v.to_str().ok())
            .and_then(CorrId::parse);
        sent.unwrap_or_else(|| CorrId::generate(&*self.random))
    }

    /// Records a request that is refused before it is a call. `caller` sent it, unless nobody asked who does.
    pub fn turned_away(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        caller: Option<&Caller>,
        why: TurnedAway<'_>,
    ) {
        let from = match caller {
            Some(caller) => From::Caller(caller),
            None => From::Unknown(self.client_address(headers, peer), agent(headers)),
        };
        self.telemetry.refused(why.reason.as_str());
        let corr_id = self.corr_id(headers);
        self.audit.refused_at_door(&corr_id, why.message, from);
    }

    /// Authenticates.
    ///
    /// # Errors
    ///
    /// [`Refused`], which is recorded.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn admit(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        certificate: Option<&ClientCertificate>,
        corr_id: &CorrId,
    ) -> Result<Caller, Refused> {
        let address = self.client_address(headers, peer);
        let agent = agent(headers);
        let why = match self.authenticator.authenticate(headers).await {
            Ok(caller) => {
                let shown = certificate.map(|ClientCertificate(der)| &**der);
                match certificate::check(&caller, shown, self.bound) {
                    Ok(()) => return Ok(caller.with_connection(Connection::new(address, agent))),
                    Err(unbound) => Why::Binding(unbound),
                }
            }
            Err(refused) => Why::Token(refused),
        };
        let error = why.message();
        self.telemetry.refused(why.reason());
        let from = From::Unknown(address, agent);
        self.audit.refused_at_door(corr_id, error.message(), from);
        tracing::info!(correlation_id = %corr_id, reason = why.reason(), "caller turned away");
        Err(Refused {
            challenge: self.challenge(&why),
            status: why.status(),
            error,
        })
    }

    fn challenge(&self, why: &Why) -> Option<HeaderValue> {
        match why {
            Why::Token(refused) => self.authenticator.challenge(refused),
            Why::Binding(unbound) => {
                let challenger = self.authenticator.challenger();
                Some(challenger.invalid_token(&unbound.to_string()))
            }
        }
    }

    /// The client's address: the peer's, or behind trusted proxies the last one that is not theirs.
    pub(crate) fn client_address(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Option<IpAddr> {
        let trusted = |address: IpAddr| self.proxies.iter().any(|net| net.contains(&address));
        let peer = peer?;
        if !trusted(peer) {
            return Some(peer);
        }
        let mut lines: Vec<&HeaderValue> = headers.get_all("x-forwarded-for").iter().collect();
        lines.reverse();
        for line in lines {
            for hop in line.to_str().ok()?.rsplit(',') {
                // What a trusted proxy could not name is nobody's address: a rule that reads it must not match.
                let hop = address_of(hop.trim())?;
                if !trusted(hop) {
                    return Some(hop);
                }
            }
        }
        Some(peer)
    }
}

fn agent(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(http::header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
}

/// An address, with or without a port.
fn address_of(hop: &str) -> Option<IpAddr> {
    hop.parse()
        .ok()
        .or_else(|| hop.parse::<SocketAddr>().ok().map(|a| a.ip()))
}

/// Why somebody is turned away.
#[derive(Debug)]
enum Why {
    Token(AuthenticateError),
    Binding(BindingError),
}

impl Why {
    fn status(&self) -> u16 {
        match self {
            Self::Token(refused) => refused.status().as_u16(),
            Self::Binding(_) => 401,
        }
    }

    const fn reason(&self) -> &'static str {
        match self {
            Self::Token(refused) => refused.reason(),
            Self::Binding(unbound) => unbound.reason(),
        }
    }

    fn message(&self) -> Error {
        let code = match self.status() {
            403 => Code::Forbidden,
            503 => Code::Unavailable,
            _ => Code::Unauthorized,
        };
        let start = match code {
            Code::Forbidden => "Access denied",
            Code::Unavailable => "Authentication is unavailable",
            _ => "Invalid token",
        };
        match self {
            Self::Token(refused) => {
                Error::new(code, format!("{start}: {}", refused.description())).with_log(refused)
            }
            Self::Binding(unbound) => Error::new(code, format!("{start}: {unbound}")),
        }
    }
}

impl Authenticate for Door {
    fn admit<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Admission> {
        Box::pin(async move {
            let corr_id = self.corr_id(&peer.headers);
            let address = peer.address.map(|a| a.ip());
            Self::admit(
                self,
                &peer.headers,
                address,
                peer.certificate.as_ref(),
                &corr_id,
            )
            .await
            .map_err(|refused| Denied {
                status: refused.status,
                challenge: refused.challenge,
                error: RpcError::new(
                    ErrorCode::INVALID_REQUEST,
                    refused.error.message().to_owned(),
                )
                .with_data(refused.error.to_json(corr_id.as_str())),
            })
        })
    }

    fn turned_away(&self, peer: &Peer, caller: Option<&Caller>, why: TurnedAway<'_>) {
        let address = peer.address.map(|a| a.ip());
        Self::turned_away(self, &peer.headers, address, caller, why);
    }

    fn step_up(&self, needed: &[String]) -> Option<HeaderValue> {
        let why = "the token lacks a scope that is needed here";
        let challenger = self.authenticator.challenger();
        Some(challenger.insufficient_scope(needed, why))
    }
}

#[cfg(test)]
mod tests {
    use fastmcp::transport::Reason;
    use fastmcp_audit::{Filter, Log, Options, Record, Signer, generate_key};
    use fastmcp_auth::{
        Challenger,
        caller::LocalIdentity,
        verifier::{StaticIdentity, StaticTokens},
    };
    use fastmcp_guard::{
        clock::{Clock, ManualClock, SystemClock, Timestamp},
        random::OsRandom,
    };
    use serde_json::Value;

    use super::*;

    fn audit(folder: &std::path::Path, clock: Arc<dyn Clock>) -> Audit {
        let signer = Signer::for_instance("t", &generate_key().unwrap()).unwrap();
        let log = Log::open(folder, Options::new("t", signer)).unwrap();
        Audit::new(log, b"salt", clock)
    }

    fn door(folder: &std::path::Path) -> Door {
        let clock = Arc::new(SystemClock);
        let audit = audit(folder, clock.clone());
        let tokens = StaticTokens::new()
            .token(
                "a-token-of-some-length",
                StaticIdentity {
                    subject: "t".to_owned(),
                    ..StaticIdentity::default()
                },
            )
            .unwrap();
        let verifier = tokens.build(clock.clone()).unwrap();
        let authenticator = Authenticator::new(Arc::new(verifier), Challenger::new());
        Door::new(
            Arc::new(authenticator),
            audit,
            Telemetry::new(),
            Arc::new(OsRandom),
            vec!["10.0.0.0/8".parse().unwrap()],
        )
    }

    #[tokio::test]
    async fn nobody_known_hides_what_known_callers_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let door = Door {
            audit: audit(&path, Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH))),
            ..door(&folder.path().join("other"))
        };
        let why = TurnedAway::new(Reason::Host, "elsewhere");
        for _ in 0..20 {
            door.turned_away(&HeaderMap::new(), None, None, why);
        }
        let caller = Caller::anonymous();
        let why = TurnedAway::new(Reason::Session, "not its own");
        door.turned_away(&HeaderMap::new(), None, Some(&caller), why);
        door.audit.close_log().unwrap();
        let records = fastmcp_audit::read(&path, Filter::default()).unwrap();
        let reasons = records.filter_map(|record| record.unwrap().reason);
        let reasons: Vec<_> = reasons.collect();
        assert_eq!(reasons.len(), 11, "{reasons:?}");
        assert_eq!(reasons[10], "not its own");
    }

    fn of(tenant: &str) -> Caller {
        Caller::local_as(LocalIdentity {
            subject: "al".to_owned(),
            tenant: Some(tenant.to_owned()),
            roles: Vec::new(),
            scopes: None,
        })
    }

    #[tokio::test]
    async fn no_caller_hides_what_another_is_refused_and_the_end_of_a_flood_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let door = Door {
            audit: audit(&path, clock.clone()),
            ..door(&folder.path().join("other"))
        };
        let turn_away = |caller: &Caller, why: &str| {
            let why = TurnedAway::new(Reason::Session, why);
            door.turned_away(&HeaderMap::new(), None, Some(caller), why);
        };
        for _ in 0..1_000 {
            turn_away(&of("acme"), "flood");
        }
        turn_away(&of("globex"), "not its own");
        door.audit.catch_up().await;
        // What was told is not told again.
        door.audit.catch_up().await;
        door.audit.close_log().unwrap();
        let records = fastmcp_audit::read(&path, Filter::default()).unwrap();
        let records: Vec<_> = records.map(Result::unwrap).collect();
        let refused = |tenant: &str| {
            let of = |record: &&Record| record.tenant.as_deref() == Some(tenant);
            records.iter().filter(of).count()
        };
        assert_eq!((refused("acme"), refused("globex")), (5, 1));
        let untold: u64 = records
            .iter()
            .filter_map(|record| record.details.as_ref())
            .flat_map(|details| {
                let said = ["not_recorded_before", "refusals"].map(|name| details.get(name));
                said.into_iter().flatten().filter_map(Value::as_u64)
            })
            .sum();
        assert_eq!(untold, 995);
    }

    #[test]
    fn forwarded_addresses_count_only_behind_a_trusted_proxy() {
        let folder = tempfile::tempdir().unwrap();
        let door = door(&folder.path().join("audit"));
        let client = |peer: &str, forwarded: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in forwarded {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            door.client_address(&headers, peer.parse().ok())
                .map(|a| a.to_string())
        };
        assert_eq!(
            client("203.0.113.9", &["10.0.0.1"]).as_deref(),
            Some("203.0.113.9")
        );
        assert_eq!(
            client("10.0.0.5", &["1.2.3.4, 203.0.113.9, 10.0.0.7"]).as_deref(),
            Some("203.0.113.9")
        );
        assert_eq!(
            client("10.0.0.5", &["1.2.3.4", "203.0.113.9:5678"]).as_deref(),
            Some("203.0.113.9")
        );
        assert_eq!(
            client("10.0.0.5", &["x, 203.0.113.9"]).as_deref(),
            Some("203.0.113.9")
        );
        assert_eq!(
            client("10.0.0.5", &["203.0.113.9, x"]),
            None,
            "never the proxy's own"
        );
        assert_eq!(client("10.0.0.5", &[]).as_deref(), Some("10.0.0.5"));
    }
}
