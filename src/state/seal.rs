//! The last line of every record is a digest of all lines before it: a flipped bit in a fitness is damage, not
//! another fitness.

use crate::checkpoint::Digest;

const KEY: &[u8] = b",\n  \"check\": \"";
const END: &[u8] = b"\"\n}\n";

/// Adds the digest to a JSON object, indented by two spaces, as its last key.
pub fn seal(object: &[u8]) -> Vec<u8> {
    let body = object.strip_suffix(b"\n}").unwrap_or(object);
    let digest = Digest::of(body).to_string();
    [body, KEY, digest.as_bytes(), END].concat()
}

/// The object without the digest, if that is right.
pub fn unseal(sealed: &[u8]) -> Option<Vec<u8>> {
    let rest = sealed.strip_suffix(END)?;
    let at = rest.len().checked_sub(Digest::of(b"").to_string().len())?;
    let (body, digest) = rest.split_at(at);
    let body = body.strip_suffix(KEY)?;
    (Digest::of(body).to_string().as_bytes() == digest).then(|| [body, b"\n}"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_changed_bit_and_every_cut_is_known(text: String, value: f64, bit: prop::sample::Index) {
            let object = serde_json::to_vec_pretty(&serde_json::json!({ "text": text, "value": value })).unwrap();
            let sealed = seal(&object);
            prop_assert_eq!(unseal(&sealed), Some(object));
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&sealed).unwrap()["check"].is_string());
            let bit = bit.index(sealed.len() * 8);
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(unseal(&changed), None);
            prop_assert_eq!(unseal(&sealed[..bit / 8]), None);
        }
    }
}
