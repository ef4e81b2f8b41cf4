//! The canonical line of a record: written, and parsed back strictly.
//!
//! The members between `ts` and `instance` are rendered by the caller of the log, in its own
//! thread, as a [`Body`]; the writer adds what only it knows as a [`Stamp`].

use std::io::Write as _;

use jiff::Timestamp;
use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap, SerializeSeq},
};
use serde_json::{Map, Number, Value, value::RawValue};

use super::{Draft, MAX_LINE, Object, Phase, Record, Status};
use crate::{
    error::{AuditError, Fault},
    hash::{EVENT_DOMAIN, Hash},
};

/// Bytes kept free in a line for what the writer adds: numbers, time, instance, two hashes.
const STAMP_ROOM: usize = 512;
const MAX_BODY: usize = MAX_LINE - STAMP_ROOM;
const MAX_ACTION: usize = 128;
const MAX_TEXT: usize = 4096;
const MAX_POLICIES: usize = 256;
pub(super) const MAX_DEPTH: usize = 16;
/// serde_json gives keys that begin so a meaning of their own under some of its features.
const MAGIC_KEY: &str = "$serde_json::private::";

/// What most bodies fit into.
const USUAL_BODY: usize = 1_024;

/// The members from `corr_id` to `operation_id`, as they stand in the line.
#[derive(Debug)]
pub(crate) struct Body(Vec<u8>);

impl Body {
    fn of(view: &View<'_>) -> Result<Self, serde_json::Error> {
        let mut bytes = Vec::with_capacity(USUAL_BODY);
        view.write(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// How many bytes the members take in the line.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }
}

/// The members that the writer adds.
#[derive(Debug)]
pub(crate) struct Stamp<'a> {
    pub(crate) seq: u64,
    /// See [`moment`].
    pub(crate) ts: &'a str,
    pub(crate) instance: &'a str,
    pub(crate) prev_hash: Hash,
}

/// A time as it stands in a line.
pub(crate) fn moment(ts: Timestamp) -> String {
    format!("{ts:.3}")
}

/// A line as it is made. Used again for the next one, it takes no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    /// The line, after [`EVENT_DOMAIN`].
    bytes: Vec<u8>,
}

impl Sheet {
    /// Writes the line of a record and returns its event hash.
    pub(crate) fn write(&mut self, stamp: &Stamp<'_>, body: &Body) -> Hash {
        self.open(stamp, body);
        let event_hash = self.event_hash();
        self.close(&event_hash);
        event_hash
    }

