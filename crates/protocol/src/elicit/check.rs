//! Whether what a user filled in fits the form.

use serde_json::{Number, Value};

use super::schema::{ElicitSchema, MultiSelect, NumberSchema, PrimitiveSchema, StringSchema};
use crate::content::JsonObject;

/// Why a field does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}` {problem}")]
pub struct Unfit {
    /// The field's name; cut off where a peer made it up and it is long.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It must be filled in.
    #[error("must be filled in")]
    Missing,
    /// The form has no such field.
    #[error("is not part of the form")]
    Unknown,
    /// It is of another type.
    #[error("must be {0}")]
    Type(&'static str),
    /// Too few characters or choices.
    #[error("has fewer than {0} characters or choices")]
    Short(u64),
    /// Too many characters or choices.
    #[error("has more than {0} characters or choices")]
    Long(u64),
    /// Below the smallest value.
    #[error("must be at least {0}")]
    Small(Number),
    /// Above the largest value.
    #[error("must be at most {0}")]
    Large(Number),
    /// Not among the choices.
    #[error("is not one of the choices")]
    Choice,
}

impl ElicitSchema {
    /// Checks what a client sent back.
    ///
    /// `format` is a hint to the client and is not checked, as in JSON Schema itself.
    ///
    /// # Errors
    ///
    /// The first field that does not fit, in the order of the form.
    pub fn check(&self, content: &JsonObject) -> Result<(), Unfit> {
        let unfit = |field: &str, problem| {
            let mut field = field.to_owned();
            crate::raw::truncate(&mut field, 64);
            Unfit { field, problem }
        };
        for (name, field) in self.properties.iter() {
            if let Some(value) = content.get(name) {
                check(field, value).map_err(|problem| unfit(name, problem))?;
            }
        }
        if let Some(name) = self
            .required
            .iter()
            .find(|name| !content.contains_key(*name))
        {
            return Err(unfit(name, Problem::Missing));
        }
        match content
            .keys()
            .find(|name| self.properties.get(name).is_none())
        {
            Some(name) => Err(unfit(name, Problem::Unknown)),
            None => Ok(()),
        }
    }

