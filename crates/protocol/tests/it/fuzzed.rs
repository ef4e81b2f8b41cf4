//! What holds for every input of the decoders: run over the committed corpora here, and over
//! whatever libFuzzer thinks of in `fuzz/`.

use std::str;

use bytestring::ByteString;
use fastmcp_protocol::{
    Era, Message, Raw,
    args::{Args, ArgsLimits, ArgsReason, DIGEST_DOMAIN},
    header,
    http::{self, Headers, Mirror, Route},
    jsonrpc::{DEFAULT_DEPTH, Malformed, encode_call, encode_error, encode_result},
    tool::JsonSchema,
};
use serde_json::{Map, Value};

/// A message is read, or refused with an error that is itself a message; what is written again
/// reads as the same; and it belongs to exactly one era.
///
/// The input is a body, or header lines, an empty line and a body.
pub(crate) fn envelope(bytes: &[u8]) {
    let Ok(input) = str::from_utf8(bytes) else {
        return;
    };
    let (headers, body) = match input.split_once("\n\n") {
        Some((lines, body)) => (Some(lines), body),
        None => (None, input),
    };
    let message = match Message::parse(&ByteString::from(body), DEFAULT_DEPTH) {
        Ok(message) => message,
        Err(Malformed { error, id }) => {
            return reads_as_an_error(&encode_error(id.as_ref(), &error), error.code.0);
        }
    };
    let again = written(&message);
    let second = Message::parse(&ByteString::from(again.as_str()), DEFAULT_DEPTH);
    let second = second.as_ref().map(written);
    assert_eq!(second.as_deref(), Ok(again.as_str()), "{body}");
    for mirror in [
        Mirror::None,
        Mirror::Headers(headers.map(mirrored).unwrap_or_default()),
    ] {
        match http::route(mirror, &message) {
            Ok(Route::Modern { version, .. }) => assert_eq!(version.era(), Era::Modern),
            Ok(Route::Legacy { version, .. }) => {
                assert!(version.is_none_or(|version| version.era() == Era::Legacy));
            }
            Err(refusal) => {
                assert!((400..500).contains(&refusal.status), "{refusal:?}");
                let text = encode_error(refusal.id.as_ref(), &refusal.error);
                reads_as_an_error(&text, refusal.error.code.0);
            }
        }
    }
}

fn mirrored(lines: &str) -> Headers<'_> {
    let find = |name: &str| {
        lines
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    Headers {
        version: find(header::PROTOCOL_VERSION),
        method: find(header::METHOD),
        name: find(header::NAME),
    }
}

fn written(message: &Message) -> String {
    match message {
        Message::Request(request) => {
            let params = request.params.as_ref().map(|params| params.as_str());
            encode_call(Some(&request.id), &request.method, params)
        }
        Message::Notification(note) => {
            let params = note.params.as_ref().map(|params| params.as_str());
            encode_call(None, &note.method, params)
        }
        Message::Response(response) => match (&response.id, &response.outcome) {
            (Some(id), Ok(result)) => encode_result(id, result.as_str()),
            (id, Err(error)) => {
                // The digits of a fraction in `data` may be written otherwise.
                let error = fastmcp_protocol::RpcError::new(error.code, error.message.clone());
                encode_error(id.as_ref(), &error)
            }
            (None, Ok(_)) => unreachable!("a result without an id is refused"),
        },
    }
}

fn reads_as_an_error(text: &str, code: i32) {
    match Message::parse(&ByteString::from(text), DEFAULT_DEPTH) {
        Ok(Message::Response(response)) => {
            assert_eq!(response.outcome.map_err(|error| error.code.0), Err(code));
        }
        other => unreachable!("{text} is no answer: {other:?}"),
    }
}

/// What is encoded decodes to the same, and only printable ASCII goes into a header.
pub(crate) fn sentinel(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    comes_back(text);
    match header::decode(text) {
        Ok(decoded) => comes_back(&decoded),
        Err(header::BadSentinel) => {
            let text = text.trim_matches([' ', '\t']);
            assert!(text.starts_with("=?base64?") && text.ends_with("?="));
        }
    }
}

