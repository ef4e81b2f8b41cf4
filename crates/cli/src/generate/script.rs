//! The program: a POSIX shell script with a command for each tool, that calls `fastmcp call`.
//!
//! Every text that comes from the server stands in single quotes, where a shell reads nothing but the text; what the shell runs
//! is written here. Functions and cases are numbered, so that no name of a stranger becomes one.

use std::fmt::Write as _;

use super::shape::{Command, Flag, Kind};
use crate::{
    shell::{literal, quoted},
    target::Written,
};

/// What every program begins and ends with. The tables of the tools stand between.
const HEAD: &str = include_str!("head.sh");
const BODY: &str = include_str!("body.sh");

/// What the program is about.
pub(super) struct Program<'a> {
    /// The server, as it calls itself, on one line.
    pub(super) server: &'a str,
    pub(super) target: &'a Written,
    pub(super) commands: &'a [Command],
}

impl Program<'_> {
    /// The whole script.
    pub(super) fn script(&self) -> String {
        let mut text = String::from(
            "#!/bin/sh\n\
             # The tools of an MCP server as commands of their own. Written by `fastmcp generate-cli`, and to be written anew when the\n\
             # server's tools change. It calls `fastmcp`, which the variable FASTMCP may name. It holds no secret.\n",
        );
        text.push_str(HEAD);
        text.push('\n');
        self.reach(&mut text);
        self.usage(&mut text);
        self.explain(&mut text);
        self.number(&mut text);
        self.flag(&mut text);
        self.choice(&mut text);
        self.needs(&mut text);
        text.push_str(BODY);
        text
    }

    fn reach(&self, text: &mut String) {
        let words = |words: &[String]| -> String {
            words
                .iter()
                .map(|word| format!(" {}", quoted(word)))
                .collect()
        };
        let (before, after) = (words(&self.target.before), words(&self.target.after));
        line(text, "# Runs a command of fastmcp for the server.");
        line(text, "reach() {");
        line(text, "  verb=$1");
        line(text, "  shift");
        line(text, "  command -v \"$fastmcp\" >/dev/null 2>&1 || {");
        line(
            text,
            "    printf '%s: there is no %s; install fastmcp, or name it by the variable FASTMCP\\n' \"$self\" \"$fastmcp\" >&2",
        );
        line(text, "    exit 127");
        line(text, "  }");
        line(
            text,
            &format!("  exec \"$fastmcp\" \"$verb\"{before} \"$@\"{after}"),
        );
        line(text, "}\n");
    }

    fn usage(&self, text: &mut String) {
        line(text, "usage() {");
        line(
            text,
            "  printf 'Usage: %s [OPTIONS] TOOL [FLAGS]\\n' \"$self\"",
        );
        let mut shown = vec![
            String::new(),
            format!(
                "The tools of {}. TOOL --help says more about one.",
                self.server
            ),
            String::new(),
            "Tools:".to_owned(),
        ];
        let widest = self.commands.iter().map(|one| one.name.chars().count());
        let width = widest
            .filter(|count| *count <= 32)
            .max()
            .unwrap_or_default();
        for command in self.commands {
            shown.push(format!("  {:width$}  {}", command.name, command.brief()));
        }
        shown.extend(OPTIONS.lines().map(str::to_owned));
        for variable in &self.target.variables {
            shown.push(format!("Needs the variable {variable}."));
        }
        print(text, "  ", &shown);
        line(text, "}\n");
    }

    fn explain(&self, text: &mut String) {
        line(text, "explain() {");
        line(text, "  case $tool in");
        for (number, command) in self.numbered() {
            line(text, &format!("  {number})"));
            line(
                text,
                &format!(
                    "    printf 'Usage: %s %s\\n' \"$self\" {}",
                    literal(&command.synopsis())
                ),
            );
            let mut shown = vec![String::new()];
            shown.extend(command.about.iter().cloned());
            if !command.flags.is_empty() {
                shown.extend([String::new(), "Flags:".to_owned()]);
            }
            for flag in &command.flags {
                shown.push(format!("  {}", flag.form()));
                let told = flag.told();
                if !told.is_empty() {
                    shown.push(format!("      {told}"));
                }
            }
            if !command.others.is_empty() {
                shown.extend([String::new(), "By --json-args alone:".to_owned()]);
            }
            for other in &command.others {
                let mark = if other.is_required { " (required)" } else { "" };
                shown.push(format!("  {}{mark}", other.shown));
            }
            shown.extend(WHOLE.lines().map(str::to_owned));
            print(text, "    ", &shown);
            line(text, "    ;;");
        }
        line(text, "  esac");
        line(text, "}\n");
    }

    fn number(&self, text: &mut String) {
        line(text, "# Which tool has the name.");
        line(text, "number() {");
        line(text, "  case $1 in");
        for (number, command) in self.numbered() {
            line(
                text,
                &format!("  {}) tool={number} ;;", literal(&command.name)),
            );
        }
        line(text, "  *) tool=0 ;;");
        line(text, "  esac");
        line(text, "}\n");
    }

    fn flag(&self, text: &mut String) {
        line(text, "# Which argument of the tool a flag gives, and how.");
        line(text, "flag() {");
        line(text, "  case $tool$1 in");
        for (number, command) in self.numbered() {
            for (id, flag) in numbered(&command.flags) {
                let patterns: Vec<_> = flag
                    .spellings
                    .iter()
                    .map(|spelling| literal(&format!("{number}{spelling}")))
                    .collect();
                let kind = match flag.kind {
                    Kind::Switch => "switch",
                    Kind::Value | Kind::List => "value",
                };
                line(
                    text,
                    &format!(
                        "  {}) argument={} id={id} kind={kind} ;;",
                        patterns.join(" | "),
                        literal(&flag.argument)
                    ),
                );
            }
        }
        line(text, "  *) kind=none ;;");
        line(text, "  esac");
        line(text, "}\n");
    }

    fn choice(&self, text: &mut String) {
        line(text, "# Refuses a value that is not among the choices.");
        line(text, "choice() {");
        line(text, "  case $tool-$id in");
        for (number, command) in self.numbered() {
            let flags = numbered(&command.flags);
            for (id, flag) in flags.filter(|(_, flag)| !flag.choices.is_empty()) {
                let patterns: Vec<_> = flag.choices.iter().map(|one| literal(one)).collect();
                let shown = flag.spellings.first().map_or("", String::as_str);
                let message = format!("{shown}: give one of {}", flag.choices.join(", "));
                line(text, &format!("  {number}-{id})"));
                line(text, "    case $value in");
                line(text, &format!("    {}) ;;", patterns.join(" | ")));
                line(text, &format!("    *) misuse {} ;;", literal(&message)));
                line(text, "    esac");
                line(text, "    ;;");
            }
        }
        line(text, "  esac");
        line(text, "}\n");
    }

    fn needs(&self, text: &mut String) {
        line(text, "needs() {");
        line(text, "  case $tool in");
        for (number, command) in self.numbered() {
            let mut needed = Vec::new();
            for (id, flag) in numbered(&command.flags).filter(|(_, flag)| flag.is_required) {
                let shown = flag.spellings.first().map_or("", String::as_str);
                needed.push(format!("need {id} {}", literal(shown)));
            }
            for other in command.others.iter().filter(|other| other.is_required) {
                let shown = format!("--json-args with {}", other.shown);
                needed.push(format!("need 0 {}", literal(&shown)));
            }
            if !needed.is_empty() {
                line(text, &format!("  {number})"));
                for one in needed {
                    line(text, &format!("    {one}"));
                }
                line(text, "    ;;");
            }
        }
        line(text, "  esac");
        line(text, "}\n");
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &Command)> {
        (1..).zip(self.commands)
    }
}

