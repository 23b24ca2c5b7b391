//! Replicas are replaced without losing who asks for them (I-1): by a client that asks for the name each time, takes the
//! first address and does not try twice.

use crate::machine::{Machine, Project, eventually};

fn write(project: &Project, order: &str, version: &str) {
    let file = format!(
        "services:
  web:
    image: busybox
    init: true
    command: sh -c 'mkdir /www; echo $$VERSION > /www/index.html; exec httpd -f -p 8000 -h /www'
    environment: {{VERSION: {version}}}
    healthcheck: {{test: wget -q -O - http://127.0.0.1:8000/, interval: 1s, start_period: 10s, start_interval: 50ms}}
    deploy: {{replicas: 2, update_config: {{order: {order}}}}}
  client:
    image: busybox
    init: true
    depends_on: {{web: {{condition: service_healthy}}}}
    command: sh -c 'while :; do if wget -q -O /last http://web:8000/; then cat /last >> /got; else echo >> /lost; fi; done'
"
    );
    project.write("compose.yaml", file);
}

fn client(project: &Project, line: &str) -> String {
    project.ok(&["compose", "exec", "-T", "client", "sh", "-c", line])
}

/// Waits until the client has had so many answers of a version, and asserts that it never went without one.
fn assert_served(project: &Project, version: &str, what: &str) {
    let count = format!("grep -c {version} /got || true");
    eventually("the client is answered", || {
        (client(project, &count).trim().parse::<u32>().unwrap_or(0) > 9).then_some(())
    });
    assert_eq!(client(project, "test ! -e /lost || wc -l < /lost"), "", "{what}: requests were lost");
}

fn replace(order: &str) {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project(order);
    write(&project, order, "one");
    project.ok(&["up", "-d", "--wait"]);
    assert_served(&project, "one", "at first");

    write(&project, order, "two");
    project.ok(&["up", "-d", "--wait"]);
    assert_served(&project, "two", "replaced");

    // The way back from the middle is as gentle, and so is the second way forth.
    write(&project, order, "three");
    let mut killed = project.command(&["up", "-d", "--wait"]);
    assert!(!killed.env("CARRACK_FAULT", "kill:after:announce-names").output().unwrap().status.success());
    assert_served(&project, "two", "killed");
    project.ok(&["up", "-d", "--wait"]);
    assert_served(&project, "three", "finished");

    let fewer = ["up", "-d", "--wait", "--scale", "web=1"];
    project.ok(&fewer);
    assert_served(&project, "three", "scaled down");
    project.ok(&["down"]);
    machine.finish();
}

#[test]
fn stop_first_with_another_replica_loses_nobody() {
    replace("stop-first");
}

#[test]
fn start_first_loses_nobody() {
    replace("start-first");
}
