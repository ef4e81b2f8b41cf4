//! Every metric of the gateway.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use fastmcp_audit::Health;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

mod stage;

pub use stage::Stage;
use stage::Stages;

/// Labels of a tool call. Only names of registered tools occur.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ToolStatus {
    tool_name: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tool {
    tool_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Labels of an issuer. Only those of the configuration occur.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Issuer {
    issuer: String,
}

/// Labels of a decision about a limit. Only names of rules in the configuration occur.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitDecision {
    rule: String,
    outcome: &'static str,
}

/// What is counted of limits.
#[derive(Clone, Debug, Default)]
struct Limits {
    decisions: Family<LimitDecision, Counter>,
    degraded: Gauge,
    outages: Counter,
    evictions: Counter,
}

impl Limits {
    fn register(registry: &mut Registry) -> Self {
        let limits = Self::default();
        registry.register(
            "fastmcp_limit_decisions",
            "Decisions about limits by rule",
            limits.decisions.clone(),
        );
        registry.register(
            "fastmcp_limit_degraded",
            "Whether Redis is away, which limits are counted in",
            limits.degraded.clone(),
        );
        registry.register(
            "fastmcp_limit_outages",
            "How often Redis went away, which limits are counted in",
            limits.outages.clone(),
        );
        registry.register(
            "fastmcp_limit_evictions",
            "Keys of limits that had to go from a full memory while they still said something",
            limits.evictions.clone(),
        );
        limits
    }
}

/// The registry and its metrics. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    metrics: Arc<Metrics>,
}

struct Metrics {
    registry: Registry,
    calls: Family<ToolStatus, Counter>,
    durations: Family<Tool, Histogram>,
    stages: Stages,
    refusals: Family<Reason, Counter>,
    policy_reloads: Family<Reason, Counter>,
    limits: Limits,
    exported: Family<Exported, Counter>,
    announced: Family<Announced, Counter>,
    trail: Trail,
    doubts: Doubts,
    issuers: Family<Issuer, Gauge>,
    tools: Gauge,
    uptime: Gauge<f64, AtomicU64>,
}

/// The audit log, as it is when somebody looks.
#[derive(Clone, Default)]
struct Trail {
    records: Gauge,
    unsigned: Gauge,
    waiting: Gauge,
    lost: Gauge,
}

impl Trail {
    fn register(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            ("records", "Durable audit records", &self.records),
            (
                "unsigned_records",
                "Durable audit records that no checkpoint covers yet",
                &self.unsigned,
            ),
            (
                "waiting_records",
                "Audit records that wait for the disk",
                &self.waiting,
            ),
            (
                "lost_records",
                "Audit records acknowledged in buffered mode and then not written, since the start",
                &self.lost,
            ),
        ] {
            registry.register(format!("fastmcp_audit_{name}"), help, gauge.clone());
        }
    }
}

/// Operations of which nobody knows whether they happened.
#[derive(Clone, Default)]
struct Doubts {
    found: Counter,
    unsettled: Gauge,
}

impl Doubts {
    fn register(registry: &mut Registry) -> Self {
        let doubts = Self::default();
        registry.register(
            "fastmcp_operations_unknown",
            "Operations that recovery found without an outcome, and that await settlement",
            doubts.found.clone(),
        );
        registry.register(
            "fastmcp_operations_unsettled",
            "Operations without a known outcome that await settlement now, those that other replicas found included",
            doubts.unsettled.clone(),
        );
        doubts
    }
}

/// Labels of audit records told to others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Exported {
    sink: &'static str,
    outcome: &'static str,
}

/// Labels of approvals told to a web address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Announced {
    outcome: &'static str,
}

fn durations() -> Histogram {
    Histogram::new([
        0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
        10.0, 30.0,
    ])
}

fn believed(registry: &mut Registry) -> Family<Issuer, Gauge> {
    let issuers = Family::default();
    registry.register(
        "fastmcp_issuer_ready",
        "Whether tokens of an issuer can be checked",
        issuers.clone(),
    );
    issuers
}

