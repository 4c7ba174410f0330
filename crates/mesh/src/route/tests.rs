//! Several instances joined over links with delay, under virtual time.
