//! Two tools in place of a long list: one finds tools, the other calls what was found.

mod bm25;
mod pattern;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, OnceLock},
};

use fastmcp_protocol::tool::{JsonSchema, TaskSupport, Tool};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Host, Transform,
    expose::{Named, arguments, listed, tool},
};
use crate::{
    call::{Input, Kind, Outcome},
    component::{Component, Definition},
    context::Context,
    error::{Error, Result},
};

/// Longest query, in bytes.
const MAX_QUERY: usize = 1_000;
/// The most results of one search.
const MAX_RESULTS: usize = 100;
/// Bytes of one tool that are searched.
const MAX_TEXT: usize = 64 * 1024;

/// Shows models two tools in place of a long list: `search_tools` finds tools by what they do, and
/// `call_tool` calls one of them. Lists show these two, and those that stay visible; the others can be called
/// by their names as before.
///
/// A caller finds what its lists would show. What `call_tool` calls goes through the same gate and middleware
/// as a direct call.
///
/// ```
/// use fastmcp::{prelude::*, transform::ToolSearch};
///
/// /// Adds two numbers.
/// #[tool]
/// async fn add(a: i64, b: i64) -> i64 {
///     a + b
/// }
///
/// # async fn example() -> Result<()> {
/// let server = FastMcp::new("demo").tool(add).transform(ToolSearch::bm25()).build()?;
/// let client = Client::connect(&server).await?;
/// let found = client.call_tool("search_tools", json!({"query": "add numbers"})).await?;
/// assert!(found.text().contains("\"name\":\"add\""));
/// let call = json!({"name": "add", "arguments": {"a": 2, "b": 3}});
/// assert_eq!(client.call_tool("call_tool", call).await?.data::<i64>()?, 5);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct ToolSearch {
    how: How,
    max_results: usize,
    always_visible: HashSet<String>,
    search_tool_name: String,
    call_tool_name: String,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Bm25,
    Regex,
}

impl ToolSearch {
    fn by(how: How) -> Self {
        Self {
            how,
            max_results: 5,
            always_visible: HashSet::new(),
            search_tool_name: "search_tools".to_owned(),
            call_tool_name: "call_tool".to_owned(),
        }
    }

    /// Finds by words, the best first: by Okapi BM25 over names, descriptions and arguments.
    #[must_use]
    pub fn bm25() -> Self {
        Self::by(How::Bm25)
    }

    /// Finds by a regular expression, in the order of the list. Case does not matter; the time that an
    /// expression takes is linear in what it searches.
    #[must_use]
    pub fn regex() -> Self {
        Self::by(How::Regex)
    }

    /// How many tools one search finds, 1 to 100. Default 5.
    #[must_use]
    pub fn max_results(mut self, max: usize) -> Self {
        self.max_results = max.clamp(1, MAX_RESULTS);
        self
    }

    /// Leaves tools in the list.
    #[must_use]
    pub fn always_visible<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.always_visible
            .extend(names.into_iter().map(Into::into));
        self
    }

    /// Names the tool that finds. Default `search_tools`.
    #[must_use]
    pub fn search_tool_name(mut self, name: impl Into<String>) -> Self {
        self.search_tool_name = name.into();
        self
    }

    /// Names the tool that calls. Default `call_tool`.
    #[must_use]
    pub fn call_tool_name(mut self, name: impl Into<String>) -> Self {
        self.call_tool_name = name.into();
        self
    }

    fn search_tool(&self, catalog: Arc<Catalog>, host: Host) -> Result<Arc<Component>> {
        let (how, max) = (self.how, self.max_results);
        let (description, argument, schema) = match how {
            How::Bm25 => (
                "Finds tools by words that say what they do.",
                "query",
                r#"{"type":"object","properties":{"query":{"type":"string","maxLength":1000,"description":"What the tool shall do, in words."}},"required":["query"],"additionalProperties":false}"#,
            ),
            How::Regex => (
                "Finds tools by a regular expression over their names, descriptions and arguments.",
                "pattern",
                r#"{"type":"object","properties":{"pattern":{"type":"string","maxLength":1000,"description":"The regular expression; case does not matter."}},"required":["pattern"],"additionalProperties":false}"#,
            ),
        };
        let description = format!(
            "{description} Call what was found with `{}`.",
            self.call_tool_name
        );
        tool(
            &self.search_tool_name,
            &description,
            schema,
            move |context, input| {
                let found = Query::read(&input, argument)
                    .and_then(|query| catalog.search(how, &host, &context, &query))
                    .and_then(|found| describe(&found, max));
                Box::pin(async move { found })
            },
        )
    }

    fn call_tool(&self, host: Host) -> Result<Arc<Component>> {
        let own = [self.search_tool_name.clone(), self.call_tool_name.clone()];
        let description = format!(
            "Calls a tool by its name. Use it for tools that `{}` found.",
            self.search_tool_name
        );
        let definition = Tool::new(
            &self.call_tool_name,
            JsonSchema::parse(
                r#"{"type":"object","properties":{"name":{"type":"string","description":"The name of the tool."},"arguments":{"type":"object","description":"Its arguments."}},"required":["name"],"additionalProperties":false}"#,
            )?,
        )
        .with_description(description);
        let handler = move |context: Context,
                            input: Input|
              -> futures_util::future::BoxFuture<'static, Result<Outcome>> {
            match callee(&input, &own, &host, &context) {
                Ok(Named { name, arguments }) => host.call_tool(context, &name, arguments),
                Err(error) => Box::pin(async move { Err(error) }),
            }
        };
        Ok(Arc::new(Component::new(
            Definition::Tool(definition),
            handler,
        )))
    }
}

