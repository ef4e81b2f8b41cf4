//! APIs described by OpenAPI, against real servers.

mod api;

use std::{collections::BTreeSet, time::Duration};

use fastmcp::{
    component::Definition,
    openapi::{Credential, OpenApi, OpenApiBuilder, RouteKind, RouteMap},
    prelude::*,
    provider::ProviderExt as _,
};
use serde_json::Value;
use tokio::net::TcpListener;

use api::{Answer, Api, Seen, answer};

async fn client(api: OpenApi) -> Client {
    assert_eq!(api.problems(), []);
    let server = FastMcp::from_openapi(api).build().unwrap();
    Client::connect(&server).await.unwrap()
}

fn tool(api: &OpenApi, name: &str) -> fastmcp::protocol::tool::Tool {
    let found = api.components().iter().find(|c| c.key() == name);
    match found.map(|c| c.definition()) {
        Some(Definition::Tool(tool)) => tool.clone(),
        other => panic!("{other:?}"),
    }
}

fn schema(api: &OpenApi, name: &str) -> Value {
    tool(api, name).input_schema.to_value().unwrap()
}

const PETSTORE: &str = r##"
openapi: 3.0.3
info: {title: Petstore, version: 1.2.0, description: Sells pets.}
servers:
  - url: https://{region}.example.com/v1
    variables: {region: {default: eu}}
security:
  - api_key: []
paths:
  /pets:
    get:
      operationId: listPets
      summary: List pets
      tags: [pets]
      security: []
      parameters:
        - {name: limit, in: query, schema: {type: integer, minimum: 1, maximum: 100}}
        - {name: tags, in: query, schema: {type: array, items: {type: string}}}
        - {name: "filter[name]", in: query, schema: {type: string, nullable: true}}
      responses:
        200:
          description: ok
          content:
            application/json:
              schema: {type: array, items: {$ref: "#/components/schemas/Pet"}}
        default: {description: error}
    post:
      operationId: createPet
      summary: Create a pet
      tags: [pets]
      requestBody:
        required: true
        content:
          application/json:
            schema: {$ref: "#/components/schemas/Pet"}
      responses:
        201:
          description: made
          content:
            application/json:
              schema: {$ref: "#/components/schemas/Pet"}
  /pets/{petId}:
    parameters:
      - {$ref: "#/components/parameters/petId"}
    get:
      operationId: getPet
      tags: [pets]
      responses:
        200:
          description: ok
          content:
            application/json:
              schema: {$ref: "#/components/schemas/Pet"}
    delete:
      operationId: deletePet
      deprecated: true
      responses: {204: {description: gone}}
    put:
      operationId: replacePet
      requestBody:
        content:
          application/x-www-form-urlencoded:
            schema:
              type: object
              required: [name]
              properties: {name: {type: string}, petId: {type: string}}
      responses: {200: {description: ok}}
components:
  securitySchemes:
    api_key: {type: apiKey, in: header, name: X-API-Key}
  parameters:
    petId: {name: petId, in: path, required: true, schema: {type: string}}
  schemas:
    Pet:
      type: object
      required: [id, name]
      properties:
        id: {type: integer, format: int64, readOnly: true}
        name: {type: string, maxLength: 20}
        weight: {type: number, exclusiveMinimum: true, minimum: 0}
        parent: {$ref: "#/components/schemas/Pet"}
"##;

