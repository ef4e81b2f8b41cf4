//! What can be called: manifests, each with its adapter and its compiled schema.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use fastmcp_auth::Caller;
use fastmcp_guard::clock::Clock;
use fastmcp_policy::{PolicySet, Resource};
use fastmcp_protocol::args::{Args, ArgsLimits};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::{
    call::Call,
    error::{Code, Error},
    manifest::{Classification, Label, Manifest, PUBLIC_TENANT},
    provider::{Adapters, Demands, ProviderAdapter, ProviderError},
    state::{State, manifest::After},
};

mod past;

pub use past::PastTool;

/// Problems of arguments that are told at once.
const MAX_PROBLEMS: usize = 10;
/// Manifests that are read at once.
const PAGE: u32 = 500;

/// A registered tool.
#[derive(Debug)]
pub struct Entry {
    manifest: Manifest,
    resource: Arc<Resource>,
    inputs: Validator,
    definition_hash: [u8; 32],
    past: String,
    adapter: Arc<dyn ProviderAdapter>,
}

impl Entry {
    fn new(manifest: Manifest, adapters: &Adapters) -> Result<Self, Error> {
        manifest
            .check()
            .map_err(|error| Error::invalid(error.to_string()))?;
        let adapter = adapters
            .get(&manifest.provider_id)
            .cloned()
            .ok_or_else(|| {
                Error::invalid(format!(
                    "`provider_id` names `{}`, which is not registered",
                    manifest.provider_id
                ))
            })?;
        if manifest.inputs.get("type") != Some(&Value::from("object")) {
            return Err(Error::invalid(
                "`inputs` must be a JSON Schema whose `type` is \"object\"",
            ));
        }
        // Nothing is fetched: a reference to another document is an error here.
        let inputs = jsonschema::draft202012::options()
            .with_pattern_options(PatternOptions::regex())
            .build(&manifest.inputs)
            .map_err(|e| {
                Error::invalid(format!("`inputs` is not a schema that can be used: {e}"))
            })?;
        let resource = Arc::new(resource(&manifest));
        let mut definition_hash = [0; 32];
        let text = serde_json::to_vec(&manifest).map_err(Error::internal)?;
        definition_hash.copy_from_slice(digest(&SHA256, &text).as_ref());
        let past = PastTool::of(&manifest, &resource).to_text();
        Ok(Self {
            past: past.map_err(Error::internal)?,
            manifest,
            resource,
            inputs,
            definition_hash,
            adapter,
        })
    }

    /// The manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The tool as policy sees it.
    #[must_use]
    pub const fn resource(&self) -> &Arc<Resource> {
        &self.resource
    }

    /// As operations keep it: [`PastTool::to_text`] of the tool as it is, where the arguments demand no more.
    #[must_use]
    pub fn past(&self) -> &str {
        &self.past
    }

    /// The labels of its results, as far as they are kept: those that it names, and its classification where that is at least
    /// confidential or some rule reads it.
    #[must_use]
    pub fn labels(&self, policy: &PolicySet) -> BTreeSet<String> {
        labels(&self.manifest.labels, self.manifest.classification, policy)
    }

    /// Whether the caller may know of it: its own tenant's, or everybody's.
    #[must_use]
    pub fn belongs_to(&self, tenant: &str) -> bool {
        self.manifest.tenant == tenant || self.manifest.tenant == PUBLIC_TENANT
    }
}

/// The labels that results carry under `policy`. What nearly every result is is not kept for nothing.
fn labels(
    named: &BTreeSet<Label>,
    classification: Classification,
    policy: &PolicySet,
) -> BTreeSet<String> {
    let kept = classification >= Classification::Confidential
        || policy.reads_label(classification.as_str());
    let classified = kept.then(|| classification.as_str().to_owned());
    named
        .iter()
        .map(|label| label.as_str().to_owned())
        .chain(classified)
        .collect()
}

/// A manifest as policy sees it.
#[must_use]
pub fn resource(manifest: &Manifest) -> Resource {
    Resource::new(manifest.tool_id.as_str(), &manifest.provider_id)
        .tenant(&manifest.tenant)
        .safety_tags(manifest.safety_tags.iter().cloned())
        .required_scopes(manifest.required_scopes.iter().cloned())
        .classification(manifest.classification.as_str())
        .read_only(manifest.read_only)
}

/// A tool that exists for the caller. Only this room makes one.
#[derive(Clone, Debug)]
pub struct Target {
    entry: Arc<Entry>,
}

