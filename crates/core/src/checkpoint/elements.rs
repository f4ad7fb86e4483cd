//! Arithmetic on the elements of tensors in their file representation (little-endian).

use half::{bf16, f16};
use safetensors::Dtype;

/// Whether the type is floating. Tensors of other types (counters, flags) are copied unchanged.
pub fn is_floating(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64)
}

/// Computes a new element from an old one and a freshly initialised one. 16-bit elements are computed in 32 bits.
pub trait ElementRule {
    fn single(&mut self, weight: f32, fresh: f32) -> f32;
    fn double(&mut self, weight: f64, fresh: f64) -> f64;
}

/// Changes floating elements in place and leaves other types unchanged; `fresh` has the same type and length.
pub fn changed(dtype: Dtype, weights: &mut [u8], fresh: &[u8], change: &mut impl ElementRule) {
    match dtype {
        Dtype::F32 => each(weights, fresh, |weight, fresh| {
            change.single(f32::from_le_bytes(weight), f32::from_le_bytes(fresh)).to_le_bytes()
        }),
        Dtype::F64 => each(weights, fresh, |weight, fresh| {
            change.double(f64::from_le_bytes(weight), f64::from_le_bytes(fresh)).to_le_bytes()
        }),
        Dtype::F16 => each(weights, fresh, |weight, fresh| {
            let single = |bytes| f16::from_le_bytes(bytes).to_f32();
            let changed = change.single(single(weight), single(fresh));
            // Clamp finite results to the largest finite f16, 65504.
            let largest = if changed.is_finite() { f16::MAX.to_f32() } else { f32::INFINITY };
            f16::from_f32(changed.clamp(-largest, largest)).to_le_bytes()
        }),
        Dtype::BF16 => each(weights, fresh, |weight, fresh| {
            let single = |bytes| bf16::from_le_bytes(bytes).to_f32();
            bf16::from_f32(change.single(single(weight), single(fresh))).to_le_bytes()
        }),
        _ => {}
    }
}

/// Passes the elements of a floating tensor to `sink` in double precision; those of other types are skipped.
pub fn to_doubles(dtype: Dtype, bytes: &[u8], mut sink: impl FnMut(f64)) {
    match dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().for_each(|b| sink(f32::from_le_bytes(*b).into())),
        Dtype::F64 => bytes.as_chunks().0.iter().for_each(|b| sink(f64::from_le_bytes(*b))),
        Dtype::F16 => bytes.as_chunks().0.iter().for_each(|b| sink(f16::from_le_bytes(*b).into())),
        Dtype::BF16 => bytes.as_chunks().0.iter().for_each(|b| sink(bf16::from_le_bytes(*b).into())),
        _ => {}
    }
}

/// Encodes numbers as elements of a floating type (`F32` for all other types).
pub fn from_doubles(dtype: Dtype, values: impl Iterator<Item = f64>) -> Vec<u8> {
    match dtype {
        Dtype::F64 => values.flat_map(f64::to_le_bytes).collect(),
        Dtype::F16 => values.flat_map(|value| f16::from_f64(value).to_le_bytes()).collect(),
        Dtype::BF16 => values.flat_map(|value| bf16::from_f64(value).to_le_bytes()).collect(),
        _ => values.flat_map(|value| (value as f32).to_le_bytes()).collect(),
    }
}

fn each<const N: usize>(
    weights: &mut [u8],
    fresh: &[u8],
    mut change: impl FnMut([u8; N], [u8; N]) -> [u8; N],
) {
    for (weight, fresh) in weights.as_chunks_mut::<N>().0.iter_mut().zip(fresh.as_chunks::<N>().0) {
        *weight = change(*weight, *fresh);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half the weight and twice the fresh value.
    struct HalfAndDouble;

    impl ElementRule for HalfAndDouble {
        fn single(&mut self, weight: f32, fresh: f32) -> f32 {
            0.5 * weight + 2.0 * fresh
        }

        fn double(&mut self, weight: f64, fresh: f64) -> f64 {
            0.5 * weight + 2.0 * fresh
        }
    }

    #[test]
    fn doubles_round_trip() {
        for dtype in [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16] {
            let values = [1.5, -2.0, 0.0625];
            let mut found = Vec::new();
            to_doubles(dtype, &from_doubles(dtype, values.into_iter()), |value| found.push(value));
            assert_eq!(found, values, "{dtype:?}");
        }
    }

    fn bytes<const N: usize>(values: [[u8; N]; 2]) -> Vec<u8> {
        values.concat()
    }

    #[test]
    fn only_floating_types_are_changed_each_in_its_own_precision() {
        let (weights, fresh, expected) = ([1.0, -4.0], [0.25, 0.125], [1.0, -1.75]);
        for dtype in [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16] {
            let bytes = |values: [f64; 2]| from_doubles(dtype, values.into_iter());
            let mut found = bytes(weights);
            changed(dtype, &mut found, &bytes(fresh), &mut HalfAndDouble);
            assert_eq!(found, bytes(expected), "{dtype:?}");
        }
        let precise = 1.0 + f64::EPSILON;
        let mut found = bytes([(2.0 * precise).to_le_bytes(), 0f64.to_le_bytes()]);
        changed(Dtype::F64, &mut found, &[0; 16], &mut HalfAndDouble);
        assert_eq!(found, bytes([precise.to_le_bytes(), 0f64.to_le_bytes()]));
        let mut counters = bytes([3i64.to_le_bytes(), 4i64.to_le_bytes()]);
        changed(Dtype::I64, &mut counters, &[1; 16], &mut HalfAndDouble);
        assert_eq!(counters, bytes([3i64.to_le_bytes(), 4i64.to_le_bytes()]));
    }
}
