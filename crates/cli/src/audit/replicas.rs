//! `fastmcp audit verify` with several folders: the logs of all replicas, against each other.

use std::path::PathBuf;

use fastmcp_audit::{Replica, ReplicaReport, VerifierKey, VerifyError, key_of, verify_replicas};
use serde_json::{Value, json};

use super::{
    read_key,
    verify::{error_json, may_pass, report_json, report_text},
};
use crate::{Outcome, output};

/// How often logs are looked at that are being written to.
const TRIES: usize = 5;

pub(super) fn verify(
    folders: &[PathBuf],
    vkeys: &[PathBuf],
    as_json: bool,
) -> anyhow::Result<Outcome> {
    let keys = vkeys.iter().map(|path| read_key(path));
    let keys: Vec<VerifierKey> = keys.collect::<anyhow::Result<_>>()?;
    let mut replicas = Vec::new();
    for folder in folders {
        let key = key_of(folder, &keys).map_err(|error| {
            anyhow::Error::new(error).context(format!(
                "audit log `{}`: name the public key of every log with --vkey",
                folder.display()
            ))
        })?;
        replicas.push(Replica {
            folder: folder.clone(),
            key,
        });
    }
    let mut verified = verify_replicas(&replicas);
    for _ in 1..TRIES {
        let busy = |found: &Result<ReplicaReport, VerifyError>| found.as_ref().is_err_and(may_pass);
        if verified.iter().any(busy) {
            verified = verify_replicas(&replicas);
        }
    }
    if as_json {
        let logs: Vec<_> = replicas.iter().zip(&verified).map(as_value).collect();
        output::say_json(&json!({"ok": verified.iter().all(Result::is_ok), "logs": logs}))?;
    } else {
        for (replica, found) in replicas.iter().zip(&verified) {
            tell(replica, found)?;
        }
    }
    Ok(match verified.iter().all(Result::is_ok) {
        true => Outcome::Passed,
        false => Outcome::Failed,
    })
}

fn tell(replica: &Replica, found: &Result<ReplicaReport, VerifyError>) -> anyhow::Result<()> {
    match found {
        Ok(found) => {
            let mut text = report_text(&replica.folder, &found.report);
            text.push_str(&format!(
                "\n  peers       wrote down {} of its checkpoints, and it is what they say",
                found.held_against
            ));
            if found.forged > 0 {
                text.push_str(&format!(
                    "; {} more were not signed by its key",
                    found.forged
                ));
            }
            if !found.unknown.is_empty() {
                let names: Vec<_> = found.unknown.iter().map(|n| output::printable(n)).collect();
                text.push_str(&format!(
                    "\n  not given   {}, of which it wrote checkpoints down",
                    names.join(", ")
                ));
            }
            output::say(&text)
        }
        Err(error) => {
            output::complain(&format!(
                "audit log `{}` of `{}` does not verify: {}",
                replica.folder.display(),
                output::printable(replica.key.name()),
                output::printable(&output::told_of(error))
            ));
            Ok(())
        }
    }
}

fn as_value((replica, found): (&Replica, &Result<ReplicaReport, VerifyError>)) -> Value {
    let (mut value, more) = match found {
        Ok(found) => (
            report_json(&found.report),
            json!({"held_against": found.held_against, "forged": found.forged, "unknown": found.unknown}),
        ),
        Err(error) => (error_json(error), json!({})),
    };
    let named =
        json!({"folder": replica.folder.display().to_string(), "origin": replica.key.name()});
    for members in [more, named] {
        if let (Some(value), Value::Object(members)) = (value.as_object_mut(), members) {
            value.extend(members);
        }
    }
    value
}
