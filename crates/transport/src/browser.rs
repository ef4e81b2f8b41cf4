//! Opens a person's browser.

use std::{io, process::Stdio};

use tokio::process::Command;

/// Longest URL that is opened, in bytes.
const MAX_BYTES: usize = 8 * 1024;

/// Opens `url` in the person's browser, with the program that the system has for that. No shell reads the URL.
///
/// Returns when that program was started; whether a browser appears is not known.
///
/// # Errors
///
/// When `url` is no `http` or `https` URL in ASCII of at most 8 KiB, or there is no such program.
pub fn open(url: &str) -> io::Result<()> {
    if !is_web(url) {
        let problem = "only http and https urls in plain ASCII are opened";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    command(url)
        // What is printed there belongs to whoever started this process.
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
}

/// The program, which gets the URL as one argument.
fn command(url: &str) -> Command {
    if cfg!(target_os = "macos") {
        let mut command = Command::new("/usr/bin/open");
        command.arg(url);
        command
    } else if cfg!(windows) {
        let mut command = Command::new("rundll32.exe");
        command.args(["url.dll,FileProtocolHandler", url]);
        command
    } else {
        let mut command = Command::new("xdg-open");
        command.arg(url);
        command
    }
}

fn is_web(url: &str) -> bool {
    let web = ["https://", "http://"]
        .iter()
        .any(|scheme| url.get(..scheme.len()) == Some(*scheme) && url.len() > scheme.len());
    let plain = |b: u8| b.is_ascii_graphic() && !br#""'\<>^`{|}"#.contains(&b);
    web && url.len() <= MAX_BYTES && url.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_web_pages_is_opened() {
        for good in ["https://h/authorize?a=b&c=%20", "http://127.0.0.1:1/"] {
            assert!(is_web(good), "{good}");
        }
        for bad in [
            "",
            "https://",
            "h",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "--help",
            "-x https://h",
            "https://h/a b",
            "https://h/\"&calc",
            "https://h/\n",
            "https://h/`id`",
            "https://h/\u{e9}",
            "HTTPS://h",
        ] {
            assert!(!is_web(bad), "{bad}");
            assert_eq!(open(bad).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert!(!is_web(&format!("https://h/{}", "a".repeat(MAX_BYTES))));
    }

    #[test]
    fn the_url_is_one_argument() {
        let url = "https://h/?a=b&c=d;e";
        let command = command(url);
        assert_eq!(command.as_std().get_args().last().unwrap(), url);
    }
}
