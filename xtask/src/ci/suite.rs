//! The official conformance suite: what it is asked to run, and how its reports are read.
//!
//! The suite leaves with 0 when a required scenario only warns, and when one that is not required
//! fails. We do not: its reports are read one by one, and a scenario holds when nothing in it
//! failed or warned and something in it succeeded.

mod report;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::{
    ci::{
        Run,
        node::Peers,
        process::{Stopwatch, run},
        server::Server,
        suite::report::{Report, reports},
    },
    house::say,
};

/// The suite's command line, below `e2e/`.
const SUITE: &str = "node_modules/@modelcontextprotocol/conformance/dist/index.js";
/// Whether the client is driven by the suite as well: turned on with the binary
/// `conformance-client`.
const CLIENT_LEG: bool = true;
/// What a client has for one scenario. The suite starts all of them at once.
const CLIENT_MS: &str = "60000";

/// Which side of the wire is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    Server,
    Client,
}

impl Leg {
    /// The suite's command.
    fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }

    /// How the names of the suite's reports begin.
    fn prefix(self) -> &'static str {
        match self {
            Self::Server => "server-",
            Self::Client => "",
        }
    }
}

/// What a revision requires of a leg.
#[derive(Debug)]
struct Set {
    leg: Leg,
    revision: &'static str,
    /// How many scenarios the revision froze at its release: fewer reports mean a broken run.
    required: usize,
    /// The revision that a proxy speaks with the server behind it; the server itself where absent.
    behind: Option<&'static str>,
}

impl Set {
    /// What the set is called.
    fn name(&self) -> String {
        let name = format!("{}-{}", self.leg.name(), self.revision);
        match self.behind {
            Some(behind) => format!("{name}-before-{behind}"),
            None => name,
        }
    }
}

const fn set(leg: Leg, revision: &'static str, required: usize) -> Set {
    Set {
        leg,
        revision,
        required,
        behind: None,
    }
}

const fn proxied(revision: &'static str, behind: &'static str, required: usize) -> Set {
    Set {
        leg: Leg::Server,
        revision,
        required,
        behind: Some(behind),
    }
}

const SETS: &[Set] = &[
    set(Leg::Server, "2026-07-28", 37),
    set(Leg::Server, "2025-11-25", 30),
    set(Leg::Client, "2026-07-28", 32),
    set(Leg::Client, "2025-11-25", 18),
    proxied("2026-07-28", "2026-07-28", 37),
    proxied("2025-11-25", "2026-07-28", 30),
    // The newer set in front of the older revision stays out: questions have no keys there, and what a
    // client can do is said once, not with each call.
    proxied("2025-11-25", "2025-11-25", 30),
];

/// How a scenario that no revision requires stands with us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It must hold as those that are required.
    Held,
    /// What it asks for is not served, and why.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "everything is served now; the next release of the suite may bring more"
        )
    )]
    Open(&'static str),
    /// It checks nothing, whatever the other side does, and why.
    Void(&'static str),
}

/// Scenarios that no revision requires and that stand alike.
#[derive(Debug)]
struct Beside {
    leg: Leg,
    revision: &'static str,
    standing: Standing,
    names: &'static [&'static str],
}

const fn beside(
    leg: Leg,
    revision: &'static str,
    standing: Standing,
    names: &'static [&'static str],
) -> Beside {
    Beside {
        leg,
        revision,
        standing,
        names,
    }
}

/// Every scenario that no revision requires. One that is missing here fails the stage, as does one
/// that holds though it is listed as open: the table says what is true.
const BESIDE: &[Beside] = &[
    beside(
        Leg::Server,
        "2026-07-28",
        Standing::Held,
        &[
            "http-custom-header-server-validation",
            "http-header-validation",
            "json-schema-2020-12",
        ],
    ),
    beside(
        Leg::Server,
        "2026-07-28",
        Standing::Held,
        &[
            "tasks-capability-negotiation",
            "tasks-dispatch-and-envelope",
            "tasks-lifecycle",
            "tasks-mrtr-composition",
            "tasks-mrtr-input",
            "tasks-request-headers",
            "tasks-request-state-removal",
            "tasks-required-task-error",
            "tasks-wire-fields",
        ],
    ),
    beside(
        Leg::Server,
        "2026-07-28",
        Standing::Void("the suite skips it until it is written for `subscriptions/listen`"),
        &["tasks-status-notifications"],
    ),
    beside(
        Leg::Server,
        "2026-07-28",
        Standing::Held,
        &[
            "sep-2640-skills-directory",
            "sep-2640-skills-enumeration",
            "sep-2640-skills-manifest",
        ],
    ),
    beside(
        Leg::Server,
        "2025-11-25",
        Standing::Held,
        &[
            "json-schema-2020-12",
            "server-session-lifecycle",
            "server-sse-polling",
        ],
    ),
    beside(Leg::Client, "2026-07-28", Standing::Held, CLIENT),
    beside(
        Leg::Client,
        "2026-07-28",
        Standing::Held,
        &[
            "sep-2640-client-no-prefetch",
            "sep-2640-client-verify-digest",
            "sep-2640-client-verify-frontmatter",
            "sep-2640-client-verify-size",
        ],
    ),
    beside(Leg::Client, "2025-11-25", Standing::Held, CLIENT),
];

