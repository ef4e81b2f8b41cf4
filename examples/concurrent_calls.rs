//! Several requests at once: an answer for each, and one that fails does not fail the others.
//!
//! Run with: `cargo run -p fastmcp-examples --bin concurrent_calls`

use fastmcp::prelude::*;
use futures_util::future::join_all;

/// What came of one address.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Fetched {
    url: String,
    status: Option<u16>,
    bytes: Option<usize>,
    error: Option<String>,
}

/// Fetches public pages: no private addresses, no endless bodies, no endless waits.
struct Web {
    fetcher: UrlFetcher,
}

use fastmcp::guard::http::{Config, UrlFetcher};

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
                bytes: Some(answer.body.len()),
                error: None,
                url,
            },
            Err(error) => Fetched {
                status: None,
                bytes: None,
                error: Some(error),
                url,
            },
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let web = Web::new(&Config::public())?;
    FastMcp::new("Batch").tools(web).run().await
}

#[cfg(test)]
mod tests {
    use super::*;

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
