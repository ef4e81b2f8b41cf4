//! Servers made of servers, and components that come and go.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::runtime::Handle;

use super::{
    FastMcp, Lifespan, Server, Serving,
    providers::{Providers, WAIT_WITHIN},
};
use crate::{
    call::Kind,
    component::{Component, IntoPrompt, IntoResource, IntoTool},
    compose,
    engine::life::Begin,
    error::{Error, Result},
    registry::{
        Duplicates, Filter, ProviderState, ProviderStatus, Rules, Shape, SourceId, Sources, Verdict,
    },
    transform::{Host, Namespace, Transform},
};

/// What a server is put together from beside its own components.
#[derive(Debug, Default)]
pub(super) struct Composition {
    duplicates: Duplicates,
    imports: Vec<Component>,
    mounts: Vec<(Server, Option<Namespace>)>,
    transforms: Vec<Arc<dyn Transform>>,
    rules: Rules,
    host: Host,
    pub(super) providers: Providers,
}

impl Composition {
    /// What the first snapshot is made of.
    pub(super) fn sources(&mut self, own: Vec<Component>) -> Sources {
        let imports = std::mem::take(&mut self.imports);
        let shapes = std::mem::take(&mut self.transforms).into_iter().map(|one| {
            let host = self.host.clone();
            Arc::new(move |components| one.apply(components, &host)) as Shape
        });
        Sources::own(own.into_iter().chain(imports).collect(), self.duplicates)
            .with_shapes(shapes.collect(), std::mem::take(&mut self.rules))
    }

    /// Begins what is shown live with the server, and ends it with it unless something else uses it.
    pub(super) fn begins(&self) -> Vec<Begin> {
        let children = self.mounts.iter().map(|(child, _)| child.clone());
        let begun: Vec<_> = children
            .filter(|child| !child.engine.life.is_plain())
            .collect();
        let children = (!begun.is_empty())
            .then(|| -> Begin { Box::new(|life| Box::pin(begin_together(begun, life))) });
        children.into_iter().chain(self.providers.begin()).collect()
    }

    /// Adds what is shown live.
    pub(super) fn join(mut self, server: &Server) -> Result<()> {
        self.host.settle(&server.engine);
        for (child, namespace) in self.mounts {
            compose::mount(&server.engine, &child.engine, namespace)?;
        }
        self.providers.attach(&server.engine, &self.host)
    }
}

fn namespace(prefix: Option<&str>) -> Result<Option<Namespace>> {
    prefix.map(Namespace::new).transpose()
}

impl FastMcp {
    /// What happens when two of the server's own components have one name. Default: [`Duplicates::Error`].
    #[must_use]
    pub const fn on_duplicate(mut self, policy: Duplicates) -> Self {
        self.composition.duplicates = policy;
        self
    }

    /// Copies what `server` has now: calls of the copies do not pass its gate and its middleware, and what
    /// changes there later does not show here. For what is finished, and must be fast.
    ///
    /// With a prefix, tools and prompts become `PREFIX_NAME`, and resources and templates
    /// `SCHEME://PREFIX/REST`. Of two imports that share a name the later one counts; an import and a
    /// component of the server's own are settled by [`Self::on_duplicate`].
    ///
    /// ```
    /// use fastmcp::prelude::*;
    ///
    /// /// Tells the weather.
    /// #[tool]
    /// async fn get_forecast(city: String) -> String {
    ///     format!("Rain in {city}.")
    /// }
    ///
    /// # async fn example() -> Result<()> {
    /// let weather = FastMcp::new("Weather").tool(get_forecast).build()?;
    /// let main = FastMcp::new("Main").import_server(&weather, "weather").build()?;
    /// let client = Client::connect(&main).await?;
    /// let told = client
    ///     .call_tool("weather_get_forecast", json!({"city": "Oslo"}))
    ///     .await?;
    /// assert_eq!(told.data::<String>()?, "Rain in Oslo.");
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
    /// ```
    #[must_use]
    pub fn import_server<'a>(
        mut self,
        server: &Server,
        prefix: impl Into<Option<&'a str>>,
    ) -> Self {
        let copies = namespace(prefix.into())
            .and_then(|namespace| compose::copies(&server.engine, namespace.as_ref()));
        match copies {
            Ok(copies) => self.composition.imports.extend(copies),
            Err(error) => self.components.push(Err(error)),
        }
        self
    }

    /// Shows what `server` has, live: what comes and goes there, comes and goes here at once. Calls pass
    /// this server's gate and middleware and then those of `server`, with one request context; lists show
    /// what both show to the caller. Names as in [`Self::import_server`].
    ///
    /// Where a name is taken, it stays taken: this server's own components go before those of mounts, and
    /// an earlier mount before a later one. So nothing that is mounted later can answer for what was there.
    #[must_use]
    pub fn mount<'a>(mut self, server: &Server, prefix: impl Into<Option<&'a str>>) -> Self {
        match namespace(prefix.into()) {
            Ok(namespace) => self.composition.mounts.push((server.clone(), namespace)),
            Err(error) => self.components.push(Err(error)),
        }
        self
    }
}

