//! Limits and times of the conversations.

use smartmesh_types::Duration;

/// What may differ between installations; the defaults fit a phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The most people kept, strangers and blocked ones included. When full, the oldest stranger makes room; contacts
    /// never do, and a new one is refused.
    pub people_max: usize,
    /// The most strangers among them (people who wrote first and were not added). The oldest makes room.
    pub strangers_max: usize,
    /// The most messages of our own on their way; more are refused.
    pub outbox_max: usize,
    /// The same for one person, so that one absent friend does not fill the outbox.
    pub outbox_per_person_max: usize,
    /// The most arrived messages of our own that wait for being read; the oldest is no longer watched.
    pub arrived_max: usize,
    /// The most received messages that the shell has not stored yet. When full, further ones are not taken (and not
    /// acknowledged: their senders try again).
    pub unstored_max: usize,
    /// The same for one person.
    pub unstored_per_person_max: usize,
    /// The most ids of received messages remembered to drop repeats; the one that expires first makes room.
    pub seen_max: usize,
    /// How long a message is tried when the sender does not say.
    pub lifetime: Duration,
    /// First retransmission over a live path; doubles up to `retry_max`.
    pub retry_first: Duration,
    /// Slowest retransmission.
    pub retry_max: Duration,
    /// Without a path, or without any acknowledgement over one, a message is also given to carriers after this long.
    pub deposit_after: Duration,
    /// Acknowledgements over a flow wait this long for company.
    pub receipt_delay: Duration,
    /// Receipts that no flow took are given to carriers after this long.
    pub receipt_deposit_after: Duration,
    /// How long a fallback prekey is handed out; it stays usable for as long again.
    pub fallback_rotation: Duration,
    /// How often the own prekeys are gossiped while visible.
    pub publish_every: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            people_max: 1_024,
            strangers_max: 128,
            outbox_max: 2_048,
            outbox_per_person_max: 256,
            arrived_max: 4_096,
            unstored_max: 256,
            unstored_per_person_max: 64,
            seen_max: 16_384,
            lifetime: Duration::from_secs(7 * 86_400),
            retry_first: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            deposit_after: Duration::from_secs(2),
            receipt_delay: Duration::from_millis(20),
            receipt_deposit_after: Duration::from_secs(10),
            fallback_rotation: Duration::from_secs(14 * 86_400),
            publish_every: Duration::from_secs(600),
        }
    }
}
