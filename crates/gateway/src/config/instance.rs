//! The name of this replica, the same after each start.
//!
//! The audit log is signed under it and leases are held by it, so it must not change by itself.

use std::{fs, io::Read as _, path::Path};

use fastmcp_guard::{
    files::{FileError, FileOperations, Limits},
    random::{Random, array},
};

use super::parse::{Reject, instance};

/// The file in the data folder.
const FILE: &str = "instance";

/// The name that was kept in `data_dir`, if there is one.
pub(super) fn kept(data_dir: &Path) -> Result<Option<String>, String> {
    let wrong = |what: &dyn std::fmt::Display| {
        format!(
            "`{}` {what}; set `FASTMCP_INSTANCE`, or repair the file",
            data_dir.join(FILE).display()
        )
    };
    let mut text = String::new();
    match fs::File::open(data_dir.join(FILE)) {
        Ok(file) => file
            .take(1_024)
            .read_to_string(&mut text)
            .map_err(|error| wrong(&format!("cannot be read: {error}")))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(&format!("cannot be read: {error}"))),
    };
    match instance(text.trim()) {
        Ok(name) => Ok(Some(name)),
        Err(Reject::Range | Reject::Because(_)) => Err(wrong(&"holds no name of an instance")),
    }
}

/// Makes a name and keeps it, or takes the one that another process was faster to keep.
pub(super) fn keep(data_dir: &Path, random: &dyn Random) -> Result<String, String> {
    let wrong = |what: String| {
        format!(
            "cannot be kept in `{}`: {what}; make the folder writable or name another",
            data_dir.display()
        )
    };
    let id = u64::from_be_bytes(array(random).map_err(|error| wrong(error.to_string()))?);
    let name = format!("gateway-{id:016x}");
    crate::keys::private_folder(data_dir).map_err(|error| wrong(error.to_string()))?;
    let files = FileOperations::open(data_dir, Limits::default())
        .map_err(|error| wrong(error.to_string()))?;
    match files.write(FILE, format!("{name}\n").as_bytes(), false) {
        Ok(_) => Ok(name),
        Err(FileError::AlreadyExists { .. }) => {
            kept(data_dir)?.ok_or_else(|| wrong("the file vanished".to_owned()))
        }
        Err(error) => Err(wrong(error.to_string())),
    }
}
