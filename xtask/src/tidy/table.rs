//! The rules of the house, as data. A new crate, room or word is one line here.

/// A crate of the workspace and its arrows.
#[derive(Debug)]
pub(crate) struct Crate {
    /// Its name in `Cargo.toml`.
    pub(crate) name: &'static str,
    /// Its folder.
    pub(crate) folder: &'static str,
    /// The crates of the house that it may depend on.
    pub(crate) may: &'static [&'static str],
    /// Crates from outside that it must never depend on, however deep the need; tests may.
    pub(crate) never: &'static [&'static str],
}

/// Every crate of the workspace. One that is missing here is an error.
pub(crate) const CRATES: &[Crate] = &[
    Crate {
        name: "fastmcp-protocol",
        folder: "crates/protocol",
        may: &[],
        never: &[
            "axum",
            "futures-util",
            "getrandom",
            "http",
            "hyper",
            "hyper-util",
            "rand",
            "reqwest",
            "sqlx",
            "tokio",
            "tokio-util",
            "tracing-subscriber",
        ],
    },
    Crate {
        name: "fastmcp-guard",
        folder: "crates/guard",
        may: &["fastmcp-protocol"],
        never: &[
            "axum",
            "cedar-policy",
            "reqwest",
            "rusqlite",
            "sqlx",
            "tracing-subscriber",
        ],
    },
    Crate {
        name: "fastmcp-store",
        folder: "crates/store",
        may: &["fastmcp-protocol", "fastmcp-guard"],
        never: &[
            "axum",
            "cedar-policy",
            "hyper",
            "reqwest",
            "rusqlite",
            "sqlx",
            "tracing-subscriber",
        ],
    },
    Crate {
        name: "fastmcp-auth",
        folder: "crates/auth",
        may: &["fastmcp-protocol", "fastmcp-guard", "fastmcp-store"],
        never: &[
            "axum",
            "cedar-policy",
            "hyper",
            "reqwest",
            "rusqlite",
            "sqlx",
            "tracing-subscriber",
        ],
    },
    Crate {
        name: "fastmcp-transport",
        folder: "crates/transport",
        may: &["fastmcp-protocol", "fastmcp-guard"],
        never: &[
            "axum",
            "cedar-policy",
            "jsonschema",
            "reqwest",
            "rusqlite",
            "schemars",
            "sqlx",
            "tracing-subscriber",
        ],
    },
    Crate {
        name: "fastmcp-macros",
        folder: "crates/macros",
        may: &[],
        never: &["schemars", "serde", "serde_json", "tokio"],
    },
    Crate {
        name: "fastmcp",
        folder: "crates/fastmcp",
        may: &[
            "fastmcp-protocol",
            "fastmcp-guard",
            "fastmcp-store",
            "fastmcp-auth",
            "fastmcp-transport",
            "fastmcp-macros",
        ],
        never: &[
            "axum",
            "cedar-policy",
            "reqwest",
            "rusqlite",
            "sqlx",
            "tracing-subscriber",
        ],
    },
    Crate {
        name: "fastmcp-services",
        folder: "crates/services",
        may: &[],
        never: &["reqwest", "sqlx", "tokio"],
    },
    Crate {
        name: "fastmcp-policy",
        folder: "crates/policy",
        may: &[],
        never: &[
            "axum",
            "getrandom",
            "hyper",
            "reqwest",
            "sqlx",
            "tokio",
            "tracing-subscriber",
        ],
    },
    Crate {
        name: "fastmcp-audit",
        folder: "crates/audit",
        may: &[],
        never: &[
            "axum",
            "hyper",
            "reqwest",
            "sqlx",
            "tokio",
            "tokio-util",
            "tracing-subscriber",
        ],
    },
    Crate {
        name: "fastmcp-gateway",
        folder: "crates/gateway",
        may: &[
            "fastmcp",
            "fastmcp-policy",
            "fastmcp-audit",
            "fastmcp-protocol",
            "fastmcp-guard",
            "fastmcp-store",
            "fastmcp-auth",
            "fastmcp-transport",
        ],
        never: &["hyper-rustls", "reqwest", "tracing-subscriber"],
    },
    Crate {
        name: "fastmcp-cli",
        folder: "crates/cli",
        // The command shows what these rooms say, and makes requests of them; it decides nothing.
        may: &[
            "fastmcp",
            "fastmcp-audit",
            "fastmcp-auth",
            "fastmcp-gateway",
            "fastmcp-guard",
            "fastmcp-policy",
            "fastmcp-protocol",
        ],
        never: &[
            "cedar-policy",
            "hyper-rustls",
            "reqwest",
            "rusqlite",
            "sqlx",
        ],
    },
    Crate {
        name: "fastmcp-examples",
        folder: "examples",
        may: &["fastmcp", "fastmcp-auth"],
        never: &["axum", "reqwest"],
    },
    Crate {
        name: "fastmcp-conformance",
        folder: "conformance",
        may: &["fastmcp"],
        never: &["axum", "reqwest"],
    },
    Crate {
        name: "xtask",
        folder: "xtask",
        may: &[],
        never: &["reqwest", "tokio"],
    },
];

