//! Births, ends, restarts, deaths of shims.

use std::time::Duration;

use carrack_specgen::init_plan::{InitStep, NamespaceKind};

use super::fixture::{Fixture, can_run, eventually, execute, kill, plan};
use crate::shim::{AttachEnd, AttachOptions, Check, Client, HealthConfig, HealthProbe, Seed, StartError};
use crate::state::{HealthStatus, Status};

#[test]
fn an_exit_status_is_recorded_and_the_shim_ends_with_its_container() {
    // F1, X21: nothing is left but files.
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new("echo out; echo err >&2; exit 7");
    fixture.tell_to_file();
    assert_eq!(fixture.run(), Some(7));
    fixture.wait_for_shims_end();
    let state = fixture.state();
    assert_eq!((state.status, state.exit_code, state.pid), (Status::Exited, Some(7), 0));
    assert!(state.started_at.is_some() && state.finished_at.is_some());
    assert_eq!((fixture.logged("stdout"), fixture.logged("stderr")), ("out\n".into(), "err\n".into()));
    assert_eq!(std::fs::read_to_string(fixture.path("told")).unwrap(), "exited\n");
    let events = std::fs::read_to_string(fixture.path("events")).unwrap();
    let actions: Vec<String> = events
        .lines()
        .map(|line| serde_json::from_str::<crate::event::Event>(line).unwrap())
        .map(|event| format!("{} {:?}", event.action, event.attributes.get("exitCode")))
        .collect();
    assert_eq!(actions, ["start None", "die Some(\"7\")"]);
    assert!(Client::connect(fixture.folder()).is_err());
}

#[test]
fn signals_reach_the_program_and_show_in_its_status() {
    // F6: dispositions are the defaults, SIGPIPE's too.
    if !can_run() {
        return;
    }
    let fixture = Fixture::new("trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.01; done");
    fixture.start().unwrap();
    eventually("the program", || fixture.logged("stdout").contains("ready").then_some(()));
    let mut client = fixture.client();
    client.stop_intended().unwrap();
    client.signal(15).unwrap();
    let state = fixture.wait_for_status(Status::Exited);
    assert_eq!((state.exit_code, state.stop_requested), (Some(3), true));
    assert!(fixture.logged("stdout").ends_with("told\n"));

    // A process namespace's first process can't kill itself by a signal: the second shell can.
    let script = "sh -c 'grep -E \"Sig(Ign|Blk)\" /proc/self/status; kill -PIPE $$'; echo $?";
    let fixture = Fixture::new(script);
    fixture.run();
    let logged = fixture.logged("stdout");
    let masks: Vec<u64> =
        logged.lines().filter_map(|line| u64::from_str_radix(line.split_once(":\t")?.1, 16).ok()).collect();
    assert!(masks.len() == 2 && masks.iter().all(|mask| mask & STANDARD_SIGNALS == 0), "{logged}");
    assert!(logged.ends_with("\n141\n"), "{logged}");
}

/// All but the real-time ones, two of which belong to the C library.
const STANDARD_SIGNALS: u64 = (1 << 31) - 1;

#[test]
fn a_failed_start_is_typed_and_leaves_no_shim() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new("");
    fixture.plan = plan(vec![InitStep::Execute(carrack_specgen::init_plan::Execute {
        args: vec!["/no/such/program".into()],
        env: vec![],
        reap: false,
    })]);
    let error = fixture.start().unwrap_err();
    let StartError::Init(failure) = &error else { panic!("{error:?}") };
    assert_eq!((failure.name.as_str(), error.exit_status()), ("execute", 127));
    fixture.wait_for_shims_end();
    let state = fixture.state();
    assert_eq!((state.status, state.exit_code), (Status::Created, Some(127)));
    assert!(state.error.contains("No such file"), "{}", state.error);
}

#[test]
fn a_starter_that_goes_without_an_order_leaves_nothing() {
    if !can_run() {
        return;
    }
    let fixture = Fixture::new("echo never");
    let prepared = fixture.prepare();
    assert!(fixture.path("shim.sock").exists());
    drop(prepared);
    eventually("the shim's end", || (!fixture.path("shim.sock").exists()).then_some(()));
    assert!(!fixture.path("log").exists());
}

