//! `fastmcp policy prove`.

use std::{
    fmt::Write as _,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use fastmcp_gateway::{catalog, config::policy_sources};
use fastmcp_policy::{
    PolicySet, Resource,
    prove::{Answer, Example, LocalSolver, Prover, Question, Refutation, SolverError, Tool},
};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Which, matrix, sandbox::Sandbox};
use crate::{Outcome, output, place};

/// The largest file of questions, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// The stack of the thread that proves, in bytes; what is not used is not taken.
const STACK: usize = 1 << 30;
/// The variable that names the solver.
const VARIABLE: &str = "CVC5";

/// Prove what no request can do, whoever makes it: by a solver, over every request at once
///
/// A question has the conditions of a rule. `never` holds if a rule that denies under these conditions would refuse nothing
/// that is not refused already; `always`, if a rule that allows would add nothing. What is not so is shown by a request, which
/// the gateway's own evaluator has decided. What nobody knows counts as not so.
///
/// Without --registered or --manifests a question is about every tool that could ever be registered.
#[derive(Debug, Args)]
#[command(after_help = "\
A file:
  version: 1
  questions:
    - name: only finance reaches money
      never: {action: tools.invoke, \"subject.roles !=\": finance-write, resource.safety_tags: financial}
    - name: what destroys is confirmed by a person
      never: {action: tools.invoke, resource.safety_tags: destructive}
      without: confirm:person              # or confirm, confirm:other_person, approver:ROLE, once
    - name: everybody sees a catalogue
      always: {action: catalog:list}
    - name: this change gives nobody more
      no_more_than: policies-in-force/     # same_as: neither more nor less; paths are those beside this file
    - name: no rule fails
      never_fails: true

Examples:
  fastmcp policy prove questions.yml                             the gateway's own policy
  fastmcp policy prove --registered --never '{\"subject.roles !=\": finance-write, resource.safety_tags: financial}'
  fastmcp policy prove --policy policies-new/ --no-more-than policies/

The solver is cvc5 (Debian and Ubuntu: apt-get install cvc5), a program of its own.

Exit codes: 0 all proved, 1 not (refuted, or not known).")]
pub(super) struct Prove {
    /// Files of questions
    #[arg(value_name = "FILE", required_unless_present_any = ["never", "always", "no_more_than", "same_as", "never_fails"])]
    files: Vec<PathBuf>,
    /// Nothing that meets these conditions is allowed: a map such as '{subject.roles: intern, resource.read_only: false}'
    #[arg(long, value_name = "CONDITIONS")]
    never: Option<String>,
    /// With --never: it may be allowed, but not without this duty
    #[arg(long, value_name = "DUTY", requires = "never")]
    without: Option<String>,
    /// Everything that meets these conditions is allowed
    #[arg(long, value_name = "CONDITIONS")]
    always: Option<String>,
    /// The policy allows nothing that this one refuses, and asks for no less
    #[arg(long, value_name = "PATH")]
    no_more_than: Option<String>,
    /// The policy allows and asks for the same as this one
    #[arg(long, value_name = "PATH")]
    same_as: Option<String>,
    /// No rule that denies or obliges can fail to be evaluated
    #[arg(long)]
    never_fails: bool,
    /// Ask about the tools that are registered with the gateway (or built in, where none was started yet)
    #[arg(long, conflicts_with = "manifests")]
    registered: bool,
    /// Ask about the tools of a file: a JSON list of manifests, or what GET /tool-catalog answers
    #[arg(long, value_name = "FILE")]
    manifests: Option<PathBuf>,
    /// The solver [default: variable CVC5, or else cvc5 on the search path]
    #[arg(long, value_name = "PROGRAM")]
    solver: Option<PathBuf>,
    /// How long one question may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// A policy file or folder [default: the gateway's own, or else the built-in policy]
    #[arg(long, value_name = "PATH")]
    policy: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// A question and the policy with which it compares.
struct Posed {
    question: Question,
    other: Option<PolicySet>,
}

impl Prove {
    /// A formula is as deep as a policy has rules, and is walked by recursion: the stack of a main thread is not made for it.
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let thread = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || self.prove())
            .context("no thread to prove on")?;
        thread
            .join()
            .unwrap_or_else(|_| bail!("the prover broke off; nothing is proved"))
    }

    fn prove(&self) -> anyhow::Result<Outcome> {
        let set = PolicySet::load(&self.which.sources(self.policy.as_ref())?, 1)?;
        let posed = self.questions(&set)?;
        let tools = self.tools()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime")?;
        // Before any answer: without a solver there is none.
        drop(runtime.block_on(async { self.start() })?);
        let mut answered = Vec::new();
        for posed in posed {
            let answer = runtime.block_on(self.answer(&posed, &set, &tools))?;
            if !self.json {
                output::say(&as_text(&posed.question, &answer, &set)?)?;
            }
            answered.push((posed.question, answer));
        }
        self.report(&set, &tools, &answered)
    }

    fn questions(&self, set: &PolicySet) -> anyhow::Result<Vec<Posed>> {
        let mut posed = Vec::new();
        for path in &self.files {
            let name = path.display().to_string();
            let text = String::from_utf8(output::read_small(path, MAX_BYTES)?)
                .with_context(|| format!("`{name}` is not UTF-8"))?;
            let folder = path.parent().unwrap_or(Path::new(""));
            for question in Question::read(&name, &text)? {
                posed.push(Posed::new(question, folder, set)?);
            }
        }
        let text = |text: &String| serde_json::to_string(text).unwrap_or_default();
        let flags = [
            ("never", self.never.clone()),
            ("always", self.always.clone()),
            ("no_more_than", self.no_more_than.as_ref().map(text)),
            ("same_as", self.same_as.as_ref().map(text)),
            ("never_fails", self.never_fails.then(|| "true".to_owned())),
        ];
        for (key, value) in flags {
            let Some(value) = value else { continue };
            let mut parts = vec![(key, value.as_str())];
            if let (Some(duty), "never") = (&self.without, key) {
                parts.push(("without", duty.as_str()));
            }
            let flag = format!("--{}", key.replace('_', "-"));
            let question = Question::from_parts(&flag, &parts)?;
            posed.push(Posed::new(question, Path::new(""), set)?);
        }
        Ok(posed)
    }

    fn tools(&self) -> anyhow::Result<Vec<Tool>> {
        if !self.registered && self.manifests.is_none() {
            return Ok(Vec::new());
        }
        let sandbox = Sandbox::open()?;
        let manifests = matrix::manifests(self.manifests.as_ref(), &self.which)?;
        if manifests.is_empty() {
            bail!("there are no tools, so every question about them is empty");
        }
        let tools = manifests.iter().map(|manifest| Tool {
            resource: catalog::resource(manifest),
            demands: sandbox.may_demand(manifest),
        });
        Ok(tools.collect())
    }

    fn program(&self) -> PathBuf {
        self.solver
            .clone()
            .or_else(|| place::variable(VARIABLE).map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from("cvc5"))
    }

    fn start(&self) -> anyhow::Result<LocalSolver> {
        let program = self.program();
        let mut command = Command::new(&program);
        command.args(["--lang", "smt"]).kill_on_drop(true);
        LocalSolver::from_command(&mut command).map_err(|error| {
            let shown = program.display();
            match error {
                SolverError::Io(error) if error.kind() == ErrorKind::NotFound => anyhow::anyhow!(
                    "no proof without a solver, and there is no program `{shown}`: install cvc5 (Debian and Ubuntu: \
                     apt-get install cvc5; or https://cvc5.github.io), or name it with --solver or the variable {VARIABLE}"
                ),
                SolverError::Io(error) => {
                    anyhow::Error::from(error).context(format!("the solver `{shown}` cannot be started"))
                }
                other => anyhow::Error::from(other).context(format!("the solver `{shown}`")),
            }
        })
    }

    /// A solver of its own for each question: none can spoil another's.
    async fn answer(
        &self,
        posed: &Posed,
        set: &PolicySet,
        tools: &[Tool],
    ) -> anyhow::Result<Answer> {
        let mut prover = Prover::new(self.start()?).map_err(anyhow::Error::msg)?;
        let asked = prover.ask(&posed.question, set, posed.other.as_ref(), tools);
        let limit = Duration::from_secs(self.timeout);
        Ok(tokio::time::timeout(limit, Box::pin(asked))
            .await
            .unwrap_or_else(|_| Answer::Open {
                why: format!(
                    "no answer within {} s; --timeout gives it more",
                    self.timeout
                ),
            }))
    }

    fn report(
        &self,
        set: &PolicySet,
        tools: &[Tool],
        answered: &[(Question, Answer)],
    ) -> anyhow::Result<Outcome> {
        let count = |wanted: &str| {
            answered
                .iter()
                .filter(|(_, answer)| word(answer) == wanted)
                .count()
        };
        let (proved, refuted, open) = (count("proved"), count("refuted"), count("open"));
        if self.json {
            let questions: Vec<_> = answered
                .iter()
                .map(|(question, answer)| as_json(question, answer))
                .collect();
            output::say_json(&json!({
                "ok": proved == answered.len(),
                "proved": proved,
                "refuted": refuted,
                "open": open,
                "policy_version": &*set.version().hash,
                "tools": if tools.is_empty() { Value::from("any") } else { Value::from(tools.len()) },
                "questions": questions,
            }))?;
        } else {
            let about = match tools.len() {
                0 => "about every tool that could be registered".to_owned(),
                1 => "about the one tool that there is".to_owned(),
                many => format!("about {many} tools"),
            };
            output::say(&format!(
                "{proved} proved, {refuted} refuted, {open} open, {about}"
            ))?;
        }
        Ok(if proved == answered.len() {
            Outcome::Passed
        } else {
            Outcome::Failed
        })
    }
}

