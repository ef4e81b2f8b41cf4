//! The key of a condition taken apart: which attribute, and what is asked of it.
//!
//! Names of arguments and claims are open, and operators stand behind a name: `context.arguments.path_in` is the argument `path` and the
//! operator `_in`. A rule whose operator were taken for a part of the name would read something that no call carries, and deny nothing. So what
//! looks like an operator is one, or is refused, and so are two; a name that looks like one stands in quotes: `context.arguments."check_in"`.

use std::borrow::Cow;

use crate::argument;
use crate::attribute::{ARGUMENT, Attribute, CLAIM, Kind};
use crate::error::{Fault, nearest};
use crate::yaml::Value;

/// What stands in a name without quotes, beside letters and digits.
const PLAIN: &str = "_-.:/@$#+%";

/// A key, read.
#[derive(Debug, PartialEq)]
pub(crate) struct Key<'a> {
    pub(crate) attribute: Attribute,
    pub(crate) form: Form<'a>,
}

/// What a key asks of its attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form<'a> {
    /// The value says it.
    Plain,
    In,
    Any,
    Before,
    After,
    /// `"attribute !="`.
    Not,
    /// `"attribute != other"`.
    Differs(&'a str),
}

impl<'a> Key<'a> {
    /// Reads a key. `value` is what stands behind it: a list makes a misspelt operator likelier than an odd name.
    pub(crate) fn parse(text: &'a str, value: &Value) -> Result<Self, Fault> {
        match Open::of(text) {
            Some(open) if open.rest.starts_with('"') => open.quoted(),
            Some(open) => open.bare(value),
            None => closed(text),
        }
    }
}

/// Reads the name of an attribute, without an operator.
pub(crate) fn name(text: &str) -> Result<Attribute, Fault> {
    let key = match Open::of(text) {
        Some(open) if !open.rest.starts_with('"') => return open.alone(),
        Some(open) => open.quoted()?,
        None => return known(text),
    };
    match key.form {
        Form::Plain => Ok(key.attribute),
        _ => Err(unknown(text)),
    }
}

/// Writes the name of an argument or claim the way it is read: in quotes where it would be read otherwise.
pub(crate) fn written(path: &str) -> Cow<'_, str> {
    let is_bare = path.chars().all(is_plain) && Word::ends(path, true).is_none();
    if is_bare {
        path.into()
    } else {
        in_quotes(path).into()
    }
}

fn in_quotes(path: &str) -> String {
    serde_json::Value::from(path).to_string()
}

fn is_plain(letter: char) -> bool {
    letter.is_alphanumeric() || PLAIN.contains(letter)
}

fn negated(right: &str) -> Form<'_> {
    match right.trim() {
        "" => Form::Not,
        other => Form::Differs(other),
    }
}

/// A key whose name is on the closed list.
fn closed(text: &str) -> Result<Key<'_>, Fault> {
    let Some((left, right)) = text.split_once("!=") else {
        return suffixed(text);
    };
    let left = left.trim();
    match suffixed(left) {
        Ok(Key {
            attribute,
            form: Form::Plain,
        }) => Ok(Key {
            attribute,
            form: negated(right),
        }),
        Ok(Key { attribute, .. }) => Err(Fault::TwoOperators {
            key: text.to_owned(),
            attribute: attribute.to_string(),
        }),
        Err(_) => Err(Fault::UnknownCondition {
            key: text.to_owned(),
            nearest: nearest(left, Attribute::names()),
        }),
    }
}

