//! A call within the process as one would write it by hand: what it cannot do without, and nothing else.

use std::{borrow::Cow, collections::HashMap};

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

type Handler = Box<dyn Fn(&RawValue) -> anyhow::Result<BoxFuture<'static, i64>> + Send + Sync>;

/// A client and a server that speak JSON-RPC with one another, in one piece.
pub struct ByHand {
    tools: HashMap<&'static str, Handler>,
}

#[derive(Deserialize, Serialize)]
struct Request<'a, P> {
    jsonrpc: &'a str,
    id: u64,
    #[serde(borrow)]
    method: Cow<'a, str>,
    params: P,
}

#[derive(Serialize)]
struct Sent<'a> {
    name: &'a str,
    arguments: &'a Value,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    arguments: &'a RawValue,
}

#[derive(Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

#[derive(Deserialize, Serialize)]
struct Response<'a> {
    jsonrpc: &'a str,
    id: u64,
    result: Answer,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    content: Vec<Text>,
    structured_content: Sum,
}

#[derive(Deserialize, Serialize)]
struct Text {
    r#type: String,
    text: String,
}

#[derive(Deserialize, Serialize)]
struct Sum {
    result: i64,
}

impl ByHand {
    /// One tool, `add`.
    #[must_use]
    pub fn new() -> Self {
        let add: Handler = Box::new(|arguments| {
            let Add { a, b } = serde_json::from_str(arguments.get())?;
            Ok(Box::pin(async move { a.saturating_add(b) }))
        });
        Self {
            tools: HashMap::from([("add", add)]),
        }
    }

    /// Calls it.
    ///
    /// # Errors
    ///
    /// When a message is not as it should be.
    pub async fn call(&self, arguments: &Value) -> anyhow::Result<i64> {
        let params = Sent {
            name: "add",
            arguments,
        };
        let request = Request {
            jsonrpc: "2.0",
            id: 1,
            method: "tools/call".into(),
            params,
        };
        let answer = self.answer(serde_json::to_string(&request)?).await?;
        let answer: Response<'_> = serde_json::from_str(&answer)?;
        Ok(answer.result.structured_content.result)
    }

    async fn answer(&self, request: String) -> anyhow::Result<String> {
        let request: Request<'_, Params<'_>> = serde_json::from_str(&request)?;
        let tool = self.tools.get(&*request.params.name);
        let sum = tool.context("unknown tool")?(request.params.arguments)?.await;
        let text = Text {
            r#type: "text".to_owned(),
            text: sum.to_string(),
        };
        let response = Response {
            jsonrpc: "2.0",
            id: request.id,
            result: Answer {
                content: vec![text],
                structured_content: Sum { result: sum },
            },
        };
        Ok(serde_json::to_string(&response)?)
    }
}

impl Default for ByHand {
    fn default() -> Self {
        Self::new()
    }
}
