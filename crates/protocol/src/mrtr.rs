//! Results that ask first: multi round-trip requests.
//!
//! A modern server never calls its client. It answers "input required" with questions and a state,
//! and the client calls again with the answers and that state.
//!
//! Source: MCP 2026-07-28, basic/patterns/mrtr.

use serde::{
    Deserialize, Serialize,
    de::{Deserializer, Error as _},
    ser::{SerializeStruct as _, Serializer},
};

use crate::{
    content::Meta,
    elicit::ElicitParams,
    jsonrpc::Text,
    method::Method,
    ordered::Ordered,
    raw::{Raw, complaint},
    sampling::CreateMessageParams,
};

/// The word for such a result on the wire.
pub const INPUT_REQUIRED: &str = "input_required";

/// A question to the client.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum InputRequest {
    /// Asks the user.
    Elicit(ElicitParams),
    /// Asks the client's model.
    CreateMessage(Box<CreateMessageParams>),
    /// Asks for the client's roots.
    ListRoots,
}

impl InputRequest {
    /// The method that asks this.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::Elicit(_) => Method::ElicitationCreate,
            Self::CreateMessage(_) => Method::SamplingCreateMessage,
            Self::ListRoots => Method::RootsList,
        }
    }

    /// Reads a question of the method `method`.
    ///
    /// # Errors
    ///
    /// A sentence that names the method or the field, when the method does not ask or its
    /// parameters are ill-typed.
    pub fn read(method: &str, params: Option<&Raw>) -> Result<Self, String> {
        let text = params.map_or("{}", Raw::as_str);
        match Method::parse(method) {
            Some(Method::ElicitationCreate) => serde_json::from_str(text)
                .map(Self::Elicit)
                .map_err(|_| complaint::<ElicitParams>("params", text)),
            Some(Method::SamplingCreateMessage) => serde_json::from_str(text)
                .map(|params| Self::CreateMessage(Box::new(params)))
                .map_err(|_| complaint::<CreateMessageParams>("params", text)),
            Some(Method::RootsList) => Ok(Self::ListRoots),
            _ => {
                let mut method = method.to_owned();
                crate::raw::truncate(&mut method, 64);
                Err(format!("method `{method}` does not ask a client"))
            }
        }
    }
}

impl From<ElicitParams> for InputRequest {
    fn from(params: ElicitParams) -> Self {
        Self::Elicit(params)
    }
}

impl From<CreateMessageParams> for InputRequest {
    fn from(params: CreateMessageParams) -> Self {
        Self::CreateMessage(Box::new(params))
    }
}

impl Serialize for InputRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("InputRequest", 2)?;
        out.serialize_field("method", self.method().as_str())?;
        match self {
            Self::Elicit(params) => out.serialize_field("params", params)?,
            Self::CreateMessage(params) => out.serialize_field("params", params)?,
            Self::ListRoots => {}
        }
        out.end()
    }
}

impl<'de> Deserialize<'de> for InputRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            method: Text<'a>,
            #[serde(default)]
            params: Option<Raw>,
        }
        let Wire {
            method: Text(method),
            params,
        } = Wire::deserialize(deserializer)?;
        Self::read(&method, params.as_ref()).map_err(D::Error::custom)
    }
}

/// Questions by the keys under which the answers come back, in the order of asking.
pub type InputRequests = Ordered<InputRequest>;

/// A result that asks first.
///
/// Written with its `resultType`. Has questions, a state, or both: a state alone means "call again".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputRequired {
    /// The questions.
    pub input_requests: InputRequests,
    /// What the client hands back unchanged, and never reads.
    pub request_state: Option<String>,
    /// `_meta`.
    pub meta: Option<Meta>,
}

impl InputRequired {
    /// Asks `request` under `key`.
    ///
    /// # Errors
    ///
    /// Gives `request` back where `key` is taken.
    pub fn ask(
        &mut self,
        key: impl Into<String>,
        request: impl Into<InputRequest>,
    ) -> Result<(), InputRequest> {
        self.input_requests.insert(key, request.into())
    }
}

impl Serialize for InputRequired {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("InputRequired", 4)?;
        out.serialize_field("resultType", INPUT_REQUIRED)?;
        if !self.input_requests.is_empty() {
            out.serialize_field("inputRequests", &self.input_requests)?;
        }
        if let Some(state) = &self.request_state {
            out.serialize_field("requestState", state)?;
        }
        if let Some(meta) = &self.meta {
            out.serialize_field("_meta", meta)?;
        }
        out.end()
    }
}

