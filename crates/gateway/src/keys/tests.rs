use std::{fs, sync::Arc, thread};

use fastmcp_auth::{JwtConfig, JwtVerifier, TokenVerifier as _};
use fastmcp_guard::clock::{ManualClock, Timestamp};

use super::*;

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[cfg(unix)]
fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn keys_are_made_once_and_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("new/data");
    assert_eq!(
        Keys::inspect(&data_dir).unwrap(),
        [""; 0].map(PathBuf::from)
    );
    assert!(!data_dir.exists(), "looking leaves the disk as it is");
    let first = Keys::open(&data_dir).unwrap();
    assert_eq!(Keys::inspect(&data_dir).unwrap().len(), 3);
    let second = Keys::open(&data_dir).unwrap();
    assert_eq!(first.audit_salt(), second.audit_salt());
    let seal = fs::read(data_dir.join(FOLDER).join(SEAL)).unwrap();
    assert_ne!(first.audit_salt(), seal);
    let sealed = first.seal().seal(b"purpose", b"value").unwrap();
    assert_eq!(second.seal().open(b"purpose", &sealed).unwrap(), b"value");
    let key = first.audit_signer("gw-1").unwrap().verifier();
    assert_eq!(key, second.audit_signer("gw-1").unwrap().verifier());
    assert_eq!(
        fs::read_to_string(data_dir.join(VERIFIER_FILE)).unwrap(),
        format!("{key}\n")
    );
    assert!(!format!("{first:?}").contains("seal"));
    #[cfg(unix)]
    for (name, expected) in [
        ("", 0o700),
        (SEAL, 0o600),
        (AUDIT_SIGNING, 0o600),
        (AUDIT_SALT, 0o600),
    ] {
        assert_eq!(mode(&data_dir.join(FOLDER).join(name)), expected, "{name}");
    }
}

#[cfg(unix)]
#[test]
fn what_others_can_read_is_refused_with_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    Keys::open(folder.path()).unwrap();
    let seal = folder.path().join(FOLDER).join(SEAL);
    chmod(&seal, 0o640);
    let refused = Keys::open(folder.path()).unwrap_err().to_string();
    assert!(
        refused.contains("seal.key` is open to others (mode 0640); run `chmod 600 "),
        "{refused}"
    );
    chmod(&seal, 0o600);
    chmod(&folder.path().join(FOLDER), 0o755);
    let refused = Keys::open(folder.path()).unwrap_err().to_string();
    assert!(
        refused.contains("(mode 0755); run `chmod 700 "),
        "{refused}"
    );
}

#[test]
fn a_key_of_another_size_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    Keys::open(folder.path()).unwrap();
    let seal = folder.path().join(FOLDER).join(SEAL);
    fs::write(&seal, b"short").unwrap();
    let refused = Keys::open(folder.path()).unwrap_err();
    assert!(matches!(refused, KeyError::Unfit { .. }), "{refused}");
    assert!(Keys::inspect(folder.path()).is_err());
    assert_eq!(fs::read(&seal).unwrap(), b"short");
}

#[cfg(unix)]
#[test]
fn a_link_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join(FOLDER);
    private_folder(&keys).unwrap();
    fs::write(folder.path().join("elsewhere"), [0; 32]).unwrap();
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), keys.join(SEAL)).unwrap();
    assert!(matches!(
        Keys::open(folder.path()),
        Err(KeyError::File { .. })
    ));
}

#[test]
fn of_many_that_race_all_have_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let start = std::sync::Barrier::new(8);
    let salts: Vec<Vec<u8>> = thread::scope(|scope| {
        let open = || {
            start.wait();
            let keys = Keys::open(folder.path()).unwrap();
            let seal = fs::read(SealFile::path_in(folder.path())).unwrap();
            [keys.audit_salt(), &seal, &keys.audit_signing].concat()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(salts.windows(2).all(|pair| pair[0] == pair[1]));
    // Nothing half-made is left behind.
    assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 3);
}

#[tokio::test]
async fn a_minted_token_verifies_with_the_published_keys() {
    let folder = tempfile::tempdir().unwrap();
    let development = Development::open_or_generate(folder.path()).unwrap();
    let wanted = Mint {
        sub: "agent-1".to_owned(),
        tenant: "acme".to_owned(),
        roles: vec!["data-analyst".to_owned()],
        scopes: Vec::new(),
        ttl: std::time::Duration::from_secs(600),
        issuer: "https://idp.local".to_owned(),
        audience: "fastmcp".to_owned(),
        issued_at: Timestamp::from_unix_seconds(1_000),
        certificate: None,
    };
    let token = development.mint(&wanted).unwrap();
    assert!(
        development
            .mint(&Mint {
                ttl: std::time::Duration::ZERO,
                ..wanted.clone()
            })
            .is_err()
    );
    assert!(!format!("{development:?}").contains("PRIVATE"));

    let keys = folder.path().join(FOLDER);
    let published =
        fastmcp_auth::JwkSet::parse(&fs::read(keys.join("jwks.json")).unwrap()).unwrap();
    assert_eq!(published.key_ids().collect::<Vec<_>>(), ["dev-key"]);
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_000)));
    let verifier = JwtVerifier::new(
        JwtConfig::new("https://idp.local", "fastmcp"),
        published,
        clock,
    )
    .unwrap();
    let caller = verifier.verify(&token).await.unwrap();
    assert_eq!(
        (caller.subject(), caller.tenant()),
        ("agent-1", Some("acme"))
    );
    assert!(caller.scopes().is_none());

    let before = fs::read(keys.join("jwks.json")).unwrap();
    Development::open_or_generate(folder.path()).unwrap();
    assert_eq!(fs::read(keys.join("jwks.json")).unwrap(), before);
    #[cfg(unix)]
    assert_eq!(mode(&keys.join("dev-private.pem")), 0o600);
    fs::write(keys.join("dev-private.pem"), "no key").unwrap();
    assert!(matches!(
        Development::open_or_generate(folder.path()),
        Err(KeyError::Unfit { .. })
    ));
}

