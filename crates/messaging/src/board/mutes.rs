//! Whom the user does not want to hear in the room: a personal list that can be given to others.

use smartmesh_crypto::verify_signature;
use smartmesh_types::Address;
use smartmesh_wire::mute_list::{MUTE_LIST_DOMAIN, MUTED_MAX, MuteList};

use super::{Board, BoardError, records};

impl Board {
    /// Whom the user has muted.
    pub fn muted(&self) -> impl Iterator<Item = Address> {
        self.mutes.iter().copied()
    }

    /// The list as a signed text that somebody else can adopt.
    pub fn mute_list(&self) -> String {
        let mut list = MuteList {
            owner: self.identity.key(),
            people: self.mutes.iter().copied().collect(),
            signature: [0; 64],
        };
        list.signature = self.identity.sign(MUTE_LIST_DOMAIN, &list.signed_bytes());
        list.to_text()
    }

    pub(super) fn mute(&mut self, address: Address) -> Result<(), BoardError> {
        if address == self.identity.address() {
            return Err(BoardError::Invalid("this is your own address"));
        }
        if self.mutes.len() >= MUTED_MAX && !self.mutes.contains(&address) {
            return Err(BoardError::Full("muted people"));
        }
        if self.mutes.insert(address) {
            self.persist(records::mute(address, true));
        }
        Ok(())
    }

    pub(super) fn unmute(&mut self, address: Address) {
        if self.mutes.remove(&address) {
            self.persist(records::mute(address, false));
        }
    }

    /// Adds everybody on somebody's signed list, but for the user and the contacts.
    pub(super) fn adopt_mutes(&mut self, text: &str) -> Result<(), BoardError> {
        let list = MuteList::from_text(text).map_err(|_| BoardError::NoList)?;
        verify_signature(
            &list.owner,
            MUTE_LIST_DOMAIN,
            &list.signed_bytes(),
            &list.signature,
        )
        .map_err(|_| BoardError::NoList)?;
        let new: Vec<_> = list
            .people
            .into_iter()
            .filter(|one| !self.contacts.contains(one) && *one != self.identity.address())
            .collect();
        if self.mutes.len().saturating_add(new.len()) > MUTED_MAX {
            return Err(BoardError::Full("muted people"));
        }
        for address in new {
            self.mute(address)?;
        }
        Ok(())
    }
}