fn suffixed(key: &str) -> Result<Key<'_>, Fault> {
    let suffixes = [
        ("_in", Form::In),
        ("_any", Form::Any),
        ("_before", Form::Before),
        ("_after", Form::After),
    ];
    let found = suffixes
        .into_iter()
        .find_map(|(text, form)| Some((key.strip_suffix(text)?, text, form)));
    let Some((name, text, form)) = found else {
        return known(key).map(|attribute| Key {
            attribute,
            form: Form::Plain,
        });
    };
    let attribute = known(name).map_err(|_| unknown(key))?;
    let is_set = attribute.kind() == Kind::Set;
    let instead = match form {
        Form::In if is_set => "`_any`, since it holds several values",
        Form::Any if !is_set => "`_in`, since it holds one value",
        Form::Before | Form::After if attribute != Attribute::Time => "it of `context.time` only",
        Form::In | Form::Any if attribute == Attribute::Time => "`_before` or `_after`",
        _ => return Ok(Key { attribute, form }),
    };
    Err(Fault::Suffix {
        key: key.to_owned(),
        suffix: text,
        instead,
    })
}

fn known(name: &str) -> Result<Attribute, Fault> {
    Attribute::from_name(name).ok_or_else(|| unknown(name))
}

fn unknown(key: &str) -> Fault {
    Fault::UnknownCondition {
        key: key.to_owned(),
        nearest: nearest(key, Attribute::names()),
    }
}

/// A key under `context.arguments` or `subject.claims`.
struct Open<'a> {
    key: &'a str,
    prefix: &'static str,
    make: fn(String) -> Attribute,
    /// What stands behind the prefix.
    rest: &'a str,
}

impl<'a> Open<'a> {
    fn of(key: &'a str) -> Option<Self> {
        let of = |prefix, make| {
            Some(Self {
                key,
                prefix,
                make,
                rest: key.strip_prefix(prefix)?,
            })
        };
        of(CLAIM, Attribute::Claim).or_else(|| of(ARGUMENT, Attribute::Argument))
    }

    /// `"a name"`, and what stands behind it.
    fn quoted(&self) -> Result<Key<'a>, Fault> {
        let parts = closing(self.rest).and_then(|at| self.rest.split_at_checked(at + 1));
        let read = parts.and_then(|(name, tail)| Some((serde_json::from_str(name).ok()?, tail)));
        let Some((path, tail)): Option<(String, _)> = read else {
            let what = "a name in quotes is a JSON text".to_owned();
            return Err(self.fault(what, self.rest.trim_matches('"')));
        };
        let form = match (tail, tail.trim_start().strip_prefix("!=")) {
            ("", _) => Form::Plain,
            ("_in", _) => Form::In,
            ("_any", _) => Form::Any,
            (_, Some(right)) => negated(right),
            _ => {
                return Err(self.fault(
                    format!("`{tail}` is no operator; use `_in`, `_any` or ` !=`"),
                    &path,
                ));
            }
        };
        Ok(Key {
            attribute: self.attribute(&path)?,
            form,
        })
    }

    fn bare(&self, value: &Value) -> Result<Key<'a>, Fault> {
        let (name, right) = match self.rest.split_once("!=") {
            Some((name, right)) => (name.trim_end(), Some(right)),
            None => (self.rest, None),
        };
        self.plain(name)?;
        let is_list = matches!(value, Value::List(_));
        let Some(word) = Word::ends(name, is_list) else {
            return Ok(Key {
                attribute: self.attribute(name)?,
                form: right.map_or(Form::Plain, negated),
            });
        };
        let written = name.get(word.at..).unwrap_or_default();
        let wrong = match (word.form, right) {
            (Err(instead), _) => format!("`{written}` is no operator; {instead}"),
            (Ok(_), Some(_)) => {
                format!("`{written}` and `!=` do not go together; `!=` alone takes a list")
            }
            (Ok(_), None) if !is_list => {
                format!("`{written}` takes a list, found {}", value.shape())
            }
            (Ok(form), None) => {
                let attribute = self.attribute(name.get(..word.at).unwrap_or_default())?;
                return Ok(Key { attribute, form });
            }
        };
        Err(self.fault(wrong, name))
    }

    /// A name without quotes and without an operator.
    fn alone(&self) -> Result<Attribute, Fault> {
        self.plain(self.rest)?;
        let Some(word) = Word::ends(self.rest, false) else {
            return self.attribute(self.rest);
        };
        let written = self.rest.get(word.at..).unwrap_or_default();
        let what =
            format!("`{written}` looks like an operator, and there is none behind this name");
        Err(self.fault(what, self.rest))
    }

    /// Refuses what stands in quotes only.
    fn plain(&self, name: &str) -> Result<(), Fault> {
        if name.chars().all(is_plain) {
            return Ok(());
        }
        let what = format!("without quotes a name has letters, digits and `{PLAIN}` only");
        Err(self.fault(what, name))
    }

    fn attribute(&self, path: &str) -> Result<Attribute, Fault> {
        if argument::is_path(path) {
            return Ok((self.make)(path.to_owned()));
        }
        Err(self.fault(
            "a name has 1 to 16 parts between dots, none of them empty, and 256 bytes at most"
                .to_owned(),
            self.rest,
        ))
    }

    fn fault(&self, what: String, name: &str) -> Fault {
        Fault::Name {
            key: self.key.to_owned(),
            what,
            quoted: format!("{}{}", self.prefix, in_quotes(name)),
        }
    }
}