/// Flags with the numbers that the program knows them by.
fn numbered(flags: &[Flag]) -> impl Iterator<Item = (usize, &Flag)> {
    (1..).zip(flags)
}

/// The end of the help, whatever the tools are.
const OPTIONS: &str = "
Options:
  --json                 print the whole result as JSON, as the protocol writes it
  --output-dir DIR       keep images, sounds and binary contents in this folder
  --elicit NAME=VALUE    answer a question of the server; may be repeated
  --verbose              show what the server says on its standard error, and what is logged
  --list                 show what the server has now, resources and prompts too
  --resource URI         read a resource
  --prompt NAME [NAME=VALUE]...
                         render a prompt
  --help

Exit codes: 0 done, 1 the tool or the call failed, 2 flags that do not fit, 127 there is no fastmcp.";

/// The end of the help of every tool.
const WHOLE: &str = "
  --json-args JSON
      All arguments as a JSON object; flags go on top
  --args-file FILE
      A file that holds them; - is standard input";

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// Lines that the program prints.
fn print(text: &mut String, indent: &str, lines: &[String]) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{indent}printf '%s\\n'");
    for shown in lines {
        let _ = write!(text, " \\\n{indent}  {}", literal(shown));
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Command as Process};

    use fastmcp::protocol::tool::Tool;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// What a shell does with the words.
    struct Ran {
        code: i32,
        stdout: String,
        stderr: String,
    }

    /// Runs a program with a `fastmcp` that prints its arguments, one a line and each in brackets.
    fn run(folder: &Path, shell: &str, script: &str, words: &[&str]) -> Ran {
        let (program, recorder) = (folder.join("cli.sh"), folder.join("recorder"));
        fs::write(&program, script).unwrap();
        if !recorder.exists() {
            fs::write(&recorder, "for word; do printf '[%s]\n' \"$word\"; done\n").unwrap();
        }
        // Run by a shell, since a file that is written and started at once may still be open in another test's child.
        let script = script.replace("exec \"$fastmcp\"", "exec sh \"$fastmcp\"");
        fs::write(&program, script.replace("command -v", ": command -v")).unwrap();
        let output = Process::new(shell)
            .arg(&program)
            .args(words)
            .env("FASTMCP", &recorder)
            .current_dir(folder)
            .output()
            .unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The shells of this machine.
    fn shells() -> impl Iterator<Item = &'static str> + Clone {
        let is_there = |shell: &&str| Process::new(shell).args(["-c", ":"]).status().is_ok();
        ["sh", "bash", "dash"].into_iter().filter(is_there)
    }

    fn command(name: &str, description: &str, schema: serde_json::Value) -> Option<Command> {
        let schema = serde_json::from_value(schema).unwrap();
        Command::of(&Tool::new(name, schema).with_description(description)).unwrap()
    }

    fn program(server: &str, commands: &[Command]) -> String {
        let target = Written {
            before: vec!["--timeout=5".to_owned(), "https://h/mcp".to_owned()],
            after: vec!["--".to_owned(), "a b".to_owned()],
            variables: vec!["TOKEN".to_owned()],
        };
        let program = Program {
            server,
            target: &target,
            commands,
        };
        program.script()
    }

    fn plan() -> String {
        let schema = json!({
            "properties": {
                "start_date": {"type": "string"}, "loud": {"type": "boolean"}, "size": {"enum": ["small", "it's"]},
                "tags": {"type": "array"}, "json": {"type": "string"}, "a b": {}
            },
            "required": ["start_date"]
        });
        let plain = command("list", "", json!({})).unwrap();
        program("s", &[command("plan", "Plans.", schema).unwrap(), plain])
    }

    #[test]
    fn flags_become_words_of_fastmcp_in_every_shell() {
        let folder = tempfile::tempdir().unwrap();
        let begin = "[call]\n[--timeout=5]\n[https://h/mcp]\n";
        let end = "[--]\n[a b]\n";
        for shell in shells() {
            for (words, expected) in [
                (
                    &["plan", "--start-date", "x y"][..],
                    "[plan]\n[start_date=x y]\n",
                ),
                (
                    &["plan", "--start_date=a=b", "--loud", "--loud=false"],
                    "[plan]\n[start_date=a=b]\n[loud=true]\n[loud=false]\n",
                ),
                (
                    &[
                        "plan",
                        "--tags",
                        "a",
                        "--tags=",
                        "--json-args",
                        "{}",
                        "--verbose",
                    ],
                    "[plan]\n[tags=a]\n[tags=]\n[--json-args={}]\n[--verbose]\n",
                ),
                (
                    &[
                        "--elicit",
                        "a=b",
                        "--output-dir=d e",
                        "list",
                        "--elicit=-x=1",
                    ],
                    "[--elicit=a=b]\n[--output-dir=d e]\n[list]\n[--elicit=-x=1]\n",
                ),
                (
                    &["plan", "--json", "x", "--start-date", "--loud"],
                    "[plan]\n[json=x]\n[start_date=--loud]\n",
                ),
                (&["--resource", "a://b c"], "[--resource=a://b c]\n"),
                (
                    &["--json", "--prompt", "p", "x=1"],
                    "[x=1]\n[--json]\n[--prompt=p]\n",
                ),
            ] {
                let ran = run(folder.path(), shell, &plan(), words);
                assert_eq!(
                    ran.stdout,
                    format!("{begin}{expected}{end}"),
                    "{shell} {words:?}: {}",
                    ran.stderr
                );
                assert_eq!(ran.code, 0);
            }
            let listed = run(folder.path(), shell, &plan(), &["--list"]);
            assert!(listed.stdout.starts_with("[list]\n"), "{}", listed.stdout);
        }
    }

    #[test]
    fn what_does_not_fit_is_said_before_fastmcp_is_called() {
        let folder = tempfile::tempdir().unwrap();
        for shell in shells() {
            for (words, why) in [
                (&["plan"][..], "missing: --start-date"),
                (&["plan", "--start-date"], "--start-date takes a value"),
                (
                    &["plan", "--sart-date", "x"],
                    "'plan' has no flag '--sart-date'",
                ),
                (&["plan", "x"], "'x' belongs to no flag"),
                (
                    &["plan", "--start-date=x", "--size", "huge"],
                    "--size: give one of small, it's",
                ),
                (&["paln"], "there is no tool 'paln'"),
                (&["--jsno", "plan"], "there is no option '--jsno'"),
                (&["--json"], "say which tool is called"),
                (&["--list", "plan"], "--list stands alone"),
                (&["plan", "--prompt", "x"], "--prompt stands before a tool"),
                (&["--json-args", "{}"], "--json-args stands after a tool"),
                (
                    &["list", "--start-date", "x"],
                    "'list' has no flag '--start-date'",
                ),
                (&[], "Usage: cli.sh"),
            ] {
                let ran = run(folder.path(), shell, &plan(), words);
                assert_eq!(
                    (ran.code, ran.stdout.as_str()),
                    (2, ""),
                    "{shell} {words:?}"
                );
                assert!(ran.stderr.contains(why), "{words:?}: {}", ran.stderr);
            }
        }
        let help = run(folder.path(), "sh", &plan(), &["plan", "--help"]);
        for part in [
            "Usage: cli.sh plan --start-date TEXT",
            "\nPlans.\n",
            "  --size TEXT\n      [one of: small, it's]",
            "By --json-args alone:\n  a b\n",
        ] {
            assert!(help.stdout.contains(part), "{part}: {}", help.stdout);
        }
        let help = run(folder.path(), "sh", &plan(), &["--help"]);
        assert!(
            help.stdout.contains("  plan  Plans.\n  list  -\n"),
            "{}",
            help.stdout
        );
        assert!(
            help.stdout.contains("Needs the variable TOKEN."),
            "{}",
            help.stdout
        );
    }

    #[test]
    fn without_fastmcp_it_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("cli.sh");
        fs::write(&program, plan()).unwrap();
        let output = Process::new("sh")
            .arg(&program)
            .arg("list")
            .env("FASTMCP", "/no/such/fastmcp")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(127));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("there is no /no/such/fastmcp"), "{said}");
    }

    /// Text as somebody writes it who wants a shell to run it.
    fn hostile() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("$(touch pwned)".to_owned()),
            Just("`touch pwned`".to_owned()),
            Just("'; touch pwned; '".to_owned()),
            Just("\"; touch pwned; \"".to_owned()),
            Just("\n) touch pwned;;\nesac\n}\ntouch pwned\n".to_owned()),
            Just("esac".to_owned()),
            Just("%s%n\\c\\0".to_owned()),
            "['\"`$\\\\;|&()<>{}*?!#~%=\\[\\] \\n\\t-]{1,4}",
            "[a-z]{1,4}",
            ".{0,3}",
        ];
        proptest::collection::vec(part, 0..5).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn nothing_of_a_stranger_is_run(
            server in hostile(), name in hostile(), about in hostile(), argument in hostile(), told in hostile(),
            choice in hostile(), value in hostile(),
            at in 0_usize..3,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let shell = shells().cycle().nth(at).unwrap();
            let value = value.replace('\0', "");
            let schema = json!({
                "properties": {
                    (argument.clone()): {"description": told.clone(), "default": about.clone()},
                    "pick": {"enum": [choice.clone(), "other"], "description": told},
                    "free": {"type": "string"}
                },
                "required": [argument]
            });
            let mut commands = vec![command("known", &about, schema.clone()).unwrap()];
            commands.extend(command(&name, &about, schema));
            let script = program(&crate::generate::shape::one_line(&server), &commands);
            let helps = [&["--help"][..], &["known", "--help"]];
            for words in helps {
                let ran = run(folder.path(), shell, &script, words);
                prop_assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{:?}", words);
                let is_quiet = |c: char| c == '\n' || !c.is_control();
                prop_assert!(ran.stdout.chars().all(is_quiet), "{:?}", ran.stdout);
            }
            let tool = commands.last().map(|one| one.name.clone()).unwrap();
            let free = format!("--free={value}");
            let ran = run(folder.path(), shell, &script, &[&tool, &free, "--json-args={}"]);
            let expected = format!(
                "[call]\n[--timeout=5]\n[https://h/mcp]\n[{tool}]\n[free={value}]\n[--json-args={{}}]\n[--]\n[a b]\n"
            );
            prop_assert_eq!(ran.stdout, expected, "{}", ran.stderr);
            let picked = run(folder.path(), shell, &script, &["known", "--pick", "neither", "--json-args={}"]);
            prop_assert_eq!(picked.code == 2, !commands[0].flags.iter().any(|f| f.argument == "pick" && f.choices.is_empty()));
            prop_assert!(!folder.path().join("pwned").exists(), "{}", script);
        }
    }
}
