use std::{fs, path::Path};

use fastmcp_auth::Algorithm;
use tempfile::TempDir;

use super::*;
use crate::state::Location;

/// A working folder, the environment and the flags of one test.
struct Case {
    folder: TempDir,
    vars: Vec<(String, String)>,
    flags: Flags,
}

impl Case {
    fn new(vars: &[(&str, &str)]) -> Self {
        let vars = vars
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Self {
            folder: tempfile::tempdir().unwrap(),
            vars,
            flags: Flags::default(),
        }
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn load(&self, keep: bool) -> Result<Loaded, Errors> {
        load_in(
            &Place {
                folder: self.folder.path(),
                random: &OsRandom,
                keep,
            },
            self.vars.clone().into_iter(),
            &self.flags,
        )
    }

    fn loaded(&self) -> Loaded {
        self.load(true).unwrap()
    }

    fn refused(&self) -> String {
        let place = format!("{}/", self.folder.path().display());
        self.load(true).unwrap_err().to_string().replace(&place, "")
    }
}

fn source(loaded: &Loaded, name: &str) -> (String, String) {
    let setting = loaded
        .settings
        .iter()
        .find(|setting| setting.name == name)
        .unwrap();
    (setting.value.clone(), setting.source.to_string())
}

#[test]
fn nothing_need_be_said() {
    let case = Case::new(&[]);
    let Loaded {
        config,
        warnings,
        settings,
    } = case.loaded();
    assert_eq!(warnings, [""; 0]);
    assert_eq!(config.bind, "127.0.0.1:8000".parse().unwrap());
    assert_eq!(
        (config.app_name.as_str(), config.server_name.as_str()),
        ("fastmcp", "fastmcp")
    );
    assert_eq!(config.jwt.issuer, "https://idp.local");
    assert_eq!(config.jwt.algorithms, [Algorithm::Rs256, Algorithm::Es256]);
    assert_eq!(config.jwt.keys, JwtKeys::Development);
    assert_eq!(
        (config.jwt.ttl, config.jwt.leeway),
        (Duration::from_secs(600), Duration::from_secs(300))
    );
    assert_eq!(
        (config.confirm_ttl, config.idempotency_ttl),
        (Duration::from_secs(300), Duration::from_secs(86_400))
    );
    assert_eq!(config.action_token, TokenBytes::default());
    assert_eq!(
        (
            config.limits.rate.per_second,
            config.limits.rate.burst.get()
        ),
        (5.0, 10)
    );
    assert_eq!(
        (config.database_is_sample, config.database_max_rows),
        (true, 1_000)
    );
    assert_eq!(
        config.filesystem_limits,
        fastmcp_guard::files::Limits::default()
    );
    assert_eq!(
        (config.request_timeout, config.shutdown_grace),
        (Duration::from_secs(30), Duration::from_secs(10))
    );
    assert!(config.mask_errors && config.trusted_proxies.is_empty());
    assert_eq!(
        config.state,
        Location::File(case.path(".fastmcp").join("state.db"))
    );
    for (path, expected) in [
        (&config.database_path, "sample.db"),
        (&config.audit_dir, "audit"),
        (&config.filesystem_root, "files"),
        (&config.ads_path, "ads.db"),
        (&config.policy_path, "policies.yml"),
    ] {
        assert_eq!(*path, case.path(".fastmcp").join(expected));
    }
    assert!(
        settings
            .iter()
            .all(|setting| setting.source == Source::Default)
    );
}

#[test]
fn every_default_in_the_table_is_in_force_and_names_are_unique() {
    let settings = Case::new(&[]).loaded().settings;
    for (at, variable) in variable::VARIABLES.iter().enumerate() {
        assert!(
            variable::VARIABLES
                .iter()
                .skip(at + 1)
                .all(|other| other.name != variable.name),
            "{}",
            variable.name
        );
        let setting = settings
            .iter()
            .find(|setting| setting.name == variable.name);
        let listed = variable.idle.is_none();
        assert_eq!(setting.is_some(), listed, "{}", variable.name);
        if let (Some(setting), Some(default)) = (setting, variable.default) {
            assert!(
                setting.value.ends_with(default),
                "{}: {}",
                variable.name,
                setting.value
            );
        }
    }
}

#[test]
fn flags_beat_the_environment_which_beats_env_files_which_beat_the_config_file() {
    let mut case = Case::new(&[("PORT", "4"), ("DATABASE_MAX_ROWS", "4"), ("RATE_BUCKET_BURST", "")])
        .file(".env", "PORT=3\nDATABASE_MAX_ROWS=3\nRATE_BUCKET_BURST=3 # of the file\nAPP_NAME=\"from env\"\n")
        .file("fastmcp.yaml", "# ours\nport: 2\ndatabase_max_rows: 2\nrate_bucket_burst: 2\napp_name: yaml\njwt_ttl_min: 2\nrate_limit_default_rps: 0.5\n");
    case.flags.bind = Some("[::1]:5".parse().unwrap());
    let loaded = case.loaded();
    assert_eq!(loaded.config.bind, "[::1]:5".parse().unwrap());
    assert_eq!(
        source(&loaded, "PORT"),
        ("5".to_owned(), "flag --bind".to_owned())
    );
    assert_eq!(
        source(&loaded, "DATABASE_MAX_ROWS"),
        ("4".to_owned(), "environment".to_owned())
    );
    assert_eq!(
        source(&loaded, "RATE_BUCKET_BURST"),
        ("3".to_owned(), "env file .env".to_owned())
    );
    assert_eq!(
        source(&loaded, "APP_NAME"),
        ("from env".to_owned(), "env file .env".to_owned())
    );
    assert_eq!(
        source(&loaded, "JWT_TTL_MIN"),
        ("2".to_owned(), "file fastmcp.yaml".to_owned())
    );
    assert_eq!(
        source(&loaded, "CONFIRM_TTL_SEC"),
        ("300".to_owned(), "default".to_owned())
    );
    assert_eq!(
        (loaded.config.jwt.ttl, loaded.config.limits.rate.per_second),
        (Duration::from_secs(120), 0.5)
    );
    assert_eq!(loaded.config.server_name, "from env");
    assert_eq!(loaded.warnings, [""; 0]);
}

#[test]
fn files_are_found_where_they_are_named() {
    let mut case = Case::new(&[("ENV_FILE", "prod.env"), ("FASTMCP_CONFIG", "other.yaml")])
        .file("prod.env", "LOG_LEVEL=WARNING\n")
        .file(
            "mine.yaml",
            "log_format: json\nfastmcp_allowed_hosts: [gw.example.com, 'gw.internal:8443']\n",
        )
        .file("other.yaml", "port: 1\n");
    case.flags.config = Some("mine.yaml".into());
    let loaded = case.loaded();
    assert_eq!(
        (loaded.config.log_level.as_str(), loaded.config.log_format),
        ("warn", LogFormat::Json)
    );
    assert_eq!(
        loaded.config.allowed_hosts,
        ["gw.example.com", "gw.internal:8443"]
    );
    assert_eq!(loaded.config.bind.port(), 8000);

    let refused = Case::new(&[("ENV_FILE", "none.env"), ("FASTMCP_CONFIG", "none.yaml")]).refused();
    assert!(
        refused.contains("`ENV_FILE` (env file none.env): cannot be read"),
        "{refused}"
    );
    assert!(
        refused.contains("`none.yaml` (environment): cannot be read"),
        "{refused}"
    );
}

#[test]
fn all_faults_are_told_at_once() {
    let case = Case::new(&[
        ("PORT", "99999"),
        ("HOST", "example.com"),
        ("JWT_ALG", "RS256,HS256"),
        ("REQUIRE_MTLS", "true"),
        ("ENABLE_AUTH", "false"),
        ("DATABASE_URL", "postgres://fastmcp:hunter2@db"),
        ("ADS_PROVIDER_MODE", "google"),
        ("ACTION_TOKEN_BYTES", "8"),
        ("RATE_LIMIT_DEFAULT_RPS", "0"),
        ("FASTMCP_TRUSTED_PROXIES", "10.0.0.0/8, proxy"),
        ("JWT_JWKS_FILE", "none.json"),
        ("TRANSPORT", "sse"),
    ])
    .file(".env", "REQUEST_TIMEOUT=soon\n")
    .file("fastmcp.yaml", "confirm_ttl_sec: 0\nprot: 8000\nPORT: 1\n");
    let refused = case.refused();
    assert!(!refused.contains("hunter2"));
    insta::assert_snapshot!(refused, @r"
    configuration cannot be used
      `PORT` (file fastmcp.yaml): unknown key; did you mean `port`?
      `prot` (file fastmcp.yaml): unknown key; did you mean `port`?
      `ENABLE_AUTH` is `false` (environment): authentication cannot be switched off; remove it, and mint tokens with `fastmcp token mint`
      `ADS_PROVIDER_MODE` is `google` (environment): this version creates campaigns in its own sandbox only; set it to `sandbox` or remove it
      `TRANSPORT` is `sse` (environment): the transport of HTTP with two endpoints was replaced by Streamable HTTP; use `http`
      `HOST` is `example.com` (environment): it takes an IP address or `localhost`
      `PORT` is `99999` (environment): it takes 0 to 65535; 0 takes any free port
      `JWT_ALG` is `RS256,HS256` (environment): `HS256` rests on a shared secret, so that whoever checks a token could mint one; use RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA
      `JWT_JWKS_FILE` is `none.json` (environment): there is no such file; name one that holds a JWK Set, or remove it to use development keys
      `RATE_LIMIT_DEFAULT_RPS` is `0` (environment): it takes more than 0, at most 1000000 calls a second; 0.5 is one in two seconds
      `REQUIRE_MTLS` is `true` (environment): client certificates can be required only where the gateway itself speaks TLS and knows who vouches for them; set `TLS_CERT_FILE`, `TLS_KEY_FILE` and `TLS_CLIENT_CA_FILE`
      `confirm_ttl_sec` is `0` (file fastmcp.yaml): it takes 1 to 604800 seconds
      `ACTION_TOKEN_BYTES` is `8` (environment): it takes 16 to 64 bytes
      `REQUEST_TIMEOUT` is `soon` (env file .env): it takes 1 to 3600 seconds
      `DATABASE_URL` is `[redacted]` (environment): it must name a database: postgres://user:password@host:5432/database
      `FASTMCP_TRUSTED_PROXIES` is `10.0.0.0/8, proxy` (environment): `proxy` is neither an IP address nor a network such as 10.0.0.0/8
    ");
}

#[test]
fn one_fault_is_one_line() {
    assert_eq!(
        Case::new(&[("PORT", "http")]).refused(),
        "configuration cannot be used: `PORT` is `http` (environment): it takes 0 to 65535; 0 takes any free port"
    );
    let both = Case::new(&[
        ("JWT_JWKS_FILE", "a.json"),
        ("JWT_JWKS_URL", "https://idp.example.com/jwks"),
    ])
    .refused();
    assert!(both.contains("`JWT_JWKS_FILE` is set as well"), "{both}");
    let no_rs256 = Case::new(&[("JWT_ALG", "ES256")]).refused();
    assert!(
        no_rs256.contains("development keys sign with RS256"),
        "{no_rs256}"
    );
}

#[test]
fn files_that_are_none_are_refused_without_their_secrets() {
    for (text, expected) in [
        ("- a\n", "not a YAML map"),
        ("port: {a: 1}\n", "one value, or a list of values"),
        ("port: 1\nport: 2\n", "duplicate"),
        ("jwt_alg: ['RS256,ES256']\n", "has a comma"),
    ] {
        let refused = Case::new(&[]).file("fastmcp.yaml", text).refused();
        assert!(refused.contains(expected), "{text}: {refused}");
    }
    let refused = Case::new(&[])
        .file(".env", "PORT=1\nAUTH_SECRET=\"hunter2\n")
        .refused();
    assert!(
        refused.contains("`.env` (env file .env): line 2: expected NAME=value")
            && !refused.contains("hunter2"),
        "{refused}"
    );
    assert_eq!(
        Case::new(&[])
            .file("fastmcp.yaml", "# nothing\n")
            .loaded()
            .config
            .bind
            .port(),
        8000
    );
    let large = Case::new(&[])
        .file("fastmcp.yaml", &"# filler\n".repeat(200_000))
        .refused();
    assert!(large.contains("larger than 1048576 bytes"), "{large}");
}

#[test]
fn what_has_no_effect_is_said_and_secrets_are_not() {
    let case = Case::new(&[
        ("REDIS_URL", "redis://:hunter2@localhost:6379"),
        ("MCP_GIT_URL", "http://user:hunter2@localhost:3003"),
        ("PIPEDRIVE_API_TOKEN", "hunter2"),
        ("AUTH_SECRET", "hunter2"),
        ("ENABLE_AUTH", "true"),
        ("FASTMCP_POLCY", "x"),
        ("FASTMCP_NONSENSE_OF_SOME_LENGTH", "x"),
        ("UNRELATED", "x"),
    ])
    .file(".env", "JWT_ISUER=x\nENV_FILE=other\nCACHE_TTL=60\n");
    let loaded = case.loaded();
    let settings = format!("{:?}", loaded.settings);
    assert!(
        !settings.contains("hunter2") && settings.contains("[redacted]"),
        "{settings}"
    );
    insta::assert_snapshot!(loaded.warnings.join("\n"), @r"
    `JWT_ISUER` (env file .env) is not known and has no effect; did you mean `JWT_ISSUER`?
    `ENV_FILE` (env file .env) has no effect there; set it in the environment
    `FASTMCP_NONSENSE_OF_SOME_LENGTH` (environment) is not known and has no effect
    `FASTMCP_POLCY` (environment) is not known and has no effect; did you mean `FASTMCP_POLICY`?
    `ENABLE_AUTH` (environment) has no effect in this version: authentication is always on
    `AUTH_SECRET` (environment) has no effect in this version: tokens are checked with public keys; see JWT_JWKS_URL and JWT_JWKS_FILE
    `CACHE_TTL` (env file .env) has no effect in this version: results are never cached: a governed call is decided anew each time
    `MCP_GIT_URL` (environment) has no effect in this version: upstream MCP servers are not connected in this version
    `PIPEDRIVE_API_TOKEN` (environment) has no effect in this version: the Pipedrive tools are not part of this version
    ");
}

#[test]
fn limits_name_what_is_wrong_with_them_and_keep_the_password() {
    for (name, value, expected) in [
        (
            "REDIS_URL",
            "rediss://:hunter2@localhost#insecure",
            "it takes `redis://",
        ),
        ("REDIS_CA_FILE", "none.pem", "it cannot be used"),
        (
            "REDIS_URL",
            "http://:hunter2@localhost",
            "it takes `redis://",
        ),
        (
            "REDIS_URL",
            "redis://:hunter2@localhost/one",
            "it takes `redis://",
        ),
        ("REDIS_URL", "redis:hunter2", "it takes `redis://"),
        ("RATE_LIMIT_FALLBACK", "open", "`memory` or `refuse`"),
        ("RATE_LIMIT_FILE", "none.yml", "there is no such file"),
    ] {
        let refused = Case::new(&[(name, value)]).refused();
        assert!(refused.contains(expected), "{value}: {refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
    let loaded = Case::new(&[
        ("REDIS_URL", "rediss://:hunter2@localhost:6379/3"),
        ("RATE_LIMIT_FILE", "limits.yml"),
        ("RATE_LIMIT_FALLBACK", "refuse"),
    ])
    .file("limits.yml", "default: false\n")
    .loaded();
    let limits = &loaded.config.limits;
    assert_eq!(limits.fallback, crate::limit::Fallback::Refuse);
    assert!(limits.redis.is_some() && !limits.rules.default);
    assert_eq!(limits.longest_call, loaded.config.request_timeout);
    assert!(!format!("{loaded:?}").contains("hunter2"));
}

#[test]
fn a_policy_that_is_named_must_be_there() {
    for case in [
        Case::new(&[("FASTMCP_POLICY", "company-polices.yml")]),
        Case::new(&[]).file("fastmcp.yaml", "fastmcp_policy: company-polices.yml\n"),
        Case::new(&[]).file(".env", "FASTMCP_POLICY=company-polices.yml\n"),
    ] {
        let refused = case.file("company-policies.yml", "version: 1\n").refused();
        assert!(refused.contains("there is no such file"), "{refused}");
        assert!(refused.contains("company-polices.yml"), "{refused}");
    }
    let case = Case::new(&[("FASTMCP_POLICY", "mine.yml")]).file("mine.yml", "version: 1\n");
    let loaded = case.loaded();
    assert_eq!(loaded.config.policy_path, case.path("mine.yml"));
}

#[test]
fn a_named_file_of_keys_that_is_missing_is_said() {
    let vars = [("API_KEYS_FILE", "keys.jsonl")];
    let [warning] = &Case::new(&vars).loaded().warnings[..] else {
        panic!("one thing is said");
    };
    assert!(
        warning.contains("`API_KEYS_FILE`") && warning.contains("is not there"),
        "{warning}"
    );
    let there = Case::new(&vars).file("keys.jsonl", "").loaded();
    assert_eq!(there.warnings, [""; 0]);
    assert_eq!(Case::new(&[]).loaded().warnings, [""; 0]);
}

#[test]
fn values_are_read_as_people_write_them() {
    let loaded = Case::new(&[
        ("HOST", "localhost"),
        ("MASK_ERRORS", "No"),
        ("AUDIT_MODE", "Buffered"),
        ("TRANSPORT", "stdio"),
        ("FASTMCP_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1,"),
        ("FASTMCP_ALLOWED_ORIGINS", "https://App.example.com:443/"),
        ("JWT_ALG", "EdDSA, EdDSA"),
        ("JWT_JWKS_URL", "https://idp.example.com/jwks"),
        ("DATABASE_PATH", "data/app.db"),
        ("FILESYSTEM_MAX_FILE_MB", "2"),
        ("PORT", " 9000 "),
    ]);
    let config = loaded.loaded().config;
    assert_eq!(config.bind, "127.0.0.1:9000".parse().unwrap());
    assert!(!config.mask_errors && !config.database_is_sample);
    assert_eq!(
        (config.audit_mode, config.transport),
        (fastmcp_audit::Mode::Buffered, Transport::Stdio)
    );
    assert_eq!(
        config.trusted_proxies,
        [
            "10.0.0.0/8".parse().unwrap(),
            "192.0.2.1/32".parse().unwrap()
        ]
    );
    assert_eq!(config.allowed_origins, ["https://app.example.com"]);
    assert_eq!(config.jwt.algorithms, [Algorithm::EdDsa]);
    assert!(matches!(config.jwt.keys, JwtKeys::Url(_)));
    assert_eq!(config.database_path, loaded.path("data/app.db"));
    assert_eq!(config.filesystem_limits.max_file_bytes, 2 * 1024 * 1024);
}

#[test]
fn a_state_file_is_named_by_path_or_url() {
    let path = |text: &str| parse::sqlite_path(text).map(|path| path.to_str().unwrap().to_owned());
    for (text, expected) in [
        ("state.db", "state.db"),
        ("/srv/state.db", "/srv/state.db"),
        ("sqlite:///./fastmcp.db", "./fastmcp.db"),
        ("sqlite:///../fastmcp.db", "../fastmcp.db"),
        ("sqlite://./fastmcp.db", "./fastmcp.db"),
        ("sqlite:////fastmcp.db", "/fastmcp.db"),
        ("sqlite:///srv/state.db", "/srv/state.db"),
        ("sqlite:state.db", "state.db"),
    ] {
        assert_eq!(path(text).unwrap(), expected, "{text}");
    }
    for text in [
        "sqlite:///fastmcp.db",
        "sqlite::memory:",
        ":memory:",
        "sqlite:///./a.db?mode=ro",
        "postgres://db/a",
        "sqlite://",
        "sqlite:///srv/",
    ] {
        assert!(path(text).is_err(), "{text}");
    }
}

#[test]
fn addresses_of_keys_are_encrypted_or_local_and_carry_no_password() {
    for good in [
        "https://idp.example.com/jwks.json",
        "http://127.0.0.1:8081/jwks",
        "http://[::1]/jwks",
        "http://localhost/jwks",
    ] {
        assert!(parse::jwks_url(good).is_ok(), "{good}");
    }
    for bad in [
        "http://idp.example.com/jwks",
        "https://a:b@idp.example.com/",
        "file:///etc/jwks",
        "idp.example.com",
        "http://localhost.example.com/",
    ] {
        assert!(parse::jwks_url(bad).is_err(), "{bad}");
    }
    let refused = Case::new(&[("JWT_JWKS_URL", "https://me:hunter2@idp.example.com/")]).refused();
    assert!(
        refused.contains("https://redacted@idp.example.com/") && !refused.contains("hunter2"),
        "{refused}"
    );
}

#[test]
fn the_instance_keeps_its_name() {
    let case = Case::new(&[]);
    assert_eq!(case.load(false).unwrap().config.instance, "");
    assert!(
        !case.path(".fastmcp").exists(),
        "looking leaves the disk as it is"
    );
    let name = case.loaded().config.instance;
    assert!(
        name.starts_with("gateway-") && name.len() == "gateway-".len() + 16,
        "{name}"
    );
    assert_eq!(case.loaded().config.instance, name);
    assert_eq!(case.load(false).unwrap().config.instance, name);
    assert_eq!(source(&case.loaded(), "FASTMCP_INSTANCE").0, name);

    fs::write(case.path(".fastmcp/instance"), "two words").unwrap();
    assert!(
        case.refused()
            .contains(".fastmcp/instance` holds no name of an instance; set `FASTMCP_INSTANCE`")
    );
    let named = Case::new(&[("FASTMCP_INSTANCE", "gw-1")]);
    assert_eq!(named.loaded().config.instance, "gw-1");
    assert!(!named.path(".fastmcp").exists());
    assert!(
        Case::new(&[("FASTMCP_INSTANCE", "gw 1")])
            .load(true)
            .is_err()
    );
}

#[test]
fn many_that_start_at_once_agree_on_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let start = std::sync::Barrier::new(8);
    let names: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (folder, start) = (folder.path(), &start);
                scope.spawn(move || {
                    start.wait();
                    instance::keep(folder, &OsRandom).unwrap()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(names.windows(2).all(|pair| pair[0] == pair[1]), "{names:?}");
    assert_eq!(
        instance::kept(folder.path()).unwrap().as_deref(),
        names.first().map(String::as_str)
    );
}

#[test]
fn near_names_are_found_and_far_ones_are_not() {
    assert_eq!(variable::nearest("JWT_ISUER"), Some("JWT_ISSUER"));
    assert_eq!(variable::nearest("PROT"), Some("PORT"));
    assert_eq!(variable::nearest("COMPLETELY_UNRELATED"), None);
    assert_eq!(variable::nearest(&"P".repeat(100_000)), None);
    assert!(
        variable::is_known("MCP_GIT_URL")
            && !variable::is_known("MCP__URL_X")
            && !variable::is_known("MCP_URL")
    );
    assert_eq!(variable::shown("PORT", "a\nb"), "a\u{fffd}b");
    assert!(Path::new(DEFAULT_DATA_DIR).is_relative());
}
