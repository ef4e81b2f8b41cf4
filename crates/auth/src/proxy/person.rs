//! How many sessions one person has.
//!
//! A session lives as long as it is refreshed, so each login would leave one behind for ever. The one that was not refreshed
//! for the longest time ends where a person logs in once more than is allowed.

use fastmcp_guard::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::Inner;
use super::answer::Refused;
use super::record::{Held, Kind, Session};

/// How often the list is read again because somebody else changed it at the same time.
const TRIES: usize = 5;

/// The sessions of a person. Those that are over go when there is no room.
#[derive(Serialize, Deserialize)]
struct Enlisted {
    sessions: Vec<String>,
    /// Until when it is kept.
    until: Timestamp,
}

impl Inner {
    /// Counts a session among those of its person, and ends the one that was not refreshed for the longest time if there are
    /// too many. Counted once however often it is done, which is what keeps the list.
    pub(super) async fn enlist(&self, id: &str, session: &Session) -> Result<(), Refused> {
        let subject = session.person.subject.as_str();
        let now = self.clock.now();
        let keep = self.config.lifetimes.refresh_token;
        for _ in 0..TRIES {
            let held = self.vault.get::<Enlisted>(Kind::Person, subject).await?;
            let (mut list, version) = match held {
                Some(Held { record, version }) => (record, Some(version)),
                None => {
                    let list = Enlisted {
                        sessions: Vec::new(),
                        until: now,
                    };
                    (list, None)
                }
            };
            let is_there = list.sessions.iter().any(|known| known == id);
            if is_there && now.saturating_add(keep) <= list.until {
                return Ok(());
            }
            let mut ended = Vec::new();
            if !is_there {
                if list.sessions.len() >= self.config.max_sessions {
                    ended = self.make_room(&mut list.sessions).await?;
                }
                list.sessions.push(id.to_owned());
            }
            let ttl = keep.saturating_mul(2);
            list.until = now.saturating_add(ttl);
            let written = match version {
                Some(version) => {
                    let place = (Kind::Person, subject);
                    self.vault.replace(place, version, &list, ttl).await?
                }
                None => {
                    self.vault
                        .put_new(Kind::Person, subject, &list, ttl)
                        .await?
                }
            };
            if written {
                return self.end_all(subject, &ended).await;
            }
        }
        Err(Refused::unavailable())
    }

    /// Takes out of a list what is over, and what has to go for one more.
    async fn make_room(&self, sessions: &mut Vec<String>) -> Result<Vec<String>, Refused> {
        let now = self.clock.now();
        let mut alive = Vec::new();
        for id in sessions.drain(..) {
            let held = self.vault.get::<Session>(Kind::Session, &id).await?;
            if let Some(held) = held.filter(|held| now < held.record.until) {
                alive.push((held.record.rotated_at, id));
            }
        }
        // Those that were refreshed at the same time stay in the order in which they began.
        alive.sort_by_key(|(rotated_at, _)| *rotated_at);
        let spare = self.config.max_sessions.saturating_sub(1);
        let stays = alive.split_off(alive.len().saturating_sub(spare));
        sessions.extend(stays.into_iter().map(|(_, id)| id));
        Ok(alive.into_iter().map(|(_, id)| id).collect())
    }

    /// Nothing is taken back at the identity provider: with some that would end the person's other sessions too.
    async fn end_all(&self, subject: &str, sessions: &[String]) -> Result<(), Refused> {
        for id in sessions {
            tracing::warn!(
                subject,
                most = self.config.max_sessions,
                "a person has too many sessions; the one that was not refreshed for the longest time ends"
            );
            self.vault.forget(Kind::Session, id).await?;
        }
        Ok(())
    }
}
