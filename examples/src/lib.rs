//! The pages of the documentation whose code the tests compile: each is the text of a module here.

macro_rules! pages {
    ($($name:ident: $file:literal,)*) => {$(
        #[doc = include_str!(concat!("../../docs/", $file))]
        pub mod $name {}
    )*};
}

pages! {
    from_python: "from-python.md",
    from_python_auth: "from-python/auth.md",
    from_python_composition: "from-python/composition.md",
    from_python_configuration: "from-python/configuration.md",
    from_python_context: "from-python/context.md",
    from_python_enterprise: "from-python/enterprise.md",
    from_python_errors: "from-python/errors.md",
    from_python_middleware: "from-python/middleware.md",
    from_python_operation: "from-python/operation.md",
    from_python_performance: "from-python/performance.md",
    from_python_platform: "from-python/platform.md",
    from_python_security: "from-python/security.md",
    from_python_server: "from-python/server.md",
    from_python_testing: "from-python/testing.md",
    first_server: "guide/src/first-server.md",
    apps: "guide/src/apps.md",
    command: "guide/src/command.md",
    configuration: "guide/src/configuration.md",
    deployment: "guide/src/deployment.md",
    errors: "guide/src/errors.md",
    gateway: "guide/src/gateway.md",
    http: "guide/src/http.md",
    skills: "guide/src/skills.md",
    storage: "guide/src/storage.md",
    telemetry: "guide/src/telemetry.md",
    tools: "guide/src/tools.md",
    transforms: "guide/src/transforms.md",
    transports: "guide/src/transports.md",
    resources: "guide/src/resources.md",
    prompts: "guide/src/prompts.md",
    context: "guide/src/context.md",
    values: "guide/src/values.md",
    middleware: "guide/src/middleware.md",
    composition: "guide/src/composition.md",
    upstreams: "guide/src/upstreams.md",
    authorization: "guide/src/authorization.md",
    login: "guide/src/login.md",
    tasks: "guide/src/tasks.md",
    clients: "guide/src/clients.md",
    testing: "guide/src/testing.md",
    running: "guide/src/running.md",
}