impl Target {
    /// The entry.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.entry.manifest
    }

    /// Changes when the manifest does.
    #[must_use]
    pub fn definition_hash(&self) -> [u8; 32] {
        self.entry.definition_hash
    }

    /// Who answers.
    #[must_use]
    pub fn adapter(&self) -> &dyn ProviderAdapter {
        &*self.entry.adapter
    }

    /// Parses and validates arguments, once and exactly. All that follows derives from what is
    /// returned here.
    ///
    /// # Errors
    ///
    /// [`Code::ValidationError`]; the message names the fields.
    pub fn validate(&self, call: &Call) -> Result<Args, Error> {
        let args = Args::parse(call.args.as_ref(), &ArgsLimits::default())
            .map_err(|e| Error::invalid(format!("arguments: {e}")))?;
        let value = args.to_value();
        let problems: Vec<String> = self
            .entry
            .inputs
            .iter_errors(&value)
            .take(MAX_PROBLEMS)
            .map(|e| fastmcp::component::schema::describe(&e))
            .collect();
        if problems.is_empty() {
            return Ok(args);
        }
        Err(Error::invalid(format!(
            "arguments do not fit: {}",
            problems.join("; ")
        )))
    }

    /// A tenant's manifest may demand more than the one that the adapter brings along, never less.
    fn keeps_what_its_adapter_demands(&self) -> Result<(), Error> {
        let ours = self.manifest();
        let brought = self
            .adapter()
            .manifests()
            .into_iter()
            .find(|m| m.tool_id == ours.tool_id);
        let Some(brought) = brought else {
            return Ok(());
        };
        let scope = brought
            .required_scopes
            .iter()
            .find(|s| !ours.required_scopes.contains(s));
        let tag = brought
            .safety_tags
            .iter()
            .find(|t| !ours.safety_tags.contains(*t));
        let label = brought.labels.difference(&ours.labels).next();
        if let Some(label) = label {
            return Err(Error::invalid(format!(
                "`labels` must name `{}`, as the provider's own manifest does",
                label.as_str()
            )));
        }
        if ours.classification < brought.classification {
            return Err(Error::invalid(
                "`classification` must not be lower than in the provider's own manifest",
            ));
        }
        match (scope, tag) {
            (Some(scope), _) => Err(Error::invalid(format!(
                "`required_scopes` must name `{scope}`, as the provider's own manifest does"
            ))),
            (_, Some(tag)) => Err(Error::invalid(format!(
                "`safety_tags` must name `{tag}`, as the provider's own manifest does"
            ))),
            _ if ours.read_only && !brought.read_only => Err(Error::invalid(
                "`read_only` must be false, as in the provider's own manifest",
            )),
            _ => Ok(()),
        }
    }

    /// What these arguments demand beyond the manifest.
    ///
    /// # Errors
    ///
    /// [`Code::ValidationError`] when the adapter cannot understand them.
    pub fn demands(&self, args: &Args) -> Result<Demands, Error> {
        let endpoint = self.manifest().tool_id.endpoint();
        let failed =
            |log| Error::new(Code::FailedDependency, "Provider invocation failed").with_log(log);
        let demands = self.adapter().demands(endpoint, args);
        let demands = demands.map_err(|e| match e {
            ProviderError {
                invalid_argument: true,
                message,
                ..
            } => Error::invalid(message),
            other => failed(other.detail.unwrap_or(other.message)),
        })?;
        if demands == Demands::default() {
            return Ok(demands);
        }
        // What is proved of all calls holds for this one.
        match self.adapter().may_demand(endpoint) {
            Some(most) if !demands.is_within(&most) => Err(failed(format!(
                "the adapter of `{}` demands more than it says that it may: {demands:?}",
                self.manifest().tool_id
            ))),
            _ => Ok(demands),
        }
    }
}

type Tools = BTreeMap<String, HashMap<String, Arc<Entry>>>;

/// The registered tools, by id and tenant.
#[derive(Debug)]
pub struct Catalog {
    tools: ArcSwap<Tools>,
    adapters: Adapters,
    state: State,
    clock: Arc<dyn Clock>,
    registering: tokio::sync::Mutex<()>,
    /// What [`ManifestStore::revision`](crate::state::manifest::ManifestStore::revision) said before they were read.
    revision: AtomicI64,
}

impl Catalog {
    /// Loads what is registered, after registering what the adapters bring along.
    ///
    /// # Errors
    ///
    /// When the state cannot be read or written.
    pub async fn open(
        state: State,
        adapters: Adapters,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let catalog = Self {
            tools: ArcSwap::default(),
            adapters,
            state,
            clock,
            registering: tokio::sync::Mutex::default(),
            revision: AtomicI64::new(0),
        };
        for adapter in catalog.adapters.iter() {
            for manifest in adapter.manifests() {
                catalog.seed(&manifest).await?;
            }
        }
        catalog.reload().await?;
        Ok(catalog)
    }