/// What the suite runs of a client along with either set.
const CLIENT: &[&str] = &[
    "auth/client-credentials-basic",
    "auth/client-credentials-jwt",
    "auth/dpop",
    "auth/dpop-nonce",
    "auth/enterprise-managed-authorization",
    "auth/wif-jwt-bearer",
    "json-schema-2020-12-preservation",
];

/// The scenarios beside a set, one by one.
fn besides(set: &Set) -> Vec<(&'static str, Standing)> {
    BESIDE
        .iter()
        .filter(|group| group.leg == set.leg && group.revision == set.revision)
        .flat_map(|group| group.names.iter().map(|name| (*name, group.standing)))
        .collect()
}

/// Runs every set, then whatever stands beside it and was not run along with it.
///
/// # Errors
///
/// When a scenario does not hold, when one was not run, or when the table above is not true.
pub(crate) fn conformance(ci: &Run<'_>, program: &Path, client: &Path) -> anyhow::Result<()> {
    let peers = Peers::install(ci)?;
    let results = ci.house.target().join("conformance");
    let start = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(["--bind", "127.0.0.1:0"])
            .args(arguments)
            .current_dir(ci.house.root());
        Server::start(&mut command, results.join(format!("{name}.log")))
    };
    let server = start("server", &[])?;
    // The suite's check of DNS rebinding asks for this name.
    let url = |server: &Server| format!("http://localhost:{}/mcp", server.port());
    let upstream = url(&server);
    let mut faults = Vec::new();
    for set in SETS
        .iter()
        .filter(|set| CLIENT_LEG || set.leg == Leg::Server)
    {
        let watch = Stopwatch::start();
        let proxy = match set.behind {
            Some(behind) => {
                let flags = ["--upstream", &upstream, "--upstream-revision", behind];
                Some(start(&set.name(), &flags)?)
            }
            None => None,
        };
        let side = Side {
            ci,
            peers: &peers,
            set,
            url: &proxy.as_ref().map_or_else(|| upstream.clone(), url),
            client,
            folder: results.join(set.name()),
        };
        let found = side.run()?;
        say(&format!(
            "{}: {} faults, {:.1} s",
            set.name(),
            found.len(),
            watch.elapsed().as_secs_f64()
        ));
        faults.extend(found);
    }
    if faults.is_empty() {
        return Ok(());
    }
    bail!(
        "{} (details in `{}`); the server's output ends with\n{}",
        faults.join("\n"),
        results.display(),
        server.log()
    );
}

/// One set, and what it is run with.
struct Side<'a> {
    ci: &'a Run<'a>,
    peers: &'a Peers,
    set: &'a Set,
    url: &'a str,
    client: &'a Path,
    folder: PathBuf,
}

