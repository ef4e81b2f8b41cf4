//! A log on a disk in memory, with a clock that stands still until it is moved. Tests only.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::{
    AuditError, Clock, Draft, Filter, Log, Options, Receipt, Record, Report, Signer, VerifierKey,
    VerifyError, generate_key, read::read_storage, storage::memory::Memory, verify::verify_storage,
};

pub(crate) const SECOND: i64 = 1000;
pub(crate) const DAY: i64 = 24 * 3600 * SECOND;

#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) storage: Memory,
    time: Arc<AtomicI64>,
    secret: Arc<Zeroizing<Vec<u8>>>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let noon: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        Self {
            storage: Memory::new(),
            time: Arc::new(AtomicI64::new(noon.as_millisecond())),
            secret: Arc::new(generate_key().unwrap()),
        }
    }

    pub(crate) fn on(&self, storage: Memory) -> Self {
        Self {
            storage,
            ..self.clone()
        }
    }

    pub(crate) fn advance(&self, milliseconds: i64) {
        self.time.fetch_add(milliseconds, Ordering::SeqCst);
    }

    pub(crate) fn signer(&self) -> Signer {
        Signer::for_instance("gw-1", &self.secret).unwrap()
    }

    pub(crate) fn key(&self) -> VerifierKey {
        self.signer().verifier()
    }

    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new("gw-1", self.signer());
        let time = Arc::clone(&self.time);
        options.clock =
            Clock::new(move || Timestamp::from_millisecond(time.load(Ordering::SeqCst)).unwrap());
        options
    }

    pub(crate) fn open(&self) -> Result<Log, AuditError> {
        self.open_with(self.options())
    }

    pub(crate) fn open_with(&self, options: Options) -> Result<Log, AuditError> {
        Log::open_in(Arc::new(self.storage.clone()), options)
    }

    pub(crate) fn verify(&self) -> Result<Report, VerifyError> {
        verify_storage(&self.storage, Some(&self.key()), &[])
    }

    pub(crate) fn read(&self, filter: Filter) -> Vec<Record> {
        read_storage(Arc::new(self.storage.clone()), filter)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.read(Filter::default())
    }
}

/// A draft that is found again by its request.
pub(crate) fn draft(corr_id: &str) -> Draft {
    Draft {
        corr_id: Some(corr_id.to_owned()),
        tool_id: Some("database:listTables".to_owned()),
        sub: Some("agent-1".to_owned()),
        tenant: Some("acme".to_owned()),
        ..Draft::intent("tools.invoke")
    }
}

pub(crate) fn append(log: &Log, corr_id: &str) -> Result<u64, AuditError> {
    match log.append(&draft(corr_id)).wait()? {
        Receipt::Durable { seq, .. } => Ok(seq),
        Receipt::Queued => panic!("expected a durable record"),
    }
}
