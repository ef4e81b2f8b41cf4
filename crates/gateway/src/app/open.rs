//! Opening the parts of the gateway.

use std::{path::Path, sync::Arc};

use fastmcp_audit::Log;
use fastmcp_guard::{clock::Clock, random::Random, redact::Redactor};

use super::Error;
use crate::{
    announce::Announcer,
    audit::{
        Audit, What,
        export::{Exports, Origin},
    },
    config::{Config, Trail},
    confirm,
    consent::Consents,
    keys::Keys,
    limit::Limit,
    pipeline,
    provider::{
        Adapters, ads::AdsProvider, database, database::DatabaseProvider, filesystem,
        filesystem::FilesystemProvider,
    },
    state::{self, State},
    telemetry::Telemetry,
};

pub(super) async fn blocking<T, F>(path: &Path, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce(&Path) -> T + Send + 'static,
{
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || work(&path))
        .await
        .map_err(Error::part("worker"))
}

pub(super) fn private_folder(path: &Path) -> Result<(), Error> {
    let made = {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)
    };
    made.map_err(|source| Error::File {
        path: path.display().to_string(),
        source,
    })
}

pub(super) async fn open_audit(
    config: &Config,
    keys: &Keys,
    clock: Arc<dyn Clock>,
    telemetry: &Telemetry,
) -> Result<Audit, Error> {
    private_folder(&config.audit_dir)?;
    let mut options = fastmcp_audit::Options::new(
        &config.instance,
        keys.audit_signer(&config.instance)
            .map_err(Error::part("audit key"))?,
    );
    options.mode = config.audit_mode;
    let Trail {
        segment_bytes,
        redact,
        arguments,
        peers,
        sinks,
        queue,
        ..
    } = &config.trail;
    options.segment_bytes = *segment_bytes;
    if let Some(peers) = peers {
        private_folder(&peers.folder)?;
    }
    let redactor = redact
        .iter()
        .try_fold(Redactor::default(), |redactor, name| {
            redactor.with_secret_name(name)
        })
        .map_err(Error::part("AUDIT_REDACT"))?;
    let origin = Origin {
        service: config.app_name.clone(),
        instance: config.instance.clone(),
        version: config.server_version.clone(),
    };
    let (exports, tap) =
        Exports::start(sinks, *queue, &origin, telemetry).map_err(Error::part("audit sinks"))?;
    options.tap = (!sinks.is_empty()).then_some(tap);
    let log = blocking(&config.audit_dir, move |path| Log::open(path, options))
        .await?
        .map_err(Error::part("audit log"))?;
    Ok(Audit::with(
        log,
        keys.audit_salt(),
        clock,
        exports,
        What {
            redactor,
            arguments: arguments.clone(),
        },
    ))
}

pub(super) async fn open_state(config: &Config, keys: &Keys) -> Result<State, Error> {
    if let state::Location::File(path) = &config.state
        && let Some(folder) = path.parent()
    {
        private_folder(folder)?;
    }
    let seal = Arc::new(keys.seal());
    let mut options = state::Options::new(config.state.clone(), seal, &config.instance)
        .map_err(Error::part("state"))?;
    options.claim_lease = pipeline::lease(config.request_timeout);
    options.retention = config.idempotency_ttl;
    options.connections = config.pool_size;
    State::open(options).await.map_err(Error::part("state"))
}

pub(super) async fn adapters(config: &Config, random: &Arc<dyn Random>) -> Result<Adapters, Error> {
    let (config, random) = (config.clone(), Arc::clone(random));
    let opened = tokio::task::spawn_blocking(move || open_adapters(&config, &random)).await;
    opened.map_err(Error::part("worker"))?
}

pub(super) fn open_adapters(config: &Config, random: &Arc<dyn Random>) -> Result<Adapters, Error> {
    if config.database_is_sample {
        database::sample::create(&config.database_path).map_err(Error::part("sample database"))?;
    }
    let options = database::Options {
        max_rows: config.database_max_rows,
        timeout: config.request_timeout,
        ..database::Options::default()
    };
    let database = DatabaseProvider::open(&config.database_path, options, Arc::clone(random))
        .map_err(Error::part("database"))?;
    private_folder(&config.filesystem_root)?;
    let options = filesystem::Options {
        limits: config.filesystem_limits,
        timeout: config.request_timeout,
        ..filesystem::Options::default()
    };
    let files = FilesystemProvider::open(&config.filesystem_root, options, Arc::clone(random))
        .map_err(Error::part("files folder"))?;
    let ads = AdsProvider::open(&config.ads_path, Arc::clone(random))
        .map_err(Error::part("ads sandbox"))?;
    let mut adapters = Adapters::default();
    adapters.register_adapter(Arc::new(database));
    adapters.register_adapter(Arc::new(files));
    adapters.register_adapter(Arc::new(ads));
    Ok(adapters)
}

pub(super) fn consents(
    config: &Config,
    state: &State,
    announcer: Option<Announcer>,
) -> Result<Consents, Error> {
    let confirmations = confirm::Config {
        ttl: config.confirm_ttl,
        approval_ttl: config.approval_ttl,
        token_bytes: config.action_token,
        ..confirm::Config::default()
    };
    let consents = Consents::new(state.ledger().clone(), confirmations)
        .map_err(Error::part("confirmations"))?;
    Ok(consents
        .waiting(config.idempotency_wait)
        .announcing(announcer))
}

pub(super) fn limit(
    config: &Config,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
    telemetry: &Telemetry,
) -> Result<Limit, Error> {
    Limit::new(
        config.limits.clone(),
        Arc::clone(clock),
        Arc::clone(random),
        telemetry.clone(),
    )
    .map_err(Error::part("limits"))
}
