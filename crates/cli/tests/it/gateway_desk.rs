//! The desk in a browser, and the address that hears of what waits there.

use std::{fs, sync::Arc};

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

use crate::support::{Ask, Gateway, Home, Reply, until, within};

const CREATE: &str = "ads:createCampaign";
const POLICY: &str = r#"
version: 1
roles:
  buyer: ["ads.write", "tools.invoke:write"]
  approver: ["approvals.decide"]
rules:
  - {id: buy, effect: allow, when: {action: tools.invoke, subject.roles: buyer}}
  - {id: four-eyes, effect: allow, when: {resource.toolId: "ads:createCampaign"}, require_confirmation: other_person}
"#;

struct Desk {
    home: Home,
    gateway: Gateway,
    alice: String,
    bob: String,
}

impl Desk {
    async fn open(vars: &[(&str, &str)]) -> Self {
        let home = Home::new();
        fs::create_dir(home.data()).unwrap();
        fs::write(home.policies(), POLICY).unwrap();
        let gateway = home.start_with(vars).await;
        let both = ["--role", "buyer", "--role", "approver"];
        let alice = home.mint("alice", &both).await;
        let bob = home.role("bob", "approver").await;
        Self {
            home,
            gateway,
            alice,
            bob,
        }
    }

    /// Asks for a campaign of that name; the operation that waits.
    async fn ask(&self, name: &str) -> String {
        let campaign = json!({"name": name, "budget": 12345.67, "startDate": "2027-03-01"});
        let asked = self.gateway.invoke(&self.alice, CREATE, &campaign);
        let pending = asked.send().await.json();
        pending["operation_id"].as_str().unwrap().to_owned()
    }

    fn page(&self, method: &str, path: &str, cookie: &str) -> Ask {
        let ask = self.gateway.ask(method, path).header("accept", "text/html");
        match cookie {
            "" => ask,
            cookie => ask.header("cookie", cookie),
        }
    }

    async fn get(&self, path: &str, cookie: &str) -> Reply {
        self.page("GET", path, cookie).send().await
    }

    async fn post(&self, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Reply {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        self.page("POST", path, cookie)
            .header("origin", &format!("http://{}", self.gateway.address()))
            .form(form.finish())
            .send()
            .await
    }

    /// Signs in; the cookie.
    async fn sign_in(&self, token: &str) -> String {
        let fields = [("token", token), ("next", "")];
        let reply = self.post("/approvals/sign-in", "", &fields).await;
        assert_eq!(reply.status, 303, "{}", reply.text());
        let cookie = reply.header("set-cookie").unwrap();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
            "{cookie}"
        );
        assert!(!cookie.contains("Secure"), "on loopback");
        assert!(!cookie.contains(token));
        cookie.split(';').next().unwrap().to_owned()
    }

    fn effects(&self) -> usize {
        let records = self.home.audit();
        let acted = |r: &&Value| r["phase"] == "intent" && r["action"] != "approvals.decide";
        records.iter().filter(acted).count()
    }
}

/// The value of a hidden field.
fn hidden<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, rest) = page
        .split_once(&format!("name=\"{name}\" value=\""))
        .unwrap();
    rest.split('"').next().unwrap()
}

