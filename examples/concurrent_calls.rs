//! Several requests at once: an answer for each, and one that fails does not fail the others.
//!
//! Run with: `cargo run -p fastmcp-examples --bin concurrent_calls`

use std::time::Duration;

use fastmcp::{
    guard::http::{Config, UrlFetcher},
    prelude::*,
};
use futures_util::future::join_all;

/// What came of one address.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Fetched {
    url: String,
    status: Option<u16>,
    data: Option<String>,
    error: Option<String>,
}

/// Fetches public pages: no private addresses, no endless bodies, no endless waits.
struct Web {
    fetcher: UrlFetcher,
}

#[tools]
impl Web {
    /// Fetches several addresses at once.
    #[tool(read_only, open_world)]
    async fn batch_api_calls(
        &self,
        #[arg(min_items = 1, max_items = 16)] urls: Vec<String>,
    ) -> Vec<Fetched> {
        join_all(urls.into_iter().map(|url| self.fetch(url))).await
    }
}

impl Web {
    fn new(config: &Config) -> Result<Self> {
        Ok(Self {
            fetcher: UrlFetcher::new(config)?,
        })
    }

    async fn fetch(&self, url: String) -> Fetched {
        let fetched = async {
            let parsed = url.parse().map_err(|_| "not a URL".to_owned())?;
            let answer = self.fetcher.get(&parsed).await;
            answer.map_err(|error| error.to_string())
        };
        match fetched.await {
            Ok(answer) => Fetched {
                status: Some(answer.status.as_u16()),
                data: (answer.status == http::StatusCode::OK)
                    .then(|| String::from_utf8_lossy(&answer.body).into_owned()),
                error: None,
                url,
            },
            Err(error) => Fetched {
                status: None,
                data: None,
                error: Some(error),
                url,
            },
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut config = Config::public();
    config.total_timeout = Duration::from_secs(10);
    let web = Web::new(&config)?;
    FastMcp::new("Batch").tools(web).run().await
}

#[cfg(test)]
mod tests {
    use fastmcp::transport::http::HttpConfig;
    use http::{Method, StatusCode};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn one_that_fails_does_not_fail_the_others() {
        let pages = FastMcp::new("pages")
            .custom_route(Method::GET, "/good", |_| async { "hello" })
            .custom_route(Method::GET, "/bad", |_| async {
                (StatusCode::NOT_FOUND, "no")
            });
        let pages = pages.build().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let host = format!("http://{}", listener.local_addr().unwrap());
        let asking = async {
            let web = Web::new(&Config::upstream(&host.parse().unwrap()).unwrap()).unwrap();
            let server = FastMcp::new("Batch").tools(web).build().unwrap();
            let client = Client::connect(&server).await.unwrap();
            let urls = [
                format!("{host}/good"),
                format!("{host}/bad"),
                "https://example.com/".to_owned(),
            ];
            client
                .call_tool("batch_api_calls", json!({"urls": urls}))
                .await
                .unwrap()
        };
        let answers = tokio::select! {
            ended = pages.serve_http(listener, HttpConfig::default()) => panic!("{ended:?}"),
            answers = asking => answers,
        };
        let answers: Vec<Fetched> = answers.data().unwrap();
        assert_eq!(
            (answers[0].status, answers[0].data.as_deref()),
            (Some(200), Some("hello"))
        );
        assert_eq!(
            (answers[1].status, answers[1].data.as_deref()),
            (Some(404), None)
        );
        assert!(
            answers[2].error.is_some(),
            "a host that was not named is not asked"
        );
    }

    #[tokio::test]
    async fn private_addresses_are_refused_one_by_one() {
        let web = Web::new(&Config::public()).unwrap();
        let server = FastMcp::new("Batch").tools(web).build().unwrap();
        let client = Client::connect(&server).await.unwrap();
        let urls = [
            "https://127.0.0.1/admin",
            "https://169.254.169.254/latest/meta-data",
            "not a url",
        ];
        let answers = client
            .call_tool("batch_api_calls", json!({"urls": urls}))
            .await
            .unwrap();
        let answers: Vec<Fetched> = answers.data().unwrap();
        assert_eq!(answers.len(), 3);
        assert!(
            answers
                .iter()
                .all(|one| one.error.is_some() && one.status.is_none())
        );
    }
}
