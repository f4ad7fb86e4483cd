//! `storage.keep`: which generations keep their members' files.

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_untagged::UntaggedEnumVisitor;

/// Which trained generations keep their members' files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// This number of the latest ones.
    Generations(u32),
    All,
    /// Only what the search needs to continue, and the best member.
    Best,
}

impl Serialize for Keep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Generations(count) => serializer.serialize_u32(*count),
            Self::All => serializer.serialize_str("all"),
            Self::Best => serializer.serialize_str("best"),
        }
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a number of generations of at least 1, \"all\" or \"best\"";
        UntaggedEnumVisitor::new()
            .expecting(EXPECTED)
            .i64(|count| match u32::try_from(count) {
                Ok(count) if count > 0 => Ok(Self::Generations(count)),
                _ => Err(Error::invalid_value(Unexpected::Signed(count), &EXPECTED)),
            })
            .string(|word| match word {
                "all" => Ok(Self::All),
                "best" => Ok(Self::Best),
                _ => Err(Error::unknown_variant(word, &["all", "best"])),
            })
            .deserialize(deserializer)
    }
}
