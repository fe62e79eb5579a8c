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
            match <&mut [u8; ID]>::try_from(&mut *chunk) {
                Ok(id) => *id = unlike_any_other(count),
                Err(_) => {
                    let bytes: [u8; 32] = sha2::Sha256::digest(count.to_be_bytes()).into();
                    chunk.copy_from_slice(&bytes[..chunk.len()]);
                }
            }
        }
        Ok(())
    }
}

/// How many bytes of chance the id of a token takes: so few that digests of some ten thousand counts
/// agree in them, and those that run the contested laws large make more tokens in one millisecond.
const ID: usize = 4;

/// Bytes whose first 29 bits, which are those an id keeps, come again after 2²⁹ counts and no sooner:
/// a number times an odd one is a permutation.
#[expect(clippy::cast_possible_truncation, reason = "modulo 2³² is what is meant")]
const fn unlike_any_other(count: u64) -> [u8; ID] {
    ((count as u32).wrapping_mul(0x9e37_79b1) << 3).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_one_millisecond_have_ids_of_their_own() {
        use crate::model::{Timestamp, TokenId};
        let (entropy, at) = (CountingEntropy::new(), Timestamp::from_unix_millis(1));
        let ids: std::collections::BTreeSet<_> =
            (0..200_000).map(|_| TokenId::generate(at, &entropy).unwrap().to_string()).collect();
        assert_eq!(ids.len(), 200_000);
    }

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