impl Posed {
    fn new(question: Question, folder: &Path, set: &PolicySet) -> anyhow::Result<Self> {
        question.check(set).context("a question cannot be asked")?;
        let other = question.compares_with().map(|path| {
            let path = folder.join(path);
            let load = || anyhow::Ok(PolicySet::load(&policy_sources(&path)?, 1)?);
            load().with_context(|| {
                format!(
                    "{}: the policy to compare with, `{}`",
                    question.name,
                    path.display()
                )
            })
        });
        Ok(Self {
            other: other.transpose()?,
            question,
        })
    }
}

const fn word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Proved => "proved",
        Answer::Refuted(_) => "refuted",
        Answer::Open { .. } => "open",
    }
}

fn as_json(question: &Question, answer: &Answer) -> Value {
    let mut json = json!({
        "name": question.name,
        "file": question.file,
        "line": question.line,
        "answer": word(answer),
    });
    let details = match answer {
        Answer::Proved => json!({}),
        Answer::Open { why } => json!({"why": why}),
        Answer::Refuted(refutation) => {
            let Refutation {
                example,
                decision,
                compared,
                sentence,
            } = &**refutation;
            json!({
                "why": sentence,
                "request": request(example),
                "decision": decision,
                "reason": decision.reason.to_string(),
                "compared": compared,
            })
        }
    };
    if let (Some(json), Value::Object(details)) = (json.as_object_mut(), details) {
        json.extend(details);
    }
    json
}

