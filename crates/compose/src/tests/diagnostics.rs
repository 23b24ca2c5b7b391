//! Bad input: code, file, line, column and hint of each (issue 2, "Bad input").

use super::*;

#[test]
fn yaml_that_is_none() {
    insta::assert_snapshot!(said("services:\n\tweb:\n"), @"error compose/yaml-syntax compose.yaml:2:2: this file is not valid YAML (YAML indents with spaces, never with tabs)");
    insta::assert_snapshot!(said("services:\n  web:\n    image: [a\n"), @"error compose/yaml-syntax compose.yaml:4:1: this file is not valid YAML (look at the indentation and the quotes here and in the line before)");
    insta::assert_snapshot!(said("- web\n"), @"error compose/wrong-type compose.yaml:1:1: a Compose file is a mapping, and this is a list (look at the first lines of the file)");
    insta::assert_snapshot!(said("services:\n  web: {image: a}\n  web: {image: b}\n"), @"error compose/duplicate-key compose.yaml:3:3: the key `web` is given twice (keep one of them: YAML has no rule for which would win)");
    insta::assert_snapshot!(said("services:\n  web: {image: !file a}\n"), @"error compose/unknown-tag compose.yaml:2:16: unknown YAML tag `!file` (Compose files know `!reset` and `!override`)");
    insta::assert_snapshot!(said("a: &a [*a]\n"), @"error compose/yaml-syntax compose.yaml:1:8: an alias stands inside the value that it repeats (write out what is meant here)");
}

/// Z5: accepted, and said.
#[test]
fn a_doubled_merge_key() {
    let text = "x-a: &a {image: one}\nx-b: &b {image: two, tty: true}\nservices:\n  web:\n    <<: *a\n    <<: *b\n";
    insta::assert_snapshot!(said(text), @"warning compose/doubled-merge-key compose.yaml:6:5: the merge key `<<` stands twice in one mapping (write `<<: [*b, *a]`: other tools refuse this file)");
    let web = project(text).services.remove("web").expect("web");
    assert_eq!(web.image.map(|image| image.value).as_deref(), Some("two"));
    let list = text.replace("    <<: *a\n    <<: *b\n", "    <<: [*b, *a]\n");
    assert_eq!(project(&list).services["web"].image.as_ref().map(|image| image.value.as_str()), Some("two"));
}

/// A document that stands for more than any machine has memory for.
#[test]
fn a_billion_laughs() {
    let mut text = String::from("x-0: &x0 [a, a, a, a, a, a, a, a, a]\n");
    for level in 1..12 {
        let previous = level - 1;
        let aliases = vec![format!("*x{previous}"); 9].join(", ");
        text.push_str(&format!("x-{level}: &x{level} [{aliases}]\n"));
    }
    insta::assert_snapshot!(said(&text), @"error compose/yaml-limit compose.yaml:6:11: this file stands for more than 100000 values (aliases that repeat aliases multiply: write the values out, or split the file)");
    let deep = |depth: usize| format!("x-a: {}1{}\n", "[".repeat(depth), "]".repeat(depth));
    assert!(said(&deep(150)).starts_with("error compose/yaml-limit compose.yaml:1:106: values nest"));
    assert!(said(&deep(50_000)).contains("error compose/"));
}

#[test]
fn variables() {
    insta::assert_snapshot!(said("services:\n  web:\n    image: nginx:${TAG:?set TAG to a release}\n"), @"error compose/required-variable compose.yaml:3:18: the required variable TAG is not set (set TAG in the environment, in .env or in a file given with --env-file)");
    insta::assert_snapshot!(said("services:\n  web:\n    image: \"nginx:${TAG\"\n"), @"error compose/interpolation-syntax compose.yaml:3:19: this variable expression can't be understood (a literal dollar sign is written `$$`)");
    insta::assert_snapshot!(said("services:\n  web:\n    image: nginx\n    command: echo $NAME $NAME\n"), @"warning compose/unset-variable compose.yaml:4:19: the variable NAME is not set and reads as empty (set it in the environment or in .env, or write `${NAME:-default}`; a literal dollar sign is `$$`)");
    insta::assert_snapshot!(said("services:\n  web:\n    image: nginx:${TAG/x/y}\n"), @"error compose/interpolation-syntax compose.yaml:3:18: this variable expression can't be understood (a literal dollar sign is written `$$`)");
}

