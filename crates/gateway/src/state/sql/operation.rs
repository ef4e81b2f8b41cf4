//! Operations in SQL.

use fastmcp_guard::clock::Timestamp;
use futures_util::future::BoxFuture;

use super::{
    super::{
        StateError,
        act::Untold,
        machine::{Event, Owner, State, Status},
        operation::{
            Binding, Create, Created, Filter, IdempotencyKey, Note, OperationId, OperationStore,
            Recent, Recovered, Row, Step, Stepped,
        },
    },
    Change, Engine, Reader as _, Session, Statement, Store, Value,
    act::leave,
    reading, row, writing,
};
use crate::manifest::ToolId;

#[cfg(test)]
pub(in crate::state) mod model_tests;
mod statement;
mod step;

use statement::{
    ACTED, APPROVALS, BIND_KEY, BIND_NEW_KEY, BY_ID, BY_TOKEN, EXPIRE, FREE_KEY, HAS_KEY, HOLDER,
    INSERT, KEYED, LIST, LIST_RUNNING, OPEN, PENDING, PURGE, RECOVER, UNKNOWN, UNMAKE, UNSETTLED,
};

/// Where a key is unique.
struct Scope<'a> {
    tenant: &'a str,
    subject: &'a str,
    tool_id: &'a ToolId,
    key: &'a IdempotencyKey,
}

impl Scope<'_> {
    fn values(&self) -> [Value<'_>; 4] {
        [
            Value::Text(Some(self.tenant)),
            Value::Text(Some(self.subject)),
            Value::Text(Some(self.tool_id.as_str())),
            Value::Text(Some(self.key.as_str())),
        ]
    }

    fn named<'a>(&'a self, id: &'a OperationId) -> [Value<'a>; 5] {
        let [tenant, subject, tool_id, key] = self.values();
        [tenant, subject, tool_id, key, id.as_str().into()]
    }

    async fn holder(&self, session: &mut dyn Session) -> Result<Option<Row>, StateError> {
        let found = session
            .rows(HOLDER, &self.values())
            .await
            .map_err(writing)?;
        found.first().map(row::operation).transpose()
    }

    /// Takes the key from an operation that does not keep it. One that has expired ends with it: a replica whose clock
    /// is behind could claim it otherwise, while the key names another.
    async fn take_from(
        &self,
        row: &Row,
        now: Timestamp,
        session: &mut dyn Session,
    ) -> Result<(), StateError> {
        if !row.machine.status().is_final() {
            let expire = Step {
                tenant: row.binding.tenant.clone(),
                id: row.id.clone(),
                event: Event::Expire,
                now,
                note: Note::default(),
            };
            if !matches!(expire.apply(session).await?, Stepped::Moved(_)) {
                return Err(StateError::Contended);
            }
        }
        let freed = session.execute(FREE_KEY, &self.named(&row.id)).await;
        freed.map(drop).map_err(writing)
    }

    async fn bind(&self, id: &OperationId, session: &mut dyn Session) -> Result<(), StateError> {
        let bound = session.execute(BIND_KEY, &self.named(id)).await;
        bound.map(drop).map_err(writing)
    }
}

impl Create {
    /// Makes the operation of a key that names none yet, as nearly every key does. Says whether that is so.
    async fn made_anew(
        &self,
        scope: &Scope<'_>,
        session: &mut dyn Session,
    ) -> Result<bool, StateError> {
        let id = &self.row.id;
        insert(&self.row, session).await?;
        let bound = session.execute(BIND_NEW_KEY, &scope.named(id)).await;
        if bound.map_err(writing)? > 0 {
            return Ok(true);
        }
        let unmade = session.execute(UNMAKE, &[id.as_str().into()]).await;
        unmade.map_err(writing)?;
        Ok(false)
    }
}

impl Change for Create {
    type Output = Created;

