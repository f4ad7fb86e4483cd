//! Every random number has an address: (run seed, generation, member, purpose).
//!
//! Two runs with the same seed draw the same numbers whatever the order, the machine or the number of
//! restarts, because no generator is ever shared or carried over.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::MemberId;

/// Where a stream of random numbers is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    /// Seed of the run.
    pub run: u64,
    /// Generation, counted from 0.
    pub generation: u32,
    /// Member, or none for what concerns the whole population.
    pub member: Option<MemberId>,
    /// What the numbers are for, with anything that tells it from its neighbours, e.g. `cycle 17`.
    pub purpose: &'a str,
}

/// 32 bytes that depend on every part of the address and on nothing else.
fn key(address: &Address) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("pbtnas 2026 random address v1");
    hasher.update(&address.run.to_le_bytes());
    hasher.update(&address.generation.to_le_bytes());
    hasher.update(&address.member.map_or(u64::MAX, |id| u64::from(id.0)).to_le_bytes());
    hasher.update(address.purpose.as_bytes());
    *hasher.finalize().as_bytes()
}

/// The generator at an address. ChaCha8: the stream is part of its specification, on every platform.
pub fn rng(address: &Address) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(key(address))
}

/// A non-negative number at an address: the seed of something that is drawn as a whole.
pub fn word(address: &Address) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = key(address);
    i64::from_le_bytes([a, b, c, d, e, f, g, h]) & i64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngCore;

    #[test]
    fn every_part_of_the_address_matters() {
        let base = Address { run: 1, generation: 2, member: Some(MemberId(3)), purpose: "mix" };
        let others = [
            Address { run: 2, ..base },
            Address { generation: 3, ..base },
            Address { member: Some(MemberId(4)), ..base },
            Address { member: None, ..base },
            Address { purpose: "noise", ..base },
        ];
        assert_eq!(rng(&base).next_u64(), rng(&base).next_u64());
        for other in others {
            assert_ne!(rng(&base).next_u64(), rng(&other).next_u64(), "{other:?}");
            assert_ne!(word(&base), word(&other), "{other:?}");
        }
    }

    /// A change of this value would make every stored run irreproducible.
    #[test]
    fn the_stream_is_pinned() {
        let address = Address { run: 1, generation: 2, member: Some(MemberId(3)), purpose: "mix" };
        assert_eq!(rng(&address).next_u64(), 9_436_426_705_615_750_092);
        assert_eq!(word(&address), 320_758_010_470_617_905);
    }
}