impl Transform for ToolSearch {
    fn apply(&self, components: Vec<Arc<Component>>, host: &Host) -> Result<Vec<Arc<Component>>> {
        let stays = |component: &Component| {
            component.kind() != Kind::Tool
                || !component.is_listed()
                || component.is_app_only()
                || self.always_visible.contains(component.key())
        };
        let (mut shown, mut found) = (Vec::with_capacity(components.len() + 2), Vec::new());
        for component in components {
            if stays(&component) {
                shown.push(component);
            } else {
                let hidden = Arc::new(Component::clone(&component).unlisted());
                found.push(Arc::clone(&hidden));
                shown.push(hidden);
            }
        }
        let catalog = Arc::new(Catalog::of(found));
        shown.push(self.search_tool(catalog, host.clone())?);
        shown.push(self.call_tool(host.clone())?);
        Ok(shown)
    }
}

/// Whom a call is for. What is not there for the caller, the call itself says.
fn callee(input: &Input, own: &[String], host: &Host, context: &Context) -> Result<Named> {
    let named: Named = arguments(input)?;
    if own.contains(&named.name) {
        return Err(Error::tool(format!(
            "`{}` is called by itself, not through another tool",
            named.name
        )));
    }
    let tools = host.visible(context, Kind::Tool);
    let required =
        |c: &Arc<Component>| c.key() == named.name && c.task_support() == TaskSupport::Required;
    if tools.iter().any(required) {
        return Err(Error::tool(format!(
            "`{}` runs as a task alone; call it by itself",
            named.name
        )));
    }
    Ok(named)
}

/// What is looked for.
struct Query(String);

impl Query {
    fn read(input: &Input, argument: &str) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(transparent)]
        struct Arguments(HashMap<String, String>);
        let Arguments(mut given) = arguments(input)?;
        let query = given
            .remove(argument)
            .filter(|_| given.is_empty())
            .ok_or_else(|| {
                Error::validation(format!(
                    "invalid arguments: give `{argument}` and nothing else"
                ))
            })?;
        if query.len() > MAX_QUERY {
            return Err(Error::validation(format!(
                "invalid arguments: `{argument}` has {} bytes; at most {MAX_QUERY} are searched for",
                query.len()
            )));
        }
        Ok(Self(query))
    }
}

/// The tools that can be found, at one moment.
struct Catalog {
    tools: Vec<Arc<Component>>,
    /// Made when the first search asks for it.
    index: OnceLock<bm25::Index>,
}

impl Catalog {
    fn of(tools: Vec<Arc<Component>>) -> Self {
        Self {
            tools,
            index: OnceLock::new(),
        }
    }

    /// What was found, the best first; nothing that the caller's lists would not show.
    fn search(
        &self,
        how: How,
        host: &Host,
        context: &Context,
        query: &Query,
    ) -> Result<Vec<Arc<Component>>> {
        // What was disabled since is not there any more, and what the caller may not see never was.
        let visible = host.visible(context, Kind::Tool);
        let visible: HashSet<_> = visible
            .iter()
            .map(|one| (one.key(), one.version()))
            .collect();
        let may: Vec<bool> = self
            .tools
            .iter()
            .map(|one| visible.contains(&(one.key(), one.version())))
            .collect();
        let found = match how {
            How::Bm25 => {
                let index = self.index.get_or_init(|| bm25::Index::of(self.texts()));
                index.search(&query.0, &may)
            }
            How::Regex => pattern::search(&query.0, self.texts().zip(may))?,
        };
        let found = found.into_iter().filter_map(|at| self.tools.get(at));
        Ok(found.cloned().collect())
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        self.tools.iter().map(|component| text(component))
    }
}

/// What is searched of a tool: its names, what it does, and what its arguments are.
fn text(component: &Component) -> String {
    let Definition::Tool(tool) = component.definition() else {
        return String::new();
    };
    let mut parts = vec![tool.name.clone()];
    parts.extend(tool.title.clone());
    parts.extend(tool.description.clone());
    let schema = tool.input_schema.to_value().unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        parts.push(name.clone());
        let description = property.get("description").and_then(Value::as_str);
        parts.extend(description.map(str::to_owned));
    }
    parts.extend(component.tags().iter().cloned());
    let mut text = parts.join(" ");
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
    }
    text
}

/// The definitions of what was found, as a list shows them.
fn describe(found: &[Arc<Component>], max: usize) -> Result<Outcome> {
    let mut all = Vec::new();
    for component in found.iter().take(max) {
        if let Definition::Tool(tool) = component.definition() {
            let mut tool = tool.clone();
            tool.execution = None;
            all.push(serde_json::to_value(&tool)?);
        }
    }
    listed(all)
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("tools", &self.tools.len())
            .finish_non_exhaustive()
    }
}
