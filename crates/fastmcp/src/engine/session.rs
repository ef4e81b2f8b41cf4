//! The sessions that clients opened with `initialize`.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fastmcp_guard::clock::Timestamp;
use fastmcp_protocol::{
    ErrorCode, Method, ProtocolVersion, Raw, RequestId, RpcError, capability::ClientCapabilities,
    logging::LoggingLevel, meta::Implementation,
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// Bounded, with an idle timeout. Ids come from the operating system's random source and are bound
/// to the caller: another caller meets them as unknown.
#[derive(Debug)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
    max: usize,
    idle: Duration,
}

/// What a session begins with.
pub(crate) struct Opening {
    pub(crate) connection: Option<u64>,
    pub(crate) principal: String,
    pub(crate) version: ProtocolVersion,
    pub(crate) capabilities: ClientCapabilities,
    pub(crate) client_info: Implementation,
    pub(crate) now: Timestamp,
}

/// What a client agreed on when it opened a session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) principal: String,
    pub(crate) version: ProtocolVersion,
    pub(crate) capabilities: ClientCapabilities,
    pub(crate) client_info: Implementation,
    pub(crate) log_level: Mutex<LoggingLevel>,
    pub(crate) listening: AtomicBool,
    pub(crate) last_used: AtomicU64,
    pub(crate) next_id: AtomicI64,
    /// Our requests that the client has not answered yet.
    pub(crate) asked: Mutex<HashMap<i64, oneshot::Sender<std::result::Result<Raw, RpcError>>>>,
    /// Its requests that we have not answered yet.
    pub(crate) under_way: Mutex<HashMap<RequestId, CancellationToken>>,
    pub(crate) subscribed: Mutex<HashSet<String>>,
    pub(crate) closed: CancellationToken,
}

impl Session {
    /// Whether the client wants to hear of a change.
    pub(crate) fn wants(&self, method: Method, uri: Option<&str>) -> bool {
        match (method, uri) {
            (Method::NotificationResourcesUpdated, Some(uri)) => {
                lock(&self.subscribed).contains(uri)
            }
            _ => true,
        }
    }

    fn touch(&self, now: Timestamp) {
        self.last_used.store(now.millis(), Ordering::Relaxed);
    }
}

/// Locks `mutex`; what a panic left behind is whole, since no section here can fail half-way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    pub(crate) fn new(max: usize, idle: Duration) -> Self {
        Self {
            open: Mutex::default(),
            max,
            idle,
        }
    }

    pub(crate) fn open(&self, opening: Opening) -> Result<Arc<Session>> {
        let id = match opening.connection {
            Some(connection) => format!("connection-{connection}"),
            None => random_id()?,
        };
        let session = Arc::new(Session {
            id: id.clone(),
            principal: opening.principal,
            version: opening.version,
            capabilities: opening.capabilities,
            client_info: opening.client_info,
            log_level: Mutex::new(LoggingLevel::Debug),
            listening: AtomicBool::new(false),
            last_used: AtomicU64::new(opening.now.millis()),
            next_id: AtomicI64::new(1),
            asked: Mutex::default(),
            under_way: Mutex::default(),
            subscribed: Mutex::new(HashSet::new()),
            closed: CancellationToken::new(),
        });
        let mut open = lock(&self.open);
        if open.len() >= self.max {
            self.evict(&mut open, opening.now);
        }
        if open.len() >= self.max {
            return Err(Error::protocol(RpcError::new(
                ErrorCode::INTERNAL_ERROR,
                "too many sessions are open; try again later",
            )));
        }
        open.insert(id, Arc::clone(&session));
        Ok(session)
    }

    /// The session `id` of `principal`, unless it sat idle for too long.
    pub(crate) fn get(&self, id: &str, principal: &str, now: Timestamp) -> Option<Arc<Session>> {
        let mut open = lock(&self.open);
        let session = open.get(id)?;
        if session.principal != principal {
            return None;
        }
        if self.is_idle(session, now) {
            let session = open.remove(id)?;
            session.closed.cancel();
            return None;
        }
        session.touch(now);
        Some(Arc::clone(session))
    }

    pub(crate) fn close(&self, id: &str) {
        if let Some(session) = lock(&self.open).remove(id) {
            session.closed.cancel();
        }
    }

    fn evict(&self, open: &mut HashMap<String, Arc<Session>>, now: Timestamp) {
        open.retain(|_, session| {
            let idle = self.is_idle(session, now);
            if idle {
                session.closed.cancel();
            }
            !idle
        });
    }

    /// A session with an open stream or a call under way is in use, however quiet.
    fn is_idle(&self, session: &Session, now: Timestamp) -> bool {
        let last = Timestamp::from_unix_millis(session.last_used.load(Ordering::Relaxed));
        now.since(last) >= self.idle
            && !session.listening.load(Ordering::Acquire)
            && lock(&session.under_way).is_empty()
    }
}

pub(crate) fn random_id() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Error::internal("no randomness for a session id"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(principal: &str, now: u64) -> Opening {
        Opening {
            connection: None,
            principal: principal.to_owned(),
            version: ProtocolVersion::LATEST_LEGACY,
            capabilities: ClientCapabilities::default(),
            client_info: Implementation::new("test", "1"),
            now: Timestamp::from_unix_seconds(now),
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    #[test]
    fn another_caller_meets_a_session_as_unknown() {
        let sessions = Sessions::new(10, Duration::from_secs(60));
        let id = sessions.open(opening("alice", 0)).unwrap().id.clone();
        assert!(sessions.get(&id, "bob", at(1)).is_none());
        assert!(sessions.get(&id, "alice", at(1)).is_some());
        sessions.close(&id);
        assert!(sessions.get(&id, "alice", at(1)).is_none());
    }

    #[test]
    fn idle_sessions_end_and_make_room() {
        let sessions = Sessions::new(2, Duration::from_secs(60));
        let first = sessions.open(opening("a", 0)).unwrap();
        sessions.open(opening("a", 50)).unwrap();
        assert!(sessions.open(opening("a", 59)).is_err(), "the cap holds");
        sessions.open(opening("a", 60)).unwrap();
        assert!(first.closed.is_cancelled());
        assert!(sessions.get(&first.id, "a", at(60)).is_none());
    }
}