    /// Fills the fields that `content` leaves out with their defaults; what a client does before it answers.
    pub fn fill_defaults(&self, content: &mut JsonObject) {
        for (name, field) in self.properties.iter() {
            if let (false, Some(default)) = (content.contains_key(name), field.default()) {
                content.insert(name.to_owned(), default);
            }
        }
    }
}

fn check(field: &PrimitiveSchema, value: &Value) -> Result<(), Problem> {
    match (field, value) {
        (PrimitiveSchema::String(schema), Value::String(text)) => check_string(schema, text),
        (PrimitiveSchema::String(_), _) => Err(Problem::Type("text")),
        (PrimitiveSchema::Number(schema), Value::Number(number)) => check_number(schema, number),
        (PrimitiveSchema::Number(schema), _) if schema.integer => {
            Err(Problem::Type("a whole number"))
        }
        (PrimitiveSchema::Number(_), _) => Err(Problem::Type("a number")),
        (PrimitiveSchema::Boolean(_), Value::Bool(_)) => Ok(()),
        (PrimitiveSchema::Boolean(_), _) => Err(Problem::Type("true or false")),
        (PrimitiveSchema::Single(schema), Value::String(choice)) if schema.choices.has(choice) => {
            Ok(())
        }
        (PrimitiveSchema::Single(_), _) => Err(Problem::Choice),
        (PrimitiveSchema::Multi(schema), Value::Array(chosen)) => check_chosen(schema, chosen),
        (PrimitiveSchema::Multi(_), _) => Err(Problem::Type("a list of choices")),
    }
}

fn check_string(schema: &StringSchema, text: &str) -> Result<(), Problem> {
    // JSON Schema counts characters, not bytes.
    check_length(schema.min_length, schema.max_length, text.chars().count())
}

fn check_number(schema: &NumberSchema, number: &Number) -> Result<(), Problem> {
    if schema.integer && !is_whole(number) {
        return Err(Problem::Type("a whole number"));
    }
    match (&schema.minimum, &schema.maximum) {
        (Some(minimum), _) if less(number, minimum) => Err(Problem::Small(minimum.clone())),
        (_, Some(maximum)) if less(maximum, number) => Err(Problem::Large(maximum.clone())),
        _ => Ok(()),
    }
}

fn check_chosen(schema: &MultiSelect, chosen: &[Value]) -> Result<(), Problem> {
    check_length(schema.min_items, schema.max_items, chosen.len())?;
    let known = |value: &Value| {
        value
            .as_str()
            .is_some_and(|choice| schema.choices.has(choice))
    };
    if chosen.iter().all(known) {
        Ok(())
    } else {
        Err(Problem::Choice)
    }
}

fn check_length(min: Option<u64>, max: Option<u64>, length: usize) -> Result<(), Problem> {
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    match (min, max) {
        (Some(min), _) if length < min => Err(Problem::Short(min)),
        (_, Some(max)) if length > max => Err(Problem::Long(max)),
        _ => Ok(()),
    }
}

fn is_whole(number: &Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
}

fn less(a: &Number, b: &Number) -> bool {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a < b,
        _ => matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a < b),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::schema::{BooleanSchema, Choices, SingleSelect},
        *,
    };

    fn form() -> ElicitSchema {
        ElicitSchema::default()
            .required(
                "name",
                StringSchema {
                    min_length: Some(2),
                    max_length: Some(4),
                    ..Default::default()
                },
            )
            .optional(
                "age",
                NumberSchema::integer().between(18, 120).with_default(30),
            )
            .optional("ok", BooleanSchema::default().with_default(true))
            .optional(
                "pet",
                SingleSelect::new(Choices::titled([("c", "Cat"), ("d", "Dog")])),
            )
            .optional(
                "days",
                MultiSelect {
                    max_items: Some(1),
                    ..MultiSelect::new(Choices::untitled(["mo", "tu"]))
                },
            )
    }

    fn refusal(content: Value) -> String {
        let Value::Object(content) = content else {
            panic!("not an object")
        };
        form()
            .check(&content)
            .map_or_else(|e| e.to_string(), |()| "fits".to_owned())
    }

    #[test]
    fn a_filled_in_form_fits() {
        assert_eq!(
            refusal(json!({"name":"Ännä","age":18,"ok":false,"pet":"d","days":["mo"]})),
            "fits"
        );
        assert_eq!(refusal(json!({"name":"Ed","age":20.0})), "fits");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(refusal(json!({})), "field `name` must be filled in");
        assert_eq!(
            refusal(json!({"name":"E"})),
            "field `name` has fewer than 2 characters or choices"
        );
        assert_eq!(refusal(json!({"name":7})), "field `name` must be text");
        assert_eq!(
            refusal(json!({"name":"Ed","age":17})),
            "field `age` must be at least 18"
        );
        assert_eq!(
            refusal(json!({"name":"Ed","age":121})),
            "field `age` must be at most 120"
        );
        assert_eq!(
            refusal(json!({"name":"Ed","age":18.5})),
            "field `age` must be a whole number"
        );
        assert_eq!(
            refusal(json!({"name":"Ed","ok":"yes"})),
            "field `ok` must be true or false"
        );
        assert_eq!(
            refusal(json!({"name":"Ed","pet":"Dog"})),
            "field `pet` is not one of the choices"
        );
        assert_eq!(
            refusal(json!({"name":"Ed","days":["mo","tu"]})),
            "field `days` has more than 1 characters or choices"
        );
        assert_eq!(
            refusal(json!({"name":"Ed","admin":true})),
            "field `admin` is not part of the form"
        );
    }

    #[test]
    fn defaults_fill_only_what_is_left_out() {
        let Value::Object(mut content) = json!({"name":"Ed","ok":false}) else {
            panic!("not an object")
        };
        form().fill_defaults(&mut content);
        assert_eq!(
            Value::Object(content),
            json!({"name":"Ed","ok":false,"age":30})
        );
    }
}