impl Side<'_> {
    /// Runs the set and what was not run along with it; returns what is wrong.
    fn run(&self) -> anyhow::Result<Vec<String>> {
        let Set {
            leg,
            revision,
            behind,
            ..
        } = *self.set;
        if self.folder.exists() {
            // Reports carry the time in their names: old ones would be read again.
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("cannot remove `{}`", self.folder.display()))?;
        }
        let mut suite = self.suite();
        suite.args(["--requirements", revision]);
        let mut faults: Vec<_> = run(&mut suite, self.ci.limit)
            .err()
            .map(|error| format!("{}: {error:#}", self.set.name()))
            .into_iter()
            .collect();
        let besides = besides(self.set);
        if behind.is_some() {
            // Extensions are between a client and the server that has them.
            let mut reports = reports(&self.folder, leg.prefix())?;
            reports.retain(|report| besides.iter().all(|(name, _)| report.scenario != *name));
            let judged = judged(self.set, &reports, &[]);
            faults.extend(
                judged
                    .into_iter()
                    .map(|fault| format!("{}: {fault}", self.set.name())),
            );
            return Ok(faults);
        }
        let ran = reports(&self.folder, leg.prefix())?;
        let alone = besides
            .iter()
            .filter(|(name, _)| ran.iter().all(|report| report.scenario != *name));
        for (name, _) in alone {
            let mut suite = self.suite();
            // Without the revision: to the suite an extension belongs to none.
            suite.args(["--scenario", name]);
            // What came of it stands in its report.
            if let Err(error) = run(&mut suite, self.ci.limit) {
                say(&format!("{error:#}"));
            }
        }
        let reports = reports(&self.folder, leg.prefix())?;
        let judged = judged(self.set, &reports, &besides);
        faults.extend(
            judged
                .into_iter()
                .map(|fault| format!("{}: {fault}", self.set.name())),
        );
        Ok(faults)
    }

    /// The suite with what both kinds of runs need.
    fn suite(&self) -> Command {
        let mut suite = self.peers.script(SUITE);
        suite.arg(self.set.leg.name());
        match self.set.leg {
            Leg::Server => suite.args(["--url", self.url]),
            Leg::Client => suite
                .arg("--command")
                .arg(self.client)
                .args(["--timeout", CLIENT_MS]),
        };
        suite
            .arg("--output-dir")
            .arg(&self.folder)
            .current_dir(self.ci.house.root());
        suite
    }
}

/// Compares reports with what was required and with the table; returns what is wrong.
fn judged(set: &Set, reports: &[Report], besides: &[(&str, Standing)]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut required = 0;
    for report in reports {
        let name = &report.scenario;
        let standing = besides.iter().find(|(beside, _)| beside == name);
        match (standing.map(|(_, standing)| standing), report.fault()) {
            (None, fault) => {
                required += 1;
                faults.extend(fault.map(|fault| format!("`{name}` {fault}")));
            }
            (Some(Standing::Held), Some(fault)) => faults.push(format!("`{name}` {fault}")),
            (Some(Standing::Held), None) => {}
            (Some(Standing::Open(why) | Standing::Void(why)), Some(_)) => {
                say(&format!("not held: `{name}`: {why}"));
            }
            (Some(Standing::Open(_) | Standing::Void(_)), None) => {
                faults.push(format!(
                    "`{name}` holds, but the table says that it does not"
                ));
            }
        }
    }
    for (name, _) in besides {
        if reports.iter().all(|report| report.scenario != *name) {
            faults.push(format!("`{name}` left no report"));
        }
    }
    if required != set.required {
        faults.push(format!(
            "{required} required scenarios left reports, not {}; one that is new belongs into the table",
            set.required
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Leg, Report, SETS, Standing, besides, judged, set};

    fn report(name: &str, statuses: &[&str]) -> Report {
        let mut checks = vec![json!({"id": "wire-schema-valid", "status": "SUCCESS"})];
        checks.extend(
            statuses
                .iter()
                .map(|status| json!({"id": "own", "status": status, "errorMessage": "why"})),
        );
        Report::new(name, checks)
    }

    #[test]
    fn no_scenario_stands_in_the_table_twice() {
        for set in SETS {
            let mut names: Vec<_> = besides(set).into_iter().map(|(name, _)| name).collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{set:?}");
        }
    }

    #[test]
    fn what_holds_as_the_table_says_is_no_fault() {
        let reports = [
            report("ping", &["SUCCESS", "INFO"]),
            report("held", &["SUCCESS", "SKIPPED"]),
            report("open", &["FAILURE"]),
            report("void", &["SKIPPED"]),
        ];
        let table = [
            ("held", Standing::Held),
            ("open", Standing::Open("why")),
            ("void", Standing::Void("why")),
        ];
        let required = set(Leg::Server, "2025-11-25", 1);
        assert_eq!(judged(&required, &reports, &table), Vec::<String>::new());
    }

    #[test]
    fn warnings_empty_reports_missing_ones_and_a_table_that_lies_are_faults() {
        let reports = [
            report("ping", &["SUCCESS", "WARNING"]),
            report("empty", &[]),
            report("open", &["SUCCESS"]),
        ];
        let table = [("open", Standing::Open("why")), ("gone", Standing::Held)];
        let required = set(Leg::Server, "2025-11-25", 3);
        let faults = judged(&required, &reports, &table);
        assert_eq!(
            faults,
            [
                "`ping` has WARNING own: why",
                "`empty` shows nothing: no check of its own succeeded",
                "`open` holds, but the table says that it does not",
                "`gone` left no report",
                "2 required scenarios left reports, not 3; one that is new belongs into the table",
            ]
        );
    }
}
