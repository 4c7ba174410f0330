//! What somebody may bring of vaccines that nothing here can check.

use smartmesh_types::{Duration, Instant};

/// So many at once: what two days of a small mesh's mail make.
const BURST: u64 = 512;
/// Time for one more.
const EACH: Duration = Duration::from_secs(5);

/// Vaccines for bundles never seen here that may still come.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u64,
    filled_at: Instant,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            filled_at: now,
        }
    }

    /// Takes one, if there is one.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        let gained = now
            .since(self.filled_at)
            .as_secs()
            .checked_div(EACH.as_secs())
            .unwrap_or(0);
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(BURST);
            self.filled_at = now;
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}
