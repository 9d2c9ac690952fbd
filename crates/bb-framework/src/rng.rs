//! The node's one source of chance: ChaCha8 from an injected seed, with a position that can be saved.

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng};

use crate::RequestId;

/// A seeded generator; equal seeds and positions give equal numbers on every platform.
///
/// The stream is ChaCha with eight rounds (Bernstein, "ChaCha, a variant of Salsa20", 2008): from the numbers
/// drawn nobody can tell the ones to come, which request ids rely on. Holds about 350 bytes and never allocates.
///
/// ```
/// use bb_framework::Rng;
/// let mut rng = Rng::from_u64(7);
/// let saved = rng.state();
/// let drawn = (rng.u64(), rng.below(10), rng.request_id());
/// let mut again = Rng::restore(saved);
/// assert_eq!((again.u64(), again.below(10), again.request_id()), drawn);
/// ```
#[derive(Clone)]
pub struct Rng(ChaCha8Rng);

/// All that decides the numbers a generator will give. The seed is a secret: its `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RngState {
    /// The seed.
    pub seed: [u8; 32],
    /// 32-bit words drawn so far, modulo 2⁶⁸.
    pub position: u128,
}

impl Rng {
    /// A generator at the start of the stream of `seed`.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// A generator from a short seed, for tests and simulation: whoever can guess 64 bits can guess its numbers.
    pub fn from_u64(seed: u64) -> Self {
        let mut long = [0; 32];
        long[..8].copy_from_slice(&seed.to_le_bytes());
        Self::from_seed(long)
    }

    /// The generator whose state was saved.
    pub fn restore(state: RngState) -> Self {
        let mut inner = ChaCha8Rng::from_seed(state.seed);
        inner.set_word_pos(state.position);
        Self(inner)
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, each as likely as any other; 0 if `bound` is 0.
    ///
    /// Lemire, "Fast Random Integer Generation in an Interval", 2019, algorithm 5.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        let mut wide = u128::from(self.u64()) * u128::from(bound);
        if (wide as u64) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (wide as u64) < threshold {
                wide = u128::from(self.u64()) * u128::from(bound);
            }
        }
        (wide >> 64) as u64
    }

    /// A request id that nobody can guess.
    pub fn request_id(&mut self) -> RequestId {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        RequestId(bytes)
    }

    /// What [`Rng::restore`] takes.
    pub fn state(&self) -> RngState {
        RngState { seed: self.0.get_seed(), position: self.0.get_word_pos() }
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rng").field("position", &self.0.get_word_pos()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RngState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RngState").field("position", &self.position).finish_non_exhaustive()
    }
}
