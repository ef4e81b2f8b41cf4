//! The 200 tools of the comparison of lists, each about as large as one with five arguments is.
//!
//! Both servers start from these texts, so that both send the same bytes.

use std::fmt::Write as _;

/// How many tools there are.
pub const TOOLS: usize = 200;

/// What clients are told of one tool.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The schema of its arguments, JSON.
    pub schema: String,
}

/// All of them, in their order.
#[must_use]
pub fn entries() -> Vec<Entry> {
    (0..TOOLS).map(entry).collect()
}

fn entry(nth: usize) -> Entry {
    Entry {
        name: format!("catalogue_tool_{nth:03}"),
        description: format!(
            "Looks up the records of ledger {nth} between two dates and gives back those that match."
        ),
        schema: concat!(
            r#"{"type":"object","properties":{"#,
            r#""account":{"type":"string","description":"The account, as the ledger names it"},"#,
            r#""from":{"type":"string","format":"date","description":"The first day"},"#,
            r#""to":{"type":"string","format":"date","description":"The last day"},"#,
            r#""limit":{"type":"integer","minimum":1,"maximum":1000,"description":"How many, at most"},"#,
            r#""closed":{"type":"boolean","description":"Whether closed records count"}},"#,
            r#""required":["account","from"],"additionalProperties":false}"#
        )
        .to_owned(),
    }
}

/// The members of the result of `tools/list`, as a server sends them: from `"tools"` to the end of the
/// array.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(r#""tools":["#);
    for (nth, entry) in entries().iter().enumerate() {
        let comma = if nth == 0 { "" } else { "," };
        // Writing to a string cannot fail; names and descriptions need no escapes.
        let _infallible = write!(
            page,
            r#"{comma}{{"name":"{}","description":"{}","inputSchema":{}}}"#,
            entry.name, entry.description, entry.schema
        );
    }
    page.push(']');
    page
}
