//! Checks a proof file of an audit log with nothing but the log's public key: the verifier for somebody who has no
//! gateway and trusts none. It is this crate alone, with no network, no configuration and no clock.
//!
//! Run with: `cargo run -p fastmcp-audit --example verify-proof -- audit.vkey record-42.proof`
//!
//! Where the log is, `fastmcp audit prove 42 -o record-42.proof` makes such a file. The program prints the record that is
//! proved and ends with 0, or says why the file proves nothing and ends with 1.

use std::{
    error::Error,
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
    process::ExitCode,
};

use fastmcp_audit::{VerifierKey, verify_proof};

/// The longest file that is read, in bytes: a proof file has at most 524,288.
const MAX_BYTES: u64 = 524_289;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [key, proof] = arguments.as_slice() else {
        return said(&"usage: verify-proof <public key file> <proof file>");
    };
    match check(key.as_ref(), proof.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => said(&error),
    }
}

fn check(key: &Path, proof: &Path) -> Result<(), Box<dyn Error>> {
    let key: VerifierKey = String::from_utf8(read(key)?)?.trim().parse()?;
    let proved = verify_proof(&read(proof)?, &key)?;
    let (record, checkpoint) = (proved.record, proved.checkpoint);
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "record {} of log `{}`, whose checkpoint covers {} records, at {}:",
        record.seq, checkpoint.origin, checkpoint.size, record.ts
    )?;
    writeln!(out, "{record:#?}")?;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    let said = |error: io::Error| format!("`{}`: {error}", path.display());
    let file = File::open(path).map_err(said)?;
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(said)?;
    Ok(bytes)
}

fn said(what: &dyn std::fmt::Display) -> ExitCode {
    // Who does not listen is not told.
    let _ = writeln!(io::stderr(), "verify-proof: {what}");
    ExitCode::FAILURE
}