/// Crates that any crate's tests may name, and nothing else.
pub(crate) const FOR_TESTS: &[&str] = &["fastmcp-services"];

/// Folders with a workspace and a lock of their own; their manifests obey other rules.
pub(crate) const OTHER_WORKSPACES: &[&str] = &["bench/", "fuzz/", "peers/"];

/// The order of the rooms inside one crate.
#[derive(Debug)]
pub(crate) struct Rooms {
    /// The crate's folder.
    pub(crate) folder: &'static str,
    /// Rooms that every room may import; they import only one another.
    pub(crate) floor: &'static [&'static str],
    /// The rooms from left to right: each imports the floor and what stands to its left.
    pub(crate) order: &'static [&'static str],
    /// Modules that may import every room.
    pub(crate) sees_all: &'static [&'static str],
}

/// Crates whose rooms have an order. A module that is missing here is an error.
pub(crate) const ROOMS: &[Rooms] = &[
    Rooms {
        folder: "crates/fastmcp",
        floor: &["error", "call", "schema", "context", "telemetry"],
        order: &[
            "component",
            "skill",
            "gate",
            "registry",
            "middleware",
            "respond",
            "route",
            "engine",
            "router",
            "session",
            "transform",
            "compose",
            "provider",
            "server",
            "config",
            "base",
            "openapi",
            "folder",
            "dependencies",
            "client",
            "proxy",
            "testing",
        ],
        sees_all: &["lib"],
    },
    Rooms {
        folder: "crates/gateway",
        floor: &["error", "manifest", "telemetry"],
        order: &[
            "state",
            "call",
            "provider",
            "catalog",
            "policy",
            "label",
            "limit",
            "confirm",
            "once",
            "broker",
            "audit",
            "settlement",
            "announce",
            "consent",
            "pipeline",
            "approvals",
            "door",
            "mcp",
            "rest",
            "tls",
            "keys",
            "config",
            "app",
        ],
        sees_all: &["lib"],
    },
];

/// A path that production code below some folders must not name.
#[derive(Debug)]
pub(crate) struct Forbidden {
    /// What must not be named, itself or anything below it.
    pub(crate) path: &'static str,
    /// Where: beginnings of file paths.
    pub(crate) within: &'static [&'static str],
    /// Where it may stand all the same: beginnings of file paths.
    pub(crate) except: &'static [&'static str],
    /// What to do instead.
    pub(crate) fix: &'static str,
}

const PURE: &[&str] = &["crates/protocol/src/"];
const DECIDES: &[&str] = &["crates/policy/src/"];
const NO_IO: &str = "protocol does no I/O: take bytes, time or randomness as an argument";
const NO_POLICY_IO: &str = "policy does no I/O: take bytes or text as an argument";

