//! What a command did, for the log: at once, or by the gateway that holds the log.

use anyhow::Context as _;
use fastmcp_audit::Log;
use fastmcp_gateway::state::{
    act::{Act, Untold},
    operation::OperationId,
};
use fastmcp_guard::{
    clock::{Clock as _, SystemClock},
    random::OsRandom,
};

/// What is said where another process holds the log.
pub(crate) const RECORDED_LATER: &str = "another process holds the audit log, most likely the running gateway, which records this within seconds";

/// `act`, done now.
pub(crate) fn untold(act: Act) -> anyhow::Result<Untold> {
    let at = SystemClock.now();
    Ok(Untold {
        id: OperationId::generate(at, &OsRandom)?,
        at,
        act: Some(act),
    })
}

/// Records `untold`, and gives the log back.
pub(crate) fn record(log: &Log, untold: &Untold) -> anyhow::Result<()> {
    let draft = untold.draft().context("there is nothing to record")?;
    let recorded = log.append(&draft).wait().map(drop);
    Ok(recorded.and(log.close())?)
}
