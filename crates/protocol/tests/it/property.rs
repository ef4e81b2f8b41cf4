//! What holds for every input.

use bytestring::ByteString;
use fastmcp_protocol::{
    Message, Raw, RequestId,
    content::ContentBlock,
    elicit::ElicitParams,
    jsonrpc::{DEFAULT_DEPTH, encode_call},
    mrtr::{InputRequired, InputResponses},
    tool::{CallToolParams, Tool},
};
use proptest::prelude::*;

fn id() -> impl Strategy<Value = RequestId> {
    prop_oneof![
        any::<i64>().prop_map(RequestId::Number),
        any::<String>().prop_map(|s| RequestId::String(s.into())),
    ]
}

/// Texts that are nearly messages.
fn nearly_message() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just(r#""jsonrpc":"2.0""#),
        Just(r#""id":1"#),
        Just(r#""id":null"#),
        Just(r#""method":"tools/call""#),
        Just(r#""params":{"_meta":{}}"#),
        Just(r#""result":{}"#),
        Just(r#""error":{"code":1,"message":""}"#),
        Just("{"),
        Just("}"),
        Just("["),
        Just(","),
        Just("\\u0000"),
        Just("\""),
        Just("é"),
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.join(","))
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = ByteString::from(String::from_utf8_lossy(&bytes).into_owned());
        let _outcome = Message::parse(&text, DEFAULT_DEPTH);
    }

    #[test]
    fn near_messages_never_panic(inner in nearly_message()) {
        for text in [inner.clone(), format!("{{{inner}}}")] {
            let _outcome = Message::parse(&ByteString::from(text), DEFAULT_DEPTH);
        }
    }

    #[test]
    fn ids_come_back_as_they_went(id in id()) {
        prop_assert_eq!(&serde_json::from_str::<RequestId>(&id.to_json()).unwrap(), &id);
        let text = ByteString::from(encode_call(Some(&id), "ping", None));
        let Ok(Message::Request(request)) = Message::parse(&text, DEFAULT_DEPTH) else {
            return Err(TestCaseError::fail("not a request"));
        };
        prop_assert_eq!(request.id, id);
    }

    #[test]
    fn ill_typed_values_are_refused_without_a_panic(value in json()) {
        let raw = Raw::parse(value).unwrap();
        let _params = Raw::decode_params::<CallToolParams<'_>>(Some(&raw));
        let _tool = raw.decode::<Tool>();
        let _block = raw.decode::<ContentBlock>();
        let _elicit = raw.decode::<ElicitParams>();
        let _required = raw.decode::<InputRequired>();
        let _responses = raw.decode::<InputResponses>();
    }

    #[test]
    fn content_survives_the_wire(text in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        for block in [
            ContentBlock::text(&*text),
            ContentBlock::image(&bytes, &*text),
            ContentBlock::link(&*text, "n"),
        ] {
            let raw = Raw::of(&block).unwrap();
            prop_assert_eq!(raw.decode::<ContentBlock>().unwrap(), block);
        }
    }
}

/// JSON texts whose members have the names that matter here.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i32>().prop_map(|n| n.to_string()),
        Just(r#""text""#.to_owned()),
        Just(r#""form""#.to_owned()),
        Just(r#""input_required""#.to_owned()),
    ];
    let name = prop_oneof![
        Just("type"),
        Just("name"),
        Just("arguments"),
        Just("inputSchema"),
        Just("inputRequests"),
        Just("resultType"),
        Just("mode"),
        Just("message"),
        Just("requestedSchema"),
        Just("properties"),
        Just("text"),
        Just("_meta"),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((name.clone(), inner), 0..6).prop_map(|members| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!(r#""{name}":{value}"#))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}
