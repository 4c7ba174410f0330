//! Waiting for a condition instead of for time.

use std::time::{Duration, Instant};

/// How long a condition may take before a test gives up: generous, since the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer.
///
/// # Panics
/// If there is none within [`PATIENCE`].
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, ask)
        .unwrap_or_else(|| panic!("waited {} s in vain: {what}", PATIENCE.as_secs()))
}

/// Asks again and again for at most this long.
#[expect(
    clippy::disallowed_methods,
    reason = "real processes live in real time"
)]
pub fn within<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if start.elapsed() > patience {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
