//! Media types by the ends of names.

/// Types of files, by the ends of their names.
const TYPES: &[(&str, &str)] = &[
    ("aac", "audio/aac"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("m4a", "audio/mp4"),
    ("md", "text/markdown"),
    ("mjs", "text/javascript"),
    ("mp3", "audio/mpeg"),
    ("ogg", "audio/ogg"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("py", "text/x-python"),
    ("sh", "application/x-sh"),
    ("svg", "image/svg+xml"),
    ("toml", "application/toml"),
    ("ts", "text/x-typescript"),
    ("txt", "text/plain"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("webp", "image/webp"),
    ("xml", "application/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
];

/// The media type that a file's name says.
pub(crate) fn named(path: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (_, end) = name.rsplit_once('.')?;
    let end = end.to_ascii_lowercase();
    let known = TYPES.iter().find(|(known, _)| *known == end);
    known.map(|(_, media_type)| *media_type)
}

/// The media type of a file: by its name, or else by whether it is text.
pub(crate) fn of(path: &str, content: &[u8]) -> &'static str {
    match named(path) {
        Some(media_type) => media_type,
        None if std::str::from_utf8(content).is_ok() => "text/plain",
        None => "application/octet-stream",
    }
}
