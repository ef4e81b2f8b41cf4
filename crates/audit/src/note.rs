//! Signed notes: a text, and signatures under it by keys that have names.
//!
//! The only module that names the signature library. It must not know what a text says.
//!
//! Source: C2SP signed-note (v1.0.0), Ed25519 keys and signatures (type 0x01).

use std::{fmt, str::FromStr};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::{
    error::{AuditError, NoteError},
    hash::{Hash, read_hex, write_hex},
};

/// The signature type of Ed25519. Source: C2SP signed-note, "Signature types".
const ALGORITHM: u8 = 0x01;
const KEY_LEN: usize = 32;
const ID_LEN: usize = 4;
const SIGNATURE_LEN: usize = 64;
const MAX_NAME: usize = 255;
/// The longest note that is read, in bytes.
pub(crate) const MAX_NOTE: usize = 65_536;
/// Notes with more signatures are refused, as the specification permits.
const MAX_SIGNATURES: usize = 100;
const DASH: &str = "\u{2014} ";

/// Returns a new private key for a [`Signer`], Ed25519 in PKCS#8 (DER). Keep it apart from the log.
///
/// # Errors
///
/// [`NoteError::Random`] if the system has no random bytes.
pub fn generate_key() -> Result<Zeroizing<Vec<u8>>, NoteError> {
    let pair = Ed25519KeyPair::generate().map_err(|_| NoteError::Random)?;
    let document = pair.to_pkcs8().map_err(|_| NoteError::Random)?;
    Ok(Zeroizing::new(document.as_ref().to_vec()))
}

/// A private key with a name. The name of a log's key is the log's origin.
pub struct Signer {
    key: VerifierKey,
    pair: Ed25519KeyPair,
}

impl Signer {
    /// Takes an Ed25519 private key in PKCS#8 (DER), with or without its public part.
    ///
    /// # Errors
    ///
    /// [`NoteError::Name`] or [`NoteError::PrivateKey`].
    pub fn from_pkcs8(name: impl Into<String>, key: &[u8]) -> Result<Self, NoteError> {
        let pair =
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).map_err(|_| NoteError::PrivateKey)?;
        Self::from_pair(name.into(), pair)
    }

    /// Takes the key of a replica's log, whose origin is `<instance>/audit`.
    ///
    /// # Errors
    ///
    /// As [`Signer::from_pkcs8`].
    pub fn for_instance(instance: &str, key: &[u8]) -> Result<Self, NoteError> {
        Self::from_pkcs8(format!("{instance}/audit"), key)
    }

    fn from_pair(name: String, pair: Ed25519KeyPair) -> Result<Self, NoteError> {
        let mut public = [0; KEY_LEN];
        for (to, from) in public.iter_mut().zip(pair.public_key().as_ref()) {
            *to = *from;
        }
        Ok(Self {
            key: VerifierKey::new(name, public)?,
            pair,
        })
    }

    /// Returns the public key to give to those who verify.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        self.key.clone()
    }

    /// Signs a text, which must end with a newline.
    pub(crate) fn sign(&self, text: &str) -> Result<String, AuditError> {
        let signature = self
            .pair
            .try_sign(text.as_bytes())
            .map_err(|_| AuditError::Signing)?;
        let blob = STANDARD.encode([self.key.id.as_slice(), signature.as_ref()].concat());
        Ok(format!("{text}\n{DASH}{} {blob}\n", self.key.name))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A public key with a name, written `name+id+key` ("vkey").
///
/// Source: C2SP signed-note, "Verifier keys".
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; ID_LEN],
    public: [u8; KEY_LEN],
}

impl VerifierKey {
    fn new(name: String, public: [u8; KEY_LEN]) -> Result<Self, NoteError> {
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if name.is_empty() || name.len() > MAX_NAME || name.contains(bad) {
            return Err(NoteError::Name { name });
        }
        let hash = Hash::of(&[name.as_bytes(), b"\n", &[ALGORITHM], &public]);
        let [a, b, c, d, ..] = *hash.as_bytes();
        Ok(Self {
            name,
            id: [a, b, c, d],
            public,
        })
    }

