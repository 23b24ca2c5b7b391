//! What builds begin with beside their own folder: layouts, other services' images, repositories (D1 D11).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use crate::machine::{Failure, Machine};

#[test]
fn an_image_of_a_layout_is_a_context() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("layout");
    project.write("file", "from the layout").write("Dockerfile", "FROM scratch\nCOPY file /\n");
    project.ok(&["build", "-o", "type=oci,dest=layout.tar,name=example/app:v1", "."]);
    std::fs::create_dir(project.dir.join("layout")).unwrap();
    let tar = ["xf", "layout.tar", "-C", "layout"];
    let unpacked = std::process::Command::new("tar").args(tar).current_dir(&project.dir).status();
    assert!(unpacked.unwrap().success());
    project.write("Dockerfile", "FROM busybox\nCOPY --from=lay /file /copied\n");
    for context in ["lay=oci-layout://layout", "lay=oci-layout://./layout:v1"] {
        project.ok(&["build", "-t", "app", "--build-context", context, "."]);
        let printed = project.ok(&["run", "--rm", "app", "cat", "/copied"]);
        assert_eq!(printed, "from the layout", "{context}");
    }
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(project.dir.join("layout/index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    project.ok(&["build", "--build-context", &format!("lay=oci-layout://layout@{digest}"), "."]);
    let wrong = project.fails(&["build", "--build-context", "lay=oci-layout://layout:v2", "."]);
    assert_eq!(wrong.code(), "store/invalid-image");
    assert!(wrong.text().contains("v1"), "{}", wrong.text());
    assert_eq!(project.fails(&["build", "--build-context", "lay=oci-layout://.", "."]).code(), "store/invalid-image");
    assert_eq!(project.fails(&["build", "--build-context", "lay=target:other", "."]).code(), "cli/invalid-value");
    machine.finish();
}

#[test]
fn everything_under_build_reaches_the_build() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("keys");
    project.write("token", "of a file").write(
        "compose.yaml",
        r#"
services:
  app:
    build:
      context: .
      additional_contexts: {below: "service:base", files: ./files}
      dockerfile_inline: |
        FROM below
        COPY --from=files /file /file
        RUN --mount=type=secret,id=token --mount=type=secret,id=named,env=NAMED \
          cat /run/secrets/token > /seen && echo " $$NAMED" >> /seen && ulimit -n >> /seen && grep -c db.example /etc/hosts >> /seen
        RUN --security=insecure true
      secrets: [token, {source: variable, target: named}]
      ulimits: {nofile: 1234}
      extra_hosts: ["db.example:10.1.2.3"]
      shm_size: 32m
      privileged: true
      network: none
  base:
    profiles: [never]
    build:
      context: .
      dockerfile_inline: |
        FROM busybox
        RUN echo base > /base
secrets:
  token: {file: ./token}
  variable: {environment: NAMED}
"#,
    );
    project.write("files/file", "of a folder");
    let refused = project.fails(&["compose", "build", "app"]);
    assert!(refused.text().contains("NAMED is not set"), "{}", refused.text());
    project.write(".env", "NAMED=of-a-variable\n");
    project.ok(&["compose", "build", "app"]);
    let seen = project.ok(&["run", "--rm", "keys-app", "cat", "/seen", "/base", "/file"]);
    assert_eq!(seen, "of a file of-a-variable\n1234\n1\nbase\nof a folder");
    // What it is based on is built first, whoever asks for it.
    let plan = project.ok(&["up", "--dry-run"]);
    assert!(plan.contains("keys-app"), "{plan}");

    project.write(
        "compose.yaml",
        "services:\n  app:\n    build: {context: ., entitlements: [device], dockerfile_inline: FROM scratch}\n",
    );
    let refused = project.fails(&["compose", "build"]);
    assert_eq!(refused.code(), "cli/invalid-value");
    assert_eq!(refused.place().1, "compose.yaml:3:40", "{}", refused.text());
    machine.finish();
}

#[test]
fn a_repository_is_the_context_of_a_service() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("repository");
    let file =
        "services:\n  app:\n    build: {context: 'https://127.0.0.1:1/team/app.git#main:service'}\n    command: [x]\n";
    project.write("compose.yaml", file);
    // Nothing listens there: what is asked for is the repository, at its place in the file.
    let refused = project.fails(&["compose", "build"]);
    assert_eq!(refused.code(), "build/fetch-failed");
    assert_eq!(refused.error()["labels"][0]["line"], 3, "{}", refused.text());
    let plan = project.ok(&["up", "--dry-run"]);
    assert!(plan.contains("its context is fetched first"), "{plan}");
    machine.finish();
}

/// What is added from an address comes the way that is named for its scheme, under either spelling of the variable.
#[test]
fn files_behind_addresses_come_through_the_proxy_of_their_scheme() {
    let Some(machine) = Machine::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = |first: &str| {
                let mut lines = reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty());
                lines.next().is_some_and(|line| line == first) && lines.count() > 0
            };
            let _ = head("CONNECT files.example:80 HTTP/1.1") && stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").is_ok();
            if head("GET /file HTTP/1.1") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nthrough");
            }
        }
    });
    let project = machine.project("proxied");
    project.write("Dockerfile", "FROM busybox\nADD http://files.example/file /file\n");
    for name in ["HTTP_PROXY", "http_proxy"] {
        // Nobody listens at the other one.
        let built = project.command(&["build", "-t", "proxied", "."]).env(name, &proxy).output().unwrap();
        assert!(built.status.success(), "{name}: {}", String::from_utf8_lossy(&built.stderr));
        assert_eq!(machine.ok(&["run", "--rm", "--network", "none", "proxied", "cat", "/file"]), "through");
        machine.ok(&["builder", "prune", "-af"]);
    }
    let socks = "socks5://ann:s3cret@127.0.0.1:1";
    let mut command = project.command(&["--json", "build", "."]);
    let failure = Failure::of(command.env("HTTP_PROXY", socks).output().unwrap());
    assert_eq!(failure.code(), "build/fetch-failed");
    let text = failure.text();
    assert!(text.contains("HTTP_PROXY") && text.contains("socks5") && !text.contains("s3cret"), "{text}");
    machine.finish();
}
