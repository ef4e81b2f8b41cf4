//! What callers have read, in SQL.

use fastmcp_guard::clock::Timestamp;
use futures_util::future::BoxFuture;

use super::{
    super::{
        StateError,
        act::Untold,
        label::{Carried, Carry, Holder, LabelStore, MOST},
    },
    Change, Engine, Session, Statement, Store,
    act::leave,
    row, statement, writing,
};

const CARRY: Statement = statement!(
    "INSERT INTO labels (holder, session, label, expires_at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (holder, session, label) DO UPDATE SET expires_at = "
    (greatest) "(labels.expires_at, excluded.expires_at)"
);
const CARRIED: Statement = statement!(
    "SELECT session, label, expires_at FROM labels \
     WHERE holder = $1 AND session IN ('', $2) AND expires_at > $3 LIMIT $4"
);
const CLEAR: Statement = statement!("DELETE FROM labels WHERE holder = $1");
/// Looked at again as it goes: what is read once more meanwhile stays.
const FORGET: Statement = statement!(
    "DELETE FROM labels WHERE expires_at <= $1 AND (holder, session, label) IN \
     (SELECT holder, session, label FROM labels WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2"
    (skip_locked) ")"
);

impl Change for Carry {
    type Output = ();

    fn apply<'a>(&'a self, session: &'a mut dyn Session) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async move {
            let caller = self.caller_until.map(|until| ("", until));
            let own = (self.holder.session(), self.session_until);
            let own = Some(own).filter(|_| self.holder.has_session());
            // In one order, so that rivals wait for each other and not in a circle.
            for (name, until) in caller.into_iter().chain(own) {
                for label in &self.labels {
                    let values = [
                        self.holder.caller().into(),
                        name.into(),
                        label.as_str().into(),
                        until.into(),
                    ];
                    session.execute(CARRY, &values).await.map_err(writing)?;
                }
            }
            Ok(())
        })
    }
}

struct Clear {
    holder: Holder,
    untold: Option<Untold>,
}

impl Change for Clear {
    type Output = u64;

    fn apply<'a>(&'a self, session: &'a mut dyn Session) -> BoxFuture<'a, Result<u64, StateError>> {
        Box::pin(async move {
            let values = [self.holder.caller().into()];
            let cleared = session.execute(CLEAR, &values).await.map_err(writing)?;
            if let Some(untold) = &self.untold {
                leave(&untold.clone().counting(cleared), session).await?;
            }
            Ok(cleared)
        })
    }

    fn is_one_statement(&self) -> bool {
        self.untold.is_none()
    }
}

struct Forget {
    now: Timestamp,
    limit: u32,
}

impl Change for Forget {
    type Output = u64;

    fn apply<'a>(&'a self, session: &'a mut dyn Session) -> BoxFuture<'a, Result<u64, StateError>> {
        Box::pin(async move {
            let values = [self.now.into(), i64::from(self.limit).into()];
            session.execute(FORGET, &values).await.map_err(writing)
        })
    }

    fn is_one_statement(&self) -> bool {
        true
    }
}

impl<E: Engine> LabelStore for Store<E> {
    fn carry(&self, carry: Carry) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(self.engine.change(carry))
    }

    fn carried(
        &self,
        holder: Holder,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Carried>, StateError>> {
        Box::pin(async move {
            let values = [
                holder.caller().into(),
                holder.session().into(),
                now.into(),
                i64::from(MOST).into(),
            ];
            let rows = self.ask(CARRIED, &values).await?;
            let carried = rows.iter().map(|found| {
                let session: &str = found.column("session")?;
                Ok(Carried {
                    label: found.column("label")?,
                    by_session: !session.is_empty(),
                    expires_at: row::moment(found, "expires_at")?,
                })
            });
            carried.collect()
        })
    }

    fn clear(
        &self,
        holder: Holder,
        untold: Option<Untold>,
    ) -> BoxFuture<'_, Result<u64, StateError>> {
        Box::pin(self.engine.change(Clear { holder, untold }))
    }

    fn forget(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<u64, StateError>> {
        Box::pin(self.engine.change(Forget { now, limit }))
    }
}