impl<'de> Deserialize<'de> for InputRequired {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            result_type: String,
            input_requests: Option<InputRequests>,
            request_state: Option<String>,
            #[serde(rename = "_meta")]
            meta: Option<Meta>,
        }
        let wire = Wire::deserialize(deserializer)?;
        if wire.result_type != INPUT_REQUIRED {
            return Err(D::Error::custom("`resultType` must be `input_required`"));
        }
        let input_requests = wire.input_requests.unwrap_or_default();
        if input_requests.is_empty() && wire.request_state.is_none() {
            return Err(D::Error::custom(
                "a result that asks needs `inputRequests` or `requestState`",
            ));
        }
        Ok(Self {
            input_requests,
            request_state: wire.request_state,
            meta: wire.meta,
        })
    }
}

/// What the client answers, by the keys of the questions; each answer is an object, as it came.
///
/// Keys that were never asked are to be ignored, not refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct InputResponses(Ordered<Raw>);

impl InputResponses {
    /// The answer to the question `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Raw> {
        self.0.get(key)
    }

    /// Answers the question `key`, in place of an earlier answer.
    ///
    /// # Errors
    ///
    /// When `result` cannot be written as a JSON object.
    pub fn answer<T: Serialize>(
        &mut self,
        key: impl Into<String>,
        result: &T,
    ) -> Result<(), serde_json::Error> {
        let result = Raw::of(result)?;
        if !result.is_object() {
            return Err(serde_json::Error::custom("an answer must be an object"));
        }
        self.0.set(key, result);
        Ok(())
    }

    /// The answers, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Raw)> {
        self.0.iter()
    }

    /// Whether nothing was answered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for InputResponses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Answer(Raw);
        impl<'de> Deserialize<'de> for Answer {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::raw::object(deserializer).map(Self)
            }
        }
        let mut responses = Ordered::new();
        for (key, Answer(result)) in Ordered::<Answer>::deserialize(deserializer)? {
            // The reader refused duplicates, so the key is free.
            responses.set(key, result);
        }
        Ok(Self(responses))
    }
}

/// Reads `inputResponses`; null is refused, for it answers nothing.
pub(crate) fn optional_responses<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<InputResponses>, D::Error> {
    InputResponses::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_keep_their_order() {
        let text = r#"{"resultType":"input_required","inputRequests":{"z":{"method":"roots/list"},"a":{"method":"elicitation/create","params":{"mode":"url","message":"m","url":"https://a.example/"}}},"requestState":"s"}"#;
        let asks: InputRequired = serde_json::from_str(text).unwrap();
        assert_eq!(
            asks.input_requests
                .iter()
                .map(|(key, _)| key)
                .collect::<Vec<_>>(),
            ["z", "a"]
        );
        assert_eq!(serde_json::to_string(&asks).unwrap(), text);
    }

    #[test]
    fn a_key_is_asked_once() {
        let mut asks = InputRequired::default();
        assert_eq!(asks.ask("k", InputRequest::ListRoots), Ok(()));
        assert_eq!(
            asks.ask("k", InputRequest::ListRoots),
            Err(InputRequest::ListRoots)
        );
    }

    #[test]
    fn a_result_that_asks_nothing_is_refused() {
        let refusal = |text: &str| {
            serde_json::from_str::<InputRequired>(text)
                .unwrap_err()
                .to_string()
        };
        assert!(
            refusal(r#"{"resultType":"input_required"}"#)
                .contains("needs `inputRequests` or `requestState`")
        );
        assert!(
            refusal(r#"{"resultType":"complete","requestState":"s"}"#).contains("`resultType`")
        );
        assert!(
            refusal(r#"{"resultType":"input_required","inputRequests":{"a":{"method":"tools/call","params":{}}}}"#)
                .contains("method `tools/call` does not ask a client")
        );
        assert!(
            refusal(r#"{"resultType":"input_required","inputRequests":{"a":{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":"1"}}}}"#)
                .contains("`params.maxTokens`: invalid type")
        );
    }

    #[test]
    fn answers_are_objects_and_stay_as_they_came() {
        let text = r#"{"b":{"action":"accept","content":{"n":1.10}},"a":{}}"#;
        let responses: InputResponses = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&responses).unwrap(), text);
        assert_eq!(responses.get("a").unwrap().as_str(), "{}");
        for wrong in [
            "null",
            "[]",
            r#"{"a":null}"#,
            r#"{"a":[]}"#,
            r#"{"a":"x"}"#,
            r#"{"a":{},"a":{}}"#,
        ] {
            assert!(
                serde_json::from_str::<InputResponses>(wrong).is_err(),
                "{wrong}"
            );
        }
        let mut responses = InputResponses::default();
        assert!(responses.answer("k", &7).is_err());
        assert!(
            responses
                .answer("k", &crate::roots::ListRootsResult::default())
                .is_ok()
        );
        assert_eq!(responses.get("k").unwrap().as_str(), r#"{"roots":[]}"#);
    }
}
