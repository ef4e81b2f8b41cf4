//! The built-in tools, looked up without a gateway.
//!
//! Only an adapter knows its manifests and what arguments demand beyond them (a statement that writes needs another
//! scope than one that reads), so the adapters are opened, over a folder that goes away again.

use std::sync::Arc;

use anyhow::Context as _;
use fastmcp_gateway::{
    catalog,
    manifest::Manifest,
    provider::{
        Adapters,
        ads::AdsProvider,
        database::{self, DatabaseProvider, sample},
        filesystem::{self, FilesystemProvider},
    },
};
use fastmcp_guard::random::OsRandom;
use fastmcp_policy::Resource;
#[cfg(feature = "prove")]
use fastmcp_policy::prove;
use fastmcp_protocol::args::Args;
use tempfile::TempDir;

use crate::output;

/// The built-in adapters over throw-away data.
pub(super) struct Sandbox {
    adapters: Adapters,
    // Goes last: the adapters hold files in it.
    _folder: TempDir,
}

impl Sandbox {
    pub(super) fn open() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no folder for looking tools up")?;
        let (random, path) = (Arc::new(OsRandom), folder.path());
        let database = path.join("sample.db");
        sample::create(&database)?;
        let mut adapters = Adapters::default();
        adapters.register_adapter(Arc::new(DatabaseProvider::open(
            &database,
            database::Options::default(),
            random.clone(),
        )?));
        adapters.register_adapter(Arc::new(FilesystemProvider::open(
            path,
            filesystem::Options::default(),
            random.clone(),
        )?));
        adapters.register_adapter(Arc::new(AdsProvider::open(&path.join("ads.db"), random)?));
        Ok(Self {
            adapters,
            _folder: folder,
        })
    }

    /// Every manifest of the built-in tools, ordered by id.
    pub(super) fn manifests(&self) -> Vec<Manifest> {
        let mut all: Vec<_> = self.adapters.iter().flat_map(|a| a.manifests()).collect();
        all.sort_by(|a, b| a.tool_id.cmp(&b.tool_id));
        all
    }

    /// The most that the arguments of a call can demand of this tool beyond its manifest. Of an adapter that is not built in
    /// nothing is known.
    #[cfg(feature = "prove")]
    pub(super) fn may_demand(&self, manifest: &Manifest) -> prove::Demands {
        let adapter = self.adapters.get(&manifest.provider_id);
        let most = adapter.and_then(|adapter| adapter.may_demand(manifest.tool_id.endpoint()));
        most.map_or(prove::Demands::Anything, |most| prove::Demands::AtMost {
            tags: most.safety_tags.into_iter().collect(),
            scopes: most.scopes.into_iter().collect(),
            writes: most.writes,
        })
    }

    /// A built-in tool as policy sees it, with what these arguments demand beyond the manifest.
    pub(super) fn resource(
        &self,
        tool: &str,
        args: Option<&Args>,
    ) -> anyhow::Result<Option<Resource>> {
        self.manifest(tool)
            .map(|manifest| self.resource_of(&manifest, args))
            .transpose()
    }

    /// A tool as policy sees it, with what these arguments demand beyond the manifest as far as its provider is built in.
    pub(super) fn resource_of(
        &self,
        manifest: &Manifest,
        args: Option<&Args>,
    ) -> anyhow::Result<Resource> {
        let mut resource = catalog::resource(manifest);
        let Some(args) = args else {
            return Ok(resource);
        };
        let Some(adapter) = self.adapters.get(&manifest.provider_id) else {
            output::complain(&format!(
                "what the arguments demand beyond the manifest is not known here of the provider `{}`",
                output::printable(&manifest.provider_id)
            ));
            return Ok(resource);
        };
        let demands = adapter
            .demands(manifest.tool_id.endpoint(), args)
            .context("the arguments are not what the tool takes")?;
        resource.required_scopes.extend(demands.scopes);
        resource.safety_tags.extend(demands.safety_tags);
        resource.read_only &= !demands.writes;
        Ok(resource)
    }

    /// The manifest of a built-in tool.
    fn manifest(&self, tool: &str) -> Option<Manifest> {
        self.adapters
            .iter()
            .flat_map(|adapter| adapter.manifests())
            .find(|manifest| manifest.tool_id.as_str() == tool)
    }
}