#[tokio::test]
async fn a_document_becomes_tools_that_reach_the_api() {
    let api = Api::start(|seen| match (seen.method.as_str(), seen.uri.as_str()) {
        ("GET", uri) if uri.starts_with("/v1/pets?") => {
            answer(200, "application/json", r#"[{"id": 1, "name": "Rex"}]"#)
        }
        ("POST", "/v1/pets") => answer(
            201,
            "application/json; charset=utf-8",
            r#"{"id": 2, "name": "Tom"}"#,
        ),
        ("DELETE", "/v1/pets/2") => answer(204, "text/plain", ""),
        _ => answer(
            404,
            "application/problem+json",
            r#"{"title": "Not Found", "detail": "no such pet"}"#,
        ),
    })
    .await;
    let made = OpenApi::builder(PETSTORE)
        .base_url(api.url())
        .credential("api_key", Credential::api_key("s3cret-key"))
        .build()
        .unwrap();
    let client = client(made).await;
    assert_eq!(client.server_info().unwrap().name, "Petstore");

    let listed = client
        .call_tool(
            "listPets",
            json!({"limit": 10, "tags": ["a&b", "c"], "filter_name": null}),
        )
        .await
        .unwrap();
    assert_eq!(api.last().uri, "/v1/pets?limit=10&tags=a%26b&tags=c");
    assert_eq!(api.last().header("x-api-key"), None, "it demands none");
    assert_eq!(
        listed.structured_content(),
        Some(json!({"result": [{"id": 1, "name": "Rex"}]}))
    );
    assert_eq!(
        listed.data::<Value>().unwrap(),
        json!([{"id": 1, "name": "Rex"}])
    );

    let created = client
        .call_tool("createPet", json!({"name": "Tom", "weight": 1.5}))
        .await
        .unwrap();
    let seen = api.last();
    assert_eq!(seen.body, r#"{"name":"Tom","weight":1.5}"#);
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("x-api-key"), Some("s3cret-key"));
    assert_eq!(
        created.structured_content(),
        Some(json!({"id": 2, "name": "Tom"}))
    );

    client
        .call_tool("deletePet", json!({"petId": "2"}))
        .await
        .unwrap();
    let error = client
        .call_tool("getPet", json!({"petId": "3"}))
        .await
        .unwrap_err();
    assert_eq!(
        error.message(),
        "the API answered 404 Not Found: no such pet"
    );
}

#[tokio::test]
async fn arguments_are_checked_before_anything_is_sent() {
    let api = Api::quiet().await;
    let made = OpenApi::builder(PETSTORE)
        .base_url(api.url())
        .build()
        .unwrap();
    let client = client(made).await;
    for (name, args, field) in [
        ("listPets", json!({"limit": 0}), "limit"),
        ("listPets", json!({"limit": "10"}), "limit"),
        ("listPets", json!({"lmit": 10}), "lmit"),
        ("createPet", json!({}), "name"),
        ("createPet", json!({"name": "x".repeat(21)}), "name"),
        ("createPet", json!({"name": "Tom", "id": 7}), "id"),
        ("createPet", json!({"name": "Tom", "weight": 0}), "weight"),
        (
            "createPet",
            json!({"name": "Tom", "parent": {"name": 1}}),
            "parent.name",
        ),
        ("getPet", json!({"petId": ""}), "petId"),
        ("getPet", json!({}), "petId"),
        (
            "replacePet",
            json!({"petId__path": "1", "petId": "2"}),
            "name",
        ),
    ] {
        let error = client.call_tool(name, args.clone()).await.unwrap_err();
        assert!(error.message().contains(field), "{name} {args}: {error}");
    }
    assert_eq!(api.count(), 0);
    // The body may be left out as a whole.
    client
        .call_tool("replacePet", json!({"petId__path": "1"}))
        .await
        .unwrap();
    assert_eq!(
        (api.last().body.as_str(), api.last().header("content-type")),
        ("", None)
    );
    client
        .call_tool(
            "replacePet",
            json!({"petId__path": "1", "petId": "2", "name": "a b&c"}),
        )
        .await
        .unwrap();
    assert_eq!(api.last().uri, "/v1/pets/1");
    assert_eq!(api.last().body, "name=a%20b%26c&petId=2");
}

#[tokio::test]
async fn definitions_come_from_the_document() {
    let made = OpenApi::builder(PETSTORE).build().unwrap();
    let create = tool(&made, "createPet");
    let input = create.input_schema.to_value().unwrap();
    assert_eq!(input["required"], json!(["name"]));
    assert!(input["properties"].get("id").is_none(), "it is read only");
    assert_eq!(
        input["properties"]["weight"],
        json!({"type": "number", "exclusiveMinimum": 0})
    );
    assert_eq!(
        input["properties"]["parent"],
        json!({"$ref": "#/$defs/Pet"})
    );
    assert!(input["$defs"]["Pet"].is_object());
    assert_eq!(input["additionalProperties"], json!(false));
    let output = create.output_schema.unwrap().to_value().unwrap();
    assert_eq!(output["type"], "object");
    assert_eq!(output["required"], json!(["id", "name"]));
    let list = tool(&made, "listPets");
    let input = list.input_schema.to_value().unwrap();
    assert_eq!(
        input["properties"]["filter_name"]["type"],
        json!(["string", "null"])
    );
    assert_eq!(list.title.as_deref(), Some("List pets"));
    let hints = |name| {
        let hints = tool(&made, name).annotations.unwrap();
        (
            hints.read_only_hint,
            hints.destructive_hint,
            hints.idempotent_hint,
        )
    };
    assert_eq!(hints("listPets"), (Some(true), None, Some(true)));
    assert_eq!(hints("createPet"), (Some(false), None, Some(false)));
    assert_eq!(hints("deletePet"), (Some(false), Some(true), Some(true)));
    let delete = tool(&made, "deletePet").description.unwrap();
    assert_eq!(delete, "DELETE /pets/{petId}\n\nDeprecated.");
    let tags: Vec<_> = made.components().iter().map(|c| c.tags().len()).collect();
    assert_eq!(tags, [1, 1, 1, 0, 0]);
}

fn one(path: &str, method: &str, operation: &Value) -> Value {
    json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {path: {method: operation}}})
}

