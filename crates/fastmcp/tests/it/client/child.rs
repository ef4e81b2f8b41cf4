//! Servers that are processes of their own.

use fastmcp::{
    Client,
    protocol::ProtocolVersion,
    transport::{StdioWireConfig, WireError},
};
use serde_json::json;

/// The example `demo`, which Cargo builds with the tests.
pub(super) fn demo() -> StdioWireConfig {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples");
    path.push(format!("demo{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "`{}` is not built", path.display());
    StdioWireConfig::new(path, Vec::<String>::new())
}

#[tokio::test]
async fn a_process_of_ours_is_spoken_to_in_both_revisions() {
    let (new, old) = (ProtocolVersion::V2026_07_28, ProtocolVersion::V2025_11_25);
    for (only, spoken) in [(None, new), (Some(new), new), (Some(old), old)] {
        let mut builder = Client::builder();
        if let Some(only) = only {
            builder = builder.revision(only);
        }
        let client = builder.connect_command(&demo()).await.unwrap();
        assert_eq!(client.protocol_version(), spoken);
        let calls = (0..10).map(|n| client.call_tool("add", json!({"a": n, "b": 1})));
        for (n, sum) in (0..10).zip(futures_util::future::join_all(calls).await) {
            assert_eq!(sum.unwrap().data::<i64>().unwrap(), n + 1);
        }
        client.ping().await.unwrap();
        client.close().await;
        let error = client.ping().await.unwrap_err();
        let cause = error.source().and_then(|e| e.downcast_ref::<WireError>());
        assert!(matches!(cause, Some(WireError::Closed(_))), "{error}");
    }
}

/// An old server that ends when it does not know a message, written down as a shell script.
const FRAIL: &str = r#"
read -r first
case "$first" in *'"initialize"'*) ;; *) echo "what is this?" >&2; exit 1 ;; esac
echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2024-11-05","capabilities":{},"serverInfo":{"name":"frail","version":"1"}}}'
read -r ready
read -r ping
echo '{"jsonrpc":"2.0","id":2,"result":{}}'
"#;

#[cfg(unix)]
#[tokio::test]
async fn a_process_that_dies_of_the_question_is_started_again_and_greeted() {
    let frail = StdioWireConfig::new("/bin/sh", ["-c", FRAIL]);
    let client = Client::builder().connect_command(&frail).await.unwrap();
    assert_eq!(client.server_info().unwrap().name, "frail");
    client.ping().await.unwrap();

    let dies = StdioWireConfig::new("/bin/sh", ["-c", "read -r line; exit 3"]);
    let error = Client::builder().connect_command(&dies).await.unwrap_err();
    let cause = error.source().and_then(|e| e.downcast_ref::<WireError>());
    assert!(cause.is_some(), "{error}");
    let none = StdioWireConfig::new("/no/such/program", Vec::<String>::new());
    assert!(Client::builder().connect_command(&none).await.is_err());
}
