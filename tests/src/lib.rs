//! Real daemons under test: a laboratory of network namespaces, and the story-telling verbs the tests use.

pub mod decoders;
pub mod lab;
pub mod phones;
pub mod wait;
