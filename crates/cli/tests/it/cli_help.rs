//! What the command says about itself.

use crate::support::Home;

async fn help(arguments: &[&str]) -> String {
    let home = Home::new();
    let output = home.run(&[arguments, &["--help"]].concat(), &[]).await;
    assert!(output.status.success(), "{arguments:?}");
    assert!(output.stderr.is_empty(), "{arguments:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // Empty lines are indented like their neighbours.
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn the_first_page_teaches_the_first_steps() {
    insta::assert_snapshot!(help(&[]).await, @r"
    Write, run and use MCP servers, and govern the tools that AI agents use

    Usage: fastmcp <COMMAND>

    Commands:
      run           Run a server, or put one in front of others
      dev           Run a server while it is written: built and started anew on every change
      list          List the tools, resources, templates and prompts of a server
      call          Call a tool, read a resource or render a prompt
      inspect       Show what a server is and has, or write its manifest
      install       Give a server to a client: write it into the client's file
      generate-cli  Write a program that has a command for each tool of a server, and a skill that teaches an agent to use it
      discover      List the servers that clients on this machine have
      auth          Write and check what a client is known by to authorization servers
      serve         Start the gateway: MCP and REST over one set of governed tools
      token         Make tokens for development, and keys for machines
      audit         Read the audit log and prove that it is whole
      approvals     Decide on calls that wait for a person's approval
      operations    Look at operations, and settle those of unknown outcome
      labels        Look at the labels that a caller carries for what it has read, and take them back
      keys          Rotate the keys that seal what the gateway keeps
      policy        Check policies, explain and test their decisions, and see what a change would do
      doctor        Look for what is wrong with a set-up; changes nothing
      help          Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Begin here:
      fastmcp dev                                          run the server of this folder while you write it
      fastmcp list https://mcp.example.com/mcp             what a server has
      fastmcp call . add a=2 b=3                           call a tool
      fastmcp serve                                        start the gateway; nothing need be set up
      fastmcp token mint --sub agent-1 --role data-analyst mint a token for it
      fastmcp audit verify                                 prove that its record is whole
      fastmcp doctor                                       look for what is wrong with a set-up

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    ");
}

#[tokio::test]
async fn serve_explains_itself() {
    insta::assert_snapshot!(help(&["serve"]).await, @r"
    Start the gateway: MCP and REST over one set of governed tools

    Nothing need be set up: keys, state, a sample database, a folder for files and a default policy are made in the data folder, and it listens on loopback alone. Settings come from fastmcp.yaml, then .env, then the environment, then flags; `--print-config` shows each one with its source.

    SIGTERM or ctrl-c lets running calls finish, SIGHUP loads policy, limits, API keys and certificates anew (as does a change of their files).

    Usage: fastmcp serve [OPTIONS]

    Options:
          --bind <ADDR:PORT>
              Address to listen at; beyond loopback it takes the keys of an identity provider [default: 127.0.0.1:8000; variables HOST, PORT]

          --stdio
              Speak MCP on standard input and output instead, with one local client [variable TRANSPORT=stdio]

          --role <ROLE>
              With --stdio: a role of the local client; may be repeated. Without one it may call nothing

          --print-config
              Show each setting with its value and source, secrets left out, and start nothing

          --json
              With --print-config: as JSON

          --data-dir <DIR>
              Folder of keys, state, audit and policies [default: .fastmcp; variable FASTMCP_DATA_DIR]

          --config <FILE>
              Configuration file [default: fastmcp.yaml where it exists; variable FASTMCP_CONFIG]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      fastmcp serve                                     on http://127.0.0.1:8000
      fastmcp serve --bind 127.0.0.1:0                  on any free port; the first line says which
      fastmcp serve --stdio --role data-analyst         for one local MCP client
      JWT_ISSUER=https://idp.example.com JWT_JWKS_URL=https://idp.example.com/jwks.json fastmcp serve --bind 0.0.0.0:8000
    ");
}

#[tokio::test]
async fn token_mint_explains_itself() {
    insta::assert_snapshot!(help(&["token", "mint"]).await, @r"
    Mint a token with the gateway's development key, and print it alone

    The gateway in the same data folder takes it. Roles say what the caller may do; `policies.yml` in the data folder says what the roles are. Where the keys of an identity provider are configured, tokens come from there instead.

    Usage: fastmcp token mint [OPTIONS] --sub <NAME>

    Options:
          --sub <NAME>
              Who calls: the subject of the token

          --tenant <NAME>
              For whom: the tenant

              [default: public]

          --role <ROLE>
              A role; may be repeated

          --scope <SCOPE>
              A scope that the roles give and the token keeps; may be repeated [default: all that the roles give]

          --ttl <TIME>
              How long it lives, such as 90s, 30m, 1h: up to 720h [default: JWT_TTL_MIN, 10 minutes]

          --client-cert <FILE>
              Client certificate (PEM) that callers have to show with it

          --data-dir <DIR>
              Folder of keys, state, audit and policies [default: .fastmcp; variable FASTMCP_DATA_DIR]

          --config <FILE>
              Configuration file [default: fastmcp.yaml where it exists; variable FASTMCP_CONFIG]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      fastmcp token mint --sub agent-1 --role data-analyst
      TOKEN=$(fastmcp token mint --sub agent-1 --tenant acme --role data-analyst --role finance-write --ttl 1h)
      fastmcp token mint --sub reader --role data-admin --scope database.read --scope tools.invoke:read   narrower than its role
    ");
}

#[tokio::test]
async fn operations_settle_explains_itself() {
    insta::assert_snapshot!(help(&["operations", "settle"]).await, @r"
    Say how an operation of unknown outcome ended, once you have found out

    Nothing is done or undone: a repeated call with its key is answered accordingly from here on. Name and note are kept with the operation, and callers who repeat it may be told them. They also become a record of the audit log: where a running gateway holds that, within seconds, else at once.

    Usage: fastmcp operations settle [OPTIONS] --note <TEXT> <--completed|--failed> <ID>

    Arguments:
      <ID>
              The operation's id

    Options:
          --tenant <NAME>
              Its tenant; needed only where there are very many operations

          --completed
              It did happen

          --failed
              It did not happen; doing it after all takes a new call with a new key

          --note <TEXT>
              How you found out

          --by <NAME>
              Who found out

              [default: operator]

          --data-dir <DIR>
              Folder of keys, state, audit and policies [default: .fastmcp; variable FASTMCP_DATA_DIR]

          --config <FILE>
              Configuration file [default: fastmcp.yaml where it exists; variable FASTMCP_CONFIG]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      fastmcp operations list --status unknown
      fastmcp operations settle 019a9f3c-2f6b-7cc1-9d53-0a4be2a1c7d4 --completed --by alice --note 'found in the ad account'
    ");
}

#[tokio::test]
async fn every_command_has_help_with_its_defaults() {
    for command in [
        ["audit", "verify"],
        ["audit", "show"],
        ["audit", "tail"],
        ["audit", "search"],
        ["audit", "prove"],
        ["audit", "verify-proof"],
        ["audit", "checkpoint"],
        ["operations", "list"],
        ["operations", "show"],
        ["operations", "settle"],
        ["labels", "show"],
        ["labels", "clear"],
        ["keys", "list"],
        ["keys", "rotate"],
        ["keys", "add"],
        ["keys", "use"],
        ["keys", "retire"],
        ["policy", "check"],
        ["policy", "explain"],
    ] {
        let said = help(&command).await;
        assert!(
            said.contains("--data-dir <DIR>") && said.contains("[default: .fastmcp"),
            "{command:?}: {said}"
        );
    }
    for commands in ["token", "audit", "operations", "policy", "doctor"] {
        assert!(help(&[commands]).await.contains("Usage: fastmcp"));
    }
}

#[tokio::test]
async fn wrong_usage_is_exit_code_2_and_says_what_is_right() {
    const ID: &str = "018bcfe5-6800-7000-8000-000000000000";
    let home = Home::new();
    for (arguments, expected) in [
        (&["serv"][..], "serve"),
        (&["serve", "--bind", "8000"], "--bind <ADDR:PORT>"),
        (
            &["serve", "--stdio", "--bind", "127.0.0.1:0"],
            "cannot be used with",
        ),
        (&["token", "mint"], "--sub <NAME>"),
        (
            &["token", "mint", "--sub", "a", "--ttl", "soon"],
            "use a time such as 90s",
        ),
        (&["audit", "tail", "-n", "0"], "1..=100000"),
        (
            &["audit", "search", "--status", "lost"],
            "success, failed, denied",
        ),
        (&["policy", "explain"], "--sub <NAME>"),
        (&["operations", "list", "--status", "lost"], "unknown"),
        (&["operations", "list", "--limit", "501"], "1..=500"),
        (&["operations", "show", "42"], "<ID>"),
        (
            &["operations", "settle", ID, "--note", "seen"],
            "--completed|--failed",
        ),
        (
            &["operations", "settle", ID, "--failed", "--completed"],
            "cannot be used with",
        ),
        (&["operations", "settle", ID, "--failed"], "--note <TEXT>"),
        (
            &["operations", "settle", ID, "--failed", "--note", " "],
            "use one line of text",
        ),
    ] {
        let output = home.run(arguments, &[]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
