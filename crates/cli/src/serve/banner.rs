//! What a person needs next, once the gateway listens.

use std::{fmt, net::SocketAddr};

use fastmcp_gateway::config::{Config, JwtKeys};
use serde_json::json;

use crate::{place::Place, shell::quoted};

const CAMPAIGN: &str = r#"{"name": "Spring sale", "budget": 250, "startDate": "2026-03-01"}"#;

/// The greeting on stdout.
pub(super) struct Banner<'a> {
    pub(super) config: &'a Config,
    pub(super) place: &'a Place,
    pub(super) address: SocketAddr,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let url = format!("{scheme}://{}", self.address);
        let Config {
            server_name,
            server_version,
            ..
        } = self.config;
        writeln!(f, "listening on {url}")?;
        writeln!(f, "  {server_name} {server_version}")?;
        writeln!(f, "  MCP   {url}/mcp")?;
        writeln!(f, "  REST  {url}/tool-catalog   described at {url}/docs")?;
        writeln!(f, "  state {url}/ready   {url}/metrics")?;
        writeln!(
            f,
            "  data  {}   policy {}",
            self.config.data_dir.display(),
            self.config.policy_path.display()
        )?;
        self.token(f)?;
        self.curl(f, &url)?;
        writeln!(f, "\nConfigure an MCP client:")?;
        let client = json!({"mcpServers": {self.config.app_name.as_str(): {
            "type": "http",
            "url": format!("{url}/mcp"),
            "headers": {"Authorization": "Bearer <the token>"},
        }}});
        write!(f, "  {client}")
    }
}

impl Banner<'_> {
    fn token(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let jwt = &self.config.jwt;
        if jwt.keys != JwtKeys::Development {
            let own = (jwt.keys != JwtKeys::None).then_some(jwt.issuer.as_str());
            let others = jwt.issuers.iter().map(|other| other.issuer.as_str());
            let issuers: Vec<_> = own.into_iter().chain(others).collect();
            return writeln!(
                f,
                "\nGet a token from {} for the audience `{}`:\n  TOKEN=...",
                issuers.join(" or "),
                jwt.audience
            );
        }
        writeln!(
            f,
            "\nMint a token (development keys, good for {} minutes):",
            jwt.ttl.as_secs() / 60
        )?;
        write!(
            f,
            "  TOKEN=$(fastmcp token mint --sub agent-1 --role data-analyst --role finance-write"
        )?;
        let flags = [
            ("--data-dir", &self.place.data_dir),
            ("--config", &self.place.config),
        ];
        for (flag, path) in flags {
            if let Some(path) = path {
                write!(f, " {flag} {}", quoted(&path.display().to_string()))?;
            }
        }
        writeln!(f, ")")
    }

    fn curl(&self, f: &mut fmt::Formatter<'_>, url: &str) -> fmt::Result {
        let curl = "curl -s -H \"Authorization: Bearer $TOKEN\"";
        let json = "-H 'Content-Type: application/json'";
        let query = if self.config.database_is_sample {
            r#"{"query": "SELECT name, city FROM customers LIMIT 3"}"#
        } else {
            r#"{"query": "SELECT 1"}"#
        };
        writeln!(
            f,
            "\nSee what it may do, query the database, and create a campaign, which has to be confirmed:"
        )?;
        writeln!(f, "  {curl} {url}/tool-catalog")?;
        writeln!(
            f,
            "  {curl} {json} -d '{query}' {url}/tools/database:executeQuery/invoke"
        )?;
        let campaign = format!("{url}/tools/ads:createCampaign");
        write!(
            f,
            "  ACTION=$({curl} {json} -d '{CAMPAIGN}' {campaign}/invoke | sed -n 's/.*\"action_token\": *\"\\([^\"]*\\)\".*/\\1/p'); "
        )?;
        writeln!(
            f,
            "{curl} {json} -H \"X-Action-Token: $ACTION\" -d '{CAMPAIGN}' {campaign}/confirm"
        )
    }
}

#[cfg(test)]
mod tests {
    use fastmcp_gateway::config::{self, Flags};

    use super::*;

    fn banner(vars: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let flags = Flags {
            data_dir: Some(folder.path().to_owned()),
            ..Flags::default()
        };
        let vars = vars
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = config::preview(vars, &flags).unwrap().config;
        let place = Place {
            data_dir: Some("my data".into()),
            config: None,
        };
        let banner = Banner {
            config: &config,
            place: &place,
            address: "127.0.0.1:4711".parse().unwrap(),
        };
        banner.to_string()
    }

    #[test]
    fn it_says_what_to_do_next() {
        let said = banner(&[]);
        assert!(
            said.starts_with("listening on http://127.0.0.1:4711\n"),
            "{said}"
        );
        assert!(said.contains("--data-dir 'my data')"), "{said}");
        assert_eq!(
            said.matches("\n  curl ").count() + said.matches("\n  ACTION=$(curl ").count(),
            3,
            "{said}"
        );
        assert!(said.contains("SELECT name, city FROM customers"), "{said}");
        let client: serde_json::Value =
            serde_json::from_str(said.lines().last().unwrap().trim()).unwrap();
        assert_eq!(
            client["mcpServers"]["fastmcp"]["url"],
            "http://127.0.0.1:4711/mcp"
        );
    }

    #[test]
    fn it_knows_whose_tokens_are_taken() {
        let said = banner(&[
            ("JWT_ISSUER", "https://idp.example.com"),
            ("JWT_JWKS_URL", "https://idp.example.com/jwks"),
            ("DATABASE_PATH", "app.db"),
        ]);
        assert!(
            said.contains("Get a token from https://idp.example.com for the audience `fastmcp`"),
            "{said}"
        );
        assert!(
            !said.contains("token mint") && said.contains("SELECT 1"),
            "{said}"
        );
    }
}
