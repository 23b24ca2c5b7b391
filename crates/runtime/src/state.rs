//! What a container is doing, as its shim last wrote it: `state.json` in the container's folder on the run root.
//!
//! Replaced by rename, so a reader finds the old or the new text. It is void after a reboot, hence the boot id; and it
//! may be older than the truth where a shim was killed, hence pids with their start times.

use std::io::Read as _;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use carrack_diag::{Diagnostic, Result};
use serde::{Deserialize, Serialize};

use crate::codes;

/// File name in the container's folder on the run root.
pub const FILE: &str = "state.json";

/// How many results of probes are kept, as in Docker.
pub const HEALTH_LOG_LENGTH: usize = 5;

/// The state of one container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The boot that all pids are of.
    pub boot_id: String,
    /// What it does.
    pub status: Status,
    /// First process; 0 without one.
    #[serde(skip_serializing_if = "is_zero")]
    pub pid: i32,
    /// When that process began, in clock ticks since boot.
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub pid_start_ticks: u64,
    /// Its shim, also one that has ended; 0 where it never had one.
    #[serde(skip_serializing_if = "is_zero")]
    pub shim_pid: i32,
    /// When the shim began, in clock ticks since boot; 0 when it has ended in order.
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub shim_start_ticks: u64,
    /// The shim's worker, where it has made one; it may be gone.
    #[serde(skip_serializing_if = "is_zero")]
    pub worker_pid: i32,
    /// When the worker began, in clock ticks since boot.
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub worker_start_ticks: u64,
    /// Of the last start, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Of the last end, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// Of the last end: the program's status, or 128 and the signal's number. None where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Whether the kernel killed a process of it for want of memory since the last start.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// Why it does not run, where that was no decision of its program.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Result of its checks; none where it has no check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How often it was started again by its shim.
    #[serde(skip_serializing_if = "is_zero_u32")]
    pub restart_count: u32,
    /// How long it was awaited before the last of them, in milliseconds; 0 before the first.
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub backoff_ms: u64,
    /// How long the last run took, by the clock that nobody sets.
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub ran_ns: u64,
    /// Whether the end was or will be somebody's wish.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stop_requested: bool,
    /// Where the shim answers DNS inside the container's network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<crate::shim::DnsPorts>,
    /// Host ports that are bound for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<crate::shim::BoundPort>,
}

/// What a container does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It never ran, or its start failed.
    #[default]
    Created,
    /// Its program runs.
    Running,
    /// Its program is frozen.
    Paused,
    /// It has ended and is to be started again at a time.
    Restarting,
    /// It has ended.
    Exited,
    /// It is gone, and nobody knows when and how.
    Lost,
}

impl Status {
    /// Whether there is, or is about to be, a program.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Lost => "lost",
        })
    }
}

/// What the checks found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last [`HEALTH_LOG_LENGTH`] probes, oldest first.
    pub log: Vec<Probe>,
}

/// The verdict of the checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// None yet.
    #[default]
    Starting,
    /// The last probe succeeded, or too few have failed since.
    Healthy,
    /// As many probes as allowed have failed in a row.
    Unhealthy,
}

impl std::fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}

/// One run of the check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// 0 is healthy; −1 where the probe was not run or took too long.
    pub exit_code: i32,
    /// At most 4 KiB.
    pub output: String,
}

