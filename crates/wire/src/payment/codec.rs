//! Bytes to fields and back.

use super::{
    Book, ChannelTag, Cheque, Hello, Introduction, Payouts, Relay, State, TICKS_MAX, Tick, Watch,
    Withdrawal,
};

/// Collects the bytes of a message.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// The lower 40 bits.
    pub(super) fn time(&mut self, value: u64) -> &mut Self {
        let [_, _, _, low @ ..] = value.to_be_bytes();
        self.put(&low)
    }

    /// The lower 96 bits.
    pub(super) fn amount(&mut self, value: u128) -> &mut Self {
        let [_, _, _, _, low @ ..] = value.to_be_bytes();
        self.put(&low)
    }

    /// Length in 16 bits, then at most `most` bytes.
    pub(super) fn sized(&mut self, bytes: &[u8], most: usize) -> &mut Self {
        let bytes = bytes.get(..most.min(bytes.len())).unwrap_or_default();
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
        self.put(bytes)
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes fields from the front of bytes.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn time(&mut self) -> Option<u64> {
        let [a, b, c, d, e] = self.array()?;
        Some(u64::from_be_bytes([0, 0, 0, a, b, c, d, e]))
    }

    pub(super) fn amount(&mut self) -> Option<u128> {
        let low: [u8; 12] = self.array()?;
        let mut bytes = [0; 16];
        bytes.get_mut(4..)?.copy_from_slice(&low);
        Some(u128::from_be_bytes(bytes))
    }

    pub(super) fn sized(&mut self, most: usize) -> Option<Vec<u8>> {
        let length = usize::from(self.u16()?);
        if length > most {
            return None;
        }
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(first.to_vec())
    }

    /// All that is left, as items; at least one, at most `most`.
    pub(super) fn list<T>(
        &mut self,
        most: usize,
        item: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut items = Vec::new();
        while !self.is_empty() {
            if items.len() >= most {
                return None;
            }
            items.push(item(self)?);
        }
        (!items.is_empty()).then_some(items)
    }
}

pub(super) fn introduction(w: &mut Writer, m: &Introduction) {
    w.u8(1).u8(u8::from(m.answer)).u64(m.chain_id);
    w.put(&m.contract).put(&m.token).put(&m.account);
    w.u16(m.terms).put(&m.locator).u32(m.reach);
    w.u64(m.fee.0).u32(m.fee.1);
    w.amount(m.reserve).put(&m.signature);
}

pub(super) fn read_introduction(r: &mut Reader<'_>) -> Option<Introduction> {
    Some(Introduction {
        answer: r.flag()?,
        chain_id: r.u64()?,
        contract: r.array()?,
        token: r.array()?,
        account: r.array()?,
        terms: r.u16()?,
        locator: r.array()?,
        reach: r.u32()?,
        fee: (r.u64()?, r.u32()?),
        reserve: r.amount()?,
        signature: r.array()?,
    })
}

pub(super) fn hello(w: &mut Writer, m: &Hello) {
    w.u8(2).put(&m.channel.0).u32(m.epoch);
    w.put(&m.nonce).put(&m.echo);
    w.u64(m.mine).u64(m.yours).u8(u8::from(m.recovering));
}

pub(super) fn read_hello(r: &mut Reader<'_>) -> Option<Hello> {
    Some(Hello {
        channel: ChannelTag(r.array()?),
        epoch: r.u32()?,
        nonce: r.array()?,
        echo: r.array()?,
        mine: r.u64()?,
        yours: r.u64()?,
        recovering: r.flag()?,
    })
}

pub(super) fn withdrawal(w: &mut Writer, m: &Withdrawal) {
    w.u8(9).put(&m.channel.0).u8(u8::from(m.answer));
    w.amount(m.amount).put(&m.to).put(&m.agent);
    w.amount(m.fee).time(m.expiry).put(&m.signature);
}

pub(super) fn read_withdrawal(r: &mut Reader<'_>) -> Option<Withdrawal> {
    Some(Withdrawal {
        channel: ChannelTag(r.array()?),
        answer: r.flag()?,
        amount: r.amount()?,
        to: r.array()?,
        agent: r.array()?,
        fee: r.amount()?,
        expiry: r.time()?,
        signature: r.array()?,
    })
}

