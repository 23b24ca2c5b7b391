//! When a check runs and what its results mean, counted as Docker's daemon does (daemon/health.go): pure, with the time
//! handed in.

use serde::{Deserialize, Serialize};

use crate::state::{HEALTH_LOG_LENGTH, Health, HealthStatus, Probe};

const DEFAULT_INTERVAL_NS: u64 = 30_000_000_000;
const DEFAULT_TIMEOUT_NS: u64 = 30_000_000_000;
const DEFAULT_START_INTERVAL_NS: u64 = 5_000_000_000;
const DEFAULT_RETRIES: u32 = 3;
/// Docker's first probe waits for a whole interval. Ours begins after this and doubles the pause up to the start interval;
/// until Docker's would come, failures count as little as if nobody had looked.
const EARLY_DELAY_NS: u64 = 50_000_000;

/// When a check runs. Zero stands for Docker's default everywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Between the end of a probe and the start of the next; default 30 s.
    pub interval_ns: u64,
    /// Of one probe; default 30 s.
    pub timeout_ns: u64,
    /// From the start on, during which failures do not count while no probe has succeeded; default none.
    pub start_period_ns: u64,
    /// Instead of `interval_ns` in the start period while no probe has succeeded; default 5 s.
    pub start_interval_ns: u64,
    /// Failures in a row that make it unhealthy; default 3.
    pub retries: u32,
}

impl Check {
    /// How long a probe may take.
    pub fn timeout_ns(&self) -> u64 {
        default(self.timeout_ns, DEFAULT_TIMEOUT_NS)
    }
}

/// The check of one run of a container.
#[derive(Debug)]
pub struct Monitor {
    check: Check,
    started_ns: u64,
    /// How many probes have run before Docker's first.
    early: u32,
    health: Health,
}

impl Monitor {
    /// Of a container whose program was started at this time.
    pub fn new(check: Check, started_ns: u64) -> Self {
        Self { check, started_ns, early: 0, health: Health::default() }
    }