impl State {
    /// The state in a container's folder on the run root; none where it was never started since boot.
    ///
    /// # Errors
    /// [`codes::STATE`] where the file can't be read or understood.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let failed = |cause: String| {
            Diagnostic::error(&codes::STATE, format!("reading the container's state {}", path.display())).cause(cause)
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error.to_string()).into()),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| failed(error.to_string()).into())
    }

    /// Replaces the state in a container's folder. Nothing is synced: a reboot voids it.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        let temporary = folder.join(".state.json.new");
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&text)?;
        carrack_store::replace(&temporary, &folder.join(FILE))
    }

    /// Whether the first process lives: the same boot, the same pid with the same start time, and no zombie.
    pub fn is_alive(&self) -> bool {
        self.boot_id == boot_id() && lives(self.pid, self.pid_start_ticks)
    }

    /// Whether the shim lives.
    pub fn has_shim(&self) -> bool {
        self.boot_id == boot_id() && lives(self.shim_pid, self.shim_start_ticks)
    }

    /// Whether the shim lives and was not killed: one that is dying serves nobody any more, and may hold its ports still.
    pub fn is_served(&self) -> bool {
        self.has_shim() && !is_killed(self.shim_pid)
    }

    /// What to tell of the last end: 255, as Docker does, where nobody saw how it was, and 0 before the first.
    pub fn last_exit_code(&self) -> i32 {
        let has_ended = matches!(self.actual_status(), Status::Exited | Status::Lost);
        self.exit_code.unwrap_or(if has_ended { 255 } else { 0 })
    }

    /// What is true now, whatever was written: a container that neither lives nor has a shim to say so is lost; one of a
    /// former boot has ended with it.
    pub fn actual_status(&self) -> Status {
        match () {
            () if !self.status.is_active() || self.has_shim() || self.is_alive() => self.status,
            () if self.boot_id != boot_id() => Status::Exited,
            () => Status::Lost,
        }
    }

    /// What is still true of a container's last run after a boot.
    pub fn of_former_boot(self) -> Self {
        let exit_code = if self.status.is_active() { None } else { self.exit_code };
        let Self { started_at, finished_at, oom_killed, error, restart_count, .. } = self;
        let finished_at = finished_at.or_else(|| ended_by_boot(started_at.as_deref()?));
        let status = Status::Exited;
        Self { status, started_at, finished_at, exit_code, oom_killed, error, restart_count, ..Self::default() }
    }
}

/// When this boot began, which ended what ran before: as close as anybody can say. None for what began in this boot.
fn ended_by_boot(started_at: &str) -> Option<String> {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let up_ns = u64::try_from(up.tv_sec).ok()?.saturating_mul(1_000_000_000);
    let boot = crate::time::rfc3339_nano(crate::time::now_ns().saturating_sub(up_ns));
    (started_at < boot.as_str()).then_some(boot)
}

fn lives(pid: i32, start_ticks: u64) -> bool {
    pid > 0 && start_ticks != 0 && start_ticks_of(pid) == Some(start_ticks)
}

/// The id of this boot; empty where the kernel doesn't say.
pub fn boot_id() -> String {
    static BOOT: OnceLock<String> = OnceLock::new();
    let read = || std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    BOOT.get_or_init(read).clone()
}

/// When a process began, in clock ticks since boot; with the pid it is unique in a boot. None for one that is not or no
/// longer, and for zombies.
pub fn start_ticks_of(pid: i32) -> Option<u64> {
    stat_of(pid).filter(|stat| !stat.ended).map(|stat| stat.start_ticks)
}

/// Whether SIGKILL was sent to a process, or another signal has begun to end it. What is gone was.
fn is_killed(pid: i32) -> bool {
    // It stays pending for the process as a whole until it has turned to its end, which its flags say from then on: in
    // this order nothing is between the two.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    let pending = pending.and_then(|signals| u64::from_str_radix(signals.trim(), 16).ok()).unwrap_or(0);
    pending & PENDING_KILL != 0 || stat_of(pid).is_none_or(|stat| stat.is_killed)
}

fn stat_of(pid: i32) -> Option<Stat> {
    // Room for all of it, so that one call reads it: there may be a thousand processes to ask after.
    let mut stat = [0; 2048];
    let length = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
    parse_stat(stat.get(..length)?)
}

/// How a process ended that nobody has reaped yet: its status, or 128 and the signal's number. None for any other.
pub(crate) fn status_of_zombie(pid: i32, start_ticks: u64) -> Option<i32> {
    let stat = parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)?;
    (stat.ended && stat.start_ticks == start_ticks).then_some(())?;
    let status = stat.wait_status;
    Some(if status & 0x7f == 0 { status >> 8 & 0xff } else { 128 + (status & 0x7f) })
}

/// The parent of a process, also of a zombie.
pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    Some(parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)?.parent)
}

struct Stat {
    /// A zombie, or about to be gone for good.
    ended: bool,
    /// A signal has begun to end it.
    is_killed: bool,
    parent: i32,
    start_ticks: u64,
    /// As of waitpid(2); 0 while it runs, and for those who may not look into the process.
    wait_status: i32,
}

