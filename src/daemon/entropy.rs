//! Randomness from the operating system; everything else gets a generator as an argument.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// A cryptographically strong generator, seeded by the operating system.
pub fn rng() -> StdRng {
    StdRng::from_os_rng()
}

#[cfg(test)]
mod tests {
    use rand::RngCore;

    #[test]
    fn two_generators_differ() {
        assert_ne!(super::rng().next_u64(), super::rng().next_u64());
    }
}
