//! Real daemons under test.
