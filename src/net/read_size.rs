//! How much a read asks for: what reads have brought.

/// Bytes of the first read: small frames come in one.
pub(super) const READ_BYTES: usize = 4 << 10;
/// Bytes of a read of a client that sends much.
pub(super) const READ_BYTES_MAX: usize = 64 << 10;

/// Bytes that the next read asks for at least. One that brings all there was space for has the next
/// ask for twice as much, so that what a client sends in a row comes in few reads, and one that
/// leaves most of it empty has the next ask for half.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadSize(usize);

impl Default for ReadSize {
    fn default() -> Self {
        Self(READ_BYTES)
    }
}

impl ReadSize {
    pub(super) fn bytes(&self) -> usize {
        self.0
    }

    /// A read into `space` bytes has brought so many.
    pub(super) fn note(&mut self, brought: usize, space: usize) {
        if brought >= space {
            self.0 = (self.0 * 2).min(READ_BYTES_MAX);
        } else if brought < self.0 / 4 {
            self.0 = (self.0 / 2).max(READ_BYTES);
        }
    }
}
