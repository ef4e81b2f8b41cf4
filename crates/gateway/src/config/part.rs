//! The parts of the configuration that commands beside the gateway use.
//!
//! A gateway that runs goes on with what it read, whatever becomes of its files. Whoever looks after it must be able to as
//! well: so each part is read by itself, and what is wrong with another one keeps nobody from it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use fastmcp_audit::Retention;
use fastmcp_guard::random::OsRandom;

use super::{
    Errors, Flags, JwtKeys, Place, audit as trail, callers, layer,
    parse::{self, number},
    reader::Reader,
    section,
};
use crate::{rest::SIGNED_IN, state::Location, tls::TlsFiles};

/// The audit log of a gateway.
#[derive(Clone, Debug)]
pub struct AuditPart {
    /// As [`Config::data_dir`](super::Config::data_dir).
    pub data_dir: PathBuf,
    /// As [`Config::instance`](super::Config::instance).
    pub instance: String,
    /// As [`Config::audit_dir`](super::Config::audit_dir).
    pub audit_dir: PathBuf,
    /// As [`Trail::retention`](super::Trail::retention).
    pub retention: Option<Retention>,
}

/// The state of a gateway, and what seals it.
#[derive(Clone, Debug)]
pub struct StatePart {
    /// Where keys lie, and where the record of a change goes.
    pub audit: AuditPart,
    /// As [`Config::state`](super::Config::state).
    pub state: Location,
    /// As [`Config::idempotency_ttl`](super::Config::idempotency_ttl).
    pub idempotency_ttl: Duration,
    /// For how long a client may bring back what was sealed for it: tickets, states between rounds and sign-ins.
    pub carried: Duration,
}

impl StatePart {
    /// As [`Config::data_dir`](super::Config::data_dir).
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.audit.data_dir
    }
}

/// The tokens that a gateway takes and makes.
#[derive(Clone, Debug)]
pub struct TokenPart {
    /// As [`Config::data_dir`](super::Config::data_dir).
    pub data_dir: PathBuf,
    /// As [`Jwt::issuer`](super::Jwt::issuer).
    pub issuer: String,
    /// As [`Jwt::audience`](super::Jwt::audience).
    pub audience: String,
    /// As [`Jwt::ttl`](super::Jwt::ttl).
    pub ttl: Duration,
    /// As [`Jwt::keys`](super::Jwt::keys).
    pub keys: JwtKeys,
}

/// Where a gateway listens.
#[derive(Clone, Debug)]
pub struct ListenerPart {
    /// As [`Config::bind`](super::Config::bind).
    pub bind: SocketAddr,
    /// As [`Config::tls`](super::Config::tls).
    pub tls: Option<TlsFiles>,
}

/// Reads what the commands on the audit log use. Leaves the disk as it is, as [`preview`](super::preview).
///
/// # Errors
///
/// As [`load`](super::load), for this part alone.
pub fn audit_part(
    vars: impl Iterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<AuditPart, Errors> {
    part(false, vars, flags, audit)
}

/// Reads what the commands on operations, labels and keys use. Leaves the disk as it is.
///
/// # Errors
///
/// As [`load`](super::load), for this part alone.
pub fn state_part(
    vars: impl Iterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<StatePart, Errors> {
    part(false, vars, flags, |reader, place, data_dir| {
        let audit = audit(reader, place, data_dir);
        let state = section::state(reader, data_dir);
        let idempotency_ttl = section::idempotency_ttl(reader);
        let (confirm, approval) = (section::confirm_ttl(reader), section::approval_ttl(reader));
        Some(StatePart {
            audit: audit?,
            state: state?,
            idempotency_ttl: idempotency_ttl?,
            carried: confirm?.max(approval?).max(SIGNED_IN),
        })
    })
}

/// Reads what the commands on tokens use, and makes the data folder with the instance's name where they are missing.
///
/// # Errors
///
/// As [`load`](super::load), for this part alone.
pub fn token_part(
    vars: impl Iterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<TokenPart, Errors> {
    part(true, vars, flags, |reader, place, data_dir| {
        let instance = section::instance(reader, place, data_dir);
        let issuer = section::jwt_issuer(reader);
        let audience = section::jwt_audience(reader);
        let ttl = section::jwt_ttl(reader);
        let host = reader.read("HOST", parse::host);
        let keys = section::jwt_keys(reader, host);
        instance?;
        Some(TokenPart {
            data_dir: data_dir.to_owned(),
            issuer: issuer?,
            audience: audience?,
            ttl: ttl?,
            keys: keys?,
        })
    })
}

/// Reads where the file of API keys is, and makes the data folder with the instance's name where they are missing.
///
/// # Errors
///
/// As [`load`](super::load), for this part alone.
pub fn api_keys_part(
    vars: impl Iterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<PathBuf, Errors> {
    part(true, vars, flags, |reader, place, data_dir| {
        let instance = section::instance(reader, place, data_dir);
        let file = callers::api_keys(reader, data_dir);
        instance.map(|_| file)
    })
}

/// Reads where the policy is. Leaves the disk as it is.
///
/// # Errors
///
/// As [`load`](super::load), for this part alone.
pub fn policy_part(
    vars: impl Iterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<PathBuf, Errors> {
    part(false, vars, flags, |reader, _, data_dir| {
        Some(section::policy(reader, data_dir))
    })
}

/// Reads where the gateway listens. Leaves the disk as it is.
///
/// # Errors
///
/// As [`load`](super::load), for this part alone.
pub fn listener_part(
    vars: impl Iterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<ListenerPart, Errors> {
    part(false, vars, flags, |reader, _, _| {
        let host = reader.read("HOST", parse::host);
        let port = reader.read("PORT", number(0..=u16::MAX));
        let tls = callers::tls(reader);
        Some(ListenerPart {
            bind: SocketAddr::new(host?, port?),
            tls: tls?,
        })
    })
}

fn audit(reader: &mut Reader<'_>, place: &Place<'_>, data_dir: &Path) -> Option<AuditPart> {
    let instance = section::instance(reader, place, data_dir);
    let audit_dir = section::audit_dir(reader, data_dir);
    let retention = trail::retention(reader);
    Some(AuditPart {
        data_dir: data_dir.to_owned(),
        instance: instance?,
        audit_dir,
        retention: retention?,
    })
}

/// Reads the layers and of them what `read` asks for.
fn part<T>(
    keep: bool,
    vars: impl Iterator<Item = (String, String)>,
    flags: &Flags,
    read: impl FnOnce(&mut Reader<'_>, &Place<'_>, &Path) -> Option<T>,
) -> Result<T, Errors> {
    let place = Place {
        folder: Path::new(""),
        random: &OsRandom,
        keep,
    };
    let layers = layer::collect(place.folder, vars, flags);
    let mut reader = Reader::new(layers, place.folder);
    let data_dir = section::data_dir(&mut reader);
    let part = read(&mut reader, &place, &data_dir);
    let (_, _, problems) = reader.finish();
    part.filter(|_| problems.is_empty())
        .ok_or_else(|| Errors::new(problems))
}