/// From proc_pid_stat(5): the name in parentheses may hold anything, so counting begins behind the last one.
fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let behind_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(behind_name..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let flags: u64 = fields.nth(4)?.parse().ok()?;
    let start_ticks = fields.nth(12)?.parse().ok()?;
    let wait_status = fields.nth(29).and_then(|status| status.parse().ok()).unwrap_or(0);
    let is_killed = flags & KILLED_BY_A_SIGNAL != 0;
    Some(Stat { ended, is_killed, parent, start_ticks, wait_status })
}

/// PF_SIGNALED of linux/sched.h, from the moment on in which a process turns to its end.
const KILLED_BY_A_SIGNAL: u64 = 0x400;
/// SIGKILL's bit among the pending signals.
const PENDING_KILL: u64 = 1 << 8;

fn is_zero(number: &i32) -> bool {
    *number == 0
}

fn is_zero_u32(number: &u32) -> bool {
    *number == 0
}

fn is_zero_u64(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_process_that_was_killed_is_known_before_it_runs_again() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "read word"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let (ticks, is_killed) = (start_ticks_of(pid).unwrap(), || is_killed(pid));
        let mut state = State { boot_id: boot_id(), shim_pid: pid, shim_start_ticks: ticks, ..State::default() };
        assert!(state.is_served() && !is_killed());
        child.kill().unwrap();
        // Dying, or ended already: it never looks as if nothing was.
        assert!(is_killed() && !state.is_served());
        child.wait().unwrap();
        state.shim_pid = i32::MAX;
        assert!(!state.is_served());
    }

    #[test]
    fn a_hostile_process_name_moves_no_field() {
        let stat = b"12 (a) Z 1 (x) S 1 12 12 0 -1 4194560 105 0 0 0 0 0 0 0 20 0 1 0 6789 2 3";
        let start_ticks = |stat: &[u8]| parse_stat(stat).filter(|stat| !stat.ended).map(|stat| stat.start_ticks);
        assert_eq!(start_ticks(stat), Some(6789));
        assert_eq!(start_ticks(b"12 (a) Z 1 12 12 0 -1 4194560 105 0 0 0 0 0 0 0 20 0 1 0 6789 2 3"), None);
    }

    #[test]
    fn the_end_of_a_process_is_known_until_it_is_reaped() {
        let stat = |state: &str, status: u32| {
            let fields: Vec<String> =
                (4..=52).map(|field| if field == 52 { status.to_string() } else { field.to_string() }).collect();
            format!("7 (name) {state} {}\n", fields.join(" ")).into_bytes()
        };
        let parsed = parse_stat(&stat("Z", 5 << 8)).unwrap();
        assert_eq!((parsed.ended, parsed.start_ticks, parsed.wait_status), (true, 22, 5 << 8));
        assert_eq!(parse_stat(&stat("S", 0)).map(|stat| (stat.start_ticks, stat.is_killed)), Some((22, false)));
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "read word; exit 7"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let ticks = start_ticks_of(pid).unwrap();
        assert_eq!(status_of_zombie(pid, ticks), None);
        drop(child.stdin.take());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while start_ticks_of(pid).is_some() && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(status_of_zombie(pid, ticks), Some(7));
        assert_eq!(status_of_zombie(pid, ticks + 1), None);
        child.wait().unwrap();
        assert_eq!(status_of_zombie(pid, ticks), None);
    }

    proptest! {
        #[test]
        fn any_stat_is_read_without_panic(stat: Vec<u8>) {
            let _ = parse_stat(&stat);
        }
    }

    #[test]
    fn this_process_lives_and_an_older_one_of_its_pid_does_not() {
        let pid = std::process::id() as i32;
        let ticks = start_ticks_of(pid).unwrap();
        let mut state = State { boot_id: boot_id(), pid, pid_start_ticks: ticks, ..State::default() };
        state.status = Status::Running;
        assert_eq!(state.actual_status(), Status::Running);
        state.pid_start_ticks -= 1;
        assert_eq!(state.actual_status(), Status::Lost);
        state.pid_start_ticks = ticks;
        state.pid = i32::MAX;
        assert_eq!((state.actual_status(), state.last_exit_code()), (Status::Lost, 255));
        state.pid = pid;
        state.boot_id = "another".into();
        assert_eq!((state.actual_status(), state.last_exit_code()), (Status::Exited, 255));
    }
}