fn comes_back(text: &str) {
    let encoded = header::encode(text);
    assert!(encoded.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    assert_eq!(header::decode(&encoded).as_deref(), Ok(text));
}

/// Headers that mirror arguments agree with them; headers of any other kind are refused without a
/// panic, and the refusal names one.
///
/// The input is a schema, a newline, arguments, a newline and the value of every header.
pub(crate) fn mirror(bytes: &[u8]) {
    let Ok(input) = str::from_utf8(bytes) else {
        return;
    };
    let mut lines = input.splitn(3, '\n');
    let (Some(schema), Some(text)) = (lines.next(), lines.next()) else {
        return;
    };
    let Ok(Ok(schema)) = serde_json::from_str(schema).map(|value| JsonSchema::from_value(&value))
    else {
        return;
    };
    let (Ok(marked), Ok(args)) = (
        header::mirrored_params(&schema),
        serde_json::from_str::<Map<String, Value>>(text),
    ) else {
        return;
    };
    let Ok(raw) = Raw::of(&args) else {
        return;
    };
    let own: Vec<_> = marked
        .iter()
        .map(|param| (param.header(), param.mirror(&args)))
        .collect();
    let sent = |name: &str| {
        let values = own.iter().filter(|(header, _)| *header == name);
        values
            .filter_map(|(_, value)| value.as_deref().map(Some))
            .collect()
    };
    // Fractions and very large numbers have no header; they are refused for their type.
    let fits = marked.iter().zip(&own).all(|(param, (_, value))| {
        let argument = param
            .path()
            .iter()
            .try_fold(&Value::Object(args.clone()), |at, name| at.get(name))
            .is_some_and(|argument| argument.is_number());
        !argument || value.is_some()
    });
    let checked = header::check_params(&marked, Some(&raw), sent);
    assert!(!fits || checked.is_ok(), "{checked:?}: {input}");
    let foreign = lines.next();
    if let Err(error) = header::check_params(&marked, Some(&raw), |_| vec![foreign]) {
        let named = marked
            .iter()
            .any(|param| error.message.contains(param.header()));
        assert!(named, "{error:?}");
    }
}

/// The canonical form is a fixed point, says what serde_json reads, and nothing that serde_json
/// reads is called malformed.
pub(crate) fn arguments(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let limits = ArgsLimits::default();
    let args = match Args::parse_str(text, &limits) {
        Ok(args) => args,
        Err(error) => {
            assert!(error.path.len() <= 256, "{error}");
            let malformed = matches!(
                error.reason,
                ArgsReason::Syntax(_) | ArgsReason::NotAnObject | ArgsReason::Character(_)
            );
            let read = serde_json::from_str::<Map<String, Value>>(text);
            assert!(!malformed || read.is_err(), "{error}: {text}");
            return;
        }
    };
    let raw = args.to_raw();
    assert_eq!(args.canonical(), raw.as_str().as_bytes());
    let digested = [DIGEST_DOMAIN.as_bytes(), raw.as_str().as_bytes()].concat();
    assert_eq!(args.digest_input(), digested);
    // Written in full, `1e1000` is longer than what was read; the bounds are for what comes in.
    let wide = ArgsLimits {
        bytes: usize::MAX,
        number: usize::MAX,
        ..limits
    };
    let again = Args::parse(Some(&raw), &wide);
    assert_eq!(again.as_ref().map(Args::canonical), Ok(args.canonical()));
    assert_eq!(again, Ok(args.clone()));
    let read: Value = serde_json::from_str(text).unwrap_or_default();
    let value = args.to_value();
    assert!(same(&read, &value), "{read} and {value}");
    assert!(args.iter().all(|(name, _)| args.member(name).is_some()));
}

/// Equal, but for the last digits of fractions, which serde_json does not promise.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, a)| other.get(name).is_some_and(|b| same(a, b)))
        }
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (
                one.as_f64().unwrap_or_default(),
                other.as_f64().unwrap_or_default(),
            );
            (one - other).abs() <= one.abs() * 1e-14 + 1e-307
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    fn over(corpus: &str, check: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fuzz/corpus")
            .join(corpus);
        let mut files = 0;
        for entry in fs::read_dir(folder).unwrap() {
            check(&fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0, "the corpus `{corpus}` is empty");
    }

    #[test]
    fn the_corpora_hold() {
        over("envelope", super::envelope);
        over("sentinel", super::sentinel);
        over("arguments", super::arguments);
        over("mirror", super::mirror);
    }
}
