//! What still needs a key.

use std::time::Duration;

use fastmcp::seal::KeyId;
use fastmcp_gateway::audit::rfc3339;
use fastmcp_guard::clock::{Clock as _, SystemClock, Timestamp};
use serde_json::{Value, json};

use crate::{
    operations::{Opened, Sealed},
    place::Place,
};

/// How much later than the file changed a gateway may have taken it up, calls that were under way included.
const TAKEN_UP: Duration = Duration::from_secs(60);

/// How a key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Seals,
    Opens,
    /// The state was sealed with it, and the file does not hold it.
    Missing,
}

/// A key and what needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) key: KeyId,
    used: Use,
    /// Values in the state that it sealed, or why nobody knows.
    values: Result<u64, String>,
    /// From when on no client carries anything any more that it sealed.
    from: Timestamp,
    now: Timestamp,
}

/// Looks at the keys and at the state.
pub(super) fn look(place: &Place) -> anyhow::Result<Vec<Standing>> {
    let config = place.state()?;
    let keys = super::file(config.data_dir())?.keys()?;
    let sealed = Opened::sealed_with(place)?;
    let from = keys
        .since()
        .saturating_add(config.carried.saturating_add(TAKEN_UP));
    Ok(standings(&keys.ids(), &sealed, from, SystemClock.now()))
}

fn standings(ids: &[KeyId], sealed: &Sealed, from: Timestamp, now: Timestamp) -> Vec<Standing> {
    let (found, unseen) = match sealed {
        Sealed::Seen(found) => (found.as_slice(), None),
        Sealed::Unseen(why) => (&[][..], Some(why)),
    };
    let kept = |key: KeyId| match unseen {
        Some(why) => Err(why.clone()),
        None => {
            let found = found.iter().find(|sealed| sealed.key == key);
            Ok(found.map_or(0, |sealed| sealed.values))
        }
    };
    let uses = std::iter::once(Use::Seals).chain(std::iter::repeat(Use::Opens));
    let missing = found.iter().map(|sealed| sealed.key);
    let missing = missing.filter(|key| !ids.contains(key));
    let all = ids.iter().copied().zip(uses);
    all.chain(missing.map(|key| (key, Use::Missing)))
        .map(|(key, used)| Standing {
            key,
            used,
            values: kept(key),
            from,
            now,
        })
        .collect()
}

impl Standing {
    /// Whether nothing needs it.
    pub(super) fn may_go(&self) -> bool {
        self.used == Use::Opens && self.values == Ok(0) && self.now >= self.from
    }

    /// Why nobody knows whether an older key is needed; `None` where that is known.
    pub(super) fn unseen(&self) -> Option<&str> {
        let why = self.values.as_ref().err()?;
        (self.used == Use::Opens).then_some(why)
    }

    /// What needs it, in words.
    pub(super) fn why(&self) -> String {
        match (self.used, &self.values) {
            (Use::Seals, _) => "it seals".to_owned(),
            (_, Err(why)) => why.clone(),
            (Use::Missing, Ok(values)) => format!("it is missing, and {values} values need it"),
            (Use::Opens, Ok(0)) => format!(
                "clients may carry what it sealed until {}",
                rfc3339(self.from)
            ),
            (Use::Opens, Ok(values)) => format!("the state keeps {values} values that it sealed"),
        }
    }

    pub(super) fn row(&self) -> Vec<String> {
        let goes = match self.used {
            Use::Seals | Use::Missing => "-".to_owned(),
            Use::Opens if self.may_go() => "yes".to_owned(),
            Use::Opens => format!("no: {}", self.why()),
        };
        vec![
            self.key.to_string(),
            self.word().to_owned(),
            self.values
                .as_ref()
                .map_or_else(|_| "-".to_owned(), u64::to_string),
            goes,
        ]
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "key": self.key.to_string(),
            "use": self.word(),
            "values": self.values.as_ref().ok(),
            "may_go": self.may_go(),
            "not_before": (self.used == Use::Opens).then(|| rfc3339(self.from)),
        })
    }

    const fn word(&self) -> &'static str {
        match self.used {
            Use::Seals => "seals",
            Use::Opens => "opens",
            Use::Missing => "missing",
        }
    }
}

#[cfg(test)]
mod tests {
    use fastmcp_gateway::state::SealedWith;

    use super::*;

    #[test]
    fn a_key_goes_once_nothing_needs_it() {
        let [one, two, three] = [1, 2, 3].map(|byte| KeyId::of(&[byte; 32]));
        let (from, early) = (
            Timestamp::from_unix_seconds(2_000),
            Timestamp::from_unix_seconds(1_999),
        );
        let sealed = |key, values| SealedWith { key, values };
        let free = |kept: &[SealedWith], now| -> Vec<KeyId> {
            let all = standings(&[one, two], &Sealed::Seen(kept.to_vec()), from, now);
            let free = all.iter().filter(|standing| standing.may_go());
            free.map(|standing| standing.key).collect()
        };
        assert_eq!(free(&[sealed(one, 4)], from), [two]);
        assert_eq!(free(&[], early), []);
        assert_eq!(free(&[sealed(two, 1)], from), []);
        let kept = Sealed::Seen(vec![sealed(two, 1), sealed(three, 2)]);
        let all = standings(&[one, two], &kept, from, from);
        let rows: Vec<_> = all
            .iter()
            .map(|standing| standing.row().join(" "))
            .collect();
        assert_eq!(
            rows,
            [
                format!("{one} seals 0 -"),
                format!("{two} opens 1 no: the state keeps 1 values that it sealed"),
                format!("{three} missing 2 -"),
            ]
        );
        assert!(
            standings(&[one, two], &Sealed::Seen(Vec::new()), from, early)[1]
                .why()
                .contains("1970-01-01T00:33:20")
        );
    }

    #[test]
    fn no_key_goes_where_the_state_is_not_seen() {
        let [one, two] = [1, 2].map(|byte| KeyId::of(&[byte; 32]));
        let from = Timestamp::from_unix_seconds(2_000);
        let unseen = Sealed::Unseen("it has another version".to_owned());
        let all = standings(&[one, two], &unseen, from, from);
        assert!(!all.iter().any(Standing::may_go));
        let rows: Vec<_> = all
            .iter()
            .map(|standing| standing.row().join(" "))
            .collect();
        assert_eq!(
            rows,
            [
                format!("{one} seals - -"),
                format!("{two} opens - no: it has another version"),
            ]
        );
        assert_eq!(all[0].unseen(), None, "the first one stays anyway");
        assert_eq!(all[1].unseen(), Some("it has another version"));
        assert_eq!(all[1].json()["values"], Value::Null);
    }
}