impl FastMcp {
    /// Puts everything that the server shows through `transform`, after those that were added before; see
    /// [`crate::transform`].
    #[must_use]
    pub fn transform(mut self, transform: impl Transform) -> Self {
        self.composition.transforms.push(Arc::new(transform));
        self
    }

    /// Hides what `filter` means: it is not listed, and calls meet it as unknown. By the names that clients
    /// see, after transforms. Of several rules that mean a component, the last decides.
    #[must_use]
    pub fn disable(self, filter: Filter) -> Self {
        self.rule(|rules| rules.add(Verdict::Disable, filter))
    }

    /// Shows what `filter` means, though a rule before hides it.
    #[must_use]
    pub fn enable(self, filter: Filter) -> Self {
        self.rule(|rules| rules.add(Verdict::Enable, filter))
    }

    /// Shows what `filter` means and nothing else, whatever rules said before.
    #[must_use]
    pub fn enable_only(self, filter: Filter) -> Self {
        self.rule(|rules| rules.only(filter))
    }

    /// Shows only what has one of these tags.
    #[must_use]
    pub fn include_tags<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        self.enable_only(Filter::new().tags(tags))
    }

    /// Hides what has one of these tags.
    #[must_use]
    pub fn exclude_tags<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        self.disable(Filter::new().tags(tags))
    }

    fn rule(mut self, add: impl FnOnce(&mut Rules) -> Result<()>) -> Self {
        match add(&mut self.composition.rules) {
            Ok(()) => self,
            Err(error) => self.refused(error),
        }
    }

    /// The server cannot be built, for this reason.
    pub(crate) fn refused(mut self, error: Error) -> Self {
        self.components.push(Err(error));
        self
    }
}

/// Begins servers as parts of another one, at the same time. One that fails, or is slow, fails for itself: its
/// calls say why, or wait.
async fn begin_together(children: Vec<Server>, life: Lifespan) -> Result<()> {
    let begun = children
        .into_iter()
        .map(|child| child.begin_within(life.clone()));
    join_all(begun).await;
    Ok(())
}

impl Server {
    /// Begins as a part of another server, whose `life` ends it unless something else uses it.
    async fn begin_within(self, life: Lifespan) {
        let serving = Serving::of(&self.engine);
        let ends = Arc::clone(&self.engine);
        life.on_end(move || async move {
            drop(serving);
            ends.life.end().await;
        });
        match tokio::time::timeout(WAIT_WITHIN, self.start()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(server = self.name(), %error, "a mounted server did not start");
            }
            Err(_) => tracing::warn!(server = self.name(), "a mounted server is slow to start"),
        }
    }
}

