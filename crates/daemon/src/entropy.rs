//! The only place that asks the system for randomness.

use rustix::rand::{GetRandomFlags, getrandom};
use smartmesh_crypto::Seed;

/// A fresh seed; waits, once after the machine's start, until the system has gathered enough.
///
/// # Panics
/// If the system has no randomness to give: nothing secret could be made without it.
pub(crate) fn seed() -> Seed {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..)
        && !rest.is_empty()
    {
        match getrandom(rest, GetRandomFlags::empty()) {
            Ok(count) => filled = filled.saturating_add(count),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("the system gives no randomness: {error}"),
        }
    }
    Seed::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ() {
        assert_ne!(seed().rng().bytes::<32>(), seed().rng().bytes::<32>());
    }
}