#[tokio::test]
async fn a_person_signs_in_looks_and_decides() {
    let desk = Desk::open(&[]).await;
    let id = desk.ask("<script>alert('x')</script> \u{202e}gnirpS").await;
    let path = format!("/approvals/{id}");

    let form = desk.get("/approvals", "").await;
    assert_eq!(form.status, 200);
    assert!(form.text().contains("name=\"token\"") && !form.text().contains("<script"));
    let policy = form.header("content-security-policy").unwrap();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    let wrong = [("token", "nonsense"), ("next", "")];
    let wrong = desk.post("/approvals/sign-in", "", &wrong).await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    let powerless = desk.home.role("carl", "buyer").await;
    let powerless = [("token", powerless.as_str()), ("next", "")];
    let powerless = desk.post("/approvals/sign-in", "", &powerless).await;
    assert_eq!(
        (powerless.status, powerless.header("set-cookie")),
        (403, None)
    );

    let fields = [("token", desk.bob.as_str()), ("next", id.as_str())];
    let straight = desk.post("/approvals/sign-in", "", &fields).await;
    assert_eq!(straight.header("location"), Some(path.as_str()));
    let cookie = desk.sign_in(&desk.bob).await;
    let list = desk.get("/approvals", &cookie).await;
    assert!(list.text().contains(&path) && list.text().contains("alice"));
    let page = desk.get(&path, &cookie).await;
    let text = page.text();
    assert!(
        text.contains("12345.67") && text.contains("&lt;script&gt;alert(&#39;x&#39;)"),
        "{text}"
    );
    assert!(
        !text.contains("<script") && text.contains("\\u{202e}"),
        "{text}"
    );
    let (csrf, digest) = (hidden(text, "csrf"), hidden(text, "digest"));

    // The cookie is of the page alone: elsewhere it is nothing.
    let json = desk
        .gateway
        .ask("GET", "/approvals")
        .header("cookie", &cookie);
    json.send().await.error(401, "UNAUTHORIZED");
    let catalog = desk
        .gateway
        .ask("GET", "/tool-catalog")
        .header("cookie", &cookie);
    catalog.send().await.error(401, "UNAUTHORIZED");

    // Looking decides nothing, whatever stands in the address; nor does a form that is not ours.
    let sly = format!("{path}?decision=approve&digest={digest}&csrf={csrf}");
    assert_eq!(desk.get(&sly, &cookie).await.status, 200);
    let approve = |csrf: &'static str| [("csrf", csrf), ("decision", "approve"), ("digest", "")];
    for forged in ["", "AAAA"] {
        let refused = desk.post(&path, &cookie, &approve(forged)).await;
        assert_eq!(refused.status, 403, "{}", refused.text());
    }
    let fields = [
        ("csrf", csrf),
        ("decision", "approve"),
        ("digest", digest),
        ("note", "ok"),
    ];
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    let form = form.finish();
    for (name, value) in [
        ("origin", "http://localhost:1"),
        ("sec-fetch-site", "cross-site"),
        // Nothing says where it comes from.
        ("dnt", "1"),
    ] {
        let ask = desk.page("POST", &path, &cookie).header(name, value);
        let refused = ask.form(form.clone()).send().await;
        assert_eq!(refused.status, 403, "{name}: {}", refused.text());
        assert!(
            refused.text().contains("another site"),
            "{}",
            refused.text()
        );
    }
    let own = desk.sign_in(&desk.alice).await;
    let own_page = desk.get(&path, &own).await;
    let own_csrf = hidden(own_page.text(), "csrf");
    let own_fields = [
        ("csrf", own_csrf),
        ("decision", "approve"),
        ("digest", digest),
    ];
    let refused = desk.post(&path, &own, &own_fields).await;
    assert_eq!(refused.status, 403);
    assert!(
        refused.text().contains("another person"),
        "{}",
        refused.text()
    );
    let crossed = desk.post(&path, &own, &fields).await;
    assert_eq!(crossed.status, 403, "a word of another session");
    let said = crossed.text();
    assert!(said.contains("not one of this session"), "{said}");
    assert_eq!(desk.effects(), 0);

    let done = desk.post(&path, &cookie, &fields).await;
    assert_eq!(
        (done.status, done.header("location")),
        (303, Some(path.as_str()))
    );
    let after = desk.get(&path, &cookie).await;
    assert!(
        after.text().contains("confirmed") && !after.text().contains("<button name=\"decision\"")
    );
    let twice = desk.post(&path, &cookie, &fields).await;
    assert_eq!(twice.status, 409);
    let records = desk.home.audit();
    assert!(records.iter().any(|r| r["action"] == "approvals.decide"
        && r["sub"] == "bob"
        && r["details"]["note"] == "ok"
        && r["status"] == "success"));

    let out = desk
        .post("/approvals/sign-out", &cookie, &[("csrf", csrf)])
        .await;
    assert_eq!(out.status, 303);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    let refused = desk.ask("Second").await;
    let path = format!("/approvals/{refused}");
    let page = desk.get(&path, &cookie).await;
    let fields = [("csrf", csrf), ("decision", "deny"), ("note", "")];
    assert_eq!(page.status, 200);
    assert_eq!(desk.post(&path, &cookie, &fields).await.status, 303);
    let shown = desk.get(&path, &cookie).await;
    assert!(shown.text().contains("declined"), "{}", shown.text());
    desk.gateway.stop().await;
}