    /// Writes the line without its `event_hash`, closing brace included.
    fn open(&mut self, stamp: &Stamp<'_>, body: &Body) {
        let Stamp {
            seq,
            ts,
            instance,
            prev_hash,
        } = stamp;
        let to = &mut self.bytes;
        to.clear();
        to.extend_from_slice(EVENT_DOMAIN);
        // Writing to a vector cannot fail, and the instance is plain ASCII (checked in `Options`).
        let _ = write!(to, r#"{{"seq":{seq},"ts":"{ts}","#);
        to.extend_from_slice(&body.0);
        let _ = write!(to, r#","instance":"{instance}","prev_hash":""#);
        to.extend_from_slice(&prev_hash.digits());
        to.extend_from_slice(br#""}"#);
    }

    fn event_hash(&self) -> Hash {
        Hash::of_one(&self.bytes)
    }

    fn close(&mut self, event_hash: &Hash) {
        self.bytes.pop();
        self.bytes.extend_from_slice(br#","event_hash":""#);
        self.bytes.extend_from_slice(&event_hash.digits());
        self.bytes.extend_from_slice(br#""}"#);
    }

    /// The line without its newline.
    pub(crate) fn line(&self) -> &[u8] {
        self.bytes.get(EVENT_DOMAIN.len()..).unwrap_or_default()
    }
}

/// Checks a draft and renders its members.
pub(crate) fn render(draft: &Draft) -> Result<Body, AuditError> {
    check(draft)?;
    let body =
        Body::of(&View::from(draft)).map_err(|error| draft_error("details", error.to_string()))?;
    if body.len() > MAX_BODY {
        let longest = draft.details.as_ref().and_then(Object::longest);
        let longest = longest.map_or_else(String::new, |name| format!("; `{name}` is the longest"));
        return Err(draft_error(
            "details",
            format!(
                "the record has {} bytes, at most {MAX_BODY} fit into a line{longest}",
                body.len()
            ),
        ));
    }
    Ok(body)
}

/// What the writer had added; `ts` is the record's [`moment`].
fn stamp<'a>(record: &'a Record, ts: &'a str) -> Stamp<'a> {
    Stamp {
        seq: record.seq,
        ts,
        instance: &record.instance,
        prev_hash: record.prev_hash,
    }
}

/// Parses one line, without its newline, and checks that it is whole and in canonical form.
pub(crate) fn parse(line: &[u8]) -> Result<Record, Fault> {
    if line.len() > MAX_LINE {
        return Err(Fault::TooLong);
    }
    let record: Record = serde_json::from_slice(line).map_err(|error| Fault::Malformed {
        reason: error.to_string(),
    })?;
    let body = Body::of(&View::from(&record)).map_err(|_| Fault::NotCanonical)?;
    let mut again = Sheet::default();
    again.open(&stamp(&record, &moment(record.ts)), &body);
    let event_hash = again.event_hash();
    again.close(&record.event_hash);
    if again.line() != line {
        return Err(Fault::NotCanonical);
    }
    if event_hash != record.event_hash {
        return Err(Fault::EventHash);
    }
    Ok(record)
}

fn check(draft: &Draft) -> Result<(), AuditError> {
    if draft.action.is_empty() || draft.action.len() > MAX_ACTION {
        return Err(draft_error(
            "action",
            format!(
                "has {} bytes, expected 1 to {MAX_ACTION}",
                draft.action.len()
            ),
        ));
    }
    let texts = [
        ("corr_id", &draft.corr_id),
        ("reason", &draft.reason),
        ("resource_type", &draft.resource_type),
        ("resource_id", &draft.resource_id),
        ("toolId", &draft.tool_id),
        ("sub", &draft.sub),
        ("tenant", &draft.tenant),
        ("ip_address", &draft.ip_address),
        ("user_agent", &draft.user_agent),
        ("request_hash", &draft.request_hash),
        ("result_hash", &draft.result_hash),
        ("policy_decision", &draft.policy_decision),
        ("policy_version", &draft.policy_version),
        ("operation_id", &draft.operation_id),
    ];
    for (field, text) in texts {
        check_text(field, text.as_deref().unwrap_or_default())?;
    }
    if draft.policy_ids.len() > MAX_POLICIES {
        return Err(draft_error(
            "policy_ids",
            format!(
                "has {} entries, at most {MAX_POLICIES} are recorded",
                draft.policy_ids.len()
            ),
        ));
    }
    for id in &draft.policy_ids {
        check_text("policy_ids", id)?;
    }
    let objects = [
        ("rate_limit", &draft.rate_limit),
        ("provider_call_meta", &draft.provider_call_meta),
        ("details", &draft.details),
    ];
    for (field, object) in objects {
        if let Some(object) = object {
            object.check(field)?;
        }
    }
    Ok(())
}

fn check_text(field: &'static str, text: &str) -> Result<(), AuditError> {
    if text.len() > MAX_TEXT {
        return Err(draft_error(
            field,
            format!("has {} bytes, at most {MAX_TEXT} are recorded", text.len()),
        ));
    }
    Ok(())
}

pub(super) fn checked_key(key: &str) -> Result<(), String> {
    if key.starts_with(MAGIC_KEY) {
        return Err(format!("the key `{key}` cannot be recorded; rename it"));
    }
    Ok(())
}

pub(super) const fn draft_error(field: &'static str, problem: String) -> AuditError {
    AuditError::Draft { field, problem }
}

/// The members a caller gives, in the order of the format.
struct View<'a> {
    corr_id: Option<&'a str>,
    phase: Phase,
    action: &'a str,
    status: Status,
    reason: Option<&'a str>,
    resource_type: Option<&'a str>,
    resource_id: Option<&'a str>,
    tool_id: Option<&'a str>,
    user_id: Option<&'a str>,
    sub: Option<&'a str>,
    tenant_id: Option<&'a str>,
    tenant: Option<&'a str>,
    ip_address: Option<&'a str>,
    user_agent: Option<&'a str>,
    request_hash: Option<&'a str>,
    result_hash: Option<&'a str>,
    policy_decision: Option<&'a str>,
    policy_ids: &'a [String],
    policy_version: Option<&'a str>,
    rate_limit: Option<Members<'a>>,
    provider_call_meta: Option<Members<'a>>,
    details: Option<Members<'a>>,
    operation_id: Option<&'a str>,
}

/// An object as a draft has it, or as it was read.
enum Members<'a> {
    Written(&'a Object),
    Read(&'a Map<String, Value>),
}

impl View<'_> {
    fn write(&self, to: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let mut line = Line(to);
        line.text("corr_id", self.corr_id);
        line.text("phase", Some(self.phase.as_str()));
        line.text("action", Some(self.action));
        line.text("status", Some(self.status.as_str()));
        line.text("reason", self.reason);
        line.text("resource_type", self.resource_type);
        line.text("resource_id", self.resource_id);
        line.text("toolId", self.tool_id);
        line.text("user_id", self.user_id);
        line.text("sub", self.sub);
        line.text("tenant_id", self.tenant_id);
        line.text("tenant", self.tenant);
        line.text("ip_address", self.ip_address);
        line.text("user_agent", self.user_agent);
        line.text("request_hash", self.request_hash);
        line.text("result_hash", self.result_hash);
        line.text("policy_decision", self.policy_decision);
        line.policies(self.policy_ids);
        line.text("policy_version", self.policy_version);
        line.object("rate_limit", self.rate_limit.as_ref())?;
        line.object("provider_call_meta", self.provider_call_meta.as_ref())?;
        line.object("details", self.details.as_ref())?;
        line.text("operation_id", self.operation_id);
        Ok(())
    }
}

/// Writes members one after the other; what is absent is not written.
struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
        self.0
    }

    fn text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            push_text(self.key(key), text);
        }
    }

