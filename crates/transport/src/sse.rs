//! Server-sent events, as a client reads them.
//!
//! Bytes go in, events come out, whatever the chunks in which the bytes arrive; nothing here waits.
//! A line and an event are bounded; comments and fields that nobody knows are passed over.
//!
//! Source: WHATWG HTML, 9.2.6 "Interpreting an event stream".

use std::time::Duration;

use bytestring::ByteString;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// Its type; `message` where the stream says nothing.
    pub kind: ByteString,
    /// Its data: the `data` lines, joined by line feeds. Empty for an event that only sets an id.
    pub data: ByteString,
}

/// The stream breaks a bound; nothing after this point can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line or an event of the stream is longer than {limit} bytes")]
pub struct SseTooLong {
    /// The most bytes of a line, and of the data of an event.
    pub limit: usize,
}

/// Reads a `text/event-stream` piece by piece.
///
/// # Examples
///
/// ```
/// use fastmcp_transport::sse::SseParser;
///
/// let mut parser = SseParser::new(1024);
/// let mut input = &b"id: 7\ndata: hello\n\ndata: wor"[..];
/// assert_eq!(parser.read(&mut input)?.unwrap().data, "hello");
/// assert_eq!(parser.last_event_id(), "7");
/// assert_eq!(parser.read(&mut input)?, None);
/// assert_eq!(parser.read(&mut &b"ld\n\n"[..])?.unwrap().data, "world");
/// # Ok::<_, fastmcp_transport::sse::SseTooLong>(())
/// ```
#[derive(Clone, Debug)]
pub struct SseParser {
    limit: usize,
    /// The bytes of a line that has not ended.
    line: Vec<u8>,
    /// A carriage return ended the last line, so a line feed that follows belongs to it.
    after_return: bool,
    /// No line has been read, so a byte order mark may stand here.
    at_start: bool,
    kind: String,
    data: String,
    id: String,
    last_event_id: ByteString,
    retry: Option<Duration>,
}

impl SseParser {
    /// A parser at the beginning of a stream, for lines and events of at most `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            after_return: false,
            at_start: true,
            kind: String::new(),
            data: String::new(),
            id: String::new(),
            last_event_id: ByteString::from_static(""),
            retry: None,
        }
    }

    /// The same parser at the beginning of another stream that goes on where this one broke: what
    /// was read of an unfinished event is gone, the last event's id and the delay stay.
    pub fn restart(&mut self) {
        let mut fresh = Self::new(self.limit);
        fresh.id.push_str(&self.last_event_id);
        fresh.last_event_id = self.last_event_id.clone();
        fresh.retry = self.retry;
        *self = fresh;
    }

    /// Reads up to the end of one event, and takes what it has read away from `input`; `None` where
    /// `input` ends first.
    ///
    /// # Errors
    ///
    /// [`SseTooLong`] where a line or the data of an event goes beyond the limit.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<SseEvent>, SseTooLong> {
        while !input.is_empty() {
            if std::mem::take(&mut self.after_return)
                && let Some(rest) = input.strip_prefix(b"\n")
            {
                *input = rest;
                continue;
            }
            let end = input.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let (part, rest) = input.split_at(end.unwrap_or(input.len()));
            if part.len() > self.limit.saturating_sub(self.line.len()) {
                return Err(SseTooLong { limit: self.limit });
            }
            let Some((ending, rest)) = rest.split_first() else {
                self.line.extend_from_slice(part);
                *input = rest;
                return Ok(None);
            };
            *input = rest;
            self.after_return = *ending == b'\r';
            if let Some(event) = self.end_line(part)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The id of the last event that was read whole; empty where there was none.
    #[must_use]
    pub const fn last_event_id(&self) -> &ByteString {
        &self.last_event_id
    }

    /// How long the server wants a client to wait before it connects again.
    #[must_use]
    pub const fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Whether the stream, if it ended here, would end within an event.
    #[must_use]
    pub const fn is_within_event(&self) -> bool {
        !self.line.is_empty() || !self.data.is_empty()
    }

    /// Ends the line whose last bytes are `part`.
    fn end_line(&mut self, part: &[u8]) -> Result<Option<SseEvent>, SseTooLong> {
        let at_start = std::mem::take(&mut self.at_start);
        if self.line.is_empty() {
            return self.interpret(part, at_start);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(part);
        let outcome = self.interpret(&line, at_start);
        line.clear();
        // Kept for the next line, unless it grew large once.
        if line.capacity() <= 64 * 1024 {
            self.line = line;
        }
        outcome
    }

    fn interpret(&mut self, line: &[u8], first: bool) -> Result<Option<SseEvent>, SseTooLong> {
        let line = match line.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) if first => rest,
            _ => line,
        };
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let colon = line.iter().position(|b| *b == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if value.len() >= self.limit.saturating_sub(self.data.len()) {
                    return Err(SseTooLong { limit: self.limit });
                }
                self.data.push_str(&String::from_utf8_lossy(value));
                self.data.push('\n');
            }
            b"event" => replace(&mut self.kind, value),
            b"id" if !value.contains(&0) => replace(&mut self.id, value),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                // More than fits is as good as for ever.
                let millis = String::from_utf8_lossy(value).parse().unwrap_or(u64::MAX);
                self.retry = Some(Duration::from_millis(millis));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Ends an event.
    fn dispatch(&mut self) -> Option<SseEvent> {
        if *self.last_event_id != *self.id {
            self.last_event_id = self.id.as_str().into();
        }
        let kind = std::mem::take(&mut self.kind);
        let mut data = std::mem::take(&mut self.data);
        // The line feed that ends the last line; without any line there is no event.
        data.pop()?;
        let kind = if kind.is_empty() {
            ByteString::from_static("message")
        } else {
            kind.into()
        };
        Some(SseEvent {
            kind,
            data: data.into(),
        })
    }
}