    fn apply<'a>(
        &'a self,
        session: &'a mut dyn Session,
    ) -> BoxFuture<'a, Result<Created, StateError>> {
        Box::pin(async move {
            let binding = &self.row.binding;
            let now = self.row.created_at;
            if self.max_pending.is_some() {
                // What is counted must not grow meanwhile. First of all, so that rivals wait here and nowhere else.
                let turn = format!("pending|{}|{}", binding.tenant, binding.subject);
                session.turn(&turn).await.map_err(writing)?;
            }
            let scope = self.key.as_ref().map(|key| Scope {
                tenant: &binding.tenant,
                subject: &binding.subject,
                tool_id: &binding.tool_id,
                key,
            });
            if let (Some(scope), None) = (&scope, self.max_pending)
                && self.made_anew(scope, session).await?
            {
                return Ok(Created::New);
            }
            if let Some(scope) = &scope
                && let Some(row) = scope.holder(session).await?
            {
                if row.machine.keeps_key(now, row.retain_until) {
                    return Ok(Created::Existing(Box::new(row)));
                }
                scope.take_from(&row, now, session).await?;
            }
            if self.attaches
                && scope.is_none()
                && let Some(row) = open(&self.row, session).await?
            {
                return Ok(Created::Existing(Box::new(row)));
            }
            if let Some(limit) = self.max_pending
                && pending(&self.row, session).await? >= i64::from(limit)
            {
                return Ok(Created::TooManyPending);
            }
            insert(&self.row, session).await?;
            if let Some(scope) = scope {
                scope.bind(&self.row.id, session).await?;
            }
            Ok(Created::New)
        })
    }

    fn is_one_statement(&self) -> bool {
        self.key.is_none() && self.max_pending.is_none() && !self.attaches
    }
}

/// The operation as which the call of `row` waits already.
async fn open(row: &Row, session: &mut dyn Session) -> Result<Option<Row>, StateError> {
    let query = Recent {
        binding: row.binding.clone(),
        now: row.created_at,
        since: Timestamp::UNIX_EPOCH,
    };
    let found = session.rows(OPEN, &query.values()).await.map_err(writing)?;
    found.first().map(row::operation).transpose()
}

impl Recent {
    /// For the statements that look for it.
    fn values(&self) -> [Value<'_>; 8] {
        [
            self.binding.tenant.as_str().into(),
            self.binding.subject.as_str().into(),
            self.binding.tool_id.as_str().into(),
            self.binding.args_digest.as_slice().into(),
            self.binding.client.as_deref().into(),
            self.since.into(),
            self.now.into(),
            self.binding.actors.as_str().into(),
        ]
    }
}

async fn pending(row: &Row, session: &mut dyn Session) -> Result<i64, StateError> {
    let values = [
        row.binding.tenant.as_str().into(),
        row.binding.subject.as_str().into(),
        row.created_at.into(),
    ];
    let counted = session.rows(PENDING, &values).await.map_err(writing)?;
    let counted = counted.first().map(|row| row.column("pending"));
    counted.unwrap_or(Err(StateError::Corrupt { column: "pending" }))
}

async fn insert(row: &Row, session: &mut dyn Session) -> Result<(), StateError> {
    let (owner, until) = match &row.machine.state {
        State::Claimed(lease) | State::Intended(lease) => {
            (Some(&lease.claim.owner), Some(lease.until))
        }
        State::Unknown(claim) => (Some(&claim.owner), None),
        _ => (None, None),
    };
    let effect = match &row.machine.state {
        State::Failed(effect) => Some(effect.as_str()),
        _ => None,
    };
    let values = [
        row.id.as_str().into(),
        row.binding.tenant.as_str().into(),
        row.binding.subject.as_str().into(),
        row.binding.client.as_deref().into(),
        row.binding.tool_id.as_str().into(),
        row.binding.definition_hash.as_slice().into(),
        row.binding.args_digest.as_slice().into(),
        row.args_sealed.as_deref().into(),
        row.binding.obligations.as_str().into(),
        row.binding.policy_version.as_str().into(),
        row.token_hash.as_ref().map(<[u8; 32]>::as_slice).into(),
        row.token_sealed.as_deref().into(),
        row.machine.status().as_str().into(),
        effect.into(),
        owner.map(Owner::as_str).into(),
        i64::try_from(row.machine.fence).unwrap_or(i64::MAX).into(),
        until.into(),
        row.created_at.into(),
        row.machine.expires_at.into(),
        row.retain_until.into(),
        row.binding.labels.as_str().into(),
        row.binding.tool.as_str().into(),
        row.binding.actors.as_str().into(),
    ];
    let inserted = session.execute(INSERT, &values).await;
    inserted.map(drop).map_err(writing)
}

