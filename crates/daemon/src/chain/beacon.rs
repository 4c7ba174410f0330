//! Asks a Beacon API, or the beacon chain of a devnet in this process.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use smartmesh_devnet::Devnet;
use smartmesh_devnet::beacon::Beacon;
use ureq::Agent;

use super::endpoint::EndpointError;

/// The longest answer that is read: 128 updates of 70 KB in JSON.
const ANSWER_BYTES_MAX: u64 = 12 << 20;

/// Where light-client data come from.
#[derive(Clone)]
pub(crate) enum BeaconApi {
    /// By HTTP.
    Remote {
        /// Where, without a slash at the end.
        url: String,
        /// The client.
        agent: Agent,
    },
    /// In this process.
    Devnet(Arc<Mutex<Devnet>>, Arc<Mutex<Beacon>>),
}

impl BeaconApi {
    /// Asks for what is at a path under `/eth/v1/beacon/`.
    pub(crate) fn get(&self, path: &str) -> Result<Value, EndpointError> {
        self.get_under(&format!("beacon/{path}"))
    }

    /// Asks what the network is like, and when it began.
    pub(crate) fn get_config(&self) -> Result<Value, EndpointError> {
        self.get_under("config/spec")
    }

    fn get_under(&self, path: &str) -> Result<Value, EndpointError> {
        match self {
            Self::Remote { url, agent } => {
                let silent = |error: ureq::Error| EndpointError::Silent(error.to_string());
                let mut response = agent
                    .get(format!("{url}/eth/v1/{path}"))
                    .header("Accept", "application/json")
                    .call()
                    .map_err(silent)?;
                let status = response.status();
                if !status.is_success() {
                    return Err(EndpointError::Silent(format!("{status} for {path}")));
                }
                let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
                let text = body.read_to_vec().map_err(silent)?;
                serde_json::from_slice(&text)
                    .map_err(|_| EndpointError::Rubbish("it is not JSON".to_owned()))
            }
            Self::Devnet(devnet, beacon) => {
                let devnet = devnet.lock().unwrap_or_else(PoisonError::into_inner);
                let mut beacon = beacon.lock().unwrap_or_else(PoisonError::into_inner);
                beacon
                    .answer(&devnet, path)
                    .ok_or_else(|| EndpointError::Silent(format!("404 for {path}")))
            }
        }
    }
}