pub(super) fn payouts(w: &mut Writer, m: &Payouts) {
    w.u8(10).put(&m.channel.0).u8(u8::from(m.answer));
    w.amount(m.amounts.0).amount(m.amounts.1);
    w.put(&m.to.0).put(&m.to.1).put(&m.agent);
    w.amount(m.fee).time(m.deadline).put(&m.signature);
}

pub(super) fn read_payouts(r: &mut Reader<'_>) -> Option<Payouts> {
    Some(Payouts {
        channel: ChannelTag(r.array()?),
        answer: r.flag()?,
        amounts: (r.amount()?, r.amount()?),
        to: (r.array()?, r.array()?),
        agent: r.array()?,
        fee: r.amount()?,
        deadline: r.time()?,
        signature: r.array()?,
    })
}

pub(super) fn ticks(w: &mut Writer, ticks: &[Tick]) {
    w.u8(11);
    for tick in ticks.iter().take(TICKS_MAX) {
        w.put(&tick.channel.0).u32(tick.anchor);
        w.u32(tick.count).put(&tick.preimage);
    }
}

pub(super) fn read_ticks(r: &mut Reader<'_>) -> Option<Vec<Tick>> {
    r.list(TICKS_MAX, |r| {
        Some(Tick {
            channel: ChannelTag(r.array()?),
            anchor: r.u32()?,
            count: r.u32()?,
            preimage: r.array()?,
        })
    })
}

pub(super) fn relay(w: &mut Writer, m: &Relay) {
    w.u8(22).put(&m.token).put(&m.incoming).put(&m.next);
    w.put(&m.point).put(&m.tweak);
    w.amount(m.amount).time(m.expiry);
}

pub(super) fn read_relay(r: &mut Reader<'_>) -> Option<Relay> {
    Some(Relay {
        token: r.array()?,
        incoming: r.array()?,
        next: r.array()?,
        point: r.array()?,
        tweak: r.array()?,
        amount: r.amount()?,
        expiry: r.time()?,
    })
}

pub(super) fn book(w: &mut Writer, m: &Book) {
    w.put(&m.token).put(&m.owner).put(&m.issuer);
    w.amount(m.cap).time(m.thaw);
}

pub(super) fn read_book(r: &mut Reader<'_>) -> Option<Book> {
    Some(Book {
        token: r.array()?,
        owner: r.array()?,
        issuer: r.array()?,
        cap: r.amount()?,
        thaw: r.time()?,
    })
}

pub(super) fn cheque(w: &mut Writer, m: &Cheque) {
    w.put(&m.book).u64(m.index);
    w.amount(m.increment).amount(m.total);
    w.put(&m.previous).put(&m.beneficiary);
    w.amount(m.cumulative).put(&m.signature);
}

pub(super) fn read_cheque(r: &mut Reader<'_>) -> Option<Cheque> {
    Some(Cheque {
        book: r.array()?,
        index: r.u64()?,
        increment: r.amount()?,
        total: r.amount()?,
        previous: r.array()?,
        beneficiary: r.array()?,
        cumulative: r.amount()?,
        signature: r.array()?,
    })
}

pub(super) fn watch(w: &mut Writer, m: &Watch) {
    w.u8(18);
    w.put(&m.parties.0).put(&m.parties.1).put(&m.parties.2);
    w.u16(m.terms).u32(m.epoch);
    m.state.write_whole(w);
    w.put(&m.signature).put(&m.agent).amount(m.fee);
    w.time(m.deadline).put(&m.forfeit).put(&m.update);
}

pub(super) fn read_watch(r: &mut Reader<'_>) -> Option<Watch> {
    Some(Watch {
        parties: (r.array()?, r.array()?, r.array()?),
        terms: r.u16()?,
        epoch: r.u32()?,
        state: State::read_whole(r)?,
        signature: r.array()?,
        agent: r.array()?,
        fee: r.amount()?,
        deadline: r.time()?,
        forfeit: r.array()?,
        update: r.array()?,
    })
}
