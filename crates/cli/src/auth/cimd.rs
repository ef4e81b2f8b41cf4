//! `fastmcp auth cimd`: the document at the URL that is a client's id.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use fastmcp_auth::{
    oauth::{NetworkConfig, OAuthError},
    proxy::{ClientDocument, DocumentError, DocumentProof, RedirectRules},
};
use fastmcp_guard::{display::unmistakable, http::Trust};
use serde_json::{Map, Value, json};

use crate::{
    Outcome,
    output::{self, Usage},
    reach,
};

/// Write and check client metadata documents (CIMD)
///
/// A client that publishes such a document needs no registration: its id is the URL of the document, and authorization servers
/// read there what it is called and where its answers may be sent.
#[derive(Debug, Args)]
pub(crate) struct Cimd {
    #[command(subcommand)]
    command: CimdCommand,
}

#[derive(Debug, Subcommand)]
enum CimdCommand {
    Create(Create),
    Validate(Validate),
}

/// Write a client's metadata document
///
/// It is for a public client, which proves itself by PKCE alone, and it keeps the rules that `validate` checks.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp auth cimd create --client-id https://app.example.com/client.json --name 'My App' \\
    --redirect-uri http://127.0.0.1:3000/callback --pretty -o client.json
  fastmcp auth cimd create --client-id https://app.example.com/client.json --name Web \\
    --redirect-uri https://app.example.com/callback --scope 'read write' --logo-uri https://app.example.com/logo.png

Serve it at the client id as application/json, without a redirect; then: fastmcp auth cimd validate URL")]
struct Create {
    /// The client's id: the https URL at which the document will be
    #[arg(long, value_name = "URL")]
    client_id: String,
    /// What people know the client by
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Where its answers may be sent; may be repeated
    #[arg(long = "redirect-uri", value_name = "URI", required = true)]
    redirect_uris: Vec<String>,
    /// A page about the client
    #[arg(long, value_name = "URL")]
    client_uri: Option<String>,
    /// Its picture
    #[arg(long, value_name = "URL")]
    logo_uri: Option<String>,
    /// The scopes that it asks for, separated by spaces
    #[arg(long, value_name = "SCOPES")]
    scope: Option<String>,
    /// Write it to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Indent it
    #[arg(long)]
    pretty: bool,
}

/// Get a client's metadata document and check it, as an authorization server does
///
/// The rules are those of FastMCP's own OAuth proxy: the id is the URL to the letter; https, with a path, without `.`, `..`,
/// fragment and user name; redirect URIs of https, of this machine or of an application; no secret, and no proof that rests on one;
/// at most 32 KiB, and no redirect. Hosts of inner networks are not asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp auth cimd validate https://app.example.com/client.json
  fastmcp auth cimd validate http://127.0.0.1:8000/client.json --allow-loopback   while it is written

Exit codes: 0 it keeps the rules, 1 it does not or cannot be got, 2 wrong usage.")]
struct Validate {
    /// The client's id, which is the URL of the document
    #[arg(value_name = "URL")]
    url: String,
    /// How long the answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
    /// For development: a document of this machine may be asked for, over http too
    #[arg(long)]
    allow_loopback: bool,
    /// Trust the certificates of this file (PEM) too
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print what it says as JSON
    #[arg(long)]
    json: bool,
}

impl Cimd {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self.command {
            CimdCommand::Create(create) => create.run(),
            CimdCommand::Validate(validate) => validate.run(),
        }
    }
}

