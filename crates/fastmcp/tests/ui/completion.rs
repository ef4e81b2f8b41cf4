//~ #[completion] knows no `name` in this form; it knows prompt = "...", resource = "...", argument = "...", inline
//~ #[completion] says whose argument it completes: #[completion(prompt = "greet", argument = "name")]
//~ #[completion] takes no bare text; write `prompt = "..."`
//~ a completion takes what was typed: its first argument is a `&str` or a `String`
//~ what was typed is text: the first argument of a completion is a `&str` or a `String`
//~ what is settled for another argument is text: an `Option<String>`
//~ MCP completes arguments of prompts and of resource templates, not of tools
use fastmcp::prelude::*;

#[completion(name = "x")]
async fn one(value: &str) -> Vec<String> {
    vec![value.to_owned()]
}

#[completion(prompt = "x")]
async fn two(value: &str) -> Vec<String> {
    vec![value.to_owned()]
}

#[completion("x")]
async fn three(value: &str) -> Vec<String> {
    vec![value.to_owned()]
}

#[completion]
async fn four() -> Vec<String> {
    Vec::new()
}

#[completion]
async fn five(value: u64) -> Vec<String> {
    vec![value.to_string()]
}

#[completion]
async fn six(value: &str, other: u64) -> Vec<String> {
    vec![format!("{value}{other}")]
}

#[tool]
async fn seven(#[arg(complete = one)] name: String) -> String {
    name
}