/// Takes one request and answers it with `status`: its headers and body.
async fn heard(listener: &TcpListener, status: &str) -> (Vec<String>, String) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    let (mut headers, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(given) = line.strip_prefix("content-length: ") {
            length = given.parse().unwrap();
        }
        headers.push(line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
    stream.get_mut().shutdown().await.unwrap();
    (headers, String::from_utf8(body).unwrap())
}

fn value<'a>(headers: &'a [String], name: &str) -> &'a str {
    let found = headers.iter().find_map(|line| line.strip_prefix(name));
    found.unwrap().trim_start_matches(": ")
}

#[tokio::test]
async fn a_web_address_hears_once_signed_and_without_arguments() {
    let secret = "0123456789abcdef0123456789abcdef";
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{secret}\n")).unwrap();
    let desk = Desk::open(&[
        ("APPROVAL_WEBHOOK_URL", &url),
        (
            "APPROVAL_WEBHOOK_SECRET_FILE",
            file.path().to_str().unwrap(),
        ),
    ])
    .await;
    let id = desk.ask("Spring").await;
    // What fails for the moment is tried again.
    let (first, _) = within("the hook", heard(&listener, "503 Away")).await;
    let (headers, body) = within("the hook", heard(&listener, "204 No Content")).await;
    assert_eq!(value(&first, "fastmcp-delivery"), id);
    assert_eq!(value(&headers, "fastmcp-delivery"), id);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signed = format!("{}.{body}", value(&headers, "fastmcp-timestamp"));
    let mac: String = hmac::sign(&key, signed.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(value(&headers, "fastmcp-signature"), format!("v1={mac}"));
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (
            &told["event"],
            &told["operation_id"],
            &told["toolId"],
            &told["sub"]
        ),
        (
            &json!("approval.requested"),
            &json!(id),
            &json!(CREATE),
            &json!("alice")
        )
    );
    assert!(
        !body.contains("12345.67") && !body.contains("Spring"),
        "{body}"
    );
    until("the record", async || {
        let told = |r: &Value| r["action"] == "approvals.announced" && r["status"] == "success";
        desk.home.audit().iter().any(told).then_some(())
    })
    .await;
    // The same call asked for again is no news.
    assert_eq!(desk.ask("Spring").await, id);
    let next = desk.ask("Autumn").await;
    let (headers, _) = within("the hook", heard(&listener, "200 OK")).await;
    assert_eq!(value(&headers, "fastmcp-delivery"), next);
    desk.gateway.stop().await;
}

#[tokio::test]
async fn a_web_address_without_its_secret_stops_the_start() {
    let home = Home::new();
    fs::write(home.folder().join("short"), "abc").unwrap();
    let url = ("APPROVAL_WEBHOOK_URL", "https://hooks.example/x");
    for (vars, expected) in [
        (vec![url], "APPROVAL_WEBHOOK_SECRET_FILE"),
        (
            vec![url, ("APPROVAL_WEBHOOK_SECRET_FILE", "none")],
            "no such file",
        ),
        (vec![url, ("APPROVAL_WEBHOOK_SECRET_FILE", "short")], "32"),
        (
            vec![("APPROVAL_WEBHOOK_URL", "http://hooks.example/x")],
            "https",
        ),
    ] {
        let output = home.run(&["serve", "--bind", "127.0.0.1:0"], &vars).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains(expected),
            "{vars:?}: {said}"
        );
    }
}
