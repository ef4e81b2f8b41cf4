//! What no log has yet, in SQL.

use futures_util::future::BoxFuture;

use super::{
    super::{
        StateError,
        act::{Act, ActStore, Untold},
        operation::OperationId,
    },
    Change, Engine, Fields, Session, Statement, Store, row, statement, writing,
};

const LEAVE: Statement =
    statement!("INSERT INTO acts (id, at, act) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING");
const UNTOLD: Statement = statement!("SELECT id, at, act FROM acts ORDER BY at, id LIMIT $1");
const TOLD: Statement = statement!("DELETE FROM acts WHERE id = $1");

/// Keeps an act with the change that it tells of. One that is too odd for JSON does not exist.
pub(super) async fn leave(untold: &Untold, session: &mut dyn Session) -> Result<(), StateError> {
    let Some(act) = &untold.act else {
        return Ok(());
    };
    let text = serde_json::to_string(act).map_err(|_| StateError::Corrupt { column: "act" })?;
    let values = [
        untold.id.as_str().into(),
        untold.at.into(),
        text.as_str().into(),
    ];
    let left = session.execute(LEAVE, &values).await;
    left.map(drop).map_err(writing)
}

struct Leave(Untold);

impl Change for Leave {
    type Output = ();

    fn apply<'a>(&'a self, session: &'a mut dyn Session) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(leave(&self.0, session))
    }

    fn is_one_statement(&self) -> bool {
        true
    }
}

struct Told(OperationId);

impl Change for Told {
    type Output = ();

    fn apply<'a>(&'a self, session: &'a mut dyn Session) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async move {
            let values = [self.0.as_str().into()];
            let told = session.execute(TOLD, &values).await;
            told.map(drop).map_err(writing)
        })
    }

    fn is_one_statement(&self) -> bool {
        true
    }
}

fn untold(found: &Fields) -> Result<Untold, StateError> {
    let column = "id";
    let id = OperationId::parse(found.column(column)?);
    Ok(Untold {
        id: id.map_err(|_| StateError::Corrupt { column })?,
        at: row::moment(found, "at")?,
        act: serde_json::from_str::<Act>(found.column("act")?).ok(),
    })
}

impl<E: Engine> ActStore for Store<E> {
    fn leave(&self, untold: Untold) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(self.engine.change(Leave(untold)))
    }

    fn untold(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Untold>, StateError>> {
        Box::pin(async move {
            let rows = self.ask(UNTOLD, &[i64::from(limit).into()]).await?;
            rows.iter().map(untold).collect()
        })
    }

    fn told(&self, id: OperationId) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(self.engine.change(Told(id)))
    }
}