#[test]
fn a_restart_runs_the_same_plan_and_a_timer_tells_when_it_is_due() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new("echo run; exit 4");
    fixture.tell_to_file();
    let prepared = fixture.prepare();
    fixture.client().keep().unwrap();
    prepared.go().unwrap();
    fixture.wait_for_status(Status::Exited);

    let mut client = fixture.client();
    client.restart_in(Duration::from_millis(20)).unwrap();
    assert_eq!(fixture.state().status, Status::Restarting);
    eventually("the due restart", || {
        std::fs::read_to_string(fixture.path("told")).unwrap_or_default().contains("restart").then_some(())
    });
    client.restart().unwrap().unwrap();
    let state = eventually("the second end", || Some(fixture.state()).filter(|state| state.restart_count == 1));
    assert!(state.started_at.is_some());
    fixture.wait_for_status(Status::Exited);
    assert_eq!(fixture.logged("stdout"), "run\nrun\n");
    client.restart_in(Duration::from_secs(3600)).unwrap();
    client.stop_intended().unwrap();
    assert_eq!(fixture.state().status, Status::Exited, "a stop forgets the restart");
    client.shutdown().unwrap();
    fixture.wait_for_shims_end();
}

#[test]
fn orders_that_do_not_fit_are_refused() {
    if !can_run() {
        return;
    }
    let fixture = Fixture::new("sleep 600");
    fixture.start().unwrap();
    let mut client = fixture.client();
    for refused in
        [client.restart().map(drop), client.shutdown(), client.restart_in(Duration::ZERO), client.signal(4711)]
    {
        assert_eq!(refused.unwrap_err().code.id, "runtime/shim-refused");
    }
    client.signal(9).unwrap();
    assert_eq!(fixture.wait_for_status(Status::Exited).exit_code, Some(137));
}

#[test]
fn a_killed_shim_leaves_its_container_alive_and_a_new_one_adopts_it() {
    // I-4, X21.
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new("");
    let go = fixture.path("go");
    fixture.plan = plan(vec![
        InitStep::IsolateMounts { shared: vec![] },
        execute(&format!(
            "n=0; while [ ! -e {} ]; do echo $n; n=$((n+1)); sleep 0.01; done; echo end; exit 5",
            go.display()
        )),
    ]);
    let started = fixture.start().unwrap();
    eventually("output", || fixture.logged("stdout").contains("5\n").then_some(()));
    kill(started.shim_pid);
    eventually("the shim's death", || (!fixture.state().has_shim()).then_some(()));
    assert_eq!(fixture.state().actual_status(), Status::Running);
    assert!(Client::connect(fixture.folder()).is_err());

    let adopted = Seed::sow(None).unwrap().adopt(&fixture.request(), &fixture.state()).unwrap();
    assert_eq!(adopted.pid, started.pid);
    let attached = fixture.attach(AttachOptions::default());
    std::fs::write(&go, "").unwrap();
    let AttachEnd::Exited(status) = attached.wait() else { panic!("no exit") };
    let logged = fixture.logged("stdout");
    let numbers: Vec<u32> = logged.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(numbers, (0..numbers.len() as u32).collect::<Vec<_>>(), "not a line is lost or doubled");
    assert!(logged.ends_with("end\n"));
    match (status, fixture.state().status) {
        (Some(5), Status::Exited) => {}
        // Reaped before we looked, on a kernel that tells nobody but the parent.
        (None, Status::Lost) if !kernel_is_at_least(6, 15) => {}
        other => panic!("{other:?}"),
    }
}

fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let name = rustix::system::uname();
    let mut numbers = name.release().to_str().unwrap().split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

#[test]
fn a_container_that_ended_without_a_shim_is_lost() {
    if !can_run() {
        return;
    }
    let fixture = Fixture::new("sleep 600");
    let started = fixture.start().unwrap();
    kill(started.shim_pid);
    kill(started.pid);
    eventually("both deaths", || (!fixture.state().is_alive() && !fixture.state().has_shim()).then_some(()));
    assert_eq!(fixture.state().actual_status(), Status::Lost);
    Seed::sow(None).unwrap().adopt(&fixture.request(), &fixture.state()).unwrap_err();
    assert_eq!(fixture.state().status, Status::Lost);
}

