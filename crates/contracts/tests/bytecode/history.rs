//! The same random history on the model and on the bytecode.

mod books;
mod hostile;
mod payments;
mod watcher;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

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

/// Blocks that a reorganisation may undo at most: the depth to which a node waits before it believes.
const REORG_DEPTH_MAX: usize = 12;

/// The newest states, one a block, to go back to.
struct Past<T>(VecDeque<T>);

impl<T> Past<T> {
    fn new() -> Self {
        Self(VecDeque::new())
    }

    fn push(&mut self, state: T) {
        if self.0.len() == REORG_DEPTH_MAX {
            self.0.pop_front();
        }
        self.0.push_back(state);
    }

    /// Forgets some of the newest, at times all, and returns the oldest forgotten.
    fn undo(&mut self, dice: &mut Dice) -> Option<T> {
        let depth = usize::try_from(1 + dice.below(REORG_DEPTH_MAX as u64)).unwrap();
        let kept = self.0.len().saturating_sub(depth);
        self.0.drain(kept..).next()
    }
}

/// Names of the errors in a contract's ABI.
fn errors_of(artifact: &str) -> BTreeSet<String> {
    let artifact: serde_json::Value = serde_json::from_str(artifact).unwrap();
    let of_abi = artifact["abi"].as_array().unwrap().iter();
    of_abi
        .filter(|item| item["type"] == "error")
        .map(|item| item["name"].as_str().unwrap().to_owned())
        .collect()
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

    /// Fails unless the model and the bytecode agreed on every error of the contract at least once, except on `others`,
    /// which other tests reach.
    fn reached_all(&self, artifact: &str, others: &[&str]) {
        let seen: BTreeSet<String> = self
            .0
            .keys()
            .filter_map(|(_, refusal)| refusal.map(|refusal| format!("{refusal:?}")))
            .collect();
        let missing: Vec<String> = errors_of(artifact)
            .into_iter()
            .filter(|error| !seen.contains(error) && !others.contains(&error.as_str()))
            .collect();
        assert!(missing.is_empty(), "never refused with {missing:?}");
    }
}
