//! Reads a network's description: the Beacon API's `/eth/v1/config/spec` and `/eth/v1/beacon/genesis`, or the YAML files
//! that consensus clients ship, reduced to lines `NAME: value`.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use alloy_primitives::{B256, hex};
use serde_json::Value;
use thiserror::Error;

use crate::network::{Activation, Fork, Network, Preset};

/// Why a text describes no network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A value is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A value is not what it should be.
    #[error("`{0}` is malformed")]
    Malformed(String),
}

/// Values by upper-case name.
struct Values(BTreeMap<String, String>);

impl Values {
    fn read(text: &str) -> Self {
        let mut values = BTreeMap::new();
        if let Ok(json) = serde_json::from_str::<Value>(text) {
            collect(&json, &mut values);
        } else {
            for line in text.lines() {
                let line = line.split('#').next().unwrap_or_default();
                if let Some((name, value)) = line.split_once(':') {
                    let value = value.trim().trim_matches(['\'', '"']);
                    values.insert(name.trim().to_uppercase(), value.to_owned());
                }
            }
        }
        Self(values)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Result<Option<u64>, ConfigError> {
        self.text(name)
            .map(|text| text.parse())
            .transpose()
            .map_err(|_| ConfigError::Malformed(name.to_owned()))
    }

    fn positive(&self, name: &str, otherwise: NonZeroU64) -> Result<NonZeroU64, ConfigError> {
        match self.number(name)? {
            None => Ok(otherwise),
            Some(number) => {
                NonZeroU64::new(number).ok_or_else(|| ConfigError::Malformed(name.to_owned()))
            }
        }
    }

    fn bytes<const N: usize>(&self, name: &str) -> Result<Option<[u8; N]>, ConfigError> {
        let malformed = || ConfigError::Malformed(name.to_owned());
        match self.text(name) {
            None => Ok(None),
            Some(text) => {
                let bytes = hex::decode(text).map_err(|_| malformed())?;
                bytes.try_into().map(Some).map_err(|_| malformed())
            }
        }
    }
}

/// Collects strings and numbers of an object and of the objects inside it.
fn collect(json: &Value, into: &mut BTreeMap<String, String>) {
    for (name, value) in json.as_object().into_iter().flatten() {
        match value {
            Value::String(text) => {
                into.insert(name.to_uppercase(), text.clone());
            }
            Value::Number(number) => {
                into.insert(name.to_uppercase(), number.to_string());
            }
            Value::Object(_) => collect(value, into),
            Value::Null | Value::Bool(_) | Value::Array(_) => {}
        }
    }
}

impl Network {
    /// Reads a network from texts of `NAME: value` lines or JSON objects; later ones win. `GENESIS_VALIDATORS_ROOT` must be
    /// among the values, as the Beacon API's `genesis` answers it.
    ///
    /// # Errors
    ///
    /// Names the value that is missing or malformed.
    pub fn from_config(texts: &[&str]) -> Result<Self, ConfigError> {
        let mut values = Values(BTreeMap::new());
        for text in texts {
            values.0.extend(Values::read(text).0);
        }
        let base = match values.text("PRESET_BASE") {
            Some("mainnet") | None => Preset::MAINNET,
            Some("minimal") => Preset::MINIMAL,
            Some(other) => return Err(ConfigError::Malformed(format!("PRESET_BASE: {other}"))),
        };
        let preset = Preset {
            committee_size: match values.number("SYNC_COMMITTEE_SIZE")? {
                None => base.committee_size,
                Some(size) => u16::try_from(size)
                    .ok()
                    .filter(|size| size.is_power_of_two() && *size >= 8)
                    .ok_or_else(|| ConfigError::Malformed("SYNC_COMMITTEE_SIZE".to_owned()))?,
            },
            slots_per_epoch: values.positive("SLOTS_PER_EPOCH", base.slots_per_epoch)?,
            epochs_per_period: values
                .positive("EPOCHS_PER_SYNC_COMMITTEE_PERIOD", base.epochs_per_period)?,
        };
        let mut schedule = Vec::new();
        for fork in Fork::ALL {
            let name = fork.name();
            let Some(version) = values.bytes(&format!("{name}_FORK_VERSION"))? else {
                continue;
            };
            let epoch = match fork {
                Fork::Phase0 => 0,
                Fork::Altair
                | Fork::Bellatrix
                | Fork::Capella
                | Fork::Deneb
                | Fork::Electra
                | Fork::Fulu
                | Fork::Gloas => values
                    .number(&format!("{name}_FORK_EPOCH"))?
                    .unwrap_or(u64::MAX),
            };
            schedule.push(Activation {
                fork,
                version,
                epoch,
            });
        }
        let seconds = match values.number("SLOT_DURATION_MS")? {
            Some(milliseconds) => NonZeroU64::new(milliseconds / 1000).unwrap_or(NonZeroU64::MIN),
            None => values.positive("SECONDS_PER_SLOT", NonZeroU64::MIN)?,
        };
        Ok(Self {
            name: values.text("CONFIG_NAME").unwrap_or("custom").to_owned(),
            preset,
            genesis_validators_root: values
                .bytes("GENESIS_VALIDATORS_ROOT")?
                .map(B256::from)
                .ok_or(ConfigError::Missing("GENESIS_VALIDATORS_ROOT"))?,
            genesis_time: match values.number("GENESIS_TIME")? {
                Some(time) => time,
                None => values.number("MIN_GENESIS_TIME")?.unwrap_or(0),
            },
            seconds_per_slot: seconds,
            schedule,
        })
    }
}
