//! The log's signed word about itself: so many records, this root.
//!
//! Source: C2SP tlog-checkpoint.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    error::{AuditError, NoteError, StorageError, VerifyError},
    hash::Hash,
    note::{self, MAX_NOTE, Signer, VerifierKey},
    storage::{Storage, read_small},
};

/// The file beside the records.
pub(crate) const FILE: &str = "checkpoint";

/// A tree size with its root, and the signed note that says so.
///
/// Keep the note somewhere else: against it a rewrite of the whole log is found
/// ([`verify_against`](crate::verify_against)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Which log: the name of its key.
    pub origin: String,
    /// How many records it covers, from the first.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// The signed note, as it stands in the file.
    pub note: String,
}

impl Checkpoint {
    /// Reads a note that `key` signed.
    ///
    /// # Errors
    ///
    /// Why the note is not a checkpoint of the log whose key this is.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, NoteError> {
        let checkpoint = Self::parse(key.open(note)?, note)?;
        if checkpoint.origin != key.name() {
            return Err(NoteError::Origin {
                expected: key.name().to_owned(),
                found: checkpoint.origin,
            });
        }
        Ok(checkpoint)
    }

    /// Reads a note without looking at its signatures.
    ///
    /// # Errors
    ///
    /// Why the note is not a checkpoint.
    pub fn open_unverified(note: &[u8]) -> Result<Self, NoteError> {
        Self::parse(note::text(note)?, note)
    }

    pub(crate) fn sign(signer: &Signer, size: u64, root: Hash) -> Result<Self, AuditError> {
        let origin = signer.verifier().name().to_owned();
        let mut text = format!("{origin}\n{size}\n");
        STANDARD.encode_string(root.as_bytes(), &mut text);
        // Writing to a string cannot fail.
        let _ = writeln!(text);
        Ok(Self {
            note: signer.sign(&text)?,
            origin,
            size,
            root,
        })
    }

    /// Source: C2SP tlog-checkpoint, "Note text". Extension lines are passed over.
    fn parse(text: &str, note: &[u8]) -> Result<Self, NoteError> {
        let wrong = |problem| NoteError::Malformed { problem };
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(wrong("expected the lines origin, size and root"));
        };
        if origin.is_empty() {
            return Err(wrong("the origin is empty"));
        }
        let number = size
            .parse::<u64>()
            .ok()
            .filter(|number| number.to_string() == size)
            .ok_or(wrong("the size is not a decimal number"))?;
        let root: [u8; Hash::LEN] = STANDARD
            .decode(root)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(wrong("the root is not 32 bytes in base64"))?;
        Ok(Self {
            origin: origin.to_owned(),
            size: number,
            root: Hash::new(root),
            note: String::from_utf8_lossy(note).into_owned(),
        })
    }
}

/// Reads the note beside the records. Nothing if there is none.
pub(crate) fn load(storage: &dyn Storage) -> Result<Option<Vec<u8>>, StorageError> {
    read_small(storage, FILE, MAX_NOTE)
}

/// Reads the checkpoint beside the records; signed by `key` where there is one.
pub(crate) fn read(
    storage: &dyn Storage,
    key: Option<&VerifierKey>,
) -> Result<Checkpoint, VerifyError> {
    let note = load(storage)?.ok_or(VerifyError::CheckpointMissing)?;
    match key {
        Some(key) => Checkpoint::open(&note, key),
        None => Checkpoint::open_unverified(&note),
    }
    .map_err(VerifyError::Checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::generate_key;

    fn signer(name: &str) -> Signer {
        Signer::from_pkcs8(name, &generate_key().unwrap()).unwrap()
    }

    #[test]
    fn a_checkpoint_has_the_specified_lines() {
        let signer = signer("gw-1/audit");
        let checkpoint = Checkpoint::sign(&signer, 20, Hash::of(&[])).unwrap();
        assert!(checkpoint.note.starts_with(
            "gw-1/audit\n20\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u{2014} gw-1/audit "
        ));
        let note = checkpoint.note.as_bytes();
        assert_eq!(
            Checkpoint::open(note, &signer.verifier()),
            Ok(checkpoint.clone())
        );
        assert_eq!(Checkpoint::open_unverified(note), Ok(checkpoint.clone()));
    }

    #[test]
    fn a_signed_text_that_is_no_checkpoint_of_this_log_is_refused() {
        let signer = signer("gw-1/audit");
        let root = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let open = |text: String| {
            let note = signer.sign(&text).unwrap();
            Checkpoint::open(note.as_bytes(), &signer.verifier())
        };
        assert_eq!(
            open(format!("gw-1/audit\n7\n{root}\nextension\n")).map(|c| c.size),
            Ok(7)
        );
        assert!(matches!(
            open(format!("gw-2/audit\n7\n{root}\n")),
            Err(NoteError::Origin { .. })
        ));
        for text in [
            "gw-1/audit\n".to_owned(),
            format!("\n7\n{root}\n"),
            format!("gw-1/audit\n07\n{root}\n"),
            format!("gw-1/audit\n+7\n{root}\n"),
            format!("gw-1/audit\n18446744073709551616\n{root}\n"),
            format!("gw-1/audit\n7\n{}\n", &root[..40]),
        ] {
            assert!(
                matches!(open(text.clone()), Err(NoteError::Malformed { .. })),
                "{text}"
            );
        }
    }
}