fn age(data_dir: &Path, by: std::time::Duration) -> Timestamp {
    let at = std::time::SystemTime::now() - by;
    let file = fs::File::options()
        .write(true)
        .open(SealFile::path_in(data_dir));
    file.unwrap().set_modified(at).unwrap();
    Timestamp::from_system_time(at)
}

#[test]
fn seal_keys_rotate_one_step_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path();
    assert!(SealFile::existing(data_dir).unwrap().is_none());
    let ring = Keys::open(data_dir).unwrap().seal();
    let sealed = ring.seal(b"purpose", b"value").unwrap();
    let file = SealFile::existing(data_dir).unwrap().unwrap();
    let first = ring.ids()[0];
    let made = age(data_dir, std::time::Duration::from_secs(3_600));

    let second = file.add().unwrap();
    let keys = file.keys().unwrap();
    assert_eq!(keys.ids(), [first, second], "it opens, and the other seals");
    assert_eq!(keys.since(), made, "as long as before");
    #[cfg(unix)]
    assert_eq!(mode(&SealFile::path_in(data_dir)), 0o600);
    file.seal_with(second).unwrap();
    let keys = file.keys().unwrap();
    assert_eq!(keys.ids(), [second, first]);
    assert!(keys.since() > made, "from here on");
    keys.put_into(&ring).unwrap();
    assert_eq!(ring.open(b"purpose", &sealed).unwrap(), b"value");

    let third = file.rotate().unwrap();
    assert_eq!(file.keys().unwrap().ids(), [third, second, first]);
    let again = Keys::open(data_dir).unwrap().seal();
    assert_eq!(again.ids(), [third, second, first], "after a restart");
    assert_eq!(again.open(b"purpose", &sealed).unwrap(), b"value");
}

#[test]
fn seal_keys_go_when_they_are_named_and_seal_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let ring = Keys::open(folder.path()).unwrap().seal();
    let sealed = ring.seal(b"purpose", b"value").unwrap();
    let file = SealFile::existing(folder.path()).unwrap().unwrap();
    let first = ring.ids()[0];
    let (second, third) = (file.add().unwrap(), file.rotate().unwrap());
    assert!(matches!(file.remove(&[second, third]), Err(KeyError::Sealing { id }) if id == third));
    let gone = fastmcp::seal::KeyId::of(&[0; 32]);
    assert!(matches!(file.remove(&[gone]), Err(KeyError::NoSuchKey { id }) if id == gone));
    assert!(matches!(
        file.seal_with(gone),
        Err(KeyError::NoSuchKey { .. })
    ));
    assert_eq!(file.keys().unwrap().ids().len(), 3, "whole or not at all");
    file.remove(&[first]).unwrap();
    file.keys().unwrap().put_into(&ring).unwrap();
    assert_eq!(ring.lacks(&sealed), Some(first));
}

#[test]
fn a_file_of_seal_keys_is_bounded_and_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    Keys::open(folder.path()).unwrap();
    let file = SealFile::existing(folder.path()).unwrap().unwrap();
    for _ in 1..MAX_SEAL_KEYS {
        file.add().unwrap();
    }
    assert!(matches!(file.add(), Err(KeyError::TooManyKeys)));
    assert!(matches!(file.rotate(), Err(KeyError::TooManyKeys)));
    assert_eq!(file.keys().unwrap().ids().len(), MAX_SEAL_KEYS);
    let path = SealFile::path_in(folder.path());
    let whole = fs::read(&path).unwrap();
    let twice = [&whole[..32], &whole[..32]].concat();
    let many = [&whole[..], &[7; 32]].concat();
    for bad in [&b""[..], &whole[..33], &twice, &many] {
        fs::write(&path, bad).unwrap();
        assert!(matches!(file.keys(), Err(KeyError::Unfit { .. })));
        assert!(matches!(file.rotate(), Err(KeyError::Unfit { .. })));
        assert!(matches!(
            Keys::open(folder.path()),
            Err(KeyError::Unfit { .. })
        ));
        assert!(matches!(
            Keys::inspect(folder.path()),
            Err(KeyError::Unfit { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), bad, "left as it is");
    }
}

#[test]
fn of_rotations_at_once_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    Keys::open(folder.path()).unwrap();
    let made: Vec<_> = thread::scope(|scope| {
        let add = || SealFile::existing(folder.path()).unwrap().unwrap().add();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(add)).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.collect::<Result<_, _>>().unwrap()
    });
    let file = SealFile::existing(folder.path()).unwrap().unwrap();
    let ids = file.keys().unwrap().ids();
    assert!(made.iter().all(|id| ids.contains(id)) && ids.len() == 9);
}
