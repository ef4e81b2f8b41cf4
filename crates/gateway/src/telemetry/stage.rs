//! The stages of a call, and how long they take.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// A part of the way of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The tool found, its arguments read and validated.
    Validate,
    /// The decision of the policy.
    Policy,
    /// The limits.
    Limit,
    /// Confirmation and idempotency.
    Consent,
    /// The provider's credential.
    Broker,
    /// The durable intent of a writing call.
    AuditIntend,
    /// The operation marked as acting.
    Fence,
    /// The provider.
    Provider,
    /// The operation's outcome.
    ConsentEnd,
    /// The durable record.
    AuditClose,
}

impl Stage {
    const ALL: [Self; 10] = [
        Self::Validate,
        Self::Policy,
        Self::Limit,
        Self::Consent,
        Self::Broker,
        Self::AuditIntend,
        Self::Fence,
        Self::Provider,
        Self::ConsentEnd,
        Self::AuditClose,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Policy => "policy",
            Self::Limit => "limit",
            Self::Consent => "consent",
            Self::Broker => "broker",
            Self::AuditIntend => "audit_intend",
            Self::Fence => "fence",
            Self::Provider => "provider",
            Self::ConsentEnd => "consent_end",
            Self::AuditClose => "audit_close",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    stage: &'static str,
}

/// A histogram for each stage, looked up once: a call passes most of them.
pub(super) struct Stages([(Stage, Histogram); 10]);

impl Stages {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let family = Family::<Label, Histogram>::new_with_constructor(durations);
        registry.register_with_unit(
            "fastmcp_stage",
            "How long the stages of a call took",
            Unit::Seconds,
            family.clone(),
        );
        Self(Stage::ALL.map(|stage| {
            let label = Label {
                stage: stage.as_str(),
            };
            (stage, family.get_or_create(&label).clone())
        }))
    }

    pub(super) fn observe(&self, stage: Stage, took: Duration) {
        let Self(stages) = self;
        if let Some((_, histogram)) = stages.iter().find(|(one, _)| *one == stage) {
            histogram.observe(took.as_secs_f64());
        }
    }
}

fn durations() -> Histogram {
    Histogram::new([
        0.000_002, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001,
        0.005, 0.025, 0.1, 1.0,
    ])
}
