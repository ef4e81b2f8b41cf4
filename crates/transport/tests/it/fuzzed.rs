//! What holds for every event stream: run over the committed corpus here, and over whatever libFuzzer
//! thinks of in `fuzz/`.

use std::time::Duration;

use fastmcp_transport::sse::{SseParser, SseTooLong};

const LIMIT: usize = 512;

/// What was made of a stream.
#[derive(Debug, Default, PartialEq)]
struct Read {
    /// Types and data of the events.
    events: Vec<(String, String)>,
    last_event_id: String,
    retry: Option<Duration>,
}

/// A stream is read the same however it is cut, as the standard says word by word, and again after a
/// restart; no event is larger than what was sent.
///
/// The first byte says how long the pieces are.
pub(crate) fn sse(bytes: &[u8]) {
    let Some((cut, stream)) = bytes.split_first() else {
        return;
    };
    let mut parser = SseParser::new(LIMIT);
    let whole = read(&mut parser, stream, stream.len());
    let pieces = read(&mut SseParser::new(LIMIT), stream, usize::from(*cut));
    assert_eq!(whole, pieces, "cut after {cut}");
    let Ok(whole) = whole else {
        return;
    };
    let mut expected = by_the_standard(stream);
    assert_eq!(whole, expected);
    parser.restart();
    assert!(!parser.is_within_event());
    let again = read(&mut parser, stream, stream.len()).map(|again| again.events);
    assert_eq!(again, Ok(std::mem::take(&mut expected.events)));
}

fn read(parser: &mut SseParser, stream: &[u8], cut: usize) -> Result<Read, SseTooLong> {
    let mut read = Read::default();
    for mut piece in stream.chunks(cut.max(1)) {
        while let Some(event) = parser.read(&mut piece)? {
            // A byte that is no text becomes a mark of three.
            assert!(event.data.len() <= 3 * LIMIT);
            read.events
                .push((event.kind.to_string(), event.data.to_string()));
        }
        assert!(piece.is_empty());
    }
    read.last_event_id = parser.last_event_id().to_string();
    read.retry = parser.retry();
    Ok(read)
}

/// WHATWG HTML, 9.2.6, on a stream that is there as a whole.
fn by_the_standard(stream: &[u8]) -> Read {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let text = String::from_utf8_lossy(stream);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines: Vec<_> = text.split('\n').collect();
    // What is left without an end of line is not interpreted.
    lines.pop();
    let mut read = Read::default();
    let (mut kind, mut data, mut id) = (String::new(), String::new(), String::new());
    for line in lines {
        if line.is_empty() {
            read.last_event_id.clone_from(&id);
            let kind = std::mem::take(&mut kind);
            let kind = if kind.is_empty() { "message" } else { &kind };
            let data = std::mem::take(&mut data);
            if let Some(data) = data.strip_suffix('\n') {
                read.events.push((kind.to_owned(), data.to_owned()));
            }
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut kind),
            "data" => data = data + value + "\n",
            "id" if !value.contains('\0') => value.clone_into(&mut id),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                read.retry = Some(Duration::from_millis(value.parse().unwrap_or(u64::MAX)));
            }
            _ => {}
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn the_corpus_holds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/sse");
        let mut files = 0;
        for entry in fs::read_dir(folder).unwrap() {
            super::sse(&fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0, "the corpus is empty");
    }
}
