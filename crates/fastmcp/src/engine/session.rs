//! The sessions that clients opened with `initialize`.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fastmcp_guard::clock::Timestamp;
use fastmcp_protocol::{
    ErrorCode, Method, ProtocolVersion, Raw, RequestId, RpcError, capability::ClientCapabilities,
    logging::LoggingLevel, meta::Implementation,
};
use fastmcp_transport::{
    Outlet,
    replay::{Budget, Replay, ReplayLimits},
};
use tokio::{
    sync::{broadcast, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::visibility::Visibility;
use crate::{
    call::Told,
    context::Known,
    error::{Error, Result},
    telemetry,
};

/// How often, at most, sessions are looked through for those that sat idle for too long.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Bounded, with an idle timeout. Ids come from the operating system's random source and are bound
/// to the caller: another caller meets them as unknown.
#[derive(Debug)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
    max: usize,
    idle: Duration,
    /// When the open sessions were last looked through.
    swept: AtomicU64,
    replay: Arc<ReplayLimits>,
    budget: Arc<Budget>,
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
    /// Its streams over HTTP, for clients that come back to them.
    pub(crate) replay: Arc<Replay>,
    pub(crate) general: Mutex<General>,
    /// What the general stream has not told yet. Whoever serves the stream holds it, so that each
    /// change is told once; it waits here while the client is away.
    pub(crate) changes: tokio::sync::Mutex<Option<broadcast::Receiver<Told>>>,
    /// Whether the session ends with its connection, and so never by sitting idle.
    connected: bool,
    begun: Instant,
    pub(crate) last_used: AtomicU64,
    pub(crate) next_id: AtomicI64,
    /// Our requests that the client has not answered yet.
    pub(crate) asked: Mutex<HashMap<i64, oneshot::Sender<std::result::Result<Raw, RpcError>>>>,
    /// Its requests that we have not answered yet.
    pub(crate) under_way: Mutex<HashMap<RequestId, CancellationToken>>,
    pub(crate) subscribed: Mutex<HashSet<String>>,
    /// What it shows and hides in place of the server.
    pub(crate) visibility: Visibility,
    pub(crate) closed: CancellationToken,
}

/// The stream on which the server speaks without being asked.
#[derive(Debug, Default)]
pub(crate) struct General {
    /// Who reads it.
    pub(crate) reader: Option<Outlet>,
    /// Its number among the streams that are kept.
    pub(crate) number: Option<u64>,
}

impl General {
    /// Whether somebody reads it.
    pub(crate) fn is_read(&self) -> bool {
        self.reader.as_ref().is_some_and(|r| !r.is_closed())
    }
}

impl Session {
    /// Ends the session, because of `error` or not: its calls are cancelled and its streams end.
    fn end(&self, error: Option<&'static str>) {
        if self.closed.is_cancelled() {
            return;
        }
        self.closed.cancel();
        let version = self.version.as_str();
        telemetry::session_ended(self.begun.elapsed(), version, !self.connected, error);
        for call in lock(&self.under_way).values() {
            call.cancel();
        }
        self.replay.close();
    }

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

impl Known for Session {
    fn id(&self) -> &str {
        &self.id
    }

    fn capabilities(&self) -> &ClientCapabilities {
        &self.capabilities
    }

    fn client_info(&self) -> &Implementation {
        &self.client_info
    }
}

/// Locks `mutex`; what a panic left behind is whole, since no section here can fail half-way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    pub(crate) fn new(max: usize, idle: Duration, replay: ReplayLimits) -> Self {
        Self {
            open: Mutex::default(),
            max,
            idle,
            swept: AtomicU64::new(0),
            replay: Arc::new(replay),
            budget: Arc::default(),
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
            replay: Arc::new(Replay::new(
                Arc::clone(&self.replay),
                Arc::clone(&self.budget),
            )),
            general: Mutex::default(),
            changes: tokio::sync::Mutex::default(),
            connected: opening.connection.is_some(),
            begun: Instant::now(),
            last_used: AtomicU64::new(opening.now.millis()),
            next_id: AtomicI64::new(1),
            asked: Mutex::default(),
            under_way: Mutex::default(),
            subscribed: Mutex::new(HashSet::new()),
            visibility: Visibility::default(),
            closed: CancellationToken::new(),
        });
        let mut open = lock(&self.open);
        if open.len() >= self.max || self.is_time_to_sweep(opening.now) {
            self.evict(&mut open, opening.now);
        }
        if open.len() >= self.max {
            return Err(Error::protocol(RpcError::new(
                ErrorCode::INTERNAL_ERROR,
                "too many sessions are open; try again later",
            )));
        }
        // A connection that initializes again begins again.
        if let Some(before) = open.insert(id, Arc::clone(&session)) {
            before.end(None);
        }
        Ok(session)
    }

    /// The session `id` of `principal`, unless it sat idle for too long.
    pub(crate) fn get(&self, id: &str, principal: &str, now: Timestamp) -> Option<Arc<Session>> {
        let mut open = lock(&self.open);
        let session = open.get(id)?;
        if session.principal != principal {
            return None;
        }
        if !session.connected && self.is_idle(session, now) {
            let session = open.remove(id)?;
            session.end(None);
            return None;
        }
        session.touch(now);
        Some(Arc::clone(session))
    }

    /// Whether the session `id` is open, and not of `principal`.
    pub(crate) fn is_anothers(&self, id: &str, principal: &str) -> bool {
        lock(&self.open)
            .get(id)
            .is_some_and(|session| session.principal != principal)
    }

    pub(crate) fn close(&self, id: &str) {
        let session = lock(&self.open).remove(id);
        if let Some(session) = session {
            session.end(None);
        }
    }

    /// Ends a session because of `error`.
    pub(crate) fn end(&self, session: &Arc<Session>, error: &'static str) {
        let mut open = lock(&self.open);
        if open
            .get(&session.id)
            .is_some_and(|one| Arc::ptr_eq(one, session))
        {
            open.remove(&session.id);
        }
        drop(open);
        session.end(Some(error));
    }

    fn is_time_to_sweep(&self, now: Timestamp) -> bool {
        let last = Timestamp::from_unix_millis(self.swept.load(Ordering::Relaxed));
        let due = now.since(last) >= SWEEP_EVERY;
        if due {
            self.swept.store(now.millis(), Ordering::Relaxed);
        }
        due
    }

    fn evict(&self, open: &mut HashMap<String, Arc<Session>>, now: Timestamp) {
        open.retain(|_, session| {
            let idle = self.is_idle(session, now);
            if idle {
                session.end(None);
            }
            !idle
        });
    }

    /// A session with an open stream or a call under way is in use, however quiet.
    fn is_idle(&self, session: &Session, now: Timestamp) -> bool {
        let last = Timestamp::from_unix_millis(session.last_used.load(Ordering::Relaxed));
        now.since(last) >= self.idle
            && lock(&session.under_way).is_empty()
            && !lock(&session.general).is_read()
            && !session.replay.is_read()
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
        let sessions = Sessions::new(10, Duration::from_secs(60), ReplayLimits::default());
        let id = sessions.open(opening("alice", 0)).unwrap().id.clone();
        assert!(sessions.get(&id, "bob", at(1)).is_none());
        assert!(sessions.get(&id, "alice", at(1)).is_some());
        sessions.close(&id);
        assert!(sessions.get(&id, "alice", at(1)).is_none());
    }

    #[test]
    fn idle_sessions_end_and_make_room() {
        let sessions = Sessions::new(2, Duration::from_secs(60), ReplayLimits::default());
        let first = sessions.open(opening("a", 0)).unwrap();
        sessions.open(opening("a", 50)).unwrap();
        assert!(sessions.open(opening("a", 59)).is_err(), "the cap holds");
        sessions.open(opening("a", 60)).unwrap();
        assert!(first.closed.is_cancelled());
        assert!(sessions.get(&first.id, "a", at(60)).is_none());
    }

    #[test]
    fn a_session_lasts_as_long_as_its_connection() {
        let sessions = Sessions::new(1, Duration::from_secs(60), ReplayLimits::default());
        let connected = |now| Opening {
            connection: Some(7),
            ..opening("local", now)
        };
        let first = sessions.open(connected(0)).unwrap();
        assert!(sessions.get(&first.id, "local", at(3_600)).is_some());
        let second = sessions.open(connected(7_200)).unwrap();
        assert!(first.closed.is_cancelled(), "it began again");
        assert!(!second.closed.is_cancelled());
    }

    #[test]
    fn who_is_listened_to_or_works_is_not_idle() {
        let sessions = Sessions::new(10, Duration::from_secs(60), ReplayLimits::default());
        let (listened, works) = (
            sessions.open(opening("a", 0)).unwrap(),
            sessions.open(opening("a", 0)).unwrap(),
        );
        lock(&listened.general).reader = Some(Outlet::new(1));
        lock(&works.under_way).insert(RequestId::Number(1), CancellationToken::new());
        assert!(sessions.get(&listened.id, "a", at(100)).is_some());
        assert!(sessions.get(&works.id, "a", at(100)).is_some());
        lock(&works.under_way).clear();
        assert!(sessions.get(&works.id, "a", at(200)).is_none());
    }
}