/// Where the quote that opens a text is closed.
fn closing(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().skip(1).find_map(|(at, letter)| {
        let closes = letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        closes.then_some(at)
    })
}

/// The end of a name that is an operator, or was meant to be one.
struct Word {
    /// Where it begins.
    at: usize,
    /// The operator, or what to write instead.
    form: Result<Form<'static>, &'static str>,
}

const NOT: &str = "write `!=` behind the name, which takes a list too";
const EQUAL: &str = "write the value alone, or several as a list";
const ONE_OF: &str = "write `_in`";
const CONTAINS: &str =
    "`_any` says that a list shares one of these, and patterns are for `like` in a .cedar file";
const AMOUNT: &str = "amounts are compared in a .cedar file";
const PATTERN: &str = "patterns are for `like` in a .cedar file";
const NO_PATTERN: &str = "patterns are for `like` in a .cedar file, and `!` before it";
const MOMENT: &str = "only `context.time` has it";
const SPELLING: &str = "write `_in` or `_any`";
const ABSENT: &str = "a value that is not there equals nothing";

/// What people write for operators, each with what to write instead. `_` is where one word ends, however that is shown: `notin`, `notIn`.
const MISTAKEN: [(&str, &str); 10] = [
    (
        NOT,
        "not_in nin not_any none_of not_one_of not_any_of not_all_of not is_not isnt ne neq",
    ),
    (
        NOT,
        "not_eq not_equal not_equals not_equal_to excludes except lacks",
    ),
    (EQUAL, "eq equal equals equal_to"),
    (ONE_OF, "one_of any_of all_of"),
    (CONTAINS, "contains contain has includes include"),
    (
        AMOUNT,
        "gt gte ge lt lte le between greater_than less_than more_than at_least at_most",
    ),
    (
        AMOUNT,
        "greater_than_or_equal greater_than_or_equals less_than_or_equal less_than_or_equals",
    ),
    (
        PATTERN,
        "like matches regex regexp glob prefix suffix starts_with begins_with ends_with",
    ),
    (MOMENT, "before after"),
    (ABSENT, "exists missing"),
];

/// What is as likely a name, unless a list stands behind it.
const MISTAKEN_FOR_LISTS: [(&str, &str); 4] = [
    (NOT, "none"),
    (EQUAL, "is"),
    (ONE_OF, "all ni ins"),
    (PATTERN, "match"),
];

impl Word {
    /// Finds the operator at the end of a name, or what was meant for one. Operators do not stack: what stands before is looked at once more.
    fn ends(name: &str, is_list: bool) -> Option<Self> {
        let last = Self::last(name, is_list)?;
        let before = name.get(..last.at).and_then(|rest| Self::last(rest, true));
        Some(match before {
            None => last,
            Some(before) => Self {
                at: before.at,
                form: Err(before.instead_of_both(&last)),
            },
        })
    }

