//! The one place for what a peer may cost.

use std::time::Duration;

/// Bounds that hold at every door. What exceeds one is refused with an error that names it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one message. Default 4 MiB.
    pub message_bytes: usize,
    /// Levels of nesting of one message. Default 128.
    pub json_depth: usize,
    /// Bytes of all headers of one HTTP request. Default 64 KiB, at least 8 KiB.
    pub header_bytes: usize,
    /// Headers of one HTTP request. Default 100.
    pub headers: usize,
    /// Connections at once; further ones wait in the listen queue. Default 10,000.
    pub connections: usize,
    /// Calls under way at once, each stream counted as one. Default 4,096.
    pub concurrent_calls: usize,
    /// How long the headers of a request may take, from the moment when the connection is open or,
    /// before HTTP/2, the last answer was sent. Default 10 s.
    pub header_timeout: Duration,
    /// How long the body of a request may take. Default 30 s.
    pub body_timeout: Duration,
    /// How long a client may read nothing of what is sent to it before its connection is closed and its calls
    /// are cancelled. Each byte that it takes begins the time anew. Default 60 s.
    pub write_timeout: Duration,
    /// How long a connection over HTTP/2 may stay open after its last request. Default 2 min.
    pub idle_timeout: Duration,
    /// Bytes of a body that is too large which are read and thrown away, so that a client that sends
    /// first and reads afterwards gets the answer. Default 64 MiB.
    pub discarded_bytes: u64,
    /// How long that may take. Default 10 s.
    pub discard_timeout: Duration,
    /// How long a call over HTTP may take until its answer or stream begins; then it is cancelled
    /// and answered with 504. A stream lasts until its call ends. Default 10 min.
    pub call_timeout: Duration,
    /// How often a comment keeps a quiet stream open. Default 15 s.
    pub keep_alive: Duration,
    /// How often it is asked while a stream is open whether its caller would still be let in. The longest that a stream
    /// outlives a token or key that was revoked, beside the time in which that is noticed. Default 5 s.
    pub recheck: Duration,
    /// Frames that wait for a slow reader before the sender waits too. Default 64.
    pub outlet_frames: usize,
    /// What a connection over HTTP/2 may cost beside that.
    pub http2: Http2Limits,
}

/// Bounds of one connection over HTTP/2. Bytes and number of headers, body and call are bounded as
/// over HTTP/1.1, by [`Limits`].
///
/// Source: RFC 9113, sections 6.5.2 and 10.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Limits {
    /// Requests under way at once, each stream of events counted as one; a client waits with more
    /// (`SETTINGS_MAX_CONCURRENT_STREAMS`). Default 128.
    pub streams: u32,
    /// Requests that a client may take back before they were looked at; then the connection is
    /// closed with `ENHANCE_YOUR_CALM`. Default 20.
    pub pending_resets: usize,
    /// Requests that we reset because of what the client did wrong; then the connection is closed
    /// with `ENHANCE_YOUR_CALM`. Default 256.
    pub error_resets: usize,
    /// How often a client is asked whether it is there. Default 30 s.
    pub ping_interval: Duration,
    /// How long it may take to say so; then the connection is closed. Default 20 s.
    pub ping_timeout: Duration,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            streams: 128,
            pending_resets: 20,
            error_resets: 256,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 4 * 1024 * 1024,
            json_depth: 128,
            header_bytes: 64 * 1024,
            headers: 100,
            connections: 10_000,
            concurrent_calls: 4_096,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(120),
            discarded_bytes: 64 * 1024 * 1024,
            discard_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(600),
            keep_alive: Duration::from_secs(15),
            recheck: Duration::from_secs(5),
            outlet_frames: 64,
            http2: Http2Limits::default(),
        }
    }
}
