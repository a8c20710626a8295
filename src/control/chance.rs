//! Random numbers of control, for waits that a fleet should not make in step.

/// 64 bits, every one of them random.
pub(super) fn random() -> u64 {
    let draw = || uuid::Uuid::now_v7().as_u64_pair().1;
    // The first two bits of each are fixed.
    draw() ^ draw().rotate_left(32)
}