impl Create {
    fn run(self) -> anyhow::Result<Outcome> {
        let mut document = Map::new();
        let mut put = |field: &str, value: Value| document.insert(field.to_owned(), value);
        put("client_id", json!(self.client_id));
        put("client_name", json!(self.name));
        put("redirect_uris", json!(self.redirect_uris));
        put(
            "grant_types",
            json!(["authorization_code", "refresh_token"]),
        );
        put("response_types", json!(["code"]));
        put("token_endpoint_auth_method", json!("none"));
        for (field, value) in [
            ("client_uri", &self.client_uri),
            ("logo_uri", &self.logo_uri),
            ("scope", &self.scope),
        ] {
            if let Some(value) = value {
                put(field, json!(value));
            }
        }
        let document = Value::Object(document);
        let text = document.to_string();
        // What is written here is what is read elsewhere.
        ClientDocument::read(&self.client_id, text.as_bytes(), &RedirectRules::default())
            .map_err(|error| Usage::new(shown(&error)))?;
        let text = if self.pretty {
            serde_json::to_string_pretty(&document)?
        } else {
            text
        };
        match &self.output {
            None => output::say(&text)?,
            Some(file) => fs::write(file, text + "\n")
                .with_context(|| format!("`{}` cannot be written", file.display()))?,
        }
        output::complain(&format!(
            "serve it at {} as application/json, without a redirect",
            unmistakable(&self.client_id)
        ));
        Ok(Outcome::Passed)
    }
}

impl Validate {
    fn run(self) -> anyhow::Result<Outcome> {
        let mut network = NetworkConfig::public().with_timeout(Duration::from_secs(self.timeout));
        if self.allow_loopback {
            network = network.allow_loopback();
        }
        if let Some(file) = &self.ca {
            let pem = output::read_small(file, 1024 * 1024)?;
            let trust = Trust::default().with_pem(&pem);
            let told = || format!("--ca: `{}`", file.display());
            network = network.with_trust(trust.with_context(told)?);
        }
        let read = reach::run(|_| async {
            let rules = RedirectRules::default();
            // The future is large, as all that go over the network are.
            Ok(Box::pin(ClientDocument::fetch(&self.url, &network, &rules)).await)
        })?;
        let document = match read {
            Ok(document) => document,
            Err(error) => {
                self.tell(&error)?;
                return Ok(Outcome::Failed);
            }
        };
        let proof = match document.proof() {
            DocumentProof::Key => "private_key_jwt",
            _ => "none",
        };
        if self.json {
            output::say_json(&json!({
                "valid": true,
                "client_id": document.id(),
                "client_name": document.name(),
                "redirect_uris": document.redirect_uris(),
                "scope": document.scopes().join(" "),
                "token_endpoint_auth_method": proof,
            }))?;
            return Ok(Outcome::Passed);
        }
        let mut rows = vec![
            row("client id", document.id()),
            row("name", document.name()),
            row("proves itself by", proof),
        ];
        let uris = document.redirect_uris().iter();
        rows.extend(uris.map(|uri| row("redirect uri", uri)));
        if !document.scopes().is_empty() {
            rows.push(row("scopes", &document.scopes().join(" ")));
        }
        output::say(&format!("{}\nit keeps the rules", output::table(&rows)))?;
        if proof != "none" {
            output::complain(
                "FastMCP's own OAuth proxy serves public clients alone (`token_endpoint_auth_method` is `none`)",
            );
        }
        Ok(Outcome::Passed)
    }

    fn tell(&self, error: &DocumentError) -> anyhow::Result<()> {
        if self.json {
            let problems = match error {
                DocumentError::Unfit(problems) => problems
                    .iter()
                    .map(|one| json!({"field": one.field(), "problem": one.to_string()}))
                    .collect(),
                error => vec![json!({"field": Value::Null, "problem": shown(error)})],
            };
            return output::say_json(&json!({"valid": false, "problems": problems}));
        }
        match error {
            DocumentError::Unfit(problems) => {
                for one in problems {
                    output::complain(&unmistakable(&one.to_string()));
                }
            }
            error => output::complain(&shown(error)),
        }
        if let DocumentError::Fetch(OAuthError::Fetch { source, .. }) = error
            && source.refusal().is_some()
            && !self.allow_loopback
        {
            output::complain("a document of this machine is asked for with --allow-loopback");
        }
        Ok(())
    }
}

/// An error in words, without what would steer a terminal.
fn shown(error: &DocumentError) -> String {
    unmistakable(&output::told_of(error))
}

fn row(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), unmistakable(value)]
}