    /// Returns the key's name: the origin of the log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the text of a note that this key signed.
    ///
    /// Signatures by other keys are passed over.
    ///
    /// # Errors
    ///
    /// [`NoteError::Malformed`], [`NoteError::Unsigned`] or [`NoteError::BadSignature`].
    pub fn open<'a>(&self, note: &'a [u8]) -> Result<&'a str, NoteError> {
        let (text, signatures) = parse(note)?;
        let mut signed = false;
        for (name, blob) in signatures {
            let Some((id, signature)) = blob.split_first_chunk::<ID_LEN>() else {
                continue;
            };
            if name != self.name || *id != self.id {
                continue;
            }
            if signature.len() != SIGNATURE_LEN {
                return Err(self.bad());
            }
            UnparsedPublicKey::new(&ED25519, self.public)
                .verify(text.as_bytes(), signature)
                .map_err(|_| self.bad())?;
            signed = true;
        }
        if signed {
            Ok(text)
        } else {
            Err(NoteError::Unsigned {
                name: self.name.clone(),
            })
        }
    }

    fn bad(&self) -> NoteError {
        NoteError::BadSignature {
            name: self.name.clone(),
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+", self.name)?;
        write_hex(&self.id, f)?;
        let key = STANDARD.encode([&[ALGORITHM], self.public.as_slice()].concat());
        write!(f, "+{key}")
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |problem| NoteError::PublicKey { problem };
        // The base64 part may hold a `+` itself.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("expected three parts"));
        };
        let mut stated = [0; ID_LEN];
        read_hex(id, &mut stated).ok_or(wrong("the id is not 8 lower-case hexadecimal digits"))?;
        let key = STANDARD
            .decode(key)
            .map_err(|_| wrong("the key is not base64"))?;
        let public = match key.split_first() {
            Some((&ALGORITHM, public)) => public
                .try_into()
                .map_err(|_| wrong("the key has not 32 bytes"))?,
            _ => return Err(wrong("the key is not of type Ed25519 (0x01)")),
        };
        let key = Self::new(name.to_owned(), public)?;
        if key.id != stated {
            return Err(wrong("the id does not match the name and the key"));
        }
        Ok(key)
    }
}

/// Returns the text of a note without checking any signature.
pub(crate) fn text(note: &[u8]) -> Result<&str, NoteError> {
    parse(note).map(|(text, _)| text)
}

/// The signatures of a note: the names of the keys, and id with signature.
type Signatures<'a> = Vec<(&'a str, Vec<u8>)>;