    fn last(name: &str, is_list: bool) -> Option<Self> {
        let lists = MISTAKEN_FOR_LISTS.into_iter().filter(|_| is_list);
        let mistaken = MISTAKEN.into_iter().chain(lists);
        let instead = mistaken
            .flat_map(|(instead, words)| words.split(' ').map(move |word| (word, Err(instead))))
            .filter_map(|(word, instead)| Some((place(name, word, is_list)?, instead)))
            .min_by_key(|(at, _)| *at);
        let operator = || {
            let operators = [("in", "_in", Form::In), ("any", "_any", Form::Any)];
            operators.into_iter().find_map(|(word, exactly, form)| {
                let at = place(name, word, is_list)?;
                let written = name.get(at..).filter(|it| is_list || it.starts_with('_'))?;
                let form = Some(form).filter(|_| written == exactly);
                Some((at, form.ok_or(SPELLING)))
            })
        };
        // Any word may end a name; before a list, one that is nearly `any` was meant to be it.
        let nearly = || {
            let at = name.rfind('_').filter(|_| is_list)?;
            let word = name.get(at + 1..)?.to_ascii_lowercase();
            (strsim::damerau_levenshtein(&word, "any") == 1).then_some((at, Err(SPELLING)))
        };
        let (at, form) = instead.or_else(operator).or_else(nearly)?;
        Some(Self { at, form })
    }

    /// What to write for two words, of which this is the first. INVARIANT: what is negated is never told to be written without.
    fn instead_of_both(&self, last: &Self) -> &'static str {
        match (self.form.err(), last.form.err()) {
            (Some(NOT), Some(PATTERN)) => NO_PATTERN,
            (Some(NOT), Some(instead @ (AMOUNT | MOMENT | ABSENT))) => instead,
            (Some(NOT), _) | (_, Some(NOT)) => NOT,
            (Some(instead), None | Some(SPELLING | ONE_OF | EQUAL)) | (_, Some(instead)) => instead,
            (None, None) => SPELLING,
        }
    }
}