fn replace(field: &mut String, value: &[u8]) {
    field.clear();
    field.push_str(&String::from_utf8_lossy(value));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a parser makes of a stream that arrives in these pieces.
    fn read(parser: &mut SseParser, pieces: &[&[u8]]) -> Result<Vec<(String, String)>, SseTooLong> {
        let mut events = Vec::new();
        for piece in pieces {
            let mut input = *piece;
            while let Some(event) = parser.read(&mut input)? {
                events.push((event.kind.to_string(), event.data.to_string()));
            }
            assert!(input.is_empty());
        }
        Ok(events)
    }

    fn data(stream: &str) -> Vec<String> {
        let events = read(&mut SseParser::new(100), &[stream.as_bytes()]).unwrap();
        events.into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        assert_eq!(data("data: YHOO\ndata: +2\ndata: 10\n\n"), ["YHOO\n+2\n10"]);
        let mut parser = SseParser::new(100);
        let stream = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n";
        let events = read(&mut parser, &[stream]).unwrap();
        let data: Vec<_> = events.iter().map(|(_, data)| data.as_str()).collect();
        assert_eq!(data, ["first event", "second event"]);
        assert_eq!(parser.last_event_id(), "", "an empty id takes the id away");
        assert!(parser.is_within_event());
        assert_eq!(self::data("data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
        assert_eq!(self::data("data:test\n\ndata: test\n\n"), ["test", "test"]);
    }

    #[test]
    fn lines_end_in_three_ways() {
        let expected = ["a\nb", "c"];
        assert_eq!(data("data: a\ndata: b\n\ndata: c\n\n"), expected);
        assert_eq!(data("data: a\rdata: b\r\rdata: c\r\r"), expected);
        assert_eq!(data("data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n"), expected);
        assert_eq!(data("data: a\r\ndata: b\n\rdata: c\r\n\n"), expected);
    }

    #[test]
    fn a_carriage_return_ends_an_event_before_what_follows_is_seen() {
        let mut parser = SseParser::new(100);
        assert_eq!(read(&mut parser, &[b"data: a\r\n\r"]).unwrap().len(), 1);
        assert_eq!(read(&mut parser, &[b"\ndata: b\r\n\r"]).unwrap().len(), 1);
    }

    #[test]
    fn a_mark_is_passed_over_at_the_start_alone() {
        let stream = b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n";
        for cut in 0..stream.len() {
            let (head, tail) = stream.split_at(cut);
            let events = read(&mut SseParser::new(100), &[head, tail]).unwrap();
            assert_eq!(events, [("message".to_owned(), "a".to_owned())], "{cut}");
        }
    }

    #[test]
    fn ids_count_once_their_event_is_whole() {
        let mut parser = SseParser::new(100);
        read(&mut parser, &[b"id: 1\ndata: a\n\nid: 2\ndata: b\n"]).unwrap();
        assert_eq!(parser.last_event_id(), "1");
        parser.restart();
        assert_eq!(parser.last_event_id(), "1");
        assert!(!parser.is_within_event());
        assert_eq!(
            read(&mut parser, &[b"data: again\n\n"]).unwrap()[0].1,
            "again"
        );
        assert_eq!(parser.last_event_id(), "1", "an event without one keeps it");
        read(&mut parser, &[b"id: 3\n\nid: a\0b\ndata: c\n\n"]).unwrap();
        assert_eq!(parser.last_event_id(), "3", "also without data");
    }

    #[test]
    fn types_and_delays_are_read() {
        let mut parser = SseParser::new(100);
        let stream = b"event: endpoint\nretry: 1500\ndata: /m\n\ndata: x\nretry: 2s\nretry:\n\n";
        let events = read(&mut parser, &[stream]).unwrap();
        assert_eq!(events[0], ("endpoint".to_owned(), "/m".to_owned()));
        assert_eq!(events[1], ("message".to_owned(), "x".to_owned()));
        assert_eq!(parser.retry(), Some(Duration::from_millis(1500)));
        parser.restart();
        assert_eq!(parser.retry(), Some(Duration::from_millis(1500)));
        read(&mut parser, &[b"retry: 99999999999999999999999\n"]).unwrap();
        assert_eq!(parser.retry(), Some(Duration::from_millis(u64::MAX)));
    }

    #[test]
    fn bytes_that_are_no_text_are_marked() {
        let events = read(&mut SseParser::new(100), &[b"data: a\xff\xe2\x82", b"\n\n"]).unwrap();
        assert_eq!(events[0].1, "a\u{fffd}\u{fffd}");
    }

    #[test]
    fn lines_and_events_are_bounded() {
        let refused = SseTooLong { limit: 10 };
        let read = |pieces: &[&[u8]]| read(&mut SseParser::new(10), pieces);
        assert_eq!(read(&[b"data: 1234\n\n"]).unwrap()[0].1, "1234");
        assert_eq!(read(&[b"data: 12345\n\n"]), Err(refused), "a line");
        assert_eq!(read(&[b"data: ", b"12345"]), Err(refused), "in pieces");
        assert_eq!(read(&[b": ", b"a long comment"]), Err(refused));
        assert_eq!(read(&[b"data: 1234\ndata: 1234\n"]).unwrap(), []);
        let lines = b"data: 1234\ndata: 1234\ndata\n";
        assert_eq!(read(&[lines]), Err(refused), "an event");
        assert_eq!(read(&[&b"data\n".repeat(11)]), Err(refused), "of nothing");
    }

    /// Streams of the fragments that the format knows, and of others.
    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let fragment = prop::sample::select(vec![
            &b"data: {\"a\":1}"[..],
            b"data",
            b"id: 1",
            b"id",
            b"retry: 10",
            b"event: x",
            b": c",
            b":",
            b" ",
            b"\n",
            b"\n",
            b"\n\n",
            b"\r",
            b"\r\n",
            b"\r\n\r\n",
            b"\xef\xbb\xbf",
            b"\xe2\x82\xac",
            b"\xff",
        ]);
        prop::collection::vec(fragment, 0..40).prop_map(|fragments| fragments.concat())
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(
            stream in streams(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&stream[from..cut]);
                from = cut;
            }
            pieces.push(&stream[from..]);
            for limit in [16, 100] {
                let (mut one, mut other) = (SseParser::new(limit), SseParser::new(limit));
                let whole = read(&mut one, &[&stream]);
                prop_assert_eq!(&whole, &read(&mut other, &pieces));
                if whole.is_ok() {
                    prop_assert_eq!(one.last_event_id(), other.last_event_id());
                    prop_assert_eq!(one.retry(), other.retry());
                    prop_assert_eq!(one.is_within_event(), other.is_within_event());
                }
            }
        }
    }
}