fn parse(note: &[u8]) -> Result<(&str, Signatures<'_>), NoteError> {
    let wrong = |problem| NoteError::Malformed { problem };
    if note.len() > MAX_NOTE {
        return Err(wrong("it is longer than 65536 bytes"));
    }
    let note = str::from_utf8(note).map_err(|_| wrong("it is not UTF-8"))?;
    if note.contains(|c: char| c.is_ascii_control() && c != '\n') {
        return Err(wrong("it has control characters"));
    }
    let (text, signatures) = note
        .rsplit_once("\n\n")
        .ok_or(wrong("no empty line before the signatures"))?;
    // The text keeps its newline: that is what is signed.
    let text = note
        .get(..=text.len())
        .ok_or(wrong("no text before the signatures"))?;
    let lines = signatures
        .strip_suffix('\n')
        .ok_or(wrong("the last line does not end"))?;
    let mut parsed = Vec::new();
    for line in lines.split('\n') {
        if parsed.len() == MAX_SIGNATURES {
            return Err(wrong("more than 100 signatures"));
        }
        let (name, blob) = line
            .strip_prefix(DASH)
            .and_then(|line| line.split_once(' '))
            .ok_or(wrong("a signature line is not `\u{2014} name base64`"))?;
        let blob = STANDARD
            .decode(blob)
            .map_err(|_| wrong("a signature is not base64"))?;
        if name.is_empty() || blob.len() <= ID_LEN {
            return Err(wrong("a signature line has no name or no signature"));
        }
        parsed.push((name, blob));
    }
    Ok((text, parsed))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // golang.org/x/mod/sumdb/note, the example of its documentation.
    const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_SECRET: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const GO_TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                           then you don't know what your problem is.\n";
    const GO_SIGNATURE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    // C2SP signed-note, the example of the specification.
    const C2SP_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const C2SP_NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    #[test]
    fn published_notes_open() {
        let key: VerifierKey = C2SP_KEY.parse().unwrap();
        assert_eq!(
            key.open(C2SP_NOTE.as_bytes()),
            Ok("This is an example message.\n")
        );
        assert_eq!(key.to_string(), C2SP_KEY);
        let key: VerifierKey = GO_KEY.parse().unwrap();
        let note = format!("{GO_TEXT}\n{GO_SIGNATURE}");
        assert_eq!(key.open(note.as_bytes()), Ok(GO_TEXT));
        assert_eq!(text(note.as_bytes()), Ok(GO_TEXT));
    }

    #[test]
    fn a_published_key_signs_the_published_bytes() {
        let secret = STANDARD.decode(GO_SECRET).unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&secret[1..]).unwrap();
        let signer = Signer::from_pair("PeterNeumann".to_owned(), pair).unwrap();
        assert_eq!(signer.verifier().to_string(), GO_KEY);
        assert_eq!(
            signer.sign(GO_TEXT).unwrap(),
            format!("{GO_TEXT}\n{GO_SIGNATURE}")
        );
    }

    #[test]
    fn a_generated_key_works_and_does_not_show_itself() {
        let secret = generate_key().unwrap();
        let signer = Signer::for_instance("gw-1", &secret).unwrap();
        let note = signer.sign("a\nb\n").unwrap();
        assert_eq!(signer.verifier().open(note.as_bytes()), Ok("a\nb\n"));
        assert_eq!(signer.verifier().name(), "gw-1/audit");
        let debug = format!("{signer:?}");
        assert!(debug.contains("gw-1/audit+") && debug.ends_with(".. }"));
        assert_eq!(
            Signer::from_pkcs8("x", b"no key").unwrap_err(),
            NoteError::PrivateKey
        );
        for name in ["", "a b", "a+b", "a\nb", "a\u{2003}b"] {
            assert!(matches!(
                Signer::from_pkcs8(name, &secret),
                Err(NoteError::Name { .. })
            ));
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let key: VerifierKey = C2SP_KEY.parse().unwrap();
        for at in 0..C2SP_NOTE.len() {
            let mut note = C2SP_NOTE.as_bytes().to_vec();
            note[at] ^= 1;
            assert!(key.open(&note).is_err(), "{at}");
        }
    }

    #[test]
    fn other_signatures_are_passed_over_but_not_a_wrong_one_of_ours() {
        let key: VerifierKey = C2SP_KEY.parse().unwrap();
        let both = format!("{C2SP_NOTE}{GO_SIGNATURE}");
        assert!(key.open(both.as_bytes()).is_ok());
        let go: VerifierKey = GO_KEY.parse().unwrap();
        assert_eq!(
            go.open(C2SP_NOTE.as_bytes()),
            Err(NoteError::Unsigned {
                name: "PeterNeumann".to_owned()
            })
        );
        assert_eq!(
            go.open(both.as_bytes()),
            Err(NoteError::BadSignature {
                name: "PeterNeumann".to_owned()
            })
        );
        let many = format!("{C2SP_NOTE}{}", GO_SIGNATURE.repeat(100));
        assert!(matches!(
            key.open(many.as_bytes()),
            Err(NoteError::Malformed { .. })
        ));
    }

    #[test]
    fn wrong_keys_are_refused_with_their_fault() {
        let (name, rest) = C2SP_KEY.split_once('+').unwrap();
        let (_, key) = rest.split_once('+').unwrap();
        for bad in [
            "".to_owned(),
            format!("{name}+530d903a"),
            format!("{name}+530D903A+{key}"),
            format!("{name}+530d903b+{key}"),
            format!("other+530d903a+{key}"),
            format!("{name}+530d903a+{}", &key[..40]),
            format!("{name}+530d903a+B{}", &key[1..]),
            format!("{name}+530d903a+!{}", &key[1..]),
        ] {
            assert!(
                matches!(bad.parse::<VerifierKey>(), Err(NoteError::PublicKey { .. })),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in any::<Vec<u8>>(), text in "[\u{2014} \na+=]{0,40}") {
            let key: VerifierKey = C2SP_KEY.parse().unwrap();
            prop_assert!(key.open(&bytes).is_err());
            prop_assert!(key.open(text.as_bytes()).is_err());
            prop_assert!(text.parse::<VerifierKey>().is_err());
        }
    }
}