    /// An adapter's manifest is put where there is none, or an older one.
    async fn seed(&self, manifest: &Manifest) -> Result<(), Error> {
        let store = self.state.manifests();
        let registered = store
            .get(&manifest.tenant, &manifest.tool_id)
            .await
            .map_err(away)?;
        // What an operator registered in its place stays until the adapter brings a newer version.
        if registered.is_none_or(|r| version(&r.manifest.version) < version(&manifest.version)) {
            store.put(manifest, self.clock.now()).await.map_err(away)?;
        }
        Ok(())
    }

    async fn reload(&self) -> Result<(), Error> {
        // First of all: what is registered while the others are read is read again.
        let revision = self.state.manifests().revision().await.map_err(away)?;
        let mut tools = Tools::new();
        let mut after = None;
        loop {
            let page = self
                .state
                .manifests()
                .page(after.take(), PAGE)
                .await
                .map_err(away)?;
            let Some(last) = page.last() else { break };
            after = Some(After {
                tenant: last.manifest.tenant.clone(),
                tool_id: last.manifest.tool_id.clone(),
            });
            for registered in page {
                let tool_id = registered.manifest.tool_id.clone();
                match Entry::new(registered.manifest, &self.adapters) {
                    Ok(entry) => {
                        let tenant = entry.manifest.tenant.clone();
                        tools
                            .entry(tool_id.as_str().to_owned())
                            .or_default()
                            .insert(tenant, Arc::new(entry));
                    }
                    Err(error) => {
                        tracing::warn!(tool_id = %tool_id, %error, "manifest cannot be used")
                    }
                }
            }
        }
        self.tools.store(Arc::new(tools));
        self.revision.store(revision, Ordering::Release);
        Ok(())
    }

    /// Takes over what other replicas have registered; says whether there was something.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`] when the state cannot be read; what was known stays.
    pub async fn refresh(&self) -> Result<bool, Error> {
        let revision = self.state.manifests().revision().await.map_err(away)?;
        if revision == self.revision.load(Ordering::Acquire) {
            return Ok(false);
        }
        let _one_at_a_time = self.registering.lock().await;
        // A registration here may have read them meanwhile.
        if revision == self.revision.load(Ordering::Acquire) {
            return Ok(false);
        }
        self.reload().await?;
        Ok(true)
    }

    /// The tool that exists for this caller. A tenant's own tool comes before the public one.
    ///
    /// # Errors
    ///
    /// [`Code::NotFound`] for unknown tools and for those of other tenants alike.
    pub fn resolve(&self, caller: &Caller, tool_id: &str) -> Result<Target, Error> {
        let tenant = caller.tenant().ok_or_else(Error::tool_not_found)?;
        let tools = self.tools.load();
        let of_tenants = tools.get(tool_id).ok_or_else(Error::tool_not_found)?;
        let entry = of_tenants
            .get(tenant)
            .or_else(|| of_tenants.get(PUBLIC_TENANT));
        entry
            .map(|entry| Target {
                entry: Arc::clone(entry),
            })
            .ok_or_else(Error::tool_not_found)
    }

    /// Every tool that exists for this caller, ordered by id.
    #[must_use]
    pub fn of(&self, caller: &Caller) -> Vec<Target> {
        let Some(tenant) = caller.tenant() else {
            return Vec::new();
        };
        let tools = self.tools.load();
        tools
            .values()
            .filter_map(|of_tenants| {
                of_tenants
                    .get(tenant)
                    .or_else(|| of_tenants.get(PUBLIC_TENANT))
            })
            .map(|entry| Target {
                entry: Arc::clone(entry),
            })
            .collect()
    }

