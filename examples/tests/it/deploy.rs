//! The files of `deploy/`: they are read as their tools would read them, and what they tell a server is given to one.
//! No image is built here and no cluster is asked.

use std::{collections::BTreeMap, fs, path::PathBuf};

use fastmcp::{Transport, config::ServerConfig};
use serde_json::Value;

fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn documents(name: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let mut found = documents.iter().filter(|one| one["kind"] == kind);
    let one = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(found.next().is_none(), "there are two of {kind}");
    one
}

/// What every workload of ours has in common; its container.
fn checked_workload<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    for document in documents {
        assert!(document["apiVersion"].is_string() && document["metadata"]["name"].is_string());
    }
    let workload = of_kind(documents, kind);
    let template = &workload["spec"]["template"];
    let pod = &template["spec"];
    let selector = &workload["spec"]["selector"]["matchLabels"];
    assert_eq!(&template["metadata"]["labels"], selector);
    let service = &of_kind(documents, "Service")["spec"];
    assert_eq!(&service["selector"], selector);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    let name = &of_kind(documents, "ServiceAccount")["metadata"]["name"];
    assert_eq!(&pod["serviceAccountName"], name);

    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    for (probe, path) in [
        ("startupProbe", "/health"),
        ("livenessProbe", "/health"),
        ("readinessProbe", "/ready"),
    ] {
        let asked = &container[probe]["httpGet"];
        assert_eq!(asked["path"], path, "{probe}");
        assert_eq!(asked["port"], container["ports"][0]["name"], "{probe}");
    }
    assert_eq!(
        service["ports"][0]["targetPort"],
        container["ports"][0]["name"]
    );
    let settings = &of_kind(documents, "ConfigMap")["metadata"]["name"];
    assert_eq!(&container["envFrom"][0]["configMapRef"]["name"], settings);
    for mount in container["volumeMounts"].as_array().unwrap() {
        let claims = workload["spec"]["volumeClaimTemplates"].as_array();
        let claimed = claims.into_iter().flatten().map(|claim| &claim["metadata"]);
        let mut volumes = pod["volumes"].as_array().unwrap().iter().chain(claimed);
        assert!(
            volumes.any(|volume| volume["name"] == mount["name"]),
            "{mount}"
        );
    }
    container
}

#[test]
fn the_manifests_of_a_server_fit_together_and_its_settings_are_settings() {
    let documents = documents("kubernetes/server.yaml");
    let container = checked_workload(&documents, "Deployment");
    let scaled = &of_kind(&documents, "HorizontalPodAutoscaler")["spec"];
    assert_eq!(scaled["scaleTargetRef"]["kind"], "Deployment");
    assert_eq!(scaled["scaleTargetRef"]["name"], "mcp-server");
    let budget = &of_kind(&documents, "PodDisruptionBudget")["spec"];
    assert_eq!(
        budget["selector"],
        of_kind(&documents, "Deployment")["spec"]["selector"]
    );

    let settings = of_kind(&documents, "ConfigMap")["data"].clone();
    let settings: BTreeMap<String, String> = serde_json::from_value(settings).unwrap();
    let config = ServerConfig::from_vars(settings).unwrap();
    let Transport::Http(address) = config.transport() else {
        panic!("it must serve HTTP");
    };
    assert_eq!(container["ports"][0]["containerPort"], address.port());
    assert!(!address.ip().is_loopback(), "probes come from outside");
    assert_eq!(config.allowed_hosts, ["mcp-server", "mcp.example.com"]);
    for variable in container["env"].as_array().unwrap() {
        let given = [(variable["name"].as_str().unwrap(), "redis://host")];
        let config = ServerConfig::from_vars(given).unwrap();
        assert!(
            config.redis_url.is_some() || config.database_url.is_some(),
            "{variable}"
        );
    }
}

#[test]
fn there_is_one_gateway_on_one_volume() {
    let documents = documents("kubernetes/gateway.yaml");
    let container = checked_workload(&documents, "Deployment");
    let deployment = &of_kind(&documents, "Deployment")["spec"];
    assert_eq!(deployment["replicas"], 1);
    assert_eq!(deployment["strategy"]["type"], "Recreate");
    let volumes = &deployment["template"]["spec"]["volumes"];
    let claim = &of_kind(&documents, "PersistentVolumeClaim")["metadata"]["name"];
    assert_eq!(&volumes[0]["persistentVolumeClaim"]["claimName"], claim);
    asked_as_localhost(container);
    let settings = &of_kind(&documents, "ConfigMap")["data"];
    assert_eq!(
        settings["FASTMCP_DATA_DIR"],
        container["volumeMounts"][0]["mountPath"]
    );
}

/// It answers under names that it was given alone, and `localhost` is always one.
fn asked_as_localhost(container: &Value) {
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let header = &container[probe]["httpGet"]["httpHeaders"][0];
        assert_eq!(
            (&header["name"], &header["value"]),
            (&"Host".into(), &"localhost".into())
        );
    }
}