#[test]
fn unknown_keys() {
    insta::assert_snapshot!(said("services:\n  web:\n    image: nginx\n    enviroment: {A: b}\n"), @"error compose/unknown-key compose.yaml:4:5: `services.web` has no key `enviroment` (did you mean `environment`?)");
    insta::assert_snapshot!(said("service:\n  web: {image: nginx}\n"), @"error compose/unknown-key compose.yaml:1:1: the top level has no key `service` (did you mean `services`?)");
    insta::assert_snapshot!(
        said("services:\n  web:\n    image: nginx\n    deploy: {resources: {limits: {memmory: 1g}}}\n"), @"error compose/unknown-key compose.yaml:4:35: `services.web.deploy.resources.limits` has no key `memmory` (did you mean `memory`?)");
    insta::assert_snapshot!(said("services:\n  web: {image: nginx, x-mine: 1}\nx-ours: {}\nfoo: 1\n"), @"error compose/unknown-key compose.yaml:4:1: the top level has no key `foo` (look at the indentation; keys for your own use begin with `x-`)");
}

/// I-6: what is known and not done says so.
#[test]
fn keys_that_are_not_implemented() {
    insta::assert_snapshot!(said("services:\n  web:\n    build: {context: ., sbom: true}\n"), @"");
    insta::assert_snapshot!(said("version: '3'\nservices:\n  web:\n    image: nginx\n    gpus: all\n    cpu_count: 2\n"), @"
    note compose/obsolete-version compose.yaml:1:1: `version` is obsolete and selects nothing (remove this line)
    warning compose/not-yet compose.yaml:5:5: `services.web.gpus` is not implemented yet: the container gets no GPU
    error compose/refused-key compose.yaml:6:5: `services.web.cpu_count` is not supported: it exists for Windows containers only (remove it)
    ");
    insta::assert_snapshot!(said("services:\n  web:\n    image: nginx\n    security_opt: ['label:user:x', nonsense]\n"), @"
    warning compose/not-yet compose.yaml:4:20: `web`: SELinux labels are not implemented yet: the container gets none
    error compose/invalid-value compose.yaml:4:36: `web` has an unknown security option `nonsense` (it is `no-new-privileges:true`, `seccomp=unconfined` or `apparmor=PROFILE`)
    ");
    insta::assert_snapshot!(said("services:\n  web:\n    image: nginx\n    logging: {driver: syslog, options: {max-size: big, max-file: '1', compress: 'true'}}\n"), @"
    error compose/invalid-value compose.yaml:4:81: `web` has the log option `compress`, which can't be `true` (it is `true` or `false`, and `true` with a `max-file` from 2 only)
    error compose/invalid-value compose.yaml:4:51: `web` has the log option `max-size`, which can't be `big` (it is a size, as `10m`)
    warning compose/not-yet compose.yaml:4:23: `web`: the log driver `syslog` is not implemented yet: the log is kept as `json-file`
    ");
}

#[test]
fn references() {
    insta::assert_snapshot!(said("services:\n  web: {image: a, depends_on: [bd]}\n  db: {image: b}\n"), @"error compose/unknown-service compose.yaml:2:32: `web` depends on `bd`, which is not defined (did you mean `db`?)");
    insta::assert_snapshot!(said("services:\n  web:\n    image: a\n    networks: [frnt]\nnetworks: {front: {}}\n"), @"error compose/unknown-network compose.yaml:4:16: `web` uses the network `frnt`, which is not defined (did you mean `front`?)");
    insta::assert_snapshot!(said("services:\n  web:\n    image: a\n    volumes:\n      - dta:/data\nvolumes: {data: {}}\n"), @"error compose/unknown-volume compose.yaml:5:9: `web` uses the volume `dta`, which is not defined (did you mean `data`?)");
    insta::assert_snapshot!(said("services:\n  web:\n    image: a\n    secrets: [pasword]\nsecrets: {password: {file: p}}\n"), @"error compose/unknown-secret compose.yaml:4:15: `web` uses the secret `pasword`, which is not defined (did you mean `password`?)");
    insta::assert_snapshot!(said("services:\n  web:\n    image: a\n    configs: [conf]\n"), @"error compose/unknown-config compose.yaml:4:15: `web` uses the config `conf`, which is not defined (define it under the top-level `configs:`)");
    insta::assert_snapshot!(said("services:\n  web: {image: a, network_mode: 'service:db'}\n"), @"error compose/unknown-service compose.yaml:2:33: `web` depends on `db`, which is not defined (define it under `services:`)");
    insta::assert_snapshot!(said("services:\n  web: {image: a, depends_on: [db]}\n  db: {image: b, profiles: [full]}\n"), @"error compose/inactive-service compose.yaml:2:32: `web` needs `db`, which is not active (add `--profile full`, or `required: false` to this dependency)");
}

/// G4.
#[test]
fn dependency_cycles() {
    let text = "services:\n  a: {image: i, depends_on: [b]}\n  b: {image: i, depends_on: [c]}\n  c: {image: i, depends_on: [a]}\n  \
                d: {image: i, depends_on: [a]}\n  e: {image: i, depends_on: [e]}\n";
    insta::assert_snapshot!(said(text), @"
    error compose/dependency-cycle compose.yaml:2:30: services wait for each other: a → b → c → a (remove one of these dependencies)
    error compose/dependency-cycle compose.yaml:6:30: services wait for each other: e → e (remove one of these dependencies)
    ");
    let outcome = Fixture { files: &[("compose.yaml", text)], ..Fixture::default() }.load();
    let ring: Vec<String> = outcome.diagnostics[0]
        .labels
        .iter()
        .map(|label| format!("{} {}", outcome.sources.position(label.span).line, label.text))
        .collect();
    assert_eq!(ring, ["2 `a` waits for `b`", "3 `b` waits for `c`", "4 `c` waits for `a`"]);
}

#[test]
fn ports() {
    for (port, problem) in [
        ("80800:80", "80800 is not between 1 and 65535"),
        ("8080:http", "`http` is not a port number"),
        ("8080:", "a port number is missing"),
        (":80", "the host's port is missing before the `:`"),
        ("8000-8002:80-81", "3 host ports can't stand for 2 of the container"),
        ("90-80:80", "the range 90-80 runs backwards"),
        ("80:80/icmp", "`icmp` is not a protocol: tcp or udp"),
        ("300.1.1.1:80:80", "`300.1.1.1` is not an IP address"),
        ("0", "0 is not between 1 and 65535"),
    ] {
        let text = format!("services:\n  web:\n    image: a\n    ports:\n      - \"{port}\"\n");
        let outcome = Fixture { files: &[("compose.yaml", &text)], ..Fixture::default() }.load();
        assert_eq!(outcome.diagnostics.len(), 1, "{port}: {}", outcome.said());
        assert_eq!(outcome.diagnostics[0].labels[0].text, problem);
        assert!(outcome.said().starts_with("error compose/malformed-port compose.yaml:5:9:"), "{}", outcome.said());
    }
    insta::assert_snapshot!(said("services:\n  web:\n    image: a\n    ports: [{published: 80}]\n"), @r#"error compose/malformed-port compose.yaml:4:13: `services.web.ports` has a malformed port (a port is written `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, as "127.0.0.1:8080:80")"#);
}

#[test]
fn ports_taken_twice() {
    let text = "services:\n  a: {image: i, ports: ['80:80']}\n  b: {image: i, ports: ['127.0.0.1:80:8080']}\n  c: {image: i, ports: ['80:80/udp']}\n";
    insta::assert_snapshot!(said(text), @"error compose/port-conflict compose.yaml:3:25: `a` and `b` both publish the port 80 of the host (change one of them, or bind them to different addresses)");
    assert_eq!(said("services:\n  a: {image: i, ports: ['127.0.0.1:80:80', '127.0.0.2:80:80']}\n"), "");
}

#[test]
fn ports_without_a_network() {
    insta::assert_snapshot!(said("services:\n  web: {image: a, network_mode: host, ports: ['80:80']}\n"), @"warning compose/conflicting-keys compose.yaml:2:47: `web` publishes no ports: it is on the host's own network (remove `ports`: the program's ports are the host's)");
    insta::assert_snapshot!(said("services:\n  web: {image: a, network_mode: none, ports: ['80:80']}\n"), @"error compose/conflicting-keys compose.yaml:2:47: `web` can't publish ports: it has no network of its own (publish them on the service whose network it shares, or remove `network_mode`)");
}

#[test]
fn replicas() {
    insta::assert_snapshot!(said("services:\n  web:\n    image: a\n    container_name: web\n    deploy: {replicas: 2}\n"), @"error compose/replicas-with-name compose.yaml:4:21: `web` wants 2 replicas and one container name (remove `container_name`, or run one replica)");
    insta::assert_snapshot!(said("services:\n  web:\n    image: a\n    scale: 3\n    ports: ['8080:80', '9000-9002:90']\n"), @r#"error compose/replicas-with-port compose.yaml:5:13: `web` wants 3 replicas, which can't all publish the port 8080 (give a range, as "8080-8082:80", or let a proxy publish the port)"#);
    insta::assert_snapshot!(said("services:\n  web: {image: a, scale: 2, deploy: {replicas: 3}}\n"), @"error compose/conflicting-keys compose.yaml:2:26: `services.web` gives different values for `scale` and `deploy.replicas` (keep one of them)");
    insta::assert_snapshot!(said("services:\n  a: {image: i, container_name: same}\n  b: {image: i, container_name: same}\n"), @"error compose/duplicate-container-name compose.yaml:3:33: two services take the container name `same` (change or remove one of them)");
}

/// Z6: hardening that reaches no real service.
#[test]
fn an_override_of_no_service() {
    let files = &[
        ("compose.yaml", "services:\n  web: {image: a}\n"),
        ("compose.prod.yaml", "services:\n  webb:\n    read_only: true\n"),
    ];
    insta::assert_snapshot!(Fixture { files, ..Fixture::default() }.load().said(), @"error compose/override-without-base compose.prod.yaml:2:3: this override of `webb` reaches no service: no base file has one of this name (did you mean `web`?)");
    insta::assert_snapshot!(said("services:\n  web: {read_only: true}\n"), @"error compose/no-image compose.yaml:2:3: the service `web` has neither `image` nor `build` (add `image:` or `build:`)");
    assert!(Fixture::default().load().said().starts_with("error compose/no-services -: "));
    insta::assert_snapshot!(said("services: {}\n"), @"error compose/no-services compose.yaml:1:1: the project defines no service (add one below `services:`, as `web: {image: nginx:1.27}`)");
}

/// Z4: both are published, and that is said.
#[test]
fn an_override_that_appends_a_port() {
    let files = &[
        ("compose.yaml", "services:\n  db:\n    image: a\n    ports: ['5432:5432']\n"),
        ("compose.dev.yaml", "services:\n  db:\n    ports:\n      - '5433:5432'\n"),
    ];
    let fixture = Fixture { files, ..Fixture::default() };
    insta::assert_snapshot!(fixture.load().said(), @"warning compose/ports-appended compose.dev.yaml:4:9: `services.db` publishes port 5432 of the container twice: at 5432 and at 5433 (if 5433 should replace 5432, write `ports: !override` here)");
    assert_eq!(fixture.project().services["db"].ports.len(), 2);
    let replacing = files[1].1.replace("ports:", "ports: !override");
    let files = &[files[0], ("compose.dev.yaml", &replacing)];
    let fixture = Fixture { files, ..Fixture::default() };
    assert_eq!(fixture.load().said(), "");
    assert_eq!(fixture.project().services["db"].ports[0].published, Some((5433, 5433)));
}

#[test]
fn values_that_can_not_be_understood() {
    let service = |body: &str| said(&format!("services:\n  web:\n    image: a\n    {body}\n"));
    insta::assert_snapshot!(service("healthcheck: {test: [curl, localhost]}"), @"error compose/invalid-value compose.yaml:4:25: `services.web.healthcheck.test` can't be `curl` (the list begins with `CMD`, `CMD-SHELL` or `NONE`)");
    insta::assert_snapshot!(service("healthcheck: {test: ok, interval: 10}"), @"error compose/invalid-value compose.yaml:4:39: `services.web.healthcheck.interval` can't be `10` (a duration is written `10ms`, `40s`, `1m30s` or `1h5m30s`)");
    insta::assert_snapshot!(service("mem_limit: lots"), @"error compose/invalid-value compose.yaml:4:16: `services.web.mem_limit` can't be `lots` (a size is written `512k`, `300m`, `1gb` or in bytes)");
    insta::assert_snapshot!(service("restart: sometimes"), @r#"error compose/invalid-value compose.yaml:4:14: `services.web.restart` can't be `sometimes` (it is `"no"`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`)"#);
    insta::assert_snapshot!(service("read_only: perhaps"), @"error compose/invalid-value compose.yaml:4:16: `services.web.read_only` can't be `perhaps` (it is `true` or `false`)");
    insta::assert_snapshot!(service("command: echo 'open"), @"error compose/invalid-value compose.yaml:4:14: `services.web.command` can't be `echo 'open` (a quote in it is never closed)");
    insta::assert_snapshot!(service("volumes: ['./a:b']"), @"error compose/malformed-volume compose.yaml:4:15: `services.web.volumes` has a malformed entry: `./a:b` (a volume is written `[SOURCE:]TARGET[:ro]` with an absolute target, as `./conf:/etc/app:ro`)");
    insta::assert_snapshot!(service("volumes: ['a/b:/c']"), @"error compose/malformed-volume compose.yaml:4:15: `services.web.volumes` has a malformed entry: `a/b:/c` (a volume is written `[SOURCE:]TARGET[:ro]` with an absolute target, as `./conf:/etc/app:ro`)");
    insta::assert_snapshot!(service("environment: a=b"), @"error compose/wrong-type compose.yaml:4:18: `services.web.environment` takes a mapping or a list of `KEY=value`, not a single value (a mapping is written `key: value`, one in each line)");
    insta::assert_snapshot!(service("depends_on: {db: {condition: healthy}}"), @"
    error compose/invalid-value compose.yaml:4:34: `services.web.depends_on.db.condition` can't be `healthy` (it is `service_started`, `service_healthy` or `service_completed_successfully`)
    error compose/unknown-service compose.yaml:4:18: `web` depends on `db`, which is not defined (define it under `services:`)
    ");
    insta::assert_snapshot!(service("labels: {com.docker.compose.project: x}"), @"error compose/reserved-label compose.yaml:4:14: the label `com.docker.compose.project` is Compose's own (labels of your own have another prefix)");
    insta::assert_snapshot!(service("network_mode: host\n    networks: [default]"), @"error compose/conflicting-keys compose.yaml:5:15: `services.web` has both `network_mode` and `networks` (keep one of them; an override removes the other with `!reset null`)");
    insta::assert_snapshot!(service("cpus: 2\n    deploy: {resources: {limits: {cpus: '1'}}}"), @"error compose/conflicting-keys compose.yaml:4:11: `services.web` gives different values for `cpus` and `deploy.resources.limits.cpus` (keep one of them)");
    insta::assert_snapshot!(service("expose: ['80:80']"), @r#"error compose/malformed-port compose.yaml:4:14: `services.web.expose` has a malformed port: `80:80` (it is a port of the container, as "8080" or "8080-8085/tcp")"#);
    insta::assert_snapshot!(service("tmpfs: tmp"), @"error compose/invalid-value compose.yaml:4:12: `services.web.tmpfs` can't be `tmp` (it is an absolute path, with options after a `:`, as `/tmp:size=64m`)");
    insta::assert_snapshot!(service("extra_hosts: ['db']"), @"error compose/invalid-value compose.yaml:4:19: `services.web.extra_hosts` can't be `db` (it is written `HOST=ADDRESS`)");
    insta::assert_snapshot!(service("networks: {default: {ipv4_address: 10.0.0.5}}"), @"error compose/invalid-value compose.yaml:4:40: 10.0.0.5 is in no subnet of the network `default` (give `networks.default.ipam.config` a `subnet` that covers it)");
    insta::assert_snapshot!(said("services: {web: {image: 'Nginx:LATEST:x'}}"), @"error compose/invalid-value compose.yaml:1:25: `services.web.image` is not the name of an image: `Nginx:LATEST:x` (write [HOST[:PORT]/]PATH[:TAG][@DIGEST])");
    insta::assert_snapshot!(said("name: Shop!\nservices: {web: {image: a}}"), @"error compose/project-name compose.yaml:1:7: `Shop!` can't be the project's name (use `shop`: lower-case letters, digits, `-` and `_`)");
}

#[test]
fn top_level_resources() {
    insta::assert_snapshot!(said("services: {web: {image: a}}\nsecrets:\n  key: {}\n"), @"error compose/invalid-value compose.yaml:3:3: `secrets.key` does not say where its content comes from (give one of `file`, `environment` or `external: true`)");
    insta::assert_snapshot!(said("services: {web: {image: a}}\nconfigs:\n  key: {file: a, content: b}\n"), @"error compose/conflicting-keys compose.yaml:3:27: `configs.key` has two contents (give one of `file`, `environment`, `content` or `external: true`)");
    insta::assert_snapshot!(said("services: {web: {image: a}}\nvolumes:\n  data: {external: true, driver: nfs}\n"), @"
    error compose/conflicting-keys compose.yaml:3:26: `volumes.data` is external, so `driver` can't be set here (keep one of them)
    error compose/unknown-driver compose.yaml:3:34: `volumes.data`: there is no driver `nfs` (a volume of the driver `local` mounts NFS and much else by its `driver_opts`)
    ");
    insta::assert_snapshot!(said("services: {web: {image: a}}\nnetworks:\n  n: {driver: macvlan}\n"), @"error compose/unknown-driver compose.yaml:3:15: `networks.n`: there is no driver `macvlan` (remove it: what a bridge does not do, nothing here does yet)");
    insta::assert_snapshot!(said("services: {web: {image: a, security_opt: ['seccomp:none.json']}}\n"), @"error compose/seccomp-file-missing compose.yaml:1:43: the seccomp profile /srv/shop/none.json does not exist or can't be read (create it, or write `seccomp:unconfined` for none)");
    insta::assert_snapshot!(said("services: {web: {image: a}}\nnetworks:\n  n: {ipam: {config: [{subnet: 10.0.0.0/64}]}}\n"), @"error compose/invalid-value compose.yaml:3:32: `networks.n.ipam.config.subnet` can't be `10.0.0.0/64` (an address range is written `172.20.0.0/16`)");
    insta::assert_snapshot!(said("services: {web: {image: a}}\nnetworks: [front]\n"), @"error compose/wrong-type compose.yaml:2:11: `networks` takes a mapping, not a list (a mapping is written `key: value`, one in each line)");
}

/// The diagnostic as a person sees it.
#[test]
fn a_required_variable_drawn() {
    let text = "services:\n  web:\n    image: nginx:${TAG:?set TAG to a release}\n";
    let outcome = Fixture { files: &[("compose.yaml", text)], ..Fixture::default() }.load();
    let drawn = carrack_diag::text(&outcome.diagnostics[0], &outcome.sources, carrack_diag::Rendering::default());
    insta::assert_snapshot!(drawn, @"
    error[compose/required-variable]: the required variable TAG is not set
     --> compose.yaml:3:18
      |
    3 |     image: nginx:${TAG:?set TAG to a release}
      |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^ set TAG to a release
      |
      = help: set TAG in the environment, in .env or in a file given with --env-file
    ");
}
