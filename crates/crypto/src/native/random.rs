//! Randomness of the machine.

/// `N` fresh random bytes.
///
/// # Panics
///
/// If the system's generator fails: nothing safe can be done without it.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator works");
    bytes
}

/// `length` fresh random bytes.
///
/// # Panics
///
/// If the system's generator fails.
#[must_use]
pub fn random_vec(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator works");
    bytes
}
