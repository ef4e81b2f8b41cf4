//! Which keys sealed what is kept, in SQL.

use std::collections::BTreeMap;

use fastmcp::seal::KeyId;

use super::{Engine, SealedWith, StateError, Statement, Store, statement};

/// The beginning of a sealed value names its key; both databases count the bytes from 1.
const SEALED_WITH: Statement = statement!(
    "SELECT sealed, count(*) AS many FROM (\
     SELECT substr(args_sealed, 1, 5) AS sealed FROM operations WHERE args_sealed IS NOT NULL \
     UNION ALL SELECT substr(token_sealed, 1, 5) FROM operations WHERE token_sealed IS NOT NULL \
     UNION ALL SELECT substr(result_sealed, 1, 5) FROM operations WHERE result_sealed IS NOT NULL \
     UNION ALL SELECT substr(detail_sealed, 1, 5) FROM operations WHERE detail_sealed IS NOT NULL\
     ) AS kept GROUP BY sealed"
);

pub(super) async fn sealed_with<E: Engine>(
    store: &Store<E>,
) -> Result<Vec<SealedWith>, StateError> {
    let rows = store.ask(SEALED_WITH, &[]).await?;
    let mut found = BTreeMap::<KeyId, u64>::new();
    for row in &rows {
        let sealed: Vec<u8> = row.column("sealed")?;
        let many: i64 = row.column("many")?;
        // What no ring sealed is of no key; reading it says so.
        if let Some(key) = KeyId::of_sealed(&sealed) {
            let values = found.entry(key).or_default();
            *values = values.saturating_add(u64::try_from(many).unwrap_or_default());
        }
    }
    let found = found.into_iter();
    Ok(found
        .map(|(key, values)| SealedWith { key, values })
        .collect())
}
