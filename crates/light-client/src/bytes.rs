//! Reading and writing of bytes at a border: nothing is read past the end, nothing is believed about lengths.

use alloy_primitives::B256;

use crate::update::FormError;

/// Reads from the front of bytes.
pub(crate) struct Reader<'a> {
    /// What has not been read.
    pub(crate) rest: &'a [u8],
    /// Bytes read so far.
    pub(crate) at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], FormError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(FormError::Truncated)?;
        self.rest = rest;
        self.at = self.at.saturating_add(count);
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormError> {
        self.take(N)?.try_into().map_err(|_| FormError::Truncated)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, FormError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn number(&mut self) -> Result<u64, FormError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads a number of 7 bits a byte, lowest first, in its shortest form.
    pub(crate) fn varint(&mut self) -> Result<u64, FormError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(FormError::Number);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(FormError::Number);
                }
                return Ok(value);
            }
        }
        Err(FormError::Number)
    }

    /// Reads the length of a list that has at most this many items.
    pub(crate) fn length(&mut self, max: usize) -> Result<usize, FormError> {
        let length = self.varint()?;
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= max)
            .ok_or(FormError::Number)
    }

    pub(crate) fn node(&mut self) -> Result<B256, FormError> {
        Ok(B256::from(self.array::<32>()?))
    }

    pub(crate) fn nodes(&mut self, count: usize) -> Result<Vec<B256>, FormError> {
        if self.rest.len() / 32 < count {
            return Err(FormError::Truncated);
        }
        (0..count).map(|_| self.node()).collect()
    }

    pub(crate) const fn finish(&self) -> Result<(), FormError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(FormError::Trailing(self.rest.len()))
        }
    }
}

/// Appends a number of 7 bits a byte, lowest first.
pub(crate) fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            into.push(low & 0x7f);
            return;
        }
        into.push(low | 0x80);
    }
}

/// Appends a length.
pub(crate) fn put_length(into: &mut Vec<u8>, length: usize) {
    put_varint(into, u64::try_from(length).unwrap_or(u64::MAX));
}

/// Appends nodes without a count.
pub(crate) fn put_nodes(into: &mut Vec<u8>, nodes: &[B256]) {
    for node in nodes {
        into.extend_from_slice(node.as_slice());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::MAX >> 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.varint(), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
        }
        assert_eq!(Reader::new(&[0x80, 0]).varint(), Err(FormError::Number));
        assert_eq!(Reader::new(&[0xff; 10]).varint(), Err(FormError::Number));
        assert_eq!(Reader::new(&[0x80]).varint(), Err(FormError::Truncated));
    }
}
