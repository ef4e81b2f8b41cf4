//! How the built-in adapters write down their tools.

use serde_json::Value;

use crate::manifest::{Classification, Manifest, PUBLIC_TENANT, ToolId};

/// A built-in tool; what it leaves out of a [`Manifest`] is the same for all of them.
pub(super) struct Definition {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) inputs: Value,
    pub(super) outputs: Value,
    pub(super) scope: &'static str,
    pub(super) safety_tags: &'static [&'static str],
    pub(super) read_only: bool,
    pub(super) latency_ms: u64,
    pub(super) examples: Vec<Value>,
}

impl Definition {
    /// The manifest, visible to every tenant.
    pub(super) fn manifest(self) -> Manifest {
        #[expect(
            clippy::expect_used,
            reason = "ids are constants of this crate; a test makes every manifest"
        )]
        let tool_id = ToolId::parse(self.id).expect("a built-in tool id is well formed");
        let provider_id = self.id.split(':').next().unwrap_or_default().to_owned();
        Manifest {
            tool_id,
            name: self.title.to_owned(),
            description: self.description.to_owned(),
            inputs: self.inputs,
            outputs: self.outputs,
            required_scopes: vec![self.scope.to_owned()],
            safety_tags: self.safety_tags.iter().map(|&tag| tag.to_owned()).collect(),
            provider_id,
            cost_estimate: None,
            latency_estimate_ms: Some(self.latency_ms),
            tenant: PUBLIC_TENANT.to_owned(),
            examples: self.examples,
            manual_review_required: false,
            http_method: None,
            route: None,
            read_only: self.read_only,
            classification: Classification::Internal,
            labels: std::collections::BTreeSet::new(),
            version: "1.0.0".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastmcp_guard::random::OsRandom;
    use serde_json::json;

    use crate::provider::{
        ProviderAdapter,
        ads::AdsProvider,
        database::{self, DatabaseProvider},
        filesystem::{self, FilesystemProvider},
    };

    #[test]
    fn every_built_in_manifest_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        database::sample::create(&path.join("s.db")).unwrap();
        let adapters: [Arc<dyn ProviderAdapter>; 3] = [
            Arc::new(AdsProvider::open(&path.join("a.db"), Arc::new(OsRandom)).unwrap()),
            Arc::new(
                DatabaseProvider::open(
                    &path.join("s.db"),
                    database::Options::default(),
                    Arc::new(OsRandom),
                )
                .unwrap(),
            ),
            Arc::new(
                FilesystemProvider::open(path, filesystem::Options::default(), Arc::new(OsRandom))
                    .unwrap(),
            ),
        ];
        let mut read_only = Vec::new();
        for adapter in &adapters {
            for manifest in adapter.manifests() {
                let id = manifest.tool_id.as_str();
                assert_eq!(manifest.provider_id, adapter.provider_id(), "{id}");
                assert!(
                    id.starts_with(adapter.provider_id()) && manifest.description.len() > 60,
                    "{id}"
                );
                assert_eq!(
                    manifest.inputs["additionalProperties"],
                    json!(false),
                    "{id}"
                );
                assert_eq!(manifest.outputs["type"], json!("object"), "{id}");
                let inputs = jsonschema::draft202012::new(&manifest.inputs).unwrap();
                jsonschema::draft202012::new(&manifest.outputs).unwrap();
                assert!(!manifest.examples.is_empty(), "{id}");
                assert!(
                    manifest
                        .examples
                        .iter()
                        .all(|example| inputs.is_valid(example)),
                    "{id}"
                );
                if manifest.read_only {
                    read_only.push(id.to_owned());
                }
            }
        }
        assert_eq!(
            read_only,
            [
                "database:listTables",
                "database:getSchema",
                "filesystem:listDirectory",
                "filesystem:readFile"
            ]
        );
    }
}