/// An example in the words of `policy test`.
fn request(example: &Example) -> Value {
    let subject = &example.subject;
    let claims = Some(&*subject.claims).filter(|claims| !claims.is_empty());
    let caller = known([
        ("sub", Some(json!(subject.sub))),
        ("roles", Some(json!(subject.roles))),
        ("tenant", subject.tenant.as_ref().map(|it| json!(it))),
        ("scopes", subject.scopes.as_ref().map(|it| json!(it))),
        ("claims", claims.map(|it| json!(it))),
    ]);
    let labels = Some(&example.labels).filter(|labels| !labels.is_empty());
    let context = known([
        ("time", Some(json!(example.time))),
        ("client", example.client.as_ref().map(|it| json!(it))),
        ("ip", example.ip.map(|it| json!(it))),
        ("corr_id", example.corr_id.as_ref().map(|it| json!(it))),
        ("labels", labels.map(|it| json!(it))),
    ]);
    let tool = example.resource.as_ref();
    let id = tool.map(|tool| tool.tool_id.as_str());
    known([
        ("action", Some(json!(example.action.name()))),
        ("caller", Some(caller)),
        ("context", Some(context)),
        ("tool", id.map(Value::from)),
        (
            "tools",
            tool.map(|tool| json!({(tool.tool_id.as_str()): described(tool)})),
        ),
        ("arguments", tool.map(|_| example.arguments.clone())),
    ])
}