/// Work on many rows at once, none of which anybody waits for.
struct Sweep {
    statement: Statement,
    now: Timestamp,
    limit: u32,
}

impl Change for Sweep {
    type Output = u64;

    fn apply<'a>(&'a self, session: &'a mut dyn Session) -> BoxFuture<'a, Result<u64, StateError>> {
        Box::pin(async move {
            let values = [self.now.into(), i64::from(self.limit).into()];
            let rows = session.rows(self.statement, &values).await;
            Ok(rows.map_err(writing)?.len() as u64)
        })
    }

    fn is_one_statement(&self) -> bool {
        true
    }
}

/// Recovery of many operations. What becomes unknown is told with it.
struct Recover {
    now: Timestamp,
    limit: u32,
}

impl Change for Recover {
    type Output = Recovered;

    fn apply<'a>(
        &'a self,
        session: &'a mut dyn Session,
    ) -> BoxFuture<'a, Result<Recovered, StateError>> {
        Box::pin(async move {
            let values = [self.now.into(), i64::from(self.limit).into()];
            let rows = session.rows(RECOVER, &values).await;
            let mut recovered = Recovered::default();
            for row in rows.map_err(writing)? {
                let state: &str = row.column("state")?;
                if state == Status::Unknown.as_str() {
                    let column = "operation_id";
                    let id = OperationId::parse(row.column(column)?);
                    let id = id.map_err(|_| StateError::Corrupt { column })?;
                    leave(&Untold::recovered(&id, self.now), session).await?;
                    recovered.unknown.push(id);
                } else {
                    recovered.released += 1;
                }
            }
            Ok(recovered)
        })
    }
}

impl<E: Engine> Store<E> {
    async fn find(
        &self,
        statement: Statement,
        values: &[Value<'_>],
    ) -> Result<Option<Row>, StateError> {
        let found = self.ask_one(statement, values).await?;
        found.map(|row| row::operation(&row)).transpose()
    }

    /// The newest operation of a call, of the first of `statements` that finds one.
    async fn newest(
        &self,
        statements: &[Statement],
        query: &Recent,
    ) -> Result<Option<Row>, StateError> {
        let values = query.values();
        let mut reader = self.engine.reader().await?;
        for statement in statements {
            let found = reader.session().rows(*statement, &values).await;
            if let Some(row) = found.map_err(reading)?.first() {
                return row::operation(row).map(Some);
            }
        }
        Ok(None)
    }

    fn sweep(
        &self,
        statement: Statement,
        now: Timestamp,
        limit: u32,
    ) -> BoxFuture<'_, Result<u64, StateError>> {
        Box::pin(self.engine.change(Sweep {
            statement,
            now,
            limit,
        }))
    }
}

