//! provider/database.