/// What CVE-2026-32871 was about: a parameter leads to another path or host.
#[tokio::test]
async fn no_argument_leads_out_of_its_place() {
    let api = Api::quiet().await;
    let parameters = json!([
        {"name": "id", "in": "path", "required": true, "schema": {}},
        {"name": "ext", "in": "path", "required": true, "schema": {}},
        {"name": "q", "in": "query", "schema": {}},
        {"name": "where", "in": "query", "schema": {"type": "object"}},
        {"name": "X-Trace", "in": "header", "schema": {}},
        {"name": "theme", "in": "cookie", "schema": {}},
    ]);
    let document = one(
        "/users/{id}/file.{ext}",
        "get",
        &json!({"operationId": "go", "parameters": parameters}),
    );
    let client = client(api.builder(document).build().unwrap()).await;
    let path = async |id: &str| {
        let before = api.count();
        let called = client
            .call_tool("go", json!({"id": id, "ext": "txt"}))
            .await;
        assert_eq!(api.count() - before, usize::from(called.is_ok()), "{id}");
        called.map(|_| api.last().uri)
    };
    for (id, sent) in [
        ("a/b", "a%2Fb"),
        ("a?b=c", "a%3Fb%3Dc"),
        ("a#b", "a%23b"),
        ("%2f%2e", "%252f%252e"),
        ("a\r\nHost: x", "a%0D%0AHost%3A%20x"),
        ("//evil.example", "%2F%2Fevil.example"),
        ("@evil.example", "%40evil.example"),
        ("a\\b", "a%5Cb"),
        ("a..…", "a..%E2%80%A6"),
    ] {
        assert_eq!(
            path(id).await.unwrap(),
            format!("/v1/users/{sent}/file.txt")
        );
    }
    for id in [
        ".",
        "..",
        "../admin",
        "a/../../b",
        "..\\x",
        "",
        "x/..",
        "%2E%2e",
    ] {
        let error = path(id).await.unwrap_err();
        assert!(error.message().contains("`id`"), "{id}: {error}");
    }
    let parts =
        json!({"id": "1", "ext": "x", "q": "a&b=c#d", "theme": "a; admin=1", "X-Trace": "x"});
    client.call_tool("go", parts).await.unwrap();
    assert_eq!(api.last().uri, "/v1/users/1/file.x?q=a%26b%3Dc%23d");
    assert_eq!(api.last().header("cookie"), Some("theme=a%3B%20admin%3D1"));
    assert_eq!(api.last().header("x-trace"), Some("x"));
    let before = api.count();
    for (args, field) in [
        (
            json!({"id": "1", "ext": "x", "X-Trace": "a\r\nHost: x"}),
            "X-Trace",
        ),
        (json!({"id": "1", "ext": "x", "where": {"q": "1"}}), "where"),
    ] {
        let error = client.call_tool("go", args).await.unwrap_err();
        assert!(error.message().contains(field), "{error}");
    }
    assert_eq!(api.count(), before);
}

