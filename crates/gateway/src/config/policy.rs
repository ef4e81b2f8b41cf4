//! The texts of the policy on the disk.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use fastmcp_policy::Sources;

/// The longest policy file, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// The most policy files of a folder.
const MAX_FILES: usize = 256;

/// Policy files that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFileError {
    /// A file or folder.
    #[error("policy `{path}` cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder without policies: it would deny everything, which nobody means.
    #[error("policy folder `{path}` holds no *.yml, *.yaml or *.cedar file")]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// Too much.
    #[error("policy `{path}` is too large: at most {MAX_FILES} files of {MAX_BYTES} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
}

/// Reads a policy file, or every `*.yml`, `*.yaml` and `*.cedar` file of a folder. Blocks on the disk.
///
/// # Errors
///
/// [`PolicyFileError`] names the file.
pub fn policy_sources(path: &Path) -> Result<Sources, PolicyFileError> {
    let mut sources = Sources::new();
    for file in files(path)? {
        let text = read(&file)?;
        let name = file.display().to_string();
        sources = if has_extension(&file, &["cedar"]) {
            sources.with_cedar(name, text)
        } else {
            sources.with_yaml(name, text)
        };
    }
    Ok(sources)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, PolicyFileError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| PolicyFileError::Read {
        path: path.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if has_extension(&file, &["yml", "yaml", "cedar"]) && file.is_file() {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            return Err(PolicyFileError::TooLarge {
                path: path.to_owned(),
            });
        }
    }
    if files.is_empty() {
        return Err(PolicyFileError::Empty {
            path: path.to_owned(),
        });
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, PolicyFileError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
    let bytes = read.map_err(|source| PolicyFileError::Read {
        path: path.to_owned(),
        source,
    })?;
    if bytes as u64 > MAX_BYTES {
        Err(PolicyFileError::TooLarge {
            path: path.to_owned(),
        })
    } else {
        Ok(text)
    }
}

fn has_extension(path: &Path, known: &[&str]) -> bool {
    path.extension()
        .is_some_and(|extension| known.iter().any(|known| extension == *known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_whole_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("b.yml", "two"),
            ("a.yaml", "one"),
            ("c.cedar", "three"),
            ("notes.txt", "no"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        fs::create_dir(folder.path().join("d.yml")).unwrap();
        let sources = policy_sources(folder.path()).unwrap();
        assert_eq!(
            sources
                .yaml
                .iter()
                .map(|s| s.text.as_str())
                .collect::<Vec<_>>(),
            ["one", "two"]
        );
        assert_eq!(sources.cedar.len(), 1);
        let one = policy_sources(&folder.path().join("b.yml")).unwrap();
        assert_eq!(one.yaml.len(), 1);
    }

    #[test]
    fn what_cannot_be_a_policy_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| policy_sources(path).unwrap_err().to_string();
        assert!(refused(folder.path()).contains("holds no *.yml"));
        assert!(refused(&folder.path().join("none.yml")).contains("none.yml` cannot be read"));
        let large = folder.path().join("large.yml");
        fs::write(&large, vec![b' '; usize::try_from(MAX_BYTES).unwrap() + 1]).unwrap();
        assert!(refused(&large).contains("too large"));
    }
}