fn described(tool: &Resource) -> Value {
    known([
        ("provider", Some(json!(tool.provider_id))),
        ("required_scopes", Some(json!(tool.required_scopes))),
        ("safety_tags", Some(json!(tool.safety_tags))),
        ("read_only", Some(json!(tool.read_only))),
        ("tenant", tool.tenant.as_ref().map(|it| json!(it))),
        (
            "classification",
            tool.classification.as_ref().map(|it| json!(it)),
        ),
    ])
}

/// An object of what is there.
fn known<const N: usize>(entries: [(&str, Option<Value>); N]) -> Value {
    let there = entries.into_iter();
    there
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

/// One line for what is proved; for the rest, why not, with the request and how it is decided.
fn as_text(question: &Question, answer: &Answer, set: &PolicySet) -> anyhow::Result<String> {
    let name = output::printable(&question.name);
    let place = match question.line {
        0 => String::new(),
        line => format!(" ({}:{line})", question.file),
    };
    let refutation = match answer {
        Answer::Proved => return Ok(format!("proved   {name}")),
        Answer::Open { why } => return Ok(format!("OPEN     {name}{place}\n         {why}")),
        Answer::Refuted(refutation) => refutation,
    };
    let Refutation {
        example, compared, ..
    } = &**refutation;
    let mut text = format!(
        "REFUTED  {name}{place}\n         {}:\n",
        refutation.sentence
    );
    for (key, value) in facts(example) {
        writeln!(text, "           {key:<10} {}", output::printable(&value))?;
    }
    let explanation = example.with(|request| set.explain(request));
    for line in explanation.to_string().lines() {
        writeln!(text, "         {line}")?;
    }
    if let Some(other) = compared {
        writeln!(text, "         the other policy: {}", other.reason)?;
        if !other.obligations.is_empty() {
            let duties: Vec<_> = other.obligations.iter().map(ToString::to_string).collect();
            writeln!(
                text,
                "         the other policy asks for {}",
                duties.join(", ")
            )?;
        }
    }
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// An example, line by line.
fn facts(example: &Example) -> Vec<(&'static str, String)> {
    let subject = &example.subject;
    let list = |names: &std::collections::BTreeSet<String>| {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    let some = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    let mut facts = vec![
        ("action", example.action.name().to_owned()),
        ("caller", subject.sub.clone()),
        ("tenant", some(&subject.tenant)),
        ("roles", list(&subject.roles)),
    ];
    if let Some(scopes) = &subject.scopes {
        facts.push(("token", format!("scopes {}", list(scopes))));
    }
    for (name, value) in &*subject.claims {
        facts.push(("claim", format!("{name} = {value}")));
    }
    if let Some(tool) = &example.resource {
        let kind = if tool.read_only {
            "reads only"
        } else {
            "writes"
        };
        facts.extend([
            ("tool", format!("{}, {kind}", tool.tool_id)),
            ("of tenant", some(&tool.tenant)),
            ("tags", list(&tool.safety_tags)),
            ("needs", list(&tool.required_scopes)),
        ]);
        facts.extend(tool.classification.clone().map(|label| ("label", label)));
        facts.push(("arguments", example.arguments.to_string()));
    }
    facts.push(("time", example.time.to_string()));
    facts.extend(example.client.clone().map(|client| ("client", client)));
    facts.extend(example.ip.map(|ip| ("address", ip.to_string())));
    facts.extend(example.corr_id.clone().map(|id| ("corr_id", id)));
    if !example.labels.is_empty() {
        facts.push(("has read", list(&example.labels)));
    }
    facts
}
