//! Randomness that is none.

use std::sync::atomic::{AtomicU64, Ordering};

use sha2::Digest as _;

use crate::model::Entropy;

/// **NO SECURITY.** Bytes anybody can predict: the digests of a count, so that two runs of a test
/// make the same tokens, and no two calls the same bytes.
#[derive(Debug, Default)]
pub struct CountingEntropy(AtomicU64);

impl CountingEntropy {
    /// A source that counts from 0.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// A source that counts from `first`: two that begin far apart never agree.
    #[must_use]
    pub const fn starting_at(first: u64) -> Self {
        Self(AtomicU64::new(first))
    }
}

impl Entropy for CountingEntropy {
    fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
        for chunk in buffer.chunks_mut(32) {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            let bytes: [u8; 32] = sha2::Sha256::digest(count.to_be_bytes()).into();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_repeats_over_runs_and_never_within_one() {
        let draw = |entropy: &CountingEntropy, len: usize| {
            let mut bytes = vec![0; len];
            entropy.fill(&mut bytes).unwrap();
            bytes
        };
        let (one, other) = (CountingEntropy::new(), CountingEntropy::new());
        let first = draw(&one, 100);
        assert_eq!(first, draw(&other, 100));
        assert_ne!(first, draw(&one, 100));
        assert_ne!(first[..32], first[32..64]);
        assert_eq!(draw(&CountingEntropy::starting_at(8), 16), draw(&one, 16));
    }
}
