//! What one session shows and hides of a server, in place of what the server does.

use std::{
    any::Any,
    sync::{Arc, Mutex},
};

use fastmcp_protocol::Method;
use serde_json::json;

use super::{
    Engine,
    session::{Session, lock},
};
use crate::{
    call::Kind,
    context::{Context, Declared},
    error::{Error, Result},
    registry::{Filter, Rules, Sight, Verdict},
};

/// The most rules of one session.
const MAX_RULES: usize = 64;

/// The rules of one session; none while it shows what the server does.
#[derive(Debug, Default)]
pub(crate) struct Visibility(Mutex<Option<Arc<Rules>>>);

impl Visibility {
    pub(crate) fn rules(&self) -> Option<Arc<Rules>> {
        lock(&self.0).clone()
    }

    /// Changes the rules; what was there before and what is there now.
    fn change(
        &self,
        change: impl FnOnce(&mut Rules) -> Result<()>,
    ) -> Result<[Option<Arc<Rules>>; 2]> {
        let mut rules = lock(&self.0);
        let mut after = rules.as_deref().cloned().unwrap_or_default();
        change(&mut after)?;
        if after.len() > MAX_RULES {
            return Err(Error::tool(format!(
                "a session has at most {MAX_RULES} rules; use tags, or reset its visibility"
            )));
        }
        let after = (!after.is_empty()).then(|| Arc::new(after));
        let before = std::mem::replace(&mut *rules, after.clone());
        Ok([before, after])
    }
}

/// What the session of a client shows. Only clients up to 2025-11-25 have one, over HTTP and on connections
/// alike: since 2026-07-28 every request stands alone, and lists may differ by who calls, but not by connection
/// or by what was called before. There [`auth`](crate::ToolBuilder::auth) decides by the caller.
///
/// The names are those that clients of the called server see, also in the handlers of a server that is mounted
/// there. Checks and the gate have the last word: a session is shown nothing that they hide. What a mounted
/// server disables itself stays disabled.
///
/// ```
/// use fastmcp::{prelude::*, registry::Filter};
///
/// /// Shows what administrators need, in this session.
/// #[tool]
/// async fn unlock(ctx: Context) -> Result<()> {
///     ctx.enable_components(Filter::new().tag("admin")).await
/// }
///
/// /// Deletes everything.
/// #[tool(tags("admin"))]
/// async fn wipe() {}
///
/// let server = FastMcp::new("demo").tool(unlock).tool(wipe).exclude_tags(["admin"]);
/// ```
impl Context {
    /// Shows what `filter` means in this session, though the server or a rule before hides it. The client is
    /// told on the stream of this request which of its lists are others; no other client is. Of several rules
    /// that mean a component, the last decides; [`Filter::new`] means everything, and replaces what was said
    /// before.
    ///
    /// # Errors
    ///
    /// When the client has no session, and when the session has 64 rules already.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for a slow reader, the rule holds, and the client is not told of every list.
    pub async fn enable_components(&self, filter: Filter) -> Result<()> {
        self.show(|rules| rules.add(Verdict::Enable, filter)).await
    }

    /// Hides what `filter` means in this session: it is not listed, and calls, reads and completions meet it as
    /// unknown. See [`Self::enable_components`].
    ///
    /// # Errors
    ///
    /// As [`Self::enable_components`].
    ///
    /// # Cancel safety
    ///
    /// As [`Self::enable_components`].
    pub async fn disable_components(&self, filter: Filter) -> Result<()> {
        self.show(|rules| rules.add(Verdict::Disable, filter)).await
    }

    /// Shows in this session what the server shows; see [`Self::enable_components`].
    ///
    /// # Errors
    ///
    /// When the client has no session.
    ///
    /// # Cancel safety
    ///
    /// As [`Self::enable_components`].
    pub async fn reset_visibility(&self) -> Result<()> {
        let reset = |rules: &mut Rules| {
            *rules = Rules::default();
            Ok(())
        };
        self.show(reset).await
    }

    async fn show(&self, change: impl FnOnce(&mut Rules) -> Result<()> + Send) -> Result<()> {
        let session = self.session().ok_or_else(|| {
            Error::tool(
                "visibility is changed for a session, and this client has none: since 2026-07-28 every request \
                 stands alone; let `auth` decide by the caller, or change the server with `enable` and `disable`",
            )
        })?;
        let [before, after] = session.visibility.change(change)?;
        for method in self.changed(before, after)? {
            self.send_notification(method.as_str(), json!({})).await?;
        }
        Ok(())
    }

    /// What tells of the lists that `before` and `after` show differently.
    fn changed(
        &self,
        before: Option<Arc<Rules>>,
        after: Option<Arc<Rules>>,
    ) -> Result<Vec<Method>> {
        let called: Arc<dyn Any + Send + Sync> = Arc::clone(&self.origin().home) as _;
        let engine: Arc<Engine> = called
            .downcast()
            .map_err(|_| Error::internal("this context belongs to no server"))?;
        let [before, after] = [before, after].map(|rules| engine.sight(self.caller(), rules));
        let snapshot = engine.registry.snapshot();
        let differs = |kind: Kind| {
            let mut all = snapshot.every(kind).filter(|c| c.is_listed());
            all.any(|c| before.visible(c) != after.visible(c))
        };
        let lists: [(&[Kind], Method); 3] = [
            (&[Kind::Tool], Method::NotificationToolsListChanged),
            (
                &[Kind::Resource, Kind::Template],
                Method::NotificationResourcesListChanged,
            ),
            (&[Kind::Prompt], Method::NotificationPromptsListChanged),
        ];
        let changed = lists.into_iter().filter_map(|(kinds, method)| {
            kinds.iter().any(|kind| differs(*kind)).then_some(method)
        });
        Ok(changed.collect())
    }

    /// The session that the client opened.
    fn session(&self) -> Option<Arc<Session>> {
        let Declared::Before(Some(session)) = &self.origin().declared else {
            return None;
        };
        let session: Arc<dyn Any + Send + Sync> = Arc::clone(session) as _;
        session.downcast().ok()
    }

    /// How the caller sees `engine`. The rules of a session are about the server that was called.
    pub(crate) fn sight_of<'a>(&'a self, engine: &'a Engine) -> Sight<'a> {
        let called = Arc::as_ptr(&self.origin().home).cast::<()>();
        let rules = std::ptr::eq(called, std::ptr::from_ref(engine).cast())
            .then(|| self.session()?.visibility.rules());
        engine.sight(self.caller(), rules.flatten())
    }
}

impl Engine {
    /// How a caller sees what there is, in a session with these rules.
    pub(crate) fn sight<'a>(
        &'a self,
        caller: &'a fastmcp_auth::Caller,
        rules: Option<Arc<Rules>>,
    ) -> Sight<'a> {
        Sight::new(&self.gate, caller, rules)
    }
}