    fn policies(&mut self, ids: &[String]) {
        if ids.is_empty() {
            return;
        }
        let to = self.key("policy_ids");
        to.push(b'[');
        for (at, id) in ids.iter().enumerate() {
            if at > 0 {
                to.push(b',');
            }
            push_text(to, id);
        }
        to.push(b']');
    }

    fn object(&mut self, key: &str, object: Option<&Members<'_>>) -> Result<(), serde_json::Error> {
        match object {
            Some(Members::Written(object)) => object.write(self.key(key)),
            Some(Members::Read(map)) => serde_json::to_writer(self.key(key), &Sorted(map))?,
            None => {}
        }
        Ok(())
    }
}

/// Writes a text as JSON.
pub(super) fn push_text(to: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        to.push(b'"');
        to.extend_from_slice(text.as_bytes());
        to.push(b'"');
    } else {
        // There is no text that cannot be written, and a vector takes all.
        let _ = serde_json::to_writer(to, text);
    }
}

/// Whether a text is written as it is.
fn is_plain(text: &[u8]) -> bool {
    fn piece(piece: &[u8]) -> bool {
        let is_plain = |b: &u8| (*b >= 0x20) & (*b != b'"') & (*b != b'\\');
        piece.iter().fold(true, |plain, b| plain & is_plain(b))
    }
    // Pieces of a size that is known, without a way out of them, so that the compiler takes them in one step. The last one
    // overlaps the one before it.
    let (pieces, _) = text.as_chunks::<16>();
    match (
        text.last_chunk::<16>(),
        text.first_chunk::<8>(),
        text.last_chunk::<8>(),
    ) {
        (Some(last), ..) => pieces.iter().all(|each| piece(each)) && piece(last),
        (None, Some(first), Some(last)) => piece(first) && piece(last),
        _ => piece(text),
    }
}

