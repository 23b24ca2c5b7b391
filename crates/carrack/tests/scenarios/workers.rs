//! The process that reads what a container sends, on the machine (`docs/design/015`).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use serde_json::Value;

use super::machine::{Machine, eventually, kill, on_both_hosts};

fn state(machine: &Machine, name: &str) -> Value {
    let id = machine.ok(&["inspect", "--format", "{{.Id}}", name]);
    let state = std::fs::read(machine.path().join("run/containers").join(id).join("state.json")).unwrap();
    serde_json::from_slice(&state).unwrap()
}

/// None where it has none that lives.
fn worker(machine: &Machine, name: &str) -> Option<i32> {
    let state = state(machine, name);
    let pid = i32::try_from(state["worker_pid"].as_i64()?).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim();
    (parent.parse() == Ok(state["shim_pid"].as_i64()?)).then_some(pid)
}

fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned())
}

#[test]
fn names_ports_and_logs_have_a_reader_without_rights_and_outlive_it() {
    // I-4.
    on_both_hosts(|machine| {
        machine.ok(&["network", "create", "front"]);
        let script = "echo page > /index.html; exec httpd -f -v -p 8000 -h /";
        let words = ["run", "-d", "--name", "web", "--network", "front", "-p", "127.0.0.1:0:8000", "busybox"];
        machine.ok(&[&words[..], &["sh", "-c", script]].concat());
        let port = machine.ok(&["port", "web", "8000"]).rsplit(':').next().unwrap().parse().unwrap();
        let mut former = None;
        for round in 0..3 {
            eventually("the port answers", || (get(port).as_deref() == Some("page")).then_some(()));
            eventually("the name is known", || {
                (machine.code(&["exec", "web", "nslookup", "-type=a", "web"]) == 0).then_some(())
            });
            eventually("requests are logged", || {
                let lines = machine.carrack(&["logs", "web"]).stderr;
                (String::from_utf8_lossy(&lines).matches("GET").count() > round
                    || String::from_utf8_lossy(&lines).matches("response:200").count() > round)
                    .then_some(())
            });
            let pid = worker(&machine, "web").unwrap();
            assert_ne!(former, Some(pid), "another one");
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
            for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
                assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{set}");
            }
            let rights = [field("NoNewPrivs:"), field("Seccomp:"), field("Groups:")];
            assert_eq!(rights, ["1", "2", ""]);
            assert_eq!(field("Uid:"), "65534\t65534\t65534\t65534");
            kill(pid);
            former = Some(pid);
        }
        // And with its shim.
        eventually("the port answers", || (get(port).as_deref() == Some("page")).then_some(()));
        let pid = worker(&machine, "web").unwrap();
        kill(machine.shim_pid("web"));
        eventually("it goes with its shim", || worker(&machine, "web").is_none_or(|now| now != pid).then_some(()));
        machine.ok(&["run", "--rm", "--network", "none", "busybox", "true"]);
        eventually("the next shim has the port", || (get(port).as_deref() == Some("page")).then_some(()));
        machine.ok(&["rm", "-f", "web"]);
        machine.finish();
    });
}

#[test]
fn a_container_that_says_nothing_has_no_reader() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000"]);
    machine.ok(&["exec", "one", "echo", "through no shim"]);
    assert_eq!(state(&machine, "one")["worker_pid"], Value::Null);
    machine.ok(&["rm", "-f", "one"]);
    machine.finish();
}
