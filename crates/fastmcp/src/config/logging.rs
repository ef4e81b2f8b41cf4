//! How a server logs: a value, from which a binary makes its subscriber.

use tracing::level_filters::LevelFilter;

use super::ServerConfig;

/// How a server logs, as its transport needs it: on standard error where standard output is the wire, for people;
/// on standard output over HTTP, for programs, a JSON object per line. Libraries install no subscriber, a binary
/// does:
///
/// ```
/// use fastmcp::config::{LogFormat, LogOutput, Logging, ServerConfig};
/// use tracing_subscriber::fmt::writer::BoxMakeWriter;
///
/// fn subscriber(logging: Logging) -> Box<dyn tracing::Subscriber + Send + Sync> {
///     let output = match logging.output {
///         LogOutput::Stdout => BoxMakeWriter::new(std::io::stdout),
///         LogOutput::Stderr => BoxMakeWriter::new(std::io::stderr),
///     };
///     let subscriber = tracing_subscriber::fmt().with_writer(output).with_max_level(logging.level);
///     match logging.format {
///         LogFormat::Json => Box::new(subscriber.json().finish()),
///         LogFormat::Text => Box::new(subscriber.finish()),
///     }
/// }
///
/// let logging = ServerConfig::default().logging();
/// assert_eq!(logging.output, LogOutput::Stderr);
/// let _subscriber = subscriber(logging);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logging {
    /// The least severe that is logged.
    pub level: LevelFilter,
    /// How.
    pub format: LogFormat,
    /// Where.
    pub output: LogOutput,
}

/// How a line of a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: a JSON object.
    Json,
}

/// Where a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard output; never where it is the wire.
    Stdout,
    /// Standard error.
    Stderr,
}

impl ServerConfig {
    /// How the server logs.
    #[must_use]
    pub const fn logging(&self) -> Logging {
        let (format, output) = if self.http {
            (LogFormat::Json, LogOutput::Stdout)
        } else {
            (LogFormat::Text, LogOutput::Stderr)
        };
        Logging {
            level: self.log_level,
            format,
            output,
        }
    }
}
