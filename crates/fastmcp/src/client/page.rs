//! Lists, page by page.
//!
//! Source: MCP 2026-07-28, server/utilities/pagination.

use std::{collections::HashSet, sync::Arc};

use fastmcp_protocol::{
    ErrorCode,
    tool::{ListToolsResult, Tool},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{call::CallOptions, link::Link};
use crate::error::{Error, ErrorKind, Result};

/// Pages of one list.
const MAX_PAGES: usize = 250;
/// Items of one list.
const MAX_ITEMS: usize = 100_000;

impl Link {
    /// Every tool that may be called; what they look like is remembered.
    pub(super) async fn list_tools(self: &Arc<Self>) -> Result<Vec<Tool>> {
        let tools = self
            .pages("tools/list", |page: ListToolsResult| {
                (page.tools, page.next_cursor)
            })
            .await?;
        Ok(self.tools.learn(tools, self.mirrors()))
    }

    /// Every item of a list. Where the server forgot a cursor that it gave, the list is read again
    /// from the start, once.
    pub(super) async fn pages<P, T>(
        self: &Arc<Self>,
        method: &str,
        split: impl Fn(P) -> (Vec<T>, Option<String>) + Send + Sync,
    ) -> Result<Vec<T>>
    where
        P: DeserializeOwned,
        T: Send,
    {
        self.pages_of(method, &Map::new(), split).await
    }

    /// As [`Self::pages`], of a list that `params` tell from others.
    pub(super) async fn pages_of<P, T>(
        self: &Arc<Self>,
        method: &str,
        params: &Map<String, Value>,
        split: impl Fn(P) -> (Vec<T>, Option<String>) + Send + Sync,
    ) -> Result<Vec<T>>
    where
        P: DeserializeOwned,
        T: Send,
    {
        let mut read = 0;
        match self.read_pages(method, params, &split, &mut read).await {
            Err(error)
                if read > 0 && error.kind() == ErrorKind::Protocol(ErrorCode::INVALID_PARAMS) =>
            {
                tracing::debug!(method, %error, "the list is read again");
                self.shelf.forget(method);
                self.read_pages(method, params, &split, &mut 0).await
            }
            other => other,
        }
    }

    async fn read_pages<P, T>(
        self: &Arc<Self>,
        method: &str,
        params: &Map<String, Value>,
        split: &(impl Fn(P) -> (Vec<T>, Option<String>) + Send + Sync),
        read: &mut usize,
    ) -> Result<Vec<T>>
    where
        P: DeserializeOwned,
        T: Send,
    {
        let (mut all, mut params) = (Vec::new(), params.clone());
        let mut cursors = HashSet::new();
        let options = CallOptions::default();
        while *read < MAX_PAGES {
            let page = self.request(method, params.clone(), &options).await?;
            *read += 1;
            let (items, next) = split(page.decode::<P>()?);
            all.extend(items);
            if all.len() > MAX_ITEMS {
                return Err(Error::internal(format!(
                    "{method}: more than {MAX_ITEMS} items"
                )));
            }
            let Some(next) = next else { return Ok(all) };
            if !cursors.insert(next.clone()) {
                return Err(Error::internal(format!(
                    "{method}: the server gives the same cursor again"
                )));
            }
            params.insert("cursor".to_owned(), Value::String(next));
        }
        Err(Error::internal(format!(
            "{method}: more than {MAX_PAGES} pages"
        )))
    }
}
