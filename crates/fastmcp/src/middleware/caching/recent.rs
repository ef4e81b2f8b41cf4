//! What was found lately, as what it is: neither hashed nor decoded once more.

use std::{
    any::Any,
    collections::HashMap,
    fmt, str,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use fastmcp_store::Key;
use serde::de::DeserializeOwned;

/// Answers that are remembered, and bytes of them and of what they are found by. All are forgotten when there are more.
const MAX_ANSWERS: usize = 1_024;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Where an answer is kept.
pub(super) struct Place {
    /// Everything that it is found by.
    material: Vec<u8>,
    /// The digest of that, by which stores know it.
    pub(super) key: Key,
}

/// The answers that were read lately. What is kept, and for how long, the store alone says: an answer from here is that
/// of the very bytes that it gave.
#[derive(Default)]
pub(super) struct Recent(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    by_material: HashMap<Vec<u8>, Answer>,
    bytes: usize,
}

struct Answer {
    key: Key,
    bytes: Bytes,
    read: Arc<dyn Any + Send + Sync>,
}

impl Recent {
    /// Where that is kept which is found by `material`.
    pub(super) fn place(&self, material: Vec<u8>) -> Option<Place> {
        let known = {
            let answers = self.lock();
            answers.by_material.get(&material).map(|a| a.key.clone())
        };
        let key = known.or_else(|| {
            let hash = digest(&SHA256, &material);
            Key::new(&URL_SAFE_NO_PAD.encode(hash)).ok()
        })?;
        Some(Place { material, key })
    }

    /// Reads `bytes`, which stood at `place`.
    pub(super) fn read<T>(&self, place: &Place, bytes: Bytes) -> Option<T>
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
    {
        if let Some(before) = self.before(place, &bytes) {
            return before.downcast_ref().cloned();
        }
        let read: T = serde_json::from_str(str::from_utf8(&bytes).ok()?).ok()?;
        self.remember(place, bytes, Arc::new(read.clone()));
        Some(read)
    }

    fn before(&self, place: &Place, bytes: &Bytes) -> Option<Arc<dyn Any + Send + Sync>> {
        let answers = self.lock();
        let before = answers.by_material.get(&place.material)?;
        (before.bytes == *bytes).then(|| Arc::clone(&before.read))
    }

    fn remember(&self, place: &Place, bytes: Bytes, read: Arc<dyn Any + Send + Sync>) {
        let size = |bytes: &Bytes| place.material.len().saturating_add(bytes.len());
        if size(&bytes) > MAX_BYTES {
            return;
        }
        let mut answers = self.lock();
        if answers.by_material.len() >= MAX_ANSWERS || answers.bytes + size(&bytes) > MAX_BYTES {
            *answers = Answers::default();
        }
        answers.bytes += size(&bytes);
        let answer = Answer {
            key: place.key.clone(),
            bytes,
            read,
        };
        if let Some(before) = answers.by_material.insert(place.material.clone(), answer) {
            answers.bytes -= size(&before.bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recent {
    /// How many, never what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent")
            .field("answers", &self.lock().by_material.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(recent: &Recent, material: &str) -> Place {
        recent.place(material.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn an_answer_is_that_of_the_bytes_that_the_store_gave() {
        let recent = Recent::default();
        let at = place(&recent, "a");
        let key = at.key.clone();
        for text in ["[1]", "[1]", "[2]", "[1]"] {
            let read: Vec<u8> = recent
                .read(&at, Bytes::from_static(text.as_bytes()))
                .unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
        assert_eq!(recent.read::<Vec<u8>>(&at, Bytes::from_static(b"[")), None);
        assert_eq!(
            recent.read::<Vec<u8>>(&at, Bytes::from_static(b"\xff")),
            None
        );
        assert_eq!(place(&recent, "a").key, key);
        assert_ne!(place(&recent, "b").key, key);
        assert_eq!(recent.lock().bytes, 4);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let recent = Recent::default();
        for n in 0..MAX_ANSWERS + 10 {
            let at = place(&recent, &n.to_string());
            assert_eq!(recent.read(&at, Bytes::from_static(b"7")), Some(7));
        }
        assert_eq!(recent.lock().by_material.len(), 10);
        let large = format!("\"{}\"", "x".repeat(MAX_BYTES / 2));
        for name in ["a", "b", "c"] {
            let at = place(&recent, name);
            let read: Option<String> = recent.read(&at, Bytes::from(large.clone()));
            assert_eq!(read.map(|text| text.len()), Some(MAX_BYTES / 2));
        }
        assert_eq!(recent.lock().by_material.len(), 1);
        assert!(recent.lock().bytes <= MAX_BYTES);
        let beyond = format!("\"{}\"", "x".repeat(MAX_BYTES));
        let at = place(&recent, "beyond");
        assert!(recent.read::<String>(&at, Bytes::from(beyond)).is_some());
        assert_eq!(recent.lock().by_material.len(), 1);
    }
}