/// Where a word begins that a name ends with, what sets it apart included: `_`, a capital, or before a list also another sign.
fn place(name: &str, word: &str, is_list: bool) -> Option<usize> {
    let mut rest = name.trim_end_matches('_');
    for letter in word.chars().rev() {
        rest = if letter == '_' {
            rest.strip_suffix(['_', '-', '.']).unwrap_or(rest)
        } else {
            let last = rest.chars().next_back()?;
            let is_it = last.eq_ignore_ascii_case(&letter);
            rest.strip_suffix(last).filter(|_| is_it)?
        };
    }
    let mut letters = name.get(rest.len()..)?.chars();
    let is_capital = letters.next().is_some_and(char::is_uppercase);
    let before = rest.chars().next_back()?;
    match before {
        '_' => Some(rest.trim_end_matches('_').len()),
        '-' | '.' | '$' => Some(rest.len() - 1).filter(|_| is_list),
        _ if !is_capital => None,
        _ => (!before.is_uppercase() || letters.next().is_some_and(char::is_lowercase))
            .then_some(rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    /// Reads `key: value` written as one line of YAML.
    fn shown(line: &str) -> String {
        let Value::Map(entries) = yaml::parse(line).expect("valid YAML").value else {
            panic!("a map")
        };
        match Key::parse(&entries[0].key, &entries[0].node.value) {
            Ok(Key { attribute, form }) => format!("{attribute:?} {form:?}"),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn operators_stand_behind_open_names() {
        let cases = [
            ("context.arguments.path_in: [a]", "Argument(\"path\") In"),
            ("context.arguments.path_any: [a]", "Argument(\"path\") Any"),
            ("context.arguments.a.b_c_in: [a]", "Argument(\"a.b_c\") In"),
            ("subject.claims.dept_in: [a]", "Claim(\"dept\") In"),
            ("subject.claims.dept_any: [a]", "Claim(\"dept\") Any"),
            (
                "subject.claims.https://example.com/team_in: [a]",
                "Claim(\"https://example.com/team\") In",
            ),
            ("\"context.arguments.path !=\": a", "Argument(\"path\") Not"),
            ("\"context.arguments.path!=\": a", "Argument(\"path\") Not"),
            (
                "\"context.arguments.path != subject.sub\": true",
                "Argument(\"path\") Differs(\"subject.sub\")",
            ),
            ("context.arguments.path: a", "Argument(\"path\") Plain"),
            (
                "context.arguments.customer_id: [a]",
                "Argument(\"customer_id\") Plain",
            ),
            ("context.arguments.login: [a]", "Argument(\"login\") Plain"),
            (
                "context.arguments.delete_all: true",
                "Argument(\"delete_all\") Plain",
            ),
            ("context.arguments.größe: [a]", "Argument(\"größe\") Plain"),
        ];
        for (line, expected) in cases {
            assert_eq!(shown(line), expected, "{line}");
        }
    }

    #[test]
    fn a_name_in_quotes_is_what_it_says() {
        let cases = [
            (
                "context.arguments.\"check_in\": true",
                "Argument(\"check_in\") Plain",
            ),
            (
                "context.arguments.\"check_in\": [a]",
                "Argument(\"check_in\") Plain",
            ),
            (
                "context.arguments.\"check_in\"_in: [a]",
                "Argument(\"check_in\") In",
            ),
            (
                "context.arguments.\"check_in\"_any: [a]",
                "Argument(\"check_in\") Any",
            ),
            (
                "'context.arguments.\"check_in\" !=': [a]",
                "Argument(\"check_in\") Not",
            ),
            (
                "'context.arguments.\"a != b\" != subject.sub': true",
                "Argument(\"a != b\") Differs(\"subject.sub\")",
            ),
            (
                "'context.arguments.\"a\\\"b\\\\\"': x",
                "Argument(\"a\\\"b\\\\\") Plain",
            ),
            (
                "subject.claims.\"works_after\": x",
                "Claim(\"works_after\") Plain",
            ),
            (
                "subject.claims.\"org.opt_in\": x",
                "Claim(\"org.opt_in\") Plain",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(shown(line), expected, "{line}");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_could_be_an_operator_is_one_or_is_refused() {
        let cases = [
            (
                "context.arguments.check_in: true",
                "`_in` takes a list, found a boolean",
                "check_in",
            ),
            (
                "subject.claims.opt_any: x",
                "`_any` takes a list, found text",
                "opt_any",
            ),
            (
                "\"context.arguments.path_in !=\": [a]",
                "`_in` and `!=` do not go together; `!=` alone takes a list",
                "path_in",
            ),
            (
                "context.arguments.path_not_in: [a]",
                "`_not_in` is no operator; write `!=` behind the name, which takes a list too",
                "path_not_in",
            ),
            (
                "context.arguments.path_IN: [a]",
                "`_IN` is no operator; write `_in` or `_any`",
                "path_IN",
            ),
            (
                "context.arguments.path_Any: x",
                "`_Any` is no operator; write `_in` or `_any`",
                "path_Any",
            ),
            (
                "context.arguments.path_ayn: [a]",
                "`_ayn` is no operator; write `_in` or `_any`",
                "path_ayn",
            ),
            (
                "context.arguments.path_an: [a]",
                "`_an` is no operator; write `_in` or `_any`",
                "path_an",
            ),
            (
                "context.arguments.path_ni: [a]",
                "`_ni` is no operator; write `_in`",
                "path_ni",
            ),
            (
                "context.arguments.path.$in: [a]",
                "`$in` is no operator; write `_in` or `_any`",
                "path.$in",
            ),
            (
                "context.arguments.budget_gt: 5",
                "`_gt` is no operator; amounts are compared in a .cedar file",
                "budget_gt",
            ),
            (
                "subject.claims.mail_ends_with: x",
                "`_ends_with` is no operator; patterns are for `like` in a .cedar file",
                "mail_ends_with",
            ),
            (
                "context.arguments.due_before: \"2027-01-01\"",
                "`_before` is no operator; only `context.time` has it",
                "due_before",
            ),
            (
                "context.arguments.tags_all: [a]",
                "`_all` is no operator; write `_in`",
                "tags_all",
            ),
            (
                "\"context.arguments.path \": a",
                "without quotes a name has letters, digits and `_-.:/@$#+%` only",
                "path ",
            ),
            (
                "\"context.arguments.p == subject.sub\": true",
                "without quotes a name has letters, digits and `_-.:/@$#+%` only",
                "p == subject.sub",
            ),
            (
                "context.arguments.items[0].path: a",
                "without quotes a name has letters, digits and `_-.:/@$#+%` only",
                "items[0].path",
            ),
            (
                "context.arguments._in: [a]",
                "a name has 1 to 16 parts between dots, none of them empty, and 256 bytes at most",
                "_in",
            ),
            (
                "context.arguments.\"a\"_not: x",
                "`_not` is no operator; use `_in`, `_any` or ` !=`",
                "a",
            ),
            (
                "context.arguments.\"a: x",
                "a name in quotes is a JSON text",
                "a",
            ),
        ];
        for (line, what, name) in cases {
            let said = shown(line);
            assert!(said.contains(&format!(": {what}; ")), "{line}: {said}");
            assert!(said.ends_with(&format!(".\"{name}\"`")), "{line}: {said}");
        }
        assert_eq!(
            shown("\"resource.toolId_in !=\": [a]"),
            "`resource.toolId_in !=`: two operators do not go together; write `resource.toolId !=`, which takes a list too"
        );
    }

    /// What `context.arguments.NAME: value` is told, without the key and the way to write it as a name.
    fn told(name: &str, value: &str) -> String {
        let said = shown(&format!("context.arguments.{name}: {value}"));
        let what = said
            .split_once(": ")
            .and_then(|(_, rest)| rest.rsplit_once("; an argument"));
        what.map_or(said.clone(), |(what, _)| what.to_owned())
    }

    #[test]
    fn operators_do_not_stack() {
        let cases = [
            ("path_is_in", "_is_in", EQUAL),
            ("path_in_in", "_in_in", SPELLING),
            ("path_in_any", "_in_any", SPELLING),
            ("path__in", "__in", SPELLING),
            ("path_any_of_in", "_any_of_in", ONE_OF),
            ("tags_contains_any", "_contains_any", CONTAINS),
            ("tags_has_any", "_has_any", CONTAINS),
            ("path_starts_with_any", "_starts_with_any", PATTERN),
            ("cost_gt_any", "_gt_any", AMOUNT),
            ("path_not_in_any", "_not_in_any", NOT),
            ("path_is_not_in", "_is_not_in", NOT),
            ("path_not_IN", "_not_IN", NOT),
            ("path_not_ayn", "_not_ayn", NOT),
            ("path_not_is", "_not_is", NOT),
            ("path_not_like", "_not_like", NO_PATTERN),
            ("path_not_starts_with", "_not_starts_with", NO_PATTERN),
            ("tags_not_contains", "_not_contains", NOT),
            ("cost_not_gt", "_not_gt", AMOUNT),
        ];
        for (name, word, advice) in cases {
            let expected = format!("`{word}` is no operator; {advice}");
            assert_eq!(told(name, "[a]"), expected, "{name}");
        }
    }

    #[test]
    fn what_is_negated_is_told_to_be_negated() {
        let words = "_not_in _notin _nin _not_any _none_of _noneof _not_one_of _not_oneof _notoneof _not_any_of _not_all_of _not _isnot \
             _is_not _isnt _ne _neq _not_eq _not_equal _notequal _not_equals _is_not_one_of _excludes _except _not_includes _lacks \
             NotIn NotOneOf IsNot NotEquals";
        for word in words.split_whitespace() {
            for value in ["a", "[a]"] {
                let expected = format!("`{word}` is no operator; {NOT}");
                assert_eq!(told(&format!("path{word}"), value), expected);
            }
        }
    }

    #[test]
    fn what_others_write_for_operators_is_refused() {
        let cases = [
            (EQUAL, "_equal _equals _eq _equal_to Equals"),
            (CONTAINS, "_has _includes _include _contains Contains"),
            (
                PATTERN,
                "_prefix _suffix _begins_with _beginswith _regexp _glob _startsWith StartsWith EndsWith",
            ),
            (
                AMOUNT,
                "_greater_than _less_than _greaterthan _greater_than_or_equal _less_than_or_equals _at_least _at_most \
                 _more_than GreaterThan Lte",
            ),
            (MOMENT, "_before After"),
        ];
        for (advice, words) in cases {
            for word in words.split(' ') {
                for value in ["a", "[a]"] {
                    let expected = format!("`{word}` is no operator; {advice}");
                    assert_eq!(told(&format!("path{word}"), value), expected);
                }
            }
        }
        for (word, advice) in [
            ("In", SPELLING),
            ("Any", SPELLING),
            ("-in", SPELLING),
            (".any", SPELLING),
            ("_in_", SPELLING),
            ("All", ONE_OF),
            ("-not-in", NOT),
            (".not", NOT),
            (".startsWith", PATTERN),
            ("$gt", AMOUNT),
            ("_containsAny", CONTAINS),
        ] {
            assert_eq!(
                told(&format!("path{word}"), "[a]"),
                format!("`{word}` is no operator; {advice}")
            );
        }
        assert_eq!(
            told("userIDIn", "[a]"),
            format!("`In` is no operator; {SPELLING}")
        );
        // As likely names, where no list is.
        for name in [
            "checkIn",
            "range.gt",
            "filter.not",
            "path_is",
            "deleteAll",
            "cannot",
            "prefix",
            "login",
            "maths",
            "order.by-any",
        ] {
            assert_eq!(told(name, "a"), format!("Argument({name:?}) Plain"));
        }
        for name in ["plugin", "cannot", "Berlin", "prefix", "tags", "company"] {
            assert_eq!(told(name, "[a]"), format!("Argument({name:?}) Plain"));
            assert_eq!(
                told(&format!("{name}_in"), "[a]"),
                format!("Argument({name:?}) In")
            );
        }
        assert_eq!(told("\"path_is\"_in", "[a]"), "Argument(\"path_is\") In");
    }

    #[test]
    fn a_name_alone_has_no_operator() {
        for (text, what, open) in [
            (
                "context.arguments.pa th",
                "without quotes a name has letters, digits and `_-.:/@$#+%` only",
                "pa th",
            ),
            (
                "context.arguments.path_not_in",
                "`_not_in` looks like an operator, and there is none behind this name",
                "path_not_in",
            ),
            (
                "subject.claims.dept_in",
                "`_in` looks like an operator, and there is none behind this name",
                "dept_in",
            ),
            (
                "context.arguments.a != b",
                "without quotes a name has letters, digits and `_-.:/@$#+%` only",
                "a != b",
            ),
        ] {
            let said = name(text).unwrap_err().to_string();
            assert!(said.contains(&format!(": {what}; ")), "{text}: {said}");
            assert!(said.ends_with(&format!(".\"{open}\"`")), "{text}: {said}");
        }
        let quoted = name("context.arguments.\"path_not_in\"");
        assert_eq!(quoted, Ok(Attribute::Argument("path_not_in".to_owned())));
        let plain = name("subject.claims.org.unit");
        assert_eq!(plain, Ok(Attribute::Claim("org.unit".to_owned())));
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for path in [
            "x",
            "a.b",
            "check_in",
            "tags_any",
            "a b",
            "x\"y",
            "delete_all",
            "p_ayn",
            "größe",
            "X_IN",
            "checkIn",
            "path_is_in",
            "key_prefix",
            "tail_",
        ] {
            let shown = Attribute::Argument(path.to_owned()).to_string();
            for value in [Value::Bool(true), Value::List(Vec::new())] {
                let key = Key::parse(&shown, &value).unwrap_or_else(|fault| panic!("{fault}"));
                assert_eq!(key.attribute, Attribute::Argument(path.to_owned()));
                assert_eq!(key.form, Form::Plain);
            }
            assert_eq!(name(&shown), Ok(Attribute::Argument(path.to_owned())));
        }
    }
}
