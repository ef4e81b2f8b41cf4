//! provider/filesystem.
