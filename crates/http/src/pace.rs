//! Servers that say next to nothing, and never stop.

use std::time::{Duration, Instant};

/// Whether a body comes fast enough to be waited for: a byte now and then keeps a connection alive, and nothing else.
#[derive(Debug)]
pub struct Pace {
    period: Duration,
    since: Instant,
    bytes: u64,
}

/// Less than a kibibyte in a period is nothing.
const SLOWEST_BYTES: u64 = 1 << 10;

impl Pace {
    /// From now on.
    pub fn new(period: Duration) -> Self {
        Self { period, since: Instant::now(), bytes: 0 }
    }

    /// So many bytes more.
    ///
    /// # Errors
    /// Where almost nothing came for a period.
    pub fn keep(&mut self, bytes: usize) -> Result<(), String> {
        self.bytes += bytes as u64;
        if self.since.elapsed() < self.period {
            return Ok(());
        }
        if self.bytes < SLOWEST_BYTES {
            return Err(format!("almost nothing came for {:?}", self.period));
        }
        *self = Self::new(self.period);
        Ok(())
    }
}