/// Builds a view of a draft or a record; they name the shared fields alike.
macro_rules! view {
    ($from:expr, $object:expr) => {
        View {
            corr_id: $from.corr_id.as_deref(),
            phase: $from.phase,
            action: &$from.action,
            status: $from.status,
            reason: $from.reason.as_deref(),
            resource_type: $from.resource_type.as_deref(),
            resource_id: $from.resource_id.as_deref(),
            tool_id: $from.tool_id.as_deref(),
            // Both spellings come from one field, so a line in which they differ is not canonical.
            user_id: $from.sub.as_deref(),
            sub: $from.sub.as_deref(),
            tenant_id: $from.tenant.as_deref(),
            tenant: $from.tenant.as_deref(),
            ip_address: $from.ip_address.as_deref(),
            user_agent: $from.user_agent.as_deref(),
            request_hash: $from.request_hash.as_deref(),
            result_hash: $from.result_hash.as_deref(),
            policy_decision: $from.policy_decision.as_deref(),
            policy_ids: &$from.policy_ids,
            policy_version: $from.policy_version.as_deref(),
            rate_limit: $from.rate_limit.as_ref().map($object),
            provider_call_meta: $from.provider_call_meta.as_ref().map($object),
            details: $from.details.as_ref().map($object),
            operation_id: $from.operation_id.as_deref(),
        }
    };
}

impl<'a> From<&'a Draft> for View<'a> {
    fn from(draft: &'a Draft) -> Self {
        view!(draft, Members::Written)
    }
}

impl<'a> From<&'a Record> for View<'a> {
    fn from(record: &'a Record) -> Self {
        view!(record, Members::Read)
    }
}

/// A record serialises as its line, members in the order of the format.
impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let body = Body::of(&View::from(self)).map_err(S::Error::custom)?;
        let mut sheet = Sheet::default();
        sheet.open(&stamp(self, &moment(self.ts)), &body);
        sheet.close(&self.event_hash);
        let line = String::from_utf8_lossy(sheet.line()).into_owned();
        let line = RawValue::from_string(line).map_err(S::Error::custom)?;
        line.serialize(serializer)
    }
}

/// A JSON object whose keys are written in the order of their bytes, whatever the map's own is.
struct Sorted<'a>(&'a Map<String, Value>);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members: Vec<_> = self.0.iter().collect();
        members.sort_unstable_by_key(|(key, _)| key.as_bytes());
        let mut map = serializer.serialize_map(Some(members.len()))?;
        for (key, value) in members {
            map.serialize_entry(key, &Canonical(value))?;
        }
        map.end()
    }
}

pub(super) struct Canonical<'a>(pub(super) &'a Value);

impl Serialize for Canonical<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(number) => serialize_number(number, serializer),
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(array) => {
                let mut sequence = serializer.serialize_seq(Some(array.len()))?;
                for value in array {
                    sequence.serialize_element(&Canonical(value))?;
                }
                sequence.end()
            }
            Value::Object(object) => Sorted(object).serialize(serializer),
        }
    }
}