impl Telemetry {
    /// Creates the registry.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let calls = Family::default();
        registry.register(
            "mcp_tool_calls",
            "Tool calls by how they ended",
            calls.clone(),
        );
        let tool_durations = Family::<Tool, Histogram>::new_with_constructor(durations);
        registry.register_with_unit(
            "mcp_tool_duration",
            "How long tool calls took",
            Unit::Seconds,
            tool_durations.clone(),
        );
        let stages = Stages::register(&mut registry);
        let refusals = Family::default();
        registry.register(
            "fastmcp_door_refusals",
            "Requests refused before a tool was known",
            refusals.clone(),
        );
        let policy_reloads = Family::default();
        registry.register(
            "fastmcp_policy_reloads",
            "Attempts to load changed policies",
            policy_reloads.clone(),
        );
        let limits = Limits::register(&mut registry);
        let exported = Family::default();
        registry.register(
            "fastmcp_audit_exported_records",
            "Audit records sent to sinks, or dropped",
            exported.clone(),
        );
        let announced = Family::default();
        registry.register(
            "fastmcp_approval_announcements",
            "New approvals told to the web address, or not",
            announced.clone(),
        );
        let trail = Trail::default();
        trail.register(&mut registry);
        let (doubts, issuers) = (Doubts::register(&mut registry), believed(&mut registry));
        let (tools, uptime) = (Gauge::<i64>::default(), Gauge::<f64, AtomicU64>::default());
        // The gateway serves tools alone, so this stays at nought; dashboards ask for it by name.
        let resources = Gauge::<i64>::default();
        registry.register("tools_count", "Registered tools", tools.clone());
        registry.register("resources_count", "Registered resources", resources);
        registry.register("uptime", "Seconds since the start", uptime.clone());
        let metrics = Metrics {
            registry,
            calls,
            durations: tool_durations,
            stages,
            refusals,
            policy_reloads,
            limits,
            exported,
            announced,
            trail,
            doubts,
            issuers,
            tools,
            uptime,
        };
        Self {
            metrics: Arc::new(metrics),
        }
    }

    /// Counts a call of a registered tool.
    pub fn called(&self, tool: &str, status: &'static str, took: Duration) {
        let label = ToolStatus {
            tool_name: tool.to_owned(),
            status,
        };
        self.metrics.calls.get_or_create(&label).inc();
        self.metrics
            .durations
            .get_or_create(&Tool {
                tool_name: tool.to_owned(),
            })
            .observe(took.as_secs_f64());
    }

    /// Counts the time of a stage.
    pub fn stage(&self, stage: Stage, took: Duration) {
        self.metrics.stages.observe(stage, took);
    }

    /// Counts an operation of which recovery cannot tell whether it happened.
    pub fn doubted(&self) {
        self.metrics.doubts.found.inc();
    }

    /// Says how many operations await settlement.
    pub fn count_unsettled(&self, operations: u64) {
        let operations = i64::try_from(operations).unwrap_or(i64::MAX);
        self.metrics.doubts.unsettled.set(operations);
    }

    /// Counts a refusal at the door.
    pub fn refused(&self, reason: &'static str) {
        self.metrics
            .refusals
            .get_or_create(&Reason { reason })
            .inc();
    }

    /// Counts an attempt to load changed policies.
    pub fn policy_reloaded(&self, outcome: &'static str) {
        self.metrics
            .policy_reloads
            .get_or_create(&Reason { reason: outcome })
            .inc();
    }

    /// What counts the decisions about one limit. `rule` is a name out of the configuration.
    #[must_use]
    pub fn limit_decisions(&self, rule: &str, outcome: &'static str) -> Counter {
        let label = LimitDecision {
            rule: rule.to_owned(),
            outcome,
        };
        self.metrics.limits.decisions.get_or_create(&label).clone()
    }

    /// What counts the keys of limits that had to go too soon.
    #[must_use]
    pub fn limit_evictions(&self) -> Counter {
        self.metrics.limits.evictions.clone()
    }

    /// Says whether Redis is away, which limits are counted in.
    pub fn limit_degraded(&self, is_away: bool) {
        if is_away {
            self.metrics.limits.outages.inc();
        }
        self.metrics.limits.degraded.set(is_away.into());
    }

    /// Counts audit records that a sink got (`sent`) or will not get (`dropped`).
    pub fn exported(&self, sink: &'static str, outcome: &'static str, records: u64) {
        let label = Exported { sink, outcome };
        self.metrics.exported.get_or_create(&label).inc_by(records);
    }

    /// Counts approvals that the web address heard of (`sent`), that it did not take or that were not sent when the
    /// gateway ended (`failed`), and for which there was no place (`dropped`).
    pub fn announced(&self, outcome: &'static str, approvals: u64) {
        self.metrics
            .announced
            .get_or_create(&Announced { outcome })
            .inc_by(approvals);
    }

    /// Says how the audit log is.
    pub fn audited(&self, health: &Health) {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let Trail {
            records,
            unsigned,
            waiting,
            lost,
        } = &self.metrics.trail;
        records.set(number(health.size));
        unsigned.set(number(health.size.saturating_sub(health.checkpointed)));
        waiting.set(number(health.queued as u64));
        lost.set(number(health.lost));
    }

    /// Says of which issuers tokens can be checked; the others come with the reason.
    pub fn issuers(&self, believed: &[(String, Option<String>)]) {
        self.metrics.issuers.clear();
        for (issuer, away) in believed {
            let label = Issuer {
                issuer: issuer.clone(),
            };
            self.metrics
                .issuers
                .get_or_create(&label)
                .set(away.is_none().into());
        }
    }

    /// Says how many tools there are.
    pub fn count_tools(&self, tools: usize) {
        self.metrics
            .tools
            .set(i64::try_from(tools).unwrap_or(i64::MAX));
    }

    /// The exposition, with `uptime` as the seconds since the start.
    ///
    /// Source: OpenMetrics text format 1.0.
    ///
    /// # Errors
    ///
    /// When a metric cannot be written.
    pub fn render(&self, uptime: Duration) -> Result<String, fmt::Error> {
        self.metrics.uptime.set(uptime.as_secs_f64());
        let mut out = String::new();
        encode(&mut out, &self.metrics.registry)?;
        Ok(out)
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telemetry")
    }
}
