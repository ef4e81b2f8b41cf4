//! The pages of the documentation whose code the tests compile: each is the text of a module here.

macro_rules! pages {
    ($($name:ident: $file:literal,)*) => {$(
        #[doc = include_str!(concat!("../../docs/", $file))]
        pub mod $name {}
    )*};
}

pages! {
    from_python: "from-python.md",
    first_server: "guide/src/first-server.md",
    tools: "guide/src/tools.md",
    resources: "guide/src/resources.md",
    prompts: "guide/src/prompts.md",
    context: "guide/src/context.md",
    values: "guide/src/values.md",
    middleware: "guide/src/middleware.md",
    composition: "guide/src/composition.md",
    upstreams: "guide/src/upstreams.md",
    authorization: "guide/src/authorization.md",
    tasks: "guide/src/tasks.md",
    clients: "guide/src/clients.md",
    testing: "guide/src/testing.md",
    running: "guide/src/running.md",
}
