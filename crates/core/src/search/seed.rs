//! Random numbers are derived from a key: (run seed, generation, member, purpose).
//!
//! No generator is shared or stored, so runs with the same seed draw the same numbers on every machine, in any order
//! and after any number of restarts.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::MemberId;

/// Identifies a stream of random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RngKey<'a> {
    pub run: u64,
    /// Counted from 0.
    pub generation: u32,
    /// None for the whole population.
    pub member: Option<MemberId>,
    /// What the numbers are for, unique within the member and generation, such as `cycle 17`.
    pub purpose: &'a str,
}

fn key(address: &RngKey) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("pbtnas 2026 random address v1");
    hasher.update(&address.run.to_le_bytes());
    hasher.update(&address.generation.to_le_bytes());
    hasher.update(&address.member.map_or(u64::MAX, |id| u64::from(id.0)).to_le_bytes());
    hasher.update(address.purpose.as_bytes());
    *hasher.finalize().as_bytes()
}

/// The generator of a key. ChaCha8, because its specification fixes the stream on every platform.
pub fn rng(address: &RngKey) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(key(address))
}

/// A non-negative number derived from a key, to seed another generator.
pub fn seed_i64(address: &RngKey) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = key(address);
    i64::from_le_bytes([a, b, c, d, e, f, g, h]) & i64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngCore;

    #[test]
    fn every_part_of_the_key_matters() {
        let base = RngKey { run: 1, generation: 2, member: Some(MemberId(3)), purpose: "mix" };
        let others = [
            RngKey { run: 2, ..base },
            RngKey { generation: 3, ..base },
            RngKey { member: Some(MemberId(4)), ..base },
            RngKey { member: None, ..base },
            RngKey { purpose: "noise", ..base },
        ];
        assert_eq!(rng(&base).next_u64(), rng(&base).next_u64());
        for other in others {
            assert_ne!(rng(&base).next_u64(), rng(&other).next_u64(), "{other:?}");
            assert_ne!(seed_i64(&base), seed_i64(&other), "{other:?}");
        }
    }

    /// Changing these values would make every stored run irreproducible.
    #[test]
    fn stream_is_pinned() {
        let address = RngKey { run: 1, generation: 2, member: Some(MemberId(3)), purpose: "mix" };
        assert_eq!(rng(&address).next_u64(), 9_436_426_705_615_750_092);
        assert_eq!(seed_i64(&address), 320_758_010_470_617_905);
    }
}