/// Paths that belong to one place.
pub(crate) const FORBIDDEN: &[Forbidden] = &[
    Forbidden {
        path: "std::net",
        within: PURE,
        except: &[],
        fix: NO_IO,
    },
    Forbidden {
        path: "std::fs",
        within: PURE,
        except: &[],
        fix: NO_IO,
    },
    Forbidden {
        path: "std::env",
        within: PURE,
        except: &[],
        fix: NO_IO,
    },
    Forbidden {
        path: "std::process",
        within: PURE,
        except: &[],
        fix: NO_IO,
    },
    Forbidden {
        path: "std::thread",
        within: PURE,
        except: &[],
        fix: NO_IO,
    },
    Forbidden {
        path: "std::time::Instant",
        within: PURE,
        except: &[],
        fix: NO_IO,
    },
    Forbidden {
        path: "std::time::SystemTime",
        within: PURE,
        except: &[],
        fix: NO_IO,
    },
    Forbidden {
        path: "tokio",
        within: PURE,
        except: &[],
        fix: NO_IO,
    },
    Forbidden {
        path: "hyper",
        within: PURE,
        except: &[],
        fix: NO_IO,
    },
    Forbidden {
        path: "std::net::TcpStream",
        within: DECIDES,
        except: &[],
        fix: NO_POLICY_IO,
    },
    Forbidden {
        path: "std::fs",
        within: DECIDES,
        except: &[],
        fix: NO_POLICY_IO,
    },
    Forbidden {
        path: "std::time::Instant",
        within: DECIDES,
        except: &[],
        fix: NO_POLICY_IO,
    },
    Forbidden {
        path: "std::time::SystemTime",
        within: DECIDES,
        except: &[],
        fix: NO_POLICY_IO,
    },
    Forbidden {
        path: "std::env",
        within: &["crates/"],
        except: &[
            "crates/protocol/",
            "crates/cli/",
            "crates/gateway/src/config",
            "crates/services/",
        ],
        fix: "libraries never read the environment: gateway::config and the command do",
    },
    Forbidden {
        path: "sqlx",
        within: &["crates/"],
        except: &["crates/gateway/src/state"],
        fix: "gateway::state alone speaks SQL, behind its domain traits",
    },
    Forbidden {
        path: "cedar_policy",
        within: &["crates/"],
        except: &["crates/policy/"],
        fix: "ask fastmcp_policy, which owns the compiled set",
    },
];

/// Words that tell one era of the protocol from another, as parts of identifiers.
pub(crate) const ERA_WORDS: &[&str] = &["era", "eras", "legacy", "modern"];

/// Where production code may speak of eras: beginnings of file paths.
pub(crate) const ERA_PLACES: &[&str] = &[
    "crates/protocol/",
    // One result is written for clients of both eras: what differs on the wire, differs here.
    "crates/fastmcp/src/respond.rs",
    "crates/fastmcp/src/respond/",
    "crates/fastmcp/src/session.rs",
    "crates/fastmcp/src/session/",
    "crates/fastmcp/src/client/connect.rs",
    "crates/fastmcp/src/client/connect/",
];

/// Crates whose own paths contain a word of [`ERA_WORDS`] (`hyper_util::client::legacy`).
pub(crate) const ERA_NAMESAKES: &[&str] = &["hyper_util"];

/// The most lines of production code that a file may have; tests do not count.
pub(crate) const MAX_LINES: usize = 600;

/// Names of files that say nothing about what is inside.
pub(crate) const EMPTY_NAMES: &[&str] = &[
    "common", "helper", "helpers", "manager", "misc", "shared", "util", "utils",
];

/// Marks and phrases that admit unfinished work, as people write them.
pub(crate) const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("for dem", "onstration"),
    concat!("not yet impl", "emented"),
];

/// Folders of a developer's own machine. Split, so that this file passes its own rule.
pub(crate) const PRIVATE_FOLDERS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];

/// Paths that look private and are not: the account of distroless images, and an example in docs.
pub(crate) const PUBLIC_FOLDERS: &[&str] =
    &[concat!("/ho", "me/nonroot"), concat!("/ho", "me/you")];

#[cfg(test)]
mod tests {
    use super::{CRATES, ROOMS};

    #[test]
    fn arrows_run_one_way() {
        // A crate may depend only on what stands in the table too, and never on itself through others.
        fn reaches(from: &str, to: &str, depth: usize) -> bool {
            assert!(depth < CRATES.len(), "a circle through {from}");
            CRATES
                .iter()
                .find(|one| one.name == from)
                .expect("an arrow leads to no crate")
                .may
                .iter()
                .any(|next| *next == to || reaches(next, to, depth + 1))
        }
        for one in CRATES {
            assert!(
                !reaches(one.name, one.name, 0),
                "{} depends on itself",
                one.name
            );
        }
    }

    #[test]
    fn a_room_stands_in_one_place() {
        for rooms in ROOMS {
            let mut all: Vec<_> = [rooms.floor, rooms.order, rooms.sees_all].concat();
            all.sort_unstable();
            let count = all.len();
            all.dedup();
            assert_eq!(count, all.len(), "{}", rooms.folder);
        }
    }
}