#[test]
fn replicas_share_state_keys_and_policy_and_each_has_a_log_of_its_own() {
    let documents = documents("kubernetes/gateway-replicas.yaml");
    let container = checked_workload(&documents, "StatefulSet");
    asked_as_localhost(container);
    let set = &of_kind(&documents, "StatefulSet")["spec"];
    assert!(set["replicas"].as_u64() > Some(1));
    let budget = &of_kind(&documents, "PodDisruptionBudget")["spec"];
    assert_eq!(budget["selector"], set["selector"]);
    let service = of_kind(&documents, "Service");
    assert_eq!(set["serviceName"], service["metadata"]["name"]);
    assert_eq!(service["spec"]["sessionAffinity"], "ClientIP");

    let variables = container["env"].as_array().unwrap().iter();
    let from: BTreeMap<&str, &Value> = variables
        .map(|one| (one["name"].as_str().unwrap(), &one["valueFrom"]))
        .collect();
    assert_eq!(
        from["FASTMCP_INSTANCE"]["fieldRef"]["fieldPath"],
        "metadata.name"
    );
    for name in ["DATABASE_URL", "REDIS_URL"] {
        assert!(from[name]["secretKeyRef"]["key"].is_string(), "{name}");
    }
    let settings = &of_kind(&documents, "ConfigMap")["data"];
    let mounts = container["volumeMounts"].as_array().unwrap();
    let mounted = |name: &str| {
        let mount = mounts.iter().find(|mount| mount["name"] == name);
        mount.unwrap()["mountPath"].as_str().unwrap()
    };
    assert_eq!(settings["FASTMCP_DATA_DIR"], mounted("data"));
    assert_eq!(settings["FASTMCP_POLICY"], mounted("policy"));
    for name in ["FILESYSTEM_ROOT", "AUDIT_PEERS_DIR"] {
        let place = settings[name].as_str().unwrap();
        assert!(place.starts_with(mounted("shared")), "{name}");
    }
    let claim = &of_kind(&documents, "PersistentVolumeClaim")["metadata"]["name"];
    let pod = &set["template"]["spec"];
    assert_eq!(
        &pod["volumes"][0]["persistentVolumeClaim"]["claimName"],
        claim
    );
    // Its own log, on a volume that nobody else has.
    let own = &set["volumeClaimTemplates"][0];
    assert_eq!(own["metadata"]["name"], "data");
    assert_eq!(own["spec"]["accessModes"][0], "ReadWriteOncePod");
    let before = &pod["initContainers"][0];
    assert_eq!(before["securityContext"]["readOnlyRootFilesystem"], true);
}

#[test]
fn the_services_of_compose_build_what_there_is() {
    let compose = documents("compose.yaml").remove(0);
    let manifest = include_str!("../../Cargo.toml");
    for name in ["mcp-server", "gateway"] {
        let service = &compose["services"][name];
        assert_eq!(
            service["build"]["dockerfile"], "deploy/Dockerfile",
            "{name}"
        );
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"][0], "ALL", "{name}");
        let published = service["ports"][0].as_str().unwrap();
        assert!(
            published.starts_with("127.0.0.1:"),
            "{name}: TLS is a proxy's"
        );
        let volume = service["volumes"][0].as_str().unwrap();
        let (volume, place) = volume.split_once(':').unwrap();
        assert_eq!(place, "/data");
        assert!(compose["volumes"].get(volume).is_some(), "{volume}");
    }
    assert!(
        manifest.contains("name = \"production_server\""),
        "what the image has"
    );
}

/// The instructions of a Dockerfile, lines put together.
fn instructions(text: &str) -> Vec<(String, String)> {
    let whole = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("\\\n", " ");
    let lines = whole.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let (name, rest) = line.trim().split_once(' ').unwrap();
            (
                name.to_owned(),
                rest.split_whitespace().collect::<Vec<_>>().join(" "),
            )
        })
        .collect()
}

/// The program that says whether a container is healthy.
pub(crate) fn health_check() -> Vec<String> {
    let text = read("Dockerfile");
    let (_, check) = instructions(&text)
        .into_iter()
        .find(|(name, _)| name == "HEALTHCHECK")
        .unwrap();
    let (_, program) = check.split_once("CMD ").unwrap();
    serde_json::from_str(program).unwrap()
}

#[test]
fn the_image_is_built_from_the_lock_file_and_runs_as_nobody() {
    let instructions = instructions(&read("Dockerfile"));
    let all = |wanted: &str| -> Vec<&str> {
        let found = instructions.iter().filter(|(name, _)| name == wanted);
        found.map(|(_, rest)| rest.as_str()).collect()
    };
    let known = [
        "ARG",
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "USER",
        "VOLUME",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "STOPSIGNAL",
        "ENTRYPOINT",
    ];
    for (name, _) in &instructions {
        assert!(known.contains(&name.as_str()), "{name}");
    }
    let stages = all("FROM");
    assert_eq!(stages.len(), 2, "what builds is not what runs");
    assert!(stages[0].ends_with("AS build") && !stages[1].contains("rust"));
    assert!(
        all("RUN")
            .iter()
            .any(|run| run.contains("cargo build --locked --release"))
    );
    assert!(
        all("COPY")
            .iter()
            .any(|copy| copy.starts_with("--from=build "))
    );
    let user = all("USER");
    assert!(user.len() == 1 && !user[0].starts_with("0") && user[0] != "root");
    let entry: Vec<String> = serde_json::from_str(all("ENTRYPOINT")[0]).unwrap();
    assert_eq!(entry, ["/usr/local/bin/server"]);

    let told = all("ENV")[0]
        .split(' ')
        .map(|pair| pair.split_once('=').unwrap());
    let config = ServerConfig::from_vars(told).unwrap();
    assert!(config.http && config.host.is_unspecified());
    assert_eq!(all("EXPOSE"), [config.port.to_string()]);

    let rust = all("ARG")
        .into_iter()
        .find_map(|arg| arg.strip_prefix("RUST="))
        .unwrap();
    let workspace = include_str!("../../../Cargo.toml");
    assert!(
        workspace.contains(&format!("rust-version = \"{rust}\"")),
        "{rust}"
    );
}