fn serialize_number<S: Serializer>(number: &Number, serializer: S) -> Result<S::Ok, S::Error> {
    if let Some(value) = number.as_u64() {
        return serializer.serialize_u64(value);
    }
    if let Some(value) = number.as_i64() {
        return serializer.serialize_i64(value);
    }
    let text = number.to_string();
    if text.len() > MAX_TEXT {
        return Err(S::Error::custom("a number has too many digits"));
    }
    serializer.serialize_str(&text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn stamp(seq: u64) -> Stamp<'static> {
        Stamp {
            seq,
            ts: "2026-11-20T18:00:00.250Z",
            instance: "gw-1",
            prev_hash: Hash::ZERO,
        }
    }

    fn line(draft: &Draft) -> String {
        let mut sheet = Sheet::default();
        sheet.write(&stamp(7), &draft.render().unwrap());
        String::from_utf8(sheet.line().to_vec()).unwrap()
    }

    fn object(value: impl Into<Value>) -> Option<Map<String, Value>> {
        match value.into() {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    fn details(value: Value) -> Option<Object> {
        object(value).map(Object::from)
    }

    #[test]
    fn texts_are_written_as_serde_json_does() {
        let letters = ['a', 'é', '"', '\\', '/', '\n', '\u{1f}', '\u{7f}', '🦀'];
        for length in 0..40 {
            for (at, letter) in (0..length).flat_map(|at| letters.map(|letter| (at, letter))) {
                let text: String = (0..length)
                    .map(|place| if place == at { letter } else { 'x' })
                    .collect();
                let mut written = Vec::new();
                push_text(&mut written, &text);
                assert_eq!(written, serde_json::to_vec(&text).unwrap());
            }
        }
    }

    fn full() -> Draft {
        let text = |text: &str| Some(text.to_owned());
        Draft {
            corr_id: text("c"),
            reason: text("say \"why\"\n\u{1}/é"),
            resource_type: text("tool"),
            resource_id: text("r"),
            tool_id: text("database:listTables"),
            sub: text("agent-1"),
            tenant: text("acme"),
            ip_address: text("192.0.2.1"),
            user_agent: text("curl"),
            request_hash: text("aa"),
            result_hash: text("bb"),
            policy_decision: text("allow"),
            policy_ids: vec!["p1".to_owned(), "p0".to_owned()],
            policy_version: text("3"),
            rate_limit: details(json!({"left": 4, "burst": -1})),
            provider_call_meta: details(json!({"ms": 1.5})),
            details: details(
                json!({"é": [null, true, {"b": 1, "a": "x"}], "z": u64::MAX, "Z": []}),
            ),
            operation_id: text("op"),
            ..Draft::outcome("tools.invoke", Status::Success)
        }
    }

    #[test]
    fn a_full_line_has_the_documented_bytes() {
        let zero = Hash::ZERO;
        let open = format!(
            concat!(
                r#"{{"seq":7,"ts":"2026-11-20T18:00:00.250Z","corr_id":"c","phase":"outcome","action":"tools.invoke","#,
                r#""status":"success","reason":"say \"why\"\n\u0001/é","resource_type":"tool","resource_id":"r","#,
                r#""toolId":"database:listTables","user_id":"agent-1","sub":"agent-1","tenant_id":"acme","tenant":"acme","#,
                r#""ip_address":"192.0.2.1","user_agent":"curl","request_hash":"aa","result_hash":"bb","#,
                r#""policy_decision":"allow","policy_ids":["p1","p0"],"policy_version":"3","rate_limit":{{"burst":-1,"left":4}},"#,
                r#""provider_call_meta":{{"ms":"1.5"}},"details":{{"Z":[],"z":18446744073709551615,"é":[null,true,{{"a":"x","b":1}}]}},"#,
                r#""operation_id":"op","instance":"gw-1","prev_hash":"{}""#
            ),
            zero
        );
        let event_hash = Hash::of(&[b"fastmcp-audit/record/v1\0", open.as_bytes(), b"}"]);
        assert_eq!(
            line(&full()),
            format!(r#"{open},"event_hash":"{event_hash}"}}"#)
        );
    }

    #[test]
    fn a_line_parses_back_and_serialises_to_itself() {
        let line = line(&full());
        let record = parse(line.as_bytes()).unwrap();
        assert_eq!(record.seq, 7);
        assert_eq!(record.sub, record.user_id);
        assert_eq!(record.tenant.as_deref(), Some("acme"));
        assert_eq!(serde_json::to_string(&record).unwrap(), line);
    }

    #[test]
    fn absent_members_are_omitted() {
        let line = line(&Draft::intent("x"));
        assert!(line.starts_with(
            r#"{"seq":7,"ts":"2026-11-20T18:00:00.250Z","phase":"intent","action":"x","status":"pending","instance":"gw-1","#
        ));
        assert!(!line.contains("null"));
    }

    #[test]
    fn other_spellings_of_the_same_record_are_refused() {
        let line = line(&full());
        let spellings = [
            line.replace(r#""seq":7"#, r#""seq": 7"#),
            format!("{line} "),
            line.replace("é", "\\u00e9"),
            line.replace(r#""burst":-1,"left":4"#, r#""left":4,"burst":-1"#),
            line.replace(".250Z", ".25Z"),
            line.replace("18:00:00.250Z", "18:00:00.250+00:00"),
            line.replace(r#""user_id":"agent-1""#, r#""user_id":"agent-2""#),
            line.replace(r#""ms":"1.5""#, r#""ms":1.5"#),
            line.replace(r#""Z":[],"#, r#""Z":[],"Z":[],"#),
            line.replace(r#""operation_id":"op""#, r#""operation_id":null"#),
        ];
        for spelling in spellings {
            assert_ne!(spelling, line);
            assert_eq!(
                parse(spelling.as_bytes()),
                Err(Fault::NotCanonical),
                "{spelling}"
            );
        }
        let edited = line.replace("curl", "wget");
        assert_eq!(parse(edited.as_bytes()), Err(Fault::EventHash));
        let unknown = line.replace(r#"{"seq""#, r#"{"extra":1,"seq""#);
        assert!(matches!(
            parse(unknown.as_bytes()),
            Err(Fault::Malformed { .. })
        ));
    }

    #[test]
    fn drafts_out_of_bounds_are_refused_by_field() {
        let mut deep = json!({});
        for _ in 0..MAX_DEPTH {
            deep = json!({ "a": deep });
        }
        let bad = [
            ("action", Draft::intent("")),
            ("action", Draft::intent("a".repeat(129))),
            ("action", Draft::intent("audit.recovered")),
            (
                "sub",
                Draft {
                    sub: Some("s".repeat(4097)),
                    ..Draft::intent("x")
                },
            ),
            (
                "policy_ids",
                Draft {
                    policy_ids: vec![String::new(); 257],
                    ..Draft::intent("x")
                },
            ),
            (
                "rate_limit",
                Draft {
                    rate_limit: details(deep),
                    ..Draft::intent("x")
                },
            ),
            (
                "details",
                Draft {
                    details: details(json!({"$serde_json::private::Number": "1"})),
                    ..Draft::intent("x")
                },
            ),
            (
                "details",
                Draft {
                    details: details(json!({"a": "x".repeat(MAX_LINE)})),
                    ..Draft::intent("x")
                },
            ),
        ];
        for (expected, draft) in bad {
            match draft.render() {
                Err(AuditError::Draft { field, problem }) => {
                    assert_eq!(field, expected);
                    assert!(!problem.is_empty());
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_longest_body_still_fits_into_a_line() {
        let instance = "i".repeat(128);
        let draft = |len: usize| Draft {
            details: details(json!({"a": "x".repeat(len)})),
            ..Draft::intent("x")
        };
        let spare = MAX_BODY - draft(0).render().unwrap().len();
        let body = draft(spare).render().unwrap();
        assert!(draft(spare + 1).render().is_err());
        let stamp = Stamp {
            seq: u64::MAX,
            instance: &instance,
            ..stamp(0)
        };
        let mut sheet = Sheet::default();
        sheet.write(&stamp, &body);
        assert!(sheet.line().len() <= MAX_LINE);
        assert!(parse(sheet.line()).is_ok());
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_canonical(
            value in json_value(), sub in any::<Option<String>>(), ids in any::<Vec<String>>(),
        ) {
            let draft = Draft {
                sub,
                policy_ids: ids,
                details: details(json!({ "v": value })),
                ..Draft::event("x", Status::Unknown)
            };
            if let Ok(body) = draft.render() {
                let mut sheet = Sheet::default();
                sheet.write(&stamp(1), &body);
                prop_assert!(!sheet.line().contains(&b'\n'));
                let record = parse(sheet.line()).unwrap();
                prop_assert_eq!(record.sub, draft.sub);
            }
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in any::<Vec<u8>>()) {
            prop_assert!(parse(&bytes).is_err());
        }
    }
}
