//! What the log keeps of what was done without it.

use fastmcp_audit::{Draft, Object, Phase, Status};

use super::rfc3339;
use crate::state::{
    act::{RECOVERED, Untold},
    operation::Report,
};

impl Untold {
    /// What the log keeps of it; nothing where it cannot be read.
    #[must_use]
    pub fn draft(&self) -> Option<Draft> {
        let act = self.act.as_ref()?;
        let mut draft = Draft::event(&act.action, Status::Success);
        if act.action == RECOVERED {
            // The operation itself is kept no longer.
            draft.phase = Phase::Outcome;
            draft.status = Status::Unknown;
            draft.reason = Some(Report::RECOVERED.to_owned());
            draft.operation_id.clone_from(&act.resource_id);
        }
        draft.tenant.clone_from(&act.tenant);
        draft.resource_type = Some(act.resource_type.clone());
        draft.resource_id.clone_from(&act.resource_id);
        let mut details = Object::from(act.details.clone());
        details.text("act", self.id.as_str());
        details.text("at", &*rfc3339(self.at));
        draft.details = Some(details);
        Some(draft)
    }
}
