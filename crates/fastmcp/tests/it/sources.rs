//! Resources that are ready made, and what templates take from a URI.

use std::{collections::BTreeMap, net::Ipv4Addr};

use fastmcp::{
    BinaryResource, DirectoryResource, FileResource, HttpResource, IntoResource, TextResource,
    prelude::*,
};
use fastmcp_guard::http::{Config, UrlFetcher};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use url::Url;

async fn read(client: &Client, uri: &str) -> Value {
    match client.read_resource(uri).await {
        Ok(result) => serde_json::to_value(&result.contents[0]).unwrap(),
        Err(error) => json!(error.message()),
    }
}

#[tokio::test]
async fn text_and_bytes_are_served_as_they_are() {
    let server = FastMcp::new("sources")
        .resource(TextResource::new("data://motd", "motd", "Be kind."))
        .resource(
            BinaryResource::new("data://dot", "dot", [1, 2, 3])
                .into_resource()
                .mime_type("image/png"),
        )
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    assert_eq!(
        read(&client, "data://motd").await,
        json!({"uri": "data://motd", "mimeType": "text/plain", "text": "Be kind."})
    );
    assert_eq!(
        read(&client, "data://dot").await,
        json!({"uri": "data://dot", "mimeType": "image/png", "blob": "AQID"})
    );
    let sizes: BTreeMap<_, _> = client
        .list_resources()
        .await
        .unwrap()
        .into_iter()
        .map(|r| (r.uri, r.size))
        .collect();
    assert_eq!(sizes["data://motd"], Some(8));
}

#[tokio::test]
async fn files_and_folders_are_read_when_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("sub")).unwrap();
    std::fs::write(at("readme.md"), "# Hi").unwrap();
    std::fs::write(at("sub/raw.bin"), [0xff]).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", at("outside")).unwrap();
    let server = FastMcp::new("files")
        .resource(FileResource::new("docs://readme", at("readme.md")))
        .tools(DirectoryResource::new("files://docs", folder.path()).recursive())
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    assert_eq!(
        read(&client, "docs://readme").await,
        json!({"uri": "docs://readme", "mimeType": "text/markdown", "text": "# Hi"})
    );
    std::fs::write(at("readme.md"), "# Ho").unwrap();
    assert_eq!(read(&client, "docs://readme").await["text"], "# Ho");
    let listed = read(&client, "files://docs").await;
    let listed: Vec<Value> = serde_json::from_str(listed["text"].as_str().unwrap()).unwrap();
    let paths: Vec<_> = listed.iter().map(|l| l["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["readme.md", "sub", "sub/raw.bin"]);
    assert_eq!(
        listed[0],
        json!({"path": "readme.md", "kind": "file", "size": 4, "mime_type": "text/markdown"})
    );
    assert_eq!(
        read(&client, "files://docs/sub/raw.bin").await,
        json!({"uri": "files://docs/sub/raw.bin", "mimeType": "application/octet-stream", "blob": "/w=="})
    );
    for outside in [
        "files://docs/outside",
        "files://docs/nope.md",
        "files://docs/..%2f..%2fetc%2fpasswd",
        "files://docs/sub/../../x",
        "files://docs/%2fetc%2fpasswd",
    ] {
        let error = client.read_resource(outside).await;
        assert!(error.is_err(), "{outside}: {error:?}");
    }
}

#[test]
fn what_is_not_there_is_found_out_when_the_server_is_built() {
    let wrong = |server: FastMcp| server.build().unwrap_err().message().to_owned();
    let message = wrong(FastMcp::new("x").tools(DirectoryResource::new("a://b", "/no/such")));
    assert!(message.contains("folder `/no/such`"), "{message}");
    let message = wrong(FastMcp::new("x").resource(FileResource::new("a://b", "/no/such/file")));
    assert!(message.contains("folder `/no/such`"), "{message}");
    let message =
        wrong(FastMcp::new("x").resource(HttpResource::new("a://b", "b", "http://127.0.0.1/")));
    assert!(message.starts_with("resource `a://b`: "), "{message}");
    let message = wrong(FastMcp::new("x").resource(HttpResource::new("a://b", "b", "no address")));
    assert!(message.contains("is no address"), "{message}");
}

#[tokio::test]
async fn what_http_serves_is_fetched() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let _read = stream.read(&mut head).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let url = format!("http://127.0.0.1:{port}/weather");
    let rules = Config::upstream(&Url::parse(&url).unwrap()).unwrap();
    let fetched =
        HttpResource::new("weather://now", "now", &url).fetcher(UrlFetcher::new(&rules).unwrap());
    let server = FastMcp::new("http")
        .mask_error_details(false)
        .resource(fetched)
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    assert_eq!(
        read(&client, "weather://now").await,
        json!({"uri": "weather://now", "mimeType": "application/json", "text": "{}"})
    );
    assert_eq!(
        read(&client, "weather://now").await,
        "the address behind `weather://now` answered with status 404"
    );
}

/// A parameter that is a path by intent.
#[resource("vault://{path*}", unscreened("path"))]
async fn vault(path: String) -> String {
    path
}

#[resource("screened://{path*}")]
async fn screened(path: String) -> String {
    path
}

#[resource("search://all{?query,limit,tags*}")]
async fn search(query: Option<String>, limit: Option<u32>, tags: Option<Vec<String>>) -> String {
    format!("{query:?} {limit:?} {tags:?}")
}

#[tokio::test]
async fn templates_take_paths_and_queries_and_screen_them() {
    let server = FastMcp::new("templates")
        .resource(vault)
        .resource(screened)
        .resource(search)
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    let text = async |uri: &str| read(&client, uri).await["text"].clone();
    assert_eq!(text("screened://a/b/c").await, "a/b/c");
    assert_eq!(text("vault://a/../b").await, "a/../b");
    for wrong in ["screened://a/../b", "screened:///etc", "screened://a%00"] {
        assert_eq!(text(wrong).await, Value::Null, "{wrong}");
    }
    assert_eq!(
        text("search://all?query=a%20b&limit=3&tags=x&tags=y").await,
        r#"Some("a b") Some(3) Some(["x", "y"])"#
    );
    assert_eq!(
        text("search://all?tags=x").await,
        r#"None None Some(["x"])"#
    );
    assert_eq!(text("search://all").await, "None None None");
}