    /// Every tool of every tenant: those of tenants before the public ones of the same id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Entry>> {
        let tools = self.tools.load();
        let mut all: Vec<_> = tools.values().flat_map(|t| t.values().cloned()).collect();
        all.sort_by(|a, b| {
            let key = |e: &Entry| {
                (
                    e.manifest.tool_id.clone(),
                    e.manifest.tenant == PUBLIC_TENANT,
                    e.manifest.tenant.clone(),
                )
            };
            key(a).cmp(&key(b))
        });
        all
    }

    /// Whether a tenant has a tool of its own in place of a public one.
    #[must_use]
    pub fn is_shadowed(&self, entry: &Entry, tenant: &str) -> bool {
        entry.manifest.tenant == PUBLIC_TENANT
            && tenant != PUBLIC_TENANT
            && self
                .tools
                .load()
                .get(entry.manifest.tool_id.as_str())
                .is_some_and(|t| t.contains_key(tenant))
    }

    /// The adapters.
    #[must_use]
    pub const fn adapters(&self) -> &Adapters {
        &self.adapters
    }

    /// A manifest that may be registered, ready to be called.
    ///
    /// # Errors
    ///
    /// [`Code::ValidationError`] when it cannot be used.
    pub fn examine(&self, manifest: Manifest) -> Result<Target, Error> {
        let name_taken = |tools: &Tools| {
            let mcp_name = manifest.tool_id.mcp_name();
            let visible = |of: &HashMap<String, Arc<Entry>>| {
                of.contains_key(&manifest.tenant) || of.contains_key(PUBLIC_TENANT)
            };
            tools.iter().any(|(id, of)| {
                id != manifest.tool_id.as_str() && id.replace(':', "_") == mcp_name && visible(of)
            })
        };
        if manifest
            .tool_id
            .as_str()
            .split_once(':')
            .map(|(provider, _)| provider)
            != Some(manifest.provider_id.as_str())
        {
            return Err(Error::invalid(
                "`toolId` must begin with its `provider_id` and a colon",
            ));
        }
        if name_taken(&self.tools.load()) {
            return Err(Error::new(
                Code::Conflict,
                "another tool has the same name on the MCP door; choose another `toolId`",
            ));
        }
        let target = Target {
            entry: Arc::new(Entry::new(manifest, &self.adapters)?),
        };
        target.keeps_what_its_adapter_demands()?;
        Ok(target)
    }

    /// Registers a manifest that was examined and permitted.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`] when the state does not take it.
    pub async fn register(&self, target: &Target) -> Result<(), Error> {
        // Whoever reads last has read everything that was put before.
        let _one_at_a_time = self.registering.lock().await;
        self.state
            .manifests()
            .put(target.manifest(), self.clock.now())
            .await
            .map_err(away)?;
        self.reload().await
    }
}

/// The numbers of a version, for comparing; what is no number counts as nought.
fn version(text: &str) -> Vec<u64> {
    text.split(['.', '-', '+'])
        .map(|part| part.parse().unwrap_or_default())
        .collect()
}

fn away(error: crate::state::StateError) -> Error {
    Error::unavailable("State is unavailable", error)
}

#[cfg(test)]
mod tests {
    use fastmcp_protocol::Raw;
    use futures_util::future::BoxFuture;
    use serde_json::json;

    use super::*;
    use crate::provider::{self, Exchange, Grant};

    /// Demands more for one of its tools than it says that it may, and says nothing of another.
    #[derive(Debug)]
    struct Greedy;

    impl ProviderAdapter for Greedy {
        fn provider_id(&self) -> &str {
            "greedy"
        }

        fn demands(&self, _endpoint: &str, _args: &Args) -> Result<Demands, ProviderError> {
            Ok(Demands {
                safety_tags: vec!["destructive".to_owned()],
                writes: true,
                ..Demands::default()
            })
        }

        fn may_demand(&self, endpoint: &str) -> Option<Demands> {
            (endpoint == "bounded").then(|| Demands {
                writes: true,
                ..Demands::default()
            })
        }

        fn exchange<'a>(
            &'a self,
            _request: &'a Exchange<'a>,
        ) -> BoxFuture<'a, Result<Grant, ProviderError>> {
            Box::pin(async { Err(ProviderError::invalid("nobody is let in")) })
        }

        fn call<'a>(
            &'a self,
            _endpoint: &'a str,
            _payload: &'a Args,
            _call: &'a provider::Call<'a>,
        ) -> BoxFuture<'a, Result<Raw, ProviderError>> {
            Box::pin(async { Err(ProviderError::invalid("nothing is done")) })
        }
    }

    #[test]
    fn no_call_demands_more_than_its_adapter_says() {
        let mut adapters = Adapters::default();
        adapters.register_adapter(Arc::new(Greedy));
        let target = |tool: &str| {
            let manifest = json!({
                "toolId": tool, "name": "x", "description": "x", "provider_id": "greedy",
                "inputs": {"type": "object"},
            });
            let manifest = serde_json::from_value(manifest).unwrap();
            Target {
                entry: Arc::new(Entry::new(manifest, &adapters).unwrap()),
            }
        };
        let args = Args::parse_str("{}", &ArgsLimits::default()).unwrap();
        let refused = target("greedy:bounded").demands(&args).unwrap_err();
        assert_eq!(refused.code(), Code::FailedDependency);
        // Of whom nothing is known, nothing is proved either.
        let open = target("greedy:open").demands(&args).unwrap();
        assert_eq!(open.safety_tags, ["destructive"]);
    }
}