#[tokio::test]
async fn styles_are_written_as_the_document_says() {
    let api = Api::quiet().await;
    let parameters = json!([
        {"name": "ids", "in": "path", "required": true, "style": "matrix", "explode": true, "schema": {}},
        {"name": "filter", "in": "query", "style": "deepObject", "schema": {"type": "object"}},
        {"name": "pipes", "in": "query", "style": "pipeDelimited", "schema": {"type": "array"}},
        {"name": "csv", "in": "query", "explode": false, "schema": {"type": "array"}},
        {"name": "json", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
        {"name": "X-Ids", "in": "header", "schema": {"type": "array"}},
        {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
    ]);
    let document = one(
        "/a{ids}",
        "get",
        &json!({"operationId": "go", "parameters": parameters}),
    );
    let made = api.builder(document).build().unwrap();
    assert!(
        schema(&made, "go")["properties"]
            .get("Authorization")
            .is_none()
    );
    let args = json!({
        "ids": [1, 2], "filter": {"a": {"b": "x y"}, "c": [1, 2.0]}, "pipes": ["a", "b"], "csv": [1, 2],
        "json": {"k": [1]}, "X-Ids": [3, 4],
    });
    client(made).await.call_tool("go", args).await.unwrap();
    let uri = "/v1/a;ids=1;ids=2?csv=1,2&filter%5Ba%5D%5Bb%5D=x%20y&filter%5Bc%5D=1&filter%5Bc%5D=2\
               &json=%7B%22k%22%3A%5B1%5D%7D&pipes=a%7Cb";
    assert_eq!(api.last().uri, uri);
    assert_eq!(api.last().header("x-ids"), Some("3,4"));
}

#[tokio::test]
async fn apis_are_sources_among_others() {
    let [pets, orders] = [Api::quiet().await, Api::quiet().await];
    let made = |api: &Api, title: &str| {
        let get = json!({"operationId": "get", "parameters": [
            {"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}]});
        let mut document = one("/things/{id}", "get", &get);
        document["info"]["title"] = json!(title);
        api.builder(document).build().unwrap()
    };
    let server = FastMcp::new("shop")
        .provider(made(&pets, "Pets").namespace("pets").unwrap())
        .provider(made(&orders, "Orders").namespace("orders").unwrap())
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    let tools = client.list_tools().await.unwrap();
    let mut names: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["orders_get", "pets_get"]);
    client
        .call_tool("orders_get", json!({"id": 7}))
        .await
        .unwrap();
    assert_eq!(
        (pets.count(), orders.last().uri.as_str()),
        (0, "/v1/things/7")
    );
    let wrong = client.call_tool("pets_get", json!({"id": "x"})).await;
    assert!(wrong.is_err(), "what is checked stays checked");
    assert_eq!(pets.count(), 0);
    let states = server.providers();
    let named: Vec<_> = states.iter().map(|state| state.name.as_str()).collect();
    assert_eq!(named, ["Pets", "Orders"]);
}

#[tokio::test]
async fn numbers_arrive_as_the_model_wrote_them() {
    let api = Api::quiet().await;
    let body = json!({"required": true, "content": {"application/json": {"schema": {
        "type": "object", "properties": {"amount": {"type": "number"}, "rest": {}}}}}});
    let document = one(
        "/pay",
        "post",
        &json!({"operationId": "pay", "requestBody": body}),
    );
    let made = api.builder(document).build().unwrap();
    let server = FastMcp::from_openapi(made).build().unwrap();
    let args = json!({"name": "pay", "arguments": {"amount": 0, "rest": {"$ref": 1}}});
    let message = crate::eras::modern("tools/call", args, &json!({})).to_string();
    // As no reader of JSON in this process would write it.
    let message = message.replace("\"amount\":0", "\"amount\":12345678901234567890.10");
    let message = message.replace("\"$ref\":1", "\"$ref\": 9007199254740993");
    let mut exchange = server.memory().send(&message.into());
    while !matches!(exchange.next().await, fastmcp::transport::Step::Done(_)) {}
    assert_eq!(
        api.last().body,
        r#"{"amount":12345678901234567890.10,"rest":{"$ref": 9007199254740993}}"#
    );
}

#[tokio::test]
async fn documents_that_refer_to_themselves_have_an_end() {
    let mut schemas = serde_json::Map::new();
    // As large APIs do it: everything refers to everything.
    for i in 0..60 {
        let properties: serde_json::Map<_, _> = (0..60)
            .map(|j| {
                (
                    format!("p{j}"),
                    json!({"$ref": format!("#/components/schemas/S{j}")}),
                )
            })
            .collect();
        schemas.insert(
            format!("S{i}"),
            json!({"type": "object", "properties": properties}),
        );
    }
    schemas.insert("Loop".into(), json!({"$ref": "#/components/schemas/Loop"}));
    schemas.insert(
        "Repo".into(),
        json!({"allOf": [{"$ref": "#/components/schemas/Base"}, {"type": "object", "properties": {
            "$ref": {"type": "string"}, "parent": {"$ref": "#/components/schemas/Repo"}, "type": {"type": ["string", "null"]}}}]}),
    );
    schemas.insert("Base".into(), json!({"type": "object", "required": ["type"], "properties": {"type": {"type": ["string", "null"]}}}));
    let body = |name: &str| {
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        json!({"requestBody": {"required": true, "content": {"application/json": {"schema": schema}}},
            "operationId": name,
            "responses": {"200": {"content": {"application/json": {"schema": schema}}}}})
    };
    let document = json!({
        "openapi": "3.1.0",
        "servers": [{"url": "https://example.com"}],
        "paths": {"/all": {"post": body("S0")}, "/loop": {"post": body("Loop")}, "/repo": {"post": body("Repo")}},
        "components": {"schemas": schemas},
    });
    let made = OpenApi::builder(document).build().unwrap();
    let all = schema(&made, "S0");
    assert_eq!(all["$defs"].as_object().unwrap().len(), 60);
    let repo = schema(&made, "Repo");
    // Its two parts have the same field; one that is named like a reference stays a field.
    assert_eq!(
        repo["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect::<BTreeSet<_>>(),
        BTreeSet::from(["parent", "ref", "type"])
    );
    assert_eq!(repo["required"], json!(["type"]));
    let output = tool(&made, "Repo")
        .output_schema
        .unwrap()
        .to_value()
        .unwrap();
    assert_eq!(output["type"], "object");
    assert_eq!(made.problems().len(), 1);
    assert!(
        made.problems()[0].reason.contains("circle"),
        "{}",
        made.problems()[0]
    );
}

/// The pets as resources.
fn shop(url: &str) -> OpenApi {
    OpenApi::builder(PETSTORE)
        .base_url(url)
        .route(RouteMap::new(RouteKind::Exclude).methods(["delete"]))
        .route(
            RouteMap::new(RouteKind::ResourceTemplate)
                .methods(["GET"])
                .pattern(r"\{")
                .add_tags(["read"]),
        )
        .route(
            RouteMap::new(RouteKind::Resource)
                .methods(["GET"])
                .tags(["pets"]),
        )
        .route_fn(|route, kind| {
            (route.operation_id.as_deref() == Some("replacePet")).then_some(match kind {
                RouteKind::Tool => RouteKind::Exclude,
                other => other,
            })
        })
        .name("createPet", "buy a pet")
        .tag("shop")
        .customise(|route, draft| {
            if route.summary.is_none() {
                draft.required_scopes.push("pets:read".to_owned());
            }
        })
        .build()
        .unwrap()
}

#[test]
fn rules_make_resources_and_leave_out() {
    let made = shop("https://example.com/v1");
    let keys: Vec<_> = made
        .components()
        .iter()
        .map(|c| c.key().to_owned())
        .collect();
    assert_eq!(
        keys,
        [
            "resource://listPets{?filter_name,limit,tags}",
            "buy_a_pet",
            "resource://getPet/{petId}"
        ]
        .map(|k| k.replace("{?filter_name,limit,tags}", ""))
    );
    let template = &made.components()[2];
    assert_eq!(
        template.tags().iter().collect::<Vec<_>>(),
        ["pets", "read", "shop"]
    );
    assert_eq!(template.required_scopes(), ["pets:read"]);
}

#[tokio::test]
async fn resources_are_read_and_stay_beneath_their_path() {
    let api = Api::start(|seen| match seen.uri.as_str() {
        "/v1/pets" => answer(200, "application/json", "[]"),
        "/v1/pets/a%20b%2Fc" => answer(200, "text/plain", "Rex"),
        "/v1/pets/logo" => answer(200, "image/png", vec![0xff_u8, 0xd8]),
        _ => answer(404, "text/plain", "no"),
    })
    .await;
    let client = client(shop(&api.url())).await;
    let read = async |uri: &str| {
        let read = client.read_resource(uri).await;
        read.map(|result| serde_json::to_value(&result.contents[0]).unwrap())
    };
    assert_eq!(
        read("resource://listPets").await.unwrap(),
        json!({"uri": "resource://listPets", "mimeType": "application/json", "text": "[]"})
    );
    assert_eq!(
        read("resource://getPet/a%20b%2Fc").await.unwrap()["text"],
        "Rex"
    );
    assert_eq!(
        read("resource://getPet/logo").await.unwrap()["blob"],
        "/9g="
    );
    let before = api.count();
    for uri in [
        "resource://getPet/..%2Fadmin",
        "resource://getPet/%2E%2E",
        "resource://getPet/a/b",
    ] {
        assert!(read(uri).await.is_err(), "{uri}");
    }
    assert_eq!(api.count(), before);
    let missing = client
        .read_resource("resource://getPet/none")
        .await
        .unwrap_err();
    assert_eq!(
        missing.data(),
        Some(&json!({"uri": "resource://getPet/none"}))
    );
}

#[tokio::test]
async fn what_cannot_be_offered_is_named_and_left_out() {
    let document = json!({
        "openapi": "3.0.0",
        "servers": [{"url": "https://example.com/v1"}],
        "paths": {
            "x-internal": {"get": {}},
            "/upload": {"post": {"operationId": "upload", "requestBody": {"content": {"multipart/form-data": {}}}}},
            "/away": {"get": {"operationId": "away", "servers": [{"url": "http://169.254.169.254"}]}},
            "/same": {"get": {"operationId": "same", "servers": [{"url": "https://example.com/v1"}]}},
            "/lost": {"get": {"parameters": [{"$ref": "#/components/parameters/none"}]}},
            "/out": {"get": {"parameters": [{"$ref": "http://169.254.169.254/p.json#/x"}]}},
            "/{none}": {"get": {}},
            "/a?b=c": {"get": {}},
            "/style": {"get": {"parameters": [{"name": "a", "in": "query", "style": "simple"}]}},
            "/trace": {"trace": {}},
        },
    });
    let made = OpenApi::builder(document.clone()).build().unwrap();
    let names: Vec<_> = made.components().iter().map(|c| c.key()).collect();
    assert_eq!(names, ["same"]);
    let problems: Vec<_> = made.problems().iter().map(ToString::to_string).collect();
    for (at, why) in [
        ("#/paths/~1upload/post", "multipart/form-data"),
        ("#/paths/~1away/get", "base_url"),
        ("#/paths/~1lost/get", "which is not there"),
        ("#/paths/~1out/get", "bundle"),
        ("#/paths/~1{none}/get", "{none}"),
        ("#/paths/~1a?b=c/get", "query"),
        ("#/paths/~1style/get", "`style`"),
    ] {
        let found = problems
            .iter()
            .any(|p| p.starts_with(at) && p.contains(why));
        assert!(found, "{at}: {problems:#?}");
    }
    assert_eq!(problems.len(), 7);
    assert!(OpenApi::builder(document).strict(true).build().is_err());
}

#[tokio::test]
async fn set_up_wrongly_it_says_what_to_do() {
    let refused = |change: fn(OpenApiBuilder) -> OpenApiBuilder| {
        let built = change(OpenApi::builder(PETSTORE)).build();
        built.unwrap_err().message().to_owned()
    };
    for (message, why) in [
        (refused(|b| b.base_url("/v1")), "absolute"),
        (refused(|b| b.base_url("ftp://example.com")), "absolute"),
        (
            refused(|b| b.base_url("https://u:p@example.com")),
            "password",
        ),
        (refused(|b| b.base_url("https://example.com/?a")), "query"),
        (
            refused(|b| b.base_url("http://169.254.169.254/")),
            "link-local",
        ),
        (
            refused(|b| b.credential("key", Credential::api_key("x"))),
            "no security scheme",
        ),
        (
            refused(|b| b.credential("api_key", Credential::bearer("x"))),
            "api_key",
        ),
        (
            refused(|b| b.credential("api_key", Credential::api_key("a\nb"))),
            "ASCII",
        ),
        (refused(|b| b.header("a b", "c")), "`a b`"),
        (
            refused(|b| b.route(RouteMap::new(RouteKind::Tool).pattern("("))),
            "`pattern`",
        ),
        (refused(|b| b.timeout(Duration::ZERO)), "timeout"),
        (
            refused(|b| {
                b.limits(fastmcp::openapi::OpenApiLimits {
                    operations: 2,
                    ..Default::default()
                })
            }),
            "5 operations",
        ),
        (
            refused(|b| {
                b.limits(fastmcp::openapi::OpenApiLimits {
                    document_bytes: 100,
                    ..Default::default()
                })
            }),
            "100",
        ),
    ] {
        assert!(message.contains(why), "{why}: {message}");
    }
    let none = OpenApi::builder(json!({"openapi": "3.1.0", "paths": {}}))
        .build()
        .unwrap_err();
    assert!(none.message().contains("base_url"), "{none}");
    let relative = json!({"openapi": "3.1.0", "servers": [{"url": "/v1"}], "paths": {}});
    let relative = OpenApi::builder(relative).build().unwrap_err();
    assert!(relative.message().contains("#/servers/0"), "{relative}");
    let secret = format!("{:?}", Credential::basic("user", "hunter2"));
    assert!(!secret.contains("hunter2"));
}

#[tokio::test]
async fn credentials_go_where_the_document_says_and_no_argument_replaces_them() {
    let api = Api::quiet().await;
    let document = json!({
        "openapi": "3.1.0",
        "security": [{"missing": []}, {"query": [], "cookie": []}],
        "paths": {
            "/both": {"get": {"operationId": "both", "parameters": [
                {"name": "key", "in": "query", "schema": {"type": "string"}},
                {"name": "X-Tenant", "in": "header", "schema": {"type": "string"}},
                {"name": "where", "in": "query", "schema": {"type": "object"}},
            ]}},
            "/basic": {"get": {"operationId": "basic", "security": [{"basic": []}]}},
            "/token": {"get": {"operationId": "token", "security": [{"oauth": ["read"]}]}},
            "/open": {"get": {"operationId": "open", "security": []}},
        },
        "components": {"securitySchemes": {
            "missing": {"type": "http", "scheme": "bearer"},
            "query": {"type": "apiKey", "in": "query", "name": "key"},
            "cookie": {"type": "apiKey", "in": "cookie", "name": "sid"},
            "basic": {"type": "http", "scheme": "Basic"},
            "oauth": {"$ref": "#/components/securitySchemes/alias"},
            "alias": {"type": "oauth2", "flows": {}},
        }},
    });
    let made = api
        .builder(document)
        .credential("query", Credential::api_key("k&1"))
        .credential("cookie", Credential::api_key("c;1"))
        .credential("basic", Credential::basic("user", "pass"))
        .credential("oauth", Credential::bearer("token"))
        .header("X-Tenant", "acme")
        .headers_by(|context| async move {
            let mut headers = hyper::HeaderMap::new();
            headers.insert("x-caller", context.caller().principal().as_str().parse()?);
            Ok(headers)
        })
        .build()
        .unwrap();
    assert_eq!(
        schema(&made, "both")["properties"]
            .as_object()
            .unwrap()
            .len(),
        1,
        "`where` alone"
    );
    let client = client(made).await;
    client.call_tool("both", json!({})).await.unwrap();
    let seen = api.last();
    assert_eq!(seen.uri, "/v1/both?key=k%261");
    assert_eq!(seen.header("cookie"), Some("sid=c%3B1"));
    assert_eq!(seen.header("x-tenant"), Some("acme"));
    assert!(seen.header("x-caller").is_some());
    assert_eq!(seen.header("authorization"), None);
    let error = client
        .call_tool("both", json!({"where": {"key": "mine"}}))
        .await
        .unwrap_err();
    assert!(error.message().contains("`where`"), "{error}");
    client.call_tool("basic", json!({})).await.unwrap();
    assert_eq!(
        api.last().header("authorization"),
        Some("Basic dXNlcjpwYXNz")
    );
    client.call_tool("token", json!({})).await.unwrap();
    assert_eq!(api.last().header("authorization"), Some("Bearer token"));
    client.call_tool("open", json!({})).await.unwrap();
    assert_eq!(
        (api.last().header("authorization"), api.last().uri.as_str()),
        (None, "/v1/open")
    );
}

fn troubles(seen: &Seen) -> Answer {
    match seen.uri.trim_start_matches("/v1/") {
        "moved" => {
            let mut moved = answer(302, "text/html", "");
            moved
                .headers_mut()
                .insert("location", "http://127.0.0.1:1/".parse().unwrap());
            moved
        }
        "html" => answer(500, "text/html", "<h1>stack trace of host-17.internal</h1>"),
        "json" => answer(
            422,
            "application/json",
            r#"{"errors": [{"message": "name is\u0000 taken"}, {"detail": "x"}]}"#,
        ),
        "plain" => answer(400, "text/plain; charset=utf-8", "x".repeat(5_000)),
        "echo" => answer(
            401,
            "application/json",
            r#"{"message": "token s3cret-token is bad"}"#,
        ),
        "large" => answer(
            200,
            "application/json",
            format!("[{}]", "1,".repeat(600_000)),
        ),
        "broken" => answer(200, "application/json", "{\"a\":"),
        "other" => answer(200, "application/json", r#"{"count": "many"}"#),
        "text" => answer(200, "text/csv", "a,b"),
        "bytes" => answer(200, "application/zip", vec![0xff_u8, 0x00]),
        "list" => answer(200, "application/vnd.api+json", "[1.0]"),
        _ => answer(200, "application/json", ""),
    }
}

/// A client of an API with all kinds of trouble.
async fn troubled(change: fn(OpenApiBuilder) -> OpenApiBuilder) -> (Api, Client) {
    let api = Api::start(troubles).await;
    let promised = json!({"200": {"content": {"application/json": {"schema":
        {"type": "object", "properties": {"count": {"type": "integer"}}}}}}});
    let mut paths = serde_json::Map::new();
    for name in [
        "moved", "html", "json", "plain", "echo", "large", "broken", "text", "bytes", "list",
        "empty",
    ] {
        paths.insert(format!("/{name}"), json!({"get": {"operationId": name}}));
    }
    paths.insert(
        "/other".into(),
        json!({"get": {"operationId": "other", "responses": promised}}),
    );
    paths.insert(
        "/moved".into(),
        json!({"get": {"operationId": "moved"}, "post": {"operationId": "post_moved"}}),
    );
    let document = json!({"openapi": "3.1.0", "paths": paths});
    let builder = api
        .builder(document)
        .header("authorization", "Bearer s3cret-token");
    let client = client(change(builder).build().unwrap()).await;
    (api, client)
}

#[tokio::test]
async fn failures_are_summed_up_and_redirects_refused() {
    let (_api, client) = troubled(|builder| builder).await;
    let fails = async |name: &str| {
        let error = client.call_tool(name, json!({})).await.unwrap_err();
        error.message().to_owned()
    };
    let redirects = "the API redirects elsewhere, which is not followed";
    assert_eq!(fails("moved").await, redirects);
    assert_eq!(fails("post_moved").await, redirects);
    assert_eq!(
        fails("html").await,
        "the API answered 500 Internal Server Error"
    );
    assert_eq!(
        fails("json").await,
        "the API answered 422 Unprocessable Entity: name is taken; x"
    );
    let plain = fails("plain").await;
    assert!(plain.starts_with("the API answered 400 Bad Request: xxx") && plain.len() < 400);
    assert_eq!(fails("echo").await, "the API answered 401 Unauthorized");
    assert!(fails("large").await.contains("1048576 bytes"));
    assert_eq!(fails("broken").await, "the API's answer is not JSON");
    assert_eq!(
        fails("other").await,
        "the API's answer is not what its description promises"
    );
}

#[tokio::test]
async fn answers_of_all_kinds_are_passed_on() {
    let (_api, client) = troubled(|builder| builder.validate_output(false)).await;
    let get = async |name: &str| client.call_tool(name, json!({})).await.unwrap();
    assert_eq!(
        get("other").await.structured_content(),
        Some(json!({"count": "many"}))
    );
    assert_eq!(get("text").await.text(), "a,b");
    assert_eq!(get("list").await.data::<Value>().unwrap(), json!([1.0]));
    assert_eq!(get("empty").await.content().len(), 0);
    let bytes = serde_json::to_value(get("bytes").await.content()).unwrap();
    assert_eq!(bytes[0]["resource"]["blob"], "/wA=");
    assert_eq!(bytes[0]["resource"]["mimeType"], "application/zip");
}

#[tokio::test]
async fn an_api_that_is_away_or_silent_is_said_so() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = |port: u16| format!("http://127.0.0.1:{port}");
    let document = json!({"openapi": "3.1.0", "paths": {"/a": {
        "get": {"operationId": "read"}, "post": {"operationId": "write"}}}});
    let build = |url: String, timeout: Duration| {
        let builder = OpenApi::builder(document.clone()).base_url(url);
        builder.timeout(timeout).build().unwrap()
    };
    // Enough for the request to go out.
    let (soon, late) = (Duration::from_secs(1), Duration::from_secs(30));
    let waiting = client(build(at(silent.local_addr().unwrap().port()), soon)).await;
    let error = async |client: &Client, name: &str| {
        let error = client.call_tool(name, json!({})).await.unwrap_err();
        error.message().to_owned()
    };
    assert_eq!(
        error(&waiting, "read").await,
        "the API did not answer in time"
    );
    assert_eq!(
        error(&waiting, "write").await,
        "the API did not answer in time; it may have acted all the same"
    );
    // Bound, so that nobody else gets the port, and not listening.
    let gone = tokio::net::TcpSocket::new_v4().unwrap();
    gone.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let away = client(build(at(gone.local_addr().unwrap().port()), late)).await;
    assert_eq!(error(&away, "write").await, "the API cannot be reached");
}
