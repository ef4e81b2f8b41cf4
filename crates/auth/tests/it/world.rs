//! A client, and a loop that sends, is refused, and sends again, as a transport does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastmcp_auth::oauth::{
    Authorize, Grant, Headless, NetworkConfig, OAuthClient, OAuthConfig, OAuthError, Refusal,
};
use fastmcp_guard::clock::{ManualClock, Timestamp};
use fastmcp_guard::http::{AllowedHost, Config, UrlFetcher};
use http::Request;
use http::header::AUTHORIZATION;

use crate::authorization_server::{self, AuthorizationServer};
use crate::resource::{self, Resource};

/// Where answers are sent; nothing listens there, for the redirect itself is read.
pub(crate) const REDIRECT: &str = "http://127.0.0.1:9/callback";

pub(crate) struct World {
    pub(crate) server: AuthorizationServer,
    pub(crate) resource: Resource,
    pub(crate) clock: Arc<ManualClock>,
}

impl World {
    pub(crate) async fn start(
        server: authorization_server::Rules,
        resource: resource::Rules,
    ) -> Self {
        let server = AuthorizationServer::start(server).await;
        let resource = Resource::start(resource, &server).await;
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        Self {
            server,
            resource,
            clock: Arc::new(ManualClock::new(now)),
        }
    }

    /// The settings for a client of this world.
    pub(crate) fn config(&self, grant: Grant) -> OAuthConfig {
        let mut config = OAuthConfig::new(self.resource.url.clone(), grant);
        config.network = network();
        config.clock = self.clock.clone();
        config
    }

    /// A client whose person always agrees.
    pub(crate) fn client(&self) -> OAuthClient {
        OAuthClient::new(self.config(person())).unwrap()
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Asks the resource for `operation`, as often as the client wants to.
    pub(crate) async fn ask(
        &self,
        client: &OAuthClient,
        operation: &str,
    ) -> Result<u16, OAuthError> {
        let url = &self.resource.url;
        for _ in 0..10 {
            let headers = client.headers("POST", url).await?;
            let sent = headers.get(AUTHORIZATION).cloned();
            let mut request = Request::post(url)
                .body(Bytes::from(operation.to_owned()))
                .unwrap();
            *request.headers_mut() = headers;
            let answer = fetcher().request(request).await.unwrap();
            let refusal = Refusal {
                status: answer.status.as_u16(),
                headers: &answer.headers,
                url,
                operation,
                sent: sent.as_ref(),
            };
            if !client.challenged(refusal).await? {
                return Ok(refusal.status);
            }
        }
        panic!("the client goes on for ever");
    }

    /// How often somebody was asked to agree.
    pub(crate) fn authorizations(&self) -> usize {
        self.server.host.asked("/authorize").len()
    }

    /// The scopes of the last authorization.
    pub(crate) fn scope(&self) -> Option<String> {
        let asked = self.server.host.asked("/authorize");
        asked.last().unwrap().query.get("scope").cloned()
    }
}

pub(crate) fn network() -> NetworkConfig {
    NetworkConfig::public().allow_loopback()
}

pub(crate) fn person() -> Grant {
    let headless: Arc<dyn Authorize> = Arc::new(Headless::new(REDIRECT, &network()).unwrap());
    Grant::Person(headless)
}

fn fetcher() -> UrlFetcher {
    let hosts = vec![AllowedHost::new("127.0.0.1").unwrap()];
    UrlFetcher::new(&Config::configured(hosts)).unwrap()
}
