//! The checksum in the last line of every record: a flipped bit in a fitness is detected as damage.

use crate::durable_fs::Digest;

const KEY: &[u8] = b",\n  \"check\": \"";
const END: &[u8] = b"\"\n}\n";

/// Appends the digest of a JSON object (indented by two spaces) as its last key.
pub fn append_checksum(object: &[u8]) -> Vec<u8> {
    let body = object.strip_suffix(b"\n}").unwrap_or(object);
    let digest = Digest::of(body).to_string();
    [body, KEY, digest.as_bytes(), END].concat()
}

/// The object without its digest; none if the digest does not match.
pub fn verify_checksum(sealed: &[u8]) -> Option<Vec<u8>> {
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
        fn changed_bits_and_truncation_are_detected(text: String, value: f64, bit: prop::sample::Index) {
            let object = serde_json::to_vec_pretty(&serde_json::json!({ "text": text, "value": value })).unwrap();
            let sealed = append_checksum(&object);
            prop_assert_eq!(verify_checksum(&sealed), Some(object));
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&sealed).unwrap()["check"].is_string());
            let bit = bit.index(sealed.len() * 8);
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(verify_checksum(&changed), None);
            prop_assert_eq!(verify_checksum(&sealed[..bit / 8]), None);
        }
    }
}
