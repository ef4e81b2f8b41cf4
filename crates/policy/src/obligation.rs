//! What an allowed call must still do before it runs.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

/// How much a confirmation has to prove, weakest first.
///
/// A form in the client's own window proves only [`ConsentLevel::Client`], since hosts may accept for their user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ConsentLevel {
    /// The calling client confirms. What `require_confirmation: true` asks for.
    Client,
    /// A person confirms, outside the agent's reach.
    Person,
    /// Another person than the caller confirms (four eyes).
    OtherPerson,
}

impl ConsentLevel {
    /// Every level, weakest first.
    pub const ALL: [Self; 3] = [Self::Client, Self::Person, Self::OtherPerson];

    /// Returns the name that policies use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Person => "person",
            Self::OtherPerson => "other_person",
        }
    }

    /// Returns the level of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

impl fmt::Display for ConsentLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A duty that comes with an Allow.
///
/// Written (and serialised) as `confirm:<level>`, `approver:<role>` or `once`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Obligation {
    /// The call waits for a confirmation of at least this level. A decision carries at most one, the strongest that any rule asks for.
    Confirm {
        /// The weakest consent that will do.
        level: ConsentLevel,
    },
    /// The confirmation must come from a holder of this role. Of several roles the one who confirms holds all.
    Approver {
        /// The role, as `policies.yml` defines it.
        role: String,
    },
    /// The call runs at most once, under a ticket, even without a confirmation.
    Once,
}

impl Obligation {
    /// Reads one duty as an `@obligation` annotation writes it: `confirm`, `confirm:<level>` or `once`.
    pub(crate) fn from_annotation(text: &str) -> Option<Self> {
        match text.trim().split_once(':') {
            None => match text.trim() {
                "confirm" => Some(Self::Confirm {
                    level: ConsentLevel::Client,
                }),
                "once" => Some(Self::Once),
                _ => None,
            },
            Some(("confirm", level)) => {
                ConsentLevel::from_name(level).map(|level| Self::Confirm { level })
            }
            Some(_) => None,
        }
    }
}

impl fmt::Display for Obligation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Confirm { level } => write!(f, "confirm:{level}"),
            Self::Approver { role } => write!(f, "approver:{role}"),
            Self::Once => f.write_str("once"),
        }
    }
}

impl Serialize for Obligation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Joins the duties of several rules: the strongest confirmation only, an approver always with four eyes.
pub(crate) fn join<'a>(duties: impl IntoIterator<Item = &'a Obligation>) -> BTreeSet<Obligation> {
    let mut joined = BTreeSet::new();
    let mut strongest = None;
    for duty in duties {
        match duty {
            Obligation::Confirm { level } => strongest = strongest.max(Some(*level)),
            Obligation::Approver { .. } => {
                strongest = Some(ConsentLevel::OtherPerson);
                joined.insert(duty.clone());
            }
            Obligation::Once => {
                joined.insert(Obligation::Once);
            }
        }
    }
    joined.extend(strongest.map(|level| Obligation::Confirm { level }));
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_confirmation_wins_and_an_approver_means_four_eyes() {
        let client = Obligation::Confirm {
            level: ConsentLevel::Client,
        };
        let person = Obligation::Confirm {
            level: ConsentLevel::Person,
        };
        assert_eq!(
            join([&client, &person, &client]),
            BTreeSet::from([person.clone()])
        );
        let approver = Obligation::Approver {
            role: "lead".to_owned(),
        };
        let four_eyes = Obligation::Confirm {
            level: ConsentLevel::OtherPerson,
        };
        assert_eq!(
            join([&person, &approver]),
            BTreeSet::from([approver, four_eyes])
        );
        assert_eq!(join([]), BTreeSet::new());
    }

    #[test]
    fn annotations_are_read_strictly() {
        assert_eq!(
            Obligation::from_annotation(" confirm "),
            Some(Obligation::Confirm {
                level: ConsentLevel::Client
            })
        );
        assert_eq!(
            Obligation::from_annotation("confirm:person"),
            Some(Obligation::Confirm {
                level: ConsentLevel::Person
            })
        );
        assert_eq!(Obligation::from_annotation("once"), Some(Obligation::Once));
        for wrong in ["", "confirm:", "confirm:boss", "Confirm", "redact"] {
            assert_eq!(Obligation::from_annotation(wrong), None, "{wrong}");
        }
    }
}