impl<E: Engine> OperationStore for Store<E> {
    fn create(&self, create: Create) -> BoxFuture<'_, Result<Created, StateError>> {
        Box::pin(self.engine.change(create))
    }

    fn step(&self, step: Step) -> BoxFuture<'_, Result<Stepped, StateError>> {
        Box::pin(self.engine.change(step))
    }

    fn by_token(&self, token_hash: [u8; 32]) -> BoxFuture<'_, Result<Option<Row>, StateError>> {
        Box::pin(async move { self.find(BY_TOKEN, &[token_hash.as_slice().into()]).await })
    }

    fn by_id(&self, id: OperationId) -> BoxFuture<'_, Result<Option<Row>, StateError>> {
        Box::pin(async move { self.find(BY_ID, &[id.as_str().into()]).await })
    }

    fn has_key(&self, row: &Row, key: &IdempotencyKey) -> BoxFuture<'_, Result<bool, StateError>> {
        let (binding, id, key) = (row.binding.clone(), row.id.clone(), key.clone());
        Box::pin(async move {
            let values = [
                binding.tenant.as_str().into(),
                binding.subject.as_str().into(),
                binding.tool_id.as_str().into(),
                key.as_str().into(),
                id.as_str().into(),
            ];
            let found = self.ask_one(HAS_KEY, &values).await?;
            let named: i64 = found.map_or(Ok(0), |row| row.column("named"))?;
            Ok(named > 0)
        })
    }

    fn keyed(
        &self,
        binding: &Binding,
        key: &IdempotencyKey,
    ) -> BoxFuture<'_, Result<Option<Row>, StateError>> {
        let (binding, key) = (binding.clone(), key.clone());
        Box::pin(async move {
            let values = [
                binding.tenant.as_str().into(),
                binding.subject.as_str().into(),
                binding.tool_id.as_str().into(),
                key.as_str().into(),
            ];
            self.find(KEYED, &values).await
        })
    }

    fn recent(&self, query: Recent) -> BoxFuture<'_, Result<Option<Row>, StateError>> {
        Box::pin(async move { self.newest(&[UNKNOWN, ACTED, OPEN], &query).await })
    }

    fn waiting(&self, query: Recent) -> BoxFuture<'_, Result<Option<Row>, StateError>> {
        Box::pin(async move { self.newest(&[OPEN], &query).await })
    }

    fn approvals(
        &self,
        tenant: String,
        now: Timestamp,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Row>, StateError>> {
        Box::pin(async move {
            let limit = i64::from(limit.clamp(1, 500));
            let values = [tenant.as_str().into(), now.into(), limit.into()];
            let rows = self.ask(APPROVALS, &values).await?;
            rows.iter().map(row::operation).collect()
        })
    }

    fn list(&self, filter: Filter) -> BoxFuture<'_, Result<Vec<Row>, StateError>> {
        Box::pin(async move {
            let mut reader = self.engine.reader().await?;
            let mut rows = Vec::new();
            // State by state, so that an index serves each and no table is sorted.
            for status in Status::ALL
                .into_iter()
                .filter(|status| filter.status.is_none_or(|only| only == *status))
            {
                let values = [
                    status.as_str().into(),
                    filter.tenant.as_deref().into(),
                    i64::from(filter.bounded()).into(),
                ];
                let list = if status.is_running() {
                    LIST_RUNNING
                } else {
                    LIST
                };
                let found = reader.session().rows(list, &values).await;
                for row in &found.map_err(reading)? {
                    rows.push(row::operation(row)?);
                }
            }
            rows.sort_by(|a, b| {
                b.updated_at
                    .cmp(&a.updated_at)
                    .then_with(|| b.id.cmp(&a.id))
            });
            rows.truncate(usize::try_from(filter.bounded()).unwrap_or(usize::MAX));
            Ok(rows)
        })
    }

    fn unsettled(&self) -> BoxFuture<'_, Result<u64, StateError>> {
        Box::pin(async move {
            let counted = self.ask_one(UNSETTLED, &[]).await?;
            let unsettled: i64 = counted.map_or(Ok(0), |row| row.column("unsettled"))?;
            Ok(u64::try_from(unsettled).unwrap_or_default())
        })
    }

    fn recover(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<Recovered, StateError>> {
        Box::pin(self.engine.change(Recover { now, limit }))
    }

    fn expire(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<u64, StateError>> {
        self.sweep(EXPIRE, now, limit)
    }

    fn purge(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<u64, StateError>> {
        self.sweep(PURGE, now, limit)
    }
}
