//! What no log has yet, in SQL.

use futures_util::future::BoxFuture;

use super::{
    super::{
        StateError,
        act::{Act, ActStore, Page, Place, Untold},
        operation::OperationId,
    },
    Change, Engine, Fields, Session, Statement, Store, row, statement, writing,
};

const LEAVE: Statement =
    statement!("INSERT INTO acts (id, at, act) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING");
const UNTOLD: Statement = statement!(
    "SELECT id, at, act FROM acts WHERE at >= $1 AND (at, id) > ($1, $2) ORDER BY at, id LIMIT $3"
);
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

/// The act of a row, or `None` where it cannot be read.
fn untold(place: &Place, found: &Fields) -> Option<Untold> {
    Some(Untold {
        id: OperationId::parse(&place.id).ok()?,
        at: row::moment(found, "at").ok()?,
        act: serde_json::from_str::<Act>(found.column("act").ok()?).ok(),
    })
}

fn place(found: &Fields) -> Result<Place, StateError> {
    Ok(Place {
        at: found.column("at")?,
        id: found.column::<&str>("id")?.to_owned(),
    })
}

impl<E: Engine> ActStore for Store<E> {
    fn leave(&self, untold: Untold) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(self.engine.change(Leave(untold)))
    }

    fn untold(&self, after: Option<Place>, limit: u32) -> BoxFuture<'_, Result<Page, StateError>> {
        Box::pin(async move {
            let (at, id) = after.map_or((i64::MIN, String::new()), |after| (after.at, after.id));
            let values = [at.into(), id.as_str().into(), i64::from(limit).into()];
            let rows = self.ask(UNTOLD, &values).await?;
            let mut page = Page {
                acts: Vec::with_capacity(rows.len()),
                unreadable: Vec::new(),
                next: None,
            };
            let is_full = rows.len() as u64 >= u64::from(limit);
            for (left, row) in (0..rows.len()).rev().zip(&rows) {
                let place = place(row)?;
                match untold(&place, row) {
                    Some(act) => page.acts.push(act),
                    None => page.unreadable.push(place.id.clone()),
                }
                page.next = (is_full && left == 0).then_some(place);
            }
            Ok(page)
        })
    }

    fn told(&self, id: OperationId) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(self.engine.change(Told(id)))
    }
}