    /// Goes on with what another shim has found.
    #[must_use]
    pub fn resume(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// What was found so far.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// How long to wait from now to the next probe.
    pub fn delay_ns(&self, now_ns: u64) -> u64 {
        let to_first = self.first_due_ns().saturating_sub(now_ns);
        if self.health.status == HealthStatus::Starting && to_first > 0 {
            let early = EARLY_DELAY_NS.saturating_mul(1 << self.early.min(16));
            return early.min(self.start_interval_ns()).min(to_first);
        }
        self.regular_delay_ns(now_ns)
    }

    fn regular_delay_ns(&self, now_ns: u64) -> u64 {
        if self.health.status == HealthStatus::Starting && self.in_start_period(now_ns) {
            self.start_interval_ns()
        } else {
            default(self.check.interval_ns, DEFAULT_INTERVAL_NS)
        }
    }

    fn start_interval_ns(&self) -> u64 {
        default(self.check.start_interval_ns, DEFAULT_START_INTERVAL_NS)
    }

    /// Takes the result of a probe that began at `began_ns`, and says whether the verdict has changed.
    pub fn record(&mut self, began_ns: u64, probe: Probe) -> bool {
        let before = self.health.status;
        if probe.exit_code == 0 {
            self.health.failing_streak = 0;
            self.health.status = HealthStatus::Healthy;
        } else if before == HealthStatus::Starting && began_ns < self.first_due_ns() {
            self.early = self.early.saturating_add(1);
        } else if !(before == HealthStatus::Starting && self.in_start_period(began_ns)) {
            self.health.failing_streak = self.health.failing_streak.saturating_add(1);
            let retries = if self.check.retries == 0 { DEFAULT_RETRIES } else { self.check.retries };
            if self.health.failing_streak >= retries {
                self.health.status = HealthStatus::Unhealthy;
            }
        }
        self.health.log.push(probe);
        let surplus = self.health.log.len().saturating_sub(HEALTH_LOG_LENGTH);
        self.health.log.drain(..surplus);
        self.health.status != before
    }

    /// When Docker's first probe would run.
    fn first_due_ns(&self) -> u64 {
        let has_start_period = self.check.start_period_ns > 0;
        let interval = default(self.check.interval_ns, DEFAULT_INTERVAL_NS);
        self.started_ns.saturating_add(if has_start_period { self.start_interval_ns() } else { interval })
    }

    fn in_start_period(&self, began_ns: u64) -> bool {
        began_ns.saturating_sub(self.started_ns) < self.check.start_period_ns
    }
}

fn default(value: u64, default: u64) -> u64 {
    if value == 0 { default } else { value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_000 * SECOND;

    fn probe(exit_code: i32) -> Probe {
        Probe { exit_code, ..Probe::default() }
    }

    fn check() -> Check {
        Check {
            interval_ns: 10 * SECOND,
            start_period_ns: 20 * SECOND,
            start_interval_ns: 2 * SECOND,
            retries: 2,
            ..Check::default()
        }
    }

    #[test]
    fn zeroes_are_dockers_defaults() {
        let mut monitor = Monitor::new(Check::default(), START);
        let late = START + 30 * SECOND;
        assert_eq!(monitor.delay_ns(late), 30 * SECOND);
        assert_eq!(Check::default().timeout_ns(), 30 * SECOND);
        assert_eq!([1, 1, 1].map(|code| monitor.record(late, probe(code))), [false, false, true], "H2: three retries");
    }

    #[test]
    fn failures_of_the_start_period_do_not_count_until_one_succeeds() {
        let mut monitor = Monitor::new(check(), START);
        for second in 1..20 {
            assert!(!monitor.record(START + second * SECOND, probe(1)));
        }
        assert_eq!(monitor.health().failing_streak, 0);
        assert!(monitor.record(START + 19 * SECOND, probe(0)));
        assert_eq!(monitor.health().status, HealthStatus::Healthy);
        assert!(!monitor.record(START + 19 * SECOND, probe(1)), "healthy in the start period: failures count");
        assert!(monitor.record(START + 19 * SECOND, probe(1)));
        assert_eq!(monitor.health().status, HealthStatus::Unhealthy);
    }

    #[test]
    fn a_success_forgives_the_streak() {
        let mut monitor = Monitor::new(check(), START);
        let late = START + 60 * SECOND;
        assert!(!monitor.record(late, probe(7)));
        assert!(monitor.record(late, probe(0)));
        assert!(!monitor.record(late, probe(7)));
        assert!(monitor.record(late, probe(-1)), "a time-out is a failure");
        assert!(monitor.record(late, probe(0)));
    }

    #[test]
    fn the_start_interval_holds_until_the_first_success_or_the_start_periods_end() {
        let mut monitor = Monitor::new(check(), START);
        assert_eq!(monitor.delay_ns(START + 2 * SECOND), 2 * SECOND);
        assert_eq!(monitor.delay_ns(START + 19 * SECOND), 2 * SECOND);
        assert_eq!(monitor.delay_ns(START + 20 * SECOND), 10 * SECOND);
        monitor.record(START, probe(0));
        assert_eq!(monitor.delay_ns(START + 3 * SECOND), 10 * SECOND);
    }

    #[test]
    fn early_probes_come_ever_slower_and_only_their_success_counts() {
        let one_retry = Check { retries: 1, start_interval_ns: SECOND, ..Check::default() };
        let mut monitor = Monitor::new(one_retry, START);
        let (mut now, mut pauses) = (START, Vec::new());
        while now < START + 30 * SECOND {
            let pause = monitor.delay_ns(now);
            pauses.push(pause / 1_000_000);
            now += pause;
            if now < START + 30 * SECOND {
                assert!(!monitor.record(now, probe(1)), "before Docker's first probe no failure counts");
            }
        }
        assert_eq!(now, START + 30 * SECOND, "Docker's first probe runs as in Docker");
        assert_eq!(pauses.get(..6), Some(&[50, 100, 200, 400, 800, 1000][..]));
        assert!(monitor.record(now, probe(1)) && monitor.health().status == HealthStatus::Unhealthy);
        let mut monitor = Monitor::new(one_retry, START);
        assert!(monitor.record(START + 50_000_000, probe(0)), "a chain of services is not kept waiting");
        assert_eq!(monitor.delay_ns(START + 50_000_000), 30 * SECOND);
    }

    proptest! {
        #[test]
        fn the_log_keeps_the_last_five_and_the_streak_the_last_successes_distance(codes in prop::collection::vec(-1i32..3, 0..40)) {
            let mut monitor = Monitor::new(Check { retries: 4, ..Check::default() }, START);
            for code in &codes {
                monitor.record(START + 99 * SECOND, probe(*code));
            }
            let kept: Vec<i32> = monitor.health().log.iter().map(|probe| probe.exit_code).collect();
            prop_assert_eq!(&kept, &codes[codes.len().saturating_sub(5)..]);
            let streak = codes.iter().rev().take_while(|code| **code != 0).count();
            prop_assert_eq!(monitor.health().failing_streak as usize, streak);
            prop_assert_eq!(monitor.health().status == HealthStatus::Unhealthy, streak >= 4);
        }
    }
}