fn entering(step: InitStep) -> carrack_specgen::InitPlan {
    let namespaces = vec![NamespaceKind::Mount, NamespaceKind::Pid];
    carrack_specgen::InitPlan::new(vec![], vec![InitStep::EnterContainer { namespaces }, step])
}

#[test]
fn health_changes_with_the_probes_and_is_told() {
    // H2, X24: the probes' output is kept.
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new("sleep 600");
    fixture.tell_to_file();
    let sick = fixture.path("sick");
    let probe = format!("echo checked; test ! -e {}", sick.display());
    fixture.config.health = Some(HealthConfig {
        check: Check { interval_ns: 10_000_000, retries: 2, ..Check::default() },
        probe: HealthProbe::Program(entering(execute(&probe))),
    });
    fixture.start().unwrap();
    let health = |status: HealthStatus| {
        eventually(&format!("health {status}"), || fixture.state().health.filter(|health| health.status == status))
    };
    let healthy = health(HealthStatus::Healthy);
    assert_eq!(healthy.log.last().unwrap().output, "checked\n");
    std::fs::write(&sick, "").unwrap();
    let unhealthy = health(HealthStatus::Unhealthy);
    assert!(unhealthy.failing_streak >= 2);
    assert_eq!(unhealthy.log.last().unwrap().exit_code, 1);
    eventually("the word of it", || {
        (std::fs::read_to_string(fixture.path("told")).unwrap_or_default().matches("health\n").count() == 2)
            .then_some(())
    });
    let events = std::fs::read_to_string(fixture.path("events")).unwrap();
    assert!(events.contains("\"health_status: healthy\"") && events.contains("\"health_status: unhealthy\""));
    fixture.client().signal(9).unwrap();
    fixture.wait_for_shims_end();
}

#[test]
fn a_probe_that_takes_too_long_is_a_failure_and_ends() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new("sleep 600");
    fixture.config.health = Some(HealthConfig {
        check: Check { interval_ns: 10_000_000, timeout_ns: 300_000_000, retries: 1, ..Check::default() },
        probe: HealthProbe::Program(entering(execute("echo partly; exec sleep 600"))),
    });
    fixture.start().unwrap();
    let health =
        eventually("the verdict", || fixture.state().health.filter(|health| health.status == HealthStatus::Unhealthy));
    let probe = health.log.last().unwrap();
    assert_eq!((probe.exit_code, probe.output.as_str()), (-1, "Health check exceeded timeout (300ms): partly\n"));
    fixture.client().signal(9).unwrap();
    fixture.wait_for_status(Status::Exited);
}

/// Memory of a process that lies in no file, in KiB: heap, stack and what was mapped for itself.
fn own_memory_kib(pid: i32) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut total, mut own) = (0, false);
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap();
        if !first.ends_with(':') {
            own = words.nth(3) == Some("0");
        } else if own && first == "Pss:" {
            total += words.next().unwrap().parse::<u64>().unwrap();
        }
    }
    total
}

#[test]
fn a_shim_stays_small_under_load() {
    // Goal: 0.5 MB PSS, its worker included. The rest of that is the binary's own pages, which a test binary says nothing about.
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new("head -c 5000000 /dev/zero | tr '\\0' x | fold -w 100; echo; echo ready; sleep 600");
    fixture.config.log.max_size_bytes = 1 << 20;
    let started = fixture.start().unwrap();
    eventually("the output's end", || fixture.logged("stdout").contains("ready").then_some(()));
    // What was freed is given back a second later.
    let pids = [started.shim_pid, fixture.state().worker_pid];
    assert!(pids.iter().all(|pid| *pid > 0));
    eventually("little memory", || (pids.map(own_memory_kib).iter().sum::<u64>() <= 320).then_some(()));
    fixture.client().signal(9).unwrap();
    fixture.wait_for_status(Status::Exited);
}