/// What comes and goes while the server runs. Subscribers are told of every change.
impl Server {
    /// As [`FastMcp::mount`], while the server runs.
    ///
    /// # Errors
    ///
    /// When `prefix` is unfit, or this server is part of `child`.
    pub fn mount<'a>(&self, child: &Self, prefix: impl Into<Option<&'a str>>) -> Result<SourceId> {
        let mount = compose::mount(&self.engine, &child.engine, namespace(prefix.into())?)?;
        let waits = |one: &ProviderStatus| one.state == ProviderState::Starting;
        if child.providers().iter().any(waits) && Handle::try_current().is_ok() {
            // What its providers have, nobody would call before it shows.
            let starts = child.clone();
            child.spawn(async move { drop(starts.start().await) });
        }
        Ok(mount)
    }

    /// Shows what was mounted no longer; whether it was there. Calls that are under way go on.
    ///
    /// # Errors
    ///
    /// When what is left cannot be shown; then nothing is changed.
    pub fn unmount(&self, mount: SourceId) -> Result<bool> {
        let detached = self
            .engine
            .registry
            .rearrange(|sources| Ok(sources.detach(mount)));
        let (_, was_there) = detached?;
        if let Some(stop) = &was_there {
            stop.cancel();
        }
        Ok(was_there.is_some())
    }

    /// As [`FastMcp::import_server`], while the server runs.
    ///
    /// # Errors
    ///
    /// When `prefix` is unfit, or a name is taken by a component of this server's own and
    /// [`FastMcp::on_duplicate`] refuses that.
    pub fn import_server<'a>(
        &self,
        server: &Self,
        prefix: impl Into<Option<&'a str>>,
    ) -> Result<()> {
        let copies = compose::copies(&server.engine, namespace(prefix.into())?.as_ref())?;
        self.add(copies)
    }

    /// Adds a tool.
    ///
    /// # Errors
    ///
    /// When it cannot be built, or its name is taken and [`FastMcp::on_duplicate`] refuses that.
    pub fn add_tool(&self, tool: impl IntoTool) -> Result<()> {
        self.add(vec![tool.into_tool().build()?])
    }

    /// Adds a resource or a template.
    ///
    /// # Errors
    ///
    /// As [`Self::add_tool`].
    pub fn add_resource(&self, resource: impl IntoResource) -> Result<()> {
        self.add(vec![resource.into_resource().build()?])
    }

    /// Adds a prompt.
    ///
    /// # Errors
    ///
    /// As [`Self::add_tool`].
    pub fn add_prompt(&self, prompt: impl IntoPrompt) -> Result<()> {
        self.add(vec![prompt.into_prompt().build()?])
    }

    /// Adds a component that was made by hand.
    ///
    /// # Errors
    ///
    /// As [`Self::add_tool`].
    pub fn add_component(&self, component: Component) -> Result<()> {
        self.add(vec![component])
    }

    /// Takes away a tool of the server's own, in all its versions.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn remove_tool(&self, name: &str) -> Result<()> {
        self.remove(&[Kind::Tool], name, "tool")
    }

    /// Takes away a resource of the server's own by its URI, or a template by its form.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn remove_resource(&self, uri: &str) -> Result<()> {
        self.remove(&[Kind::Resource, Kind::Template], uri, "resource")
    }

    /// Takes away a prompt of the server's own, in all its versions.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn remove_prompt(&self, name: &str) -> Result<()> {
        self.remove(&[Kind::Prompt], name, "prompt")
    }

    /// As [`FastMcp::disable`], while the server runs.
    ///
    /// # Errors
    ///
    /// When there are 1,024 rules, or what is left cannot be shown.
    pub fn disable(&self, filter: Filter) -> Result<()> {
        self.rule(|rules| rules.add(Verdict::Disable, filter))
    }

    /// As [`FastMcp::enable`], while the server runs. [`Filter::new`] shows everything, whatever rules said
    /// before.
    ///
    /// # Errors
    ///
    /// As [`Self::disable`].
    pub fn enable(&self, filter: Filter) -> Result<()> {
        self.rule(|rules| rules.add(Verdict::Enable, filter))
    }

    /// As [`FastMcp::enable_only`], while the server runs.
    ///
    /// # Errors
    ///
    /// As [`Self::disable`].
    pub fn enable_only(&self, filter: Filter) -> Result<()> {
        self.rule(|rules| rules.only(filter))
    }

    fn rule(&self, add: impl FnOnce(&mut Rules) -> Result<()>) -> Result<()> {
        let ruled = self
            .engine
            .registry
            .rearrange(|sources| add(&mut sources.rules));
        ruled.map(drop)
    }

    fn add(&self, components: Vec<Component>) -> Result<()> {
        let added = self.engine.registry.edit(|own| {
            own.extend(components.into_iter().map(Arc::new));
        });
        added.map(drop)
    }

    fn remove(&self, kinds: &[Kind], key: &str, what: &str) -> Result<()> {
        let removed = self.engine.registry.rearrange(|sources| {
            let before = sources.own.len();
            sources
                .own
                .retain(|one| one.key() != key || !kinds.contains(&one.kind()));
            if sources.own.len() < before {
                return Ok(());
            }
            let shown: String = key.chars().take(128).collect();
            Err(Error::not_found(format!(
                "server `{}` has no {what} `{shown}` of its own",
                self.name()
            )))
        });
        removed.map(drop)
    }
}
