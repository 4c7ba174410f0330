//! The Beacon API's answers, without the HTTP.

use alloy_primitives::B256;
use serde_json::{Value, json};

use super::{Beacon, bootstrap_json, config_json, update_json};
use crate::chain::Devnet;

/// Updates of one answer.
const UPDATES_MAX: u64 = 128;

impl Beacon {
    /// Answers a path under `/eth/v1/`, after following the devnet; `None` is not found.
    #[must_use]
    pub fn answer(&mut self, devnet: &Devnet, path: &str) -> Option<Value> {
        self.follow(devnet);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        match path {
            "config/spec" | "beacon/genesis" => Some(config_json(self.network())),
            "beacon/headers/finalized" => {
                Some(json!({ "data": { "root": self.checkpoint(), "canonical": true } }))
            }
            "beacon/light_client/finality_update" => {
                Some(update_json(&self.finality_update()?, self.network()))
            }
            "beacon/light_client/optimistic_update" => {
                let mut shown = update_json(&self.finality_update()?, self.network());
                let data = shown.get_mut("data").and_then(Value::as_object_mut)?;
                data.remove("finalized_header");
                data.remove("finality_branch");
                Some(shown)
            }
            "beacon/light_client/updates" => {
                let value = |name: &str| -> Option<u64> {
                    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                    let mut named = pairs.filter(|(key, _)| *key == name);
                    named.next()?.1.parse().ok()
                };
                let start = value("start_period")?;
                let end = start.saturating_add(value("count")?.min(UPDATES_MAX));
                let (_, newest) = self.periods();
                let updates: Vec<Value> = (start..end.min(newest.saturating_add(1)))
                    .filter_map(|period| self.update(period))
                    .map(|update| update_json(&update, self.network()))
                    .collect();
                Some(json!(updates))
            }
            path => {
                let root = path.strip_prefix("beacon/light_client/bootstrap/")?;
                let root: B256 = root.parse().ok()?;
                Some(bootstrap_json(&self.bootstrap(root)?))
            }
        }
    }
}
