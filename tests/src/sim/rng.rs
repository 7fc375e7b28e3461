//! The one source of chance: xoshiro256++, seeded by splitmix64. Small, fast, and the same everywhere.

/// A seeded generator.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Rng {
        let mut mixed = seed;
        Rng { state: std::array::from_fn(|_| splitmix(&mut mixed)) }
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// `0..n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // The bias of the modulus is of no interest here.
        if n == 0 { 0 } else { self.number() % n }
    }

    /// `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True `n` times in 1,000.
    pub fn per_mille(&mut self, n: u32) -> bool {
        self.below(1_000) < u64::from(n)
    }

    /// True as often as not.
    pub fn coin(&mut self) -> bool {
        self.number() & 1 == 0
    }

    /// One of them; `None` when there are none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(usize::try_from(self.below(from.len() as u64)).unwrap_or(0))
    }

    /// Mostly small, sometimes up to `high`: what delays look like.
    pub fn skewed(&mut self, high: u64) -> u64 {
        let most = if self.per_mille(50) { high } else { high / 10 };
        self.between(0, most)
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
