//! A server as each client writes it.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::{
    configured::Client,
    definition::{Definition, Process, Remote},
    output,
};

/// What stands for a value that is not shown.
const HIDDEN: &str = "***";

/// The server as `client` writes it.
pub(super) fn of(
    client: Client,
    name: &str,
    definition: &Definition,
    is_shared: bool,
) -> anyhow::Result<Map<String, Value>> {
    let entry = match (client, definition) {
        // It starts processes alone.
        (Client::ClaudeDesktop, definition) => process(client, name, &as_process(definition)?),
        (_, Definition::Process(one)) => process(client, name, one),
        (_, Definition::Remote(one)) => remote(client, name, one),
        (_, Definition::Project(_)) => anyhow::bail!("a package is built first"),
    };
    let mut entry: Map<String, Value> = entry
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .collect();
    if is_shared && matches!(client, Client::Cursor | Client::VsCode) {
        for value in entry.values_mut() {
            as_editors_write(value);
        }
    }
    Ok(entry)
}

/// The server as a process: one at an address is reached by this command.
pub(super) fn as_process(definition: &Definition) -> anyhow::Result<Process> {
    let remote = match definition {
        Definition::Process(process) => return Ok(process.clone()),
        Definition::Remote(remote) => remote,
        Definition::Project(_) => anyhow::bail!("a package is built first"),
    };
    let program = std::env::current_exe().context("the path of this command is not known")?;
    let program = program
        .to_str()
        .context("the path of this command is not UTF-8")?
        .to_owned();
    let mut args = vec!["run".to_owned(), remote.url.clone()];
    let mut env = BTreeMap::new();
    // Arguments can be seen by everybody on the machine; variables cannot.
    for (number, (name, value)) in (1..).zip(&remote.headers) {
        let variable = format!("FASTMCP_HEADER_{number}");
        args.push("--header".to_owned());
        args.push(format!("{name}: ${{{variable}}}"));
        env.insert(variable, value.clone());
    }
    if remote.oauth {
        args.push("--oauth".to_owned());
    }
    Ok(Process {
        program,
        args,
        env,
        ..Process::default()
    })
}

fn process(client: Client, name: &str, process: &Process) -> Vec<(String, Value)> {
    let env = if process.env.is_empty() {
        Value::Null
    } else {
        json!(process.env)
    };
    let knows_folder = matches!(client, Client::VsCode | Client::GeminiCli);
    let folder = process.folder.as_ref().filter(|_| knows_folder);
    if process.folder.is_some() && !knows_folder {
        output::complain(&format!(
            "{} chooses the folder itself: the server must not rely on the one named",
            client.name()
        ));
    }
    let entry = match client {
        Client::Goose => json!({
            "enabled": true, "type": "stdio", "name": name, "description": "", "cmd": process.program,
            "args": process.args, "envs": process.env, "timeout": 300
        }),
        Client::ClaudeCode | Client::VsCode => {
            json!({"type": "stdio", "command": process.program, "args": process.args, "env": env, "cwd": folder})
        }
        _ => json!({"command": process.program, "args": process.args, "env": env, "cwd": folder}),
    };
    members(entry)
}

fn remote(client: Client, name: &str, remote: &Remote) -> Vec<(String, Value)> {
    let headers = if remote.headers.is_empty() {
        Value::Null
    } else {
        json!(remote.headers)
    };
    let kind = if remote.is_sse { "sse" } else { "http" };
    let entry = match client {
        Client::Goose => json!({
            "enabled": true, "type": if remote.is_sse { "sse" } else { "streamable_http" }, "name": name,
            "description": "", "uri": remote.url, "headers": headers, "timeout": 300
        }),
        Client::GeminiCli if !remote.is_sse => json!({"httpUrl": remote.url, "headers": headers}),
        Client::GeminiCli | Client::Cursor => json!({"url": remote.url, "headers": headers}),
        _ => json!({"type": kind, "url": remote.url, "headers": headers}),
    };
    members(entry)
}

