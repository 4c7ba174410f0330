//! The same random history on the model and on the bytecode.

mod books;
mod payments;
mod watcher;

use std::collections::BTreeMap;

use alloy_primitives::keccak256;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use smartmesh_contracts::model::Refusal;

use crate::chain::{Failed, Receipt};

/// Steps of both histories together unless a deep run asks for more.
const STEPS: u64 = 100_000;
/// Steps after which a history starts anew on a fresh chain: what was signed and stored grows with it.
const STEPS_A_CHAIN: u64 = 1_000;

/// Steps to run: the number in `SMARTMESH_DEEP`, if set.
fn steps() -> u64 {
    std::env::var("SMARTMESH_DEEP")
        .ok()
        .and_then(|steps| steps.parse().ok())
        .unwrap_or(STEPS)
}

/// Seeded choices.
struct Dice(ChaCha8Rng);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// 0 to `n` - 1.
    fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    /// True once in `n` times.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()].clone()
    }
}

/// How often each outcome of each call came about.
#[derive(Default)]
struct Tally(BTreeMap<(&'static str, Option<Refusal>), u64>);

impl Tally {
    /// Compares the two outcomes of one call, and counts them.
    fn compare(
        &mut self,
        name: &'static str,
        model: Result<(), Refusal>,
        bytecode: &Result<Receipt, Failed>,
        at: &str,
    ) {
        let agreed = match (&model, bytecode) {
            (Ok(()), Ok(_)) => true,
            (Err(refusal), Err(Failed::Reverted(data))) => {
                data.as_ref() == &keccak256(format!("{refusal:?}()").as_bytes())[..4]
            }
            (Ok(()), Err(_)) | (Err(_), Ok(_) | Err(Failed::Halted(_))) => false,
        };
        assert!(
            agreed,
            "{at}: {name}: model {model:?}, bytecode {bytecode:?}"
        );
        *self.0.entry((name, model.err())).or_insert(0) += 1;
    }

    fn print(&self) {
        for ((name, refusal), count) in &self.0 {
            let outcome = refusal.map_or("done".to_owned(), |refusal| format!("{refusal:?}"));
            println!("{count:>8}  {name} {outcome}");
        }
    }

    /// Fails unless each of `wanted` came about somewhere.
    fn expect(&self, wanted: &[Refusal]) {
        for refusal in wanted {
            assert!(
                self.0.keys().any(|(_, seen)| seen == &Some(*refusal)),
                "never refused with {refusal:?}"
            );
        }
    }
}
