//! zstd, bounded.

use super::{DecodeError, EncodeError};
use crate::limits::BODY_RAW_SIZE_MAX;

/// Fast, and most of the gain for rows.
const LEVEL: i32 = 1;

/// The compressed form of `raw`; `None` when it is not smaller.
pub(super) fn compress(raw: &[u8]) -> Result<Option<Vec<u8>>, EncodeError> {
    let compressed =
        zstd::bulk::compress(raw, LEVEL).map_err(|error| EncodeError::Compression(error.to_string()))?;
    Ok((compressed.len() < raw.len()).then_some(compressed))
}

/// Exactly `raw_size` bytes from `compressed`, or an error; at most [`BODY_RAW_SIZE_MAX`], whatever the bytes claim.
pub(super) fn expand(compressed: &[u8], raw_size: usize) -> Result<Vec<u8>, DecodeError> {
    let capacity = raw_size.min(BODY_RAW_SIZE_MAX);
    let raw = zstd::bulk::decompress(compressed, capacity)
        .map_err(|error| DecodeError::Invalid(format!("body: cannot be decompressed: {error}")))?;
    if raw.len() == raw_size {
        return Ok(raw);
    }
    Err(DecodeError::Invalid(format!("body: expands to {} bytes instead of {raw_size}", raw.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        assert_eq!(compress(&[]), Ok(None));
        assert_eq!(compress(b"short"), Ok(None));
    }

    #[test]
    fn a_bomb_is_refused_before_it_expands() {
        let bomb = compress(&vec![0; BODY_RAW_SIZE_MAX + 1]).unwrap().unwrap();
        assert!(matches!(expand(&bomb, 100), Err(DecodeError::Invalid(_))));
        assert!(matches!(expand(&bomb, usize::MAX), Err(DecodeError::Invalid(_))));
    }

    #[test]
    fn the_size_must_be_the_one_announced() {
        let compressed = compress(&[7; 1000]).unwrap().unwrap();
        assert_eq!(expand(&compressed, 1000), Ok(vec![7; 1000]));
        assert!(expand(&compressed, 999).is_err());
        assert!(expand(&compressed, 1001).is_err());
    }
}