fn members(entry: Value) -> Vec<(String, Value)> {
    match entry {
        Value::Object(members) => members.into_iter().collect(),
        _ => Vec::new(),
    }
}

/// `${NAME}` as `${env:NAME}`, which is what editors fill in.
fn as_editors_write(value: &mut Value) {
    match value {
        Value::String(text) => {
            *text = text
                .replace("${", "${env:")
                .replace("${env:env:", "${env:")
                .replace("${env:workspaceFolder}", "${workspaceFolder}");
        }
        Value::Array(items) => items.iter_mut().for_each(as_editors_write),
        Value::Object(members) => members.values_mut().for_each(as_editors_write),
        _ => {}
    }
}

/// The entry without the values of its variables and headers, to be shown.
pub(super) fn without_values(entry: &Map<String, Value>) -> Map<String, Value> {
    let mut entry = entry.clone();
    for member in ["env", "envs", "headers"] {
        if let Some(Value::Object(values)) = entry.get_mut(member) {
            values
                .values_mut()
                .for_each(|value| *value = Value::from(HIDDEN));
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Definition {
        Definition::Process(Process {
            program: "npx".to_owned(),
            args: vec!["-y".to_owned(), "x".to_owned()],
            env: BTreeMap::from([("KEY".to_owned(), "${KEY}".to_owned())]),
            ..Process::default()
        })
    }

    fn away() -> Definition {
        Definition::Remote(Remote {
            url: "https://h.example/mcp".to_owned(),
            headers: BTreeMap::from([("X-Key".to_owned(), "hunter2".to_owned())]),
            ..Remote::default()
        })
    }

    #[test]
    fn each_client_gets_its_own_form() {
        let of = |client, definition: &Definition| {
            Value::Object(of(client, "x", definition, false).unwrap())
        };
        let plain = json!({"command": "npx", "args": ["-y", "x"], "env": {"KEY": "${KEY}"}});
        let typed = json!({"type": "stdio", "command": "npx", "args": ["-y", "x"], "env": {"KEY": "${KEY}"}});
        for client in [Client::ClaudeDesktop, Client::Cursor, Client::GeminiCli] {
            assert_eq!(of(client, &local()), plain, "{client:?}");
        }
        for client in [Client::ClaudeCode, Client::VsCode] {
            assert_eq!(of(client, &local()), typed, "{client:?}");
        }
        assert_eq!(of(Client::Goose, &local())["cmd"], "npx");
        let headers = json!({"X-Key": "hunter2"});
        for client in [Client::ClaudeCode, Client::VsCode] {
            assert_eq!(
                of(client, &away()),
                json!({"type": "http", "url": "https://h.example/mcp", "headers": headers})
            );
        }
        assert_eq!(
            of(Client::Cursor, &away()),
            json!({"url": "https://h.example/mcp", "headers": headers})
        );
        assert_eq!(
            of(Client::GeminiCli, &away()),
            json!({"httpUrl": "https://h.example/mcp", "headers": headers})
        );
        assert_eq!(of(Client::Goose, &away())["type"], "streamable_http");
    }

    #[test]
    fn a_client_of_processes_reaches_an_address_by_this_command_without_secrets_in_arguments() {
        let entry = of(Client::ClaudeDesktop, "x", &away(), false).unwrap();
        assert_eq!(
            entry["args"],
            json!([
                "run",
                "https://h.example/mcp",
                "--header",
                "X-Key: ${FASTMCP_HEADER_1}"
            ])
        );
        assert_eq!(entry["env"], json!({"FASTMCP_HEADER_1": "hunter2"}));
    }

    #[test]
    fn editors_fill_variables_in_by_their_own_form() {
        let entry = of(Client::Cursor, "x", &local(), true).unwrap();
        assert_eq!(entry["env"]["KEY"], "${env:KEY}");
        assert_eq!(without_values(&entry)["env"]["KEY"], HIDDEN);
    }
}
