//! Where messages are written: a list of parts, so that large blobs are passed on, not copied.

use bytes::{BufMut, Bytes, BytesMut};

/// An encoded message under construction.
#[derive(Debug, Default)]
pub struct Writer {
    done: Vec<Bytes>,
    done_len: usize,
    tail: BytesMut,
}

impl Writer {
    /// A blob of at least this many bytes becomes a part of its own; below it, copying is cheaper
    /// than one more slice in a vectored write.
    pub const PART_BYTES_MIN: usize = 1 << 10;

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.done_len + self.tail.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
    }

    /// Appends `bytes`, sharing them when they are large.
    pub fn put_bytes(&mut self, bytes: &Bytes) {
        if bytes.len() < Self::PART_BYTES_MIN {
            return self.put(bytes);
        }
        self.close_part();
        self.done_len += bytes.len();
        self.done.push(bytes.clone());
    }

    /// Appends an unsigned base-128 integer.
    pub fn put_uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.tail.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.tail.put_u8(value as u8);
    }

    /// Appends what `other` holds.
    pub fn append(&mut self, other: Writer) {
        for part in &other.done {
            self.put_bytes(part);
        }
        self.put(&other.tail);
    }

    /// The parts in order.
    pub fn into_parts(mut self) -> Vec<Bytes> {
        self.close_part();
        self.done
    }

    /// The parts in order, with the message's length before them as frames have it: four bytes,
    /// big-endian, not counting themselves.
    pub fn into_frame(mut self) -> Vec<Bytes> {
        let len = u32::try_from(self.len()).unwrap_or(u32::MAX);
        self.close_part();
        let mut parts = Vec::with_capacity(self.done.len() + 1);
        parts.push(Bytes::copy_from_slice(&len.to_be_bytes()));
        parts.append(&mut self.done);
        parts
    }

    /// The message in one piece.
    pub fn into_bytes(self) -> Bytes {
        if self.done.is_empty() {
            return self.tail.freeze();
        }
        let mut all = BytesMut::with_capacity(self.len());
        self.done.iter().for_each(|part| all.put_slice(part));
        all.put_slice(&self.tail);
        all.freeze()
    }

    fn close_part(&mut self) {
        if !self.tail.is_empty() {
            self.done_len += self.tail.len();
            self.done.push(self.tail.split().freeze());
        }
    }
}

/// Tagged fields, gathered so that their count and sizes can go first.
#[derive(Default)]
pub(crate) struct Tags {
    count: u32,
    body: Writer,
}

impl Tags {
    pub(crate) fn push(&mut self, tag: u32, write: impl FnOnce(&mut Writer)) {
        let mut value = Writer::default();
        write(&mut value);
        self.body.put_uvarint(tag);
        self.body.put_uvarint(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.body.append(value);
        self.count += 1;
    }

    pub(crate) fn finish(self, out: &mut Writer) {
        out.put_uvarint(self.count);
        out.append(self.body);
    }
}
