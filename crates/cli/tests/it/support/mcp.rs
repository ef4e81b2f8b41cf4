//! MCP by raw JSON, in both eras.

use serde_json::{Value, json};

use super::{Ask, Events, Gateway, Reply};

/// The newest revision.
const MODERN: &str = "2026-07-28";
/// The last one with sessions.
const LEGACY: &str = "2025-11-25";

/// Capabilities of a client that can be asked.
pub(crate) fn can_be_asked() -> Value {
    json!({"elicitation": {}})
}

/// The answer yes.
pub(crate) fn accept() -> Value {
    json!({"action": "accept", "content": {"confirm": true}})
}

/// The answer no.
pub(crate) fn decline() -> Value {
    json!({"action": "decline"})
}

/// A request of the newest revision, whole.
pub(crate) fn modern(method: &str, mut params: Value, capabilities: &Value) -> Value {
    let meta = params
        .as_object_mut()
        .unwrap()
        .entry("_meta")
        .or_insert_with(|| json!({}));
    meta["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
    meta["io.modelcontextprotocol/clientCapabilities"] = capabilities.clone();
    meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "black-box", "version": "1"});
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

fn post(gateway: &Gateway, token: &str) -> Ask {
    gateway
        .ask("POST", "/mcp")
        .bearer(token)
        .header("accept", "application/json, text/event-stream")
}

impl Gateway {
    /// Begins a request of the newest revision, with the headers that mirror it.
    pub(crate) fn modern(&self, token: &str, message: &Value) -> Ask {
        let ask = post(self, token)
            .header("mcp-protocol-version", MODERN)
            .header("mcp-method", message["method"].as_str().unwrap())
            .json(message);
        match message["params"]["name"].as_str() {
            Some(name) => ask.header("mcp-name", name),
            None => ask,
        }
    }

    /// A request of the newest revision, to its result.
    pub(crate) async fn modern_result(
        &self,
        token: &str,
        method: &str,
        params: Value,
        capabilities: &Value,
    ) -> Value {
        let reply = self
            .modern(token, &modern(method, params, capabilities))
            .send()
            .await;
        let body = reply.ok();
        assert!(body.get("error").is_none(), "{method}: {body}");
        body["result"].clone()
    }

    /// Calls a tool as a client that can be asked; `more` are further params.
    pub(crate) async fn modern_call(
        &self,
        token: &str,
        tool: &str,
        arguments: &Value,
        more: &Value,
    ) -> Value {
        let mut params = json!({"name": tool, "arguments": arguments});
        params
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.modern_result(token, "tools/call", params, &can_be_asked())
            .await
    }

    /// Shakes hands as a client of the last revision with sessions.
    pub(crate) async fn legacy(&self, token: &str, capabilities: Value) -> Legacy<'_> {
        let params = json!({"protocolVersion": LEGACY, "capabilities": capabilities, "clientInfo": {"name": "black-box", "version": "1"}});
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let reply = post(self, token).json(&hello).send().await;
        let result = reply.ok()["result"].clone();
        assert_eq!(result["protocolVersion"], LEGACY, "{result}");
        let session = reply
            .header("mcp-session-id")
            .expect("a session id")
            .to_owned();
        let legacy = Legacy {
            gateway: self,
            token: token.to_owned(),
            session,
            hello: result,
        };
        let initialized = legacy
            .send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        assert_eq!((initialized.status, initialized.body.len()), (202, 0));
        legacy
    }
}

/// A session of the last revision that has them.
#[derive(Debug)]
pub(crate) struct Legacy<'a> {
    gateway: &'a Gateway,
    token: String,
    pub(crate) session: String,
    pub(crate) hello: Value,
}

impl Legacy<'_> {
    /// Begins a message of the session.
    pub(crate) fn ask(&self, message: &Value) -> Ask {
        post(self.gateway, &self.token)
            .header("mcp-session-id", &self.session)
            .header("mcp-protocol-version", LEGACY)
            .json(message)
    }

    pub(crate) async fn send(&self, message: &Value) -> Reply {
        self.ask(message).send().await
    }

    fn request(method: &str, params: &Value) -> Value {
        json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
    }

    /// A request, to its answer.
    pub(crate) async fn answer(&self, method: &str, params: Value) -> Value {
        let answer = self.send(&Self::request(method, &params)).await.ok();
        assert_eq!(answer["id"], 7, "{answer}");
        answer
    }

    /// A call that will ask something, as the stream of its events.
    pub(crate) async fn call(&self, tool: &str, arguments: &Value) -> Events {
        self.ask(&Self::request(
            "tools/call",
            &json!({"name": tool, "arguments": arguments}),
        ))
        .open()
        .await
    }

    /// Asks for the stream on which the gateway speaks by itself.
    pub(crate) fn listen(&self) -> Ask {
        self.gateway
            .ask("GET", "/mcp")
            .bearer(&self.token)
            .header("accept", "text/event-stream")
            .header("mcp-session-id", &self.session)
            .header("mcp-protocol-version", LEGACY)
    }

    /// Answers what the gateway asked.
    pub(crate) async fn respond(&self, id: &Value, result: Value) {
        let reply = self
            .send(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
            .await;
        assert_eq!(reply.status, 202, "{}", reply.text());
    }
}
