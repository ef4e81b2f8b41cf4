//! Input that is checked and put in order before a handler sees it: by its type, by bounds, and by checks of one's own.
//!
//! Run with: `cargo run -p fastmcp-examples --bin sanitised_input`

use fastmcp::{Valid, prelude::*};

/// Text from outside, in which nothing is markup: every field of this type is made so.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct SecureText(#[schemars(length(min = 1, max = 1000))] String);

/// What somebody who wants a browser to run something writes.
const SUSPICIOUS: [&str; 4] = ["<script", "javascript:", "data:text/html", "vbscript:"];

impl Validate for SecureText {
    fn validate(&mut self) -> Result<(), Invalid> {
        let lower = self.0.to_lowercase();
        // Before it is escaped: what is escaped is not found any more.
        if SUSPICIOUS.iter().any(|pattern| lower.contains(pattern)) {
            return Err(Invalid::new(
                "Message contains potentially dangerous content",
            ));
        }
        self.0 = escaped(&self.0);
        Ok(())
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A message, and to whom.
#[derive(Deserialize, JsonSchema)]
struct UserMessage {
    // `Valid` checks a value wherever it stands.
    message: Valid<SecureText>,
    #[schemars(regex(pattern = r"^[a-zA-Z0-9_.-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$"))]
    recipient: String,
}

/// What was sent.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Sent {
    confirmation: String,
    message: String,
}

/// Sends a message.
#[tool]
async fn secure_send_message(message_data: UserMessage) -> Sent {
    Sent {
        confirmation: format!("Message sent securely to {}", message_data.recipient),
        message: message_data.message.0.0,
    }
}

/// Refuses what looks like a path out of the folder.
fn plain_name(name: &str) -> Result<(), &'static str> {
    if name.contains(['/', '\\']) || name.starts_with('.') {
        return Err("must be the name of a file, without a path");
    }
    Ok(())
}

/// Says what a file is called in the archive. One argument is checked by one function.
#[tool(read_only)]
async fn archive_name(
    #[arg(min_length = 1, max_length = 100, check = plain_name)] name: String,
    #[arg(min = 1, max = 9999)] year: u16,
) -> String {
    format!("{year:04}-{name}")
}

fn server() -> FastMcp {
    FastMcp::new("Careful")
        .tool(secure_send_message)
        .tool(archive_name)
}

#[tokio::main]
async fn main() -> Result<()> {
    server().run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(message: &str, recipient: &str) -> serde_json::Value {
        json!({"message_data": {"message": message, "recipient": recipient}})
    }

    #[tokio::test]
    async fn what_is_unfit_is_refused_by_its_name() {
        let client = Client::connect(&server().build().unwrap()).await.unwrap();
        let cases = [
            (
                "secure_send_message",
                message("<SCRIPT>x", "a@example.com"),
                "dangerous content",
            ),
            (
                "secure_send_message",
                message("", "a@example.com"),
                "message",
            ),
            (
                "secure_send_message",
                message("hello", "nobody"),
                "recipient",
            ),
            (
                "archive_name",
                json!({"name": "../x", "year": 2026}),
                "`name`",
            ),
            ("archive_name", json!({"name": "x", "year": 0}), "`year`"),
        ];
        for (tool, arguments, expected) in cases {
            let refused = client.call_tool(tool, arguments).await.unwrap_err();
            assert!(
                refused.message().contains(expected),
                "{expected}: {refused}"
            );
        }
    }

    #[tokio::test]
    async fn markup_is_text() {
        let client = Client::connect(&server().build().unwrap()).await.unwrap();
        let sent = message("1 < 2 & 'so on'", "ada@example.com");
        let sent = client.call_tool("secure_send_message", sent).await.unwrap();
        let expected = Sent {
            confirmation: "Message sent securely to ada@example.com".to_owned(),
            message: "1 &lt; 2 &amp; &#x27;so on&#x27;".to_owned(),
        };
        assert_eq!(sent.data::<Sent>().unwrap(), expected);
    }
}
