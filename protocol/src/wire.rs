//! Primitive types of the Kafka wire protocol.
//!
//! Every type has exactly one encoding *per version*: number and flexible bit travel together in
//! [`Version`], so that no message says whether a string is compact.
//!
//! Strings, byte blobs and records that are read are slices of the frame they came in, not copies.

use bytes::{Buf, Bytes};
use nom::number::complete as number;

mod writer;

pub(crate) use writer::Tags;
pub use writer::Writer;

/// A UTF-8 string that may be a slice of a frame.
pub type Str = bytestring::ByteString;

/// The longest string, in bytes: Kafka reads and writes no longer one in any version, although the
/// lengths of flexible versions would allow it.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Sixteen raw bytes; all zero means "none".
pub type Uuid = [u8; 16];

/// The version at which a message is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The API version of the request or response.
    pub number: i16,
    /// Whether this version has compact lengths and tagged fields (KIP-482).
    pub flexible: bool,
}

/// Why bytes are not the message they claim to be, and at which field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at {field}")]
pub struct DecodeError {
    /// What is wrong.
    pub reason: Reason,
    /// `Message.field`, or empty outside any message.
    pub field: &'static str,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The value goes on past the end of the frame.
    #[error("{needed} bytes needed, {left} left")]
    Truncated {
        /// Bytes the value takes.
        needed: usize,
        /// Bytes the frame still has.
        left: usize,
    },
    /// A length or count below -1.
    #[error("length {0} is negative")]
    InvalidLength(i64),
    /// A string longer than [`STRING_BYTES_MAX`].
    #[error("a string of {0} bytes, and {STRING_BYTES_MAX} are the most")]
    StringTooLong(usize),
    /// A string that is not UTF-8.
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// A variable-length integer longer than its type.
    #[error("variable-length integer too long")]
    InvalidVarint,
    /// A nullable struct whose marker is neither -1 nor 1.
    #[error("invalid null marker {0}")]
    InvalidMarker(i8),
    /// The version of a nested format is below zero.
    #[error("version {0} is negative")]
    InvalidVersion(i16),
    /// Decoding would take far more memory than the frame is long.
    #[error("too many elements for a frame of this size")]
    Amplified,
    /// The frame goes on after the message.
    #[error("{0} bytes left over")]
    TrailingBytes(usize),
    /// No such API.
    #[error("unknown API key {0}")]
    UnknownApi(i16),
    /// An API version outside the table.
    #[error("unsupported version {version} of API {api_key}")]
    UnsupportedVersion {
        /// The API's key.
        api_key: i16,
        /// The version asked for.
        version: i16,
    },
}

impl From<Reason> for DecodeError {
    fn from(reason: Reason) -> Self {
        Self { reason, field: "" }
    }
}

impl DecodeError {
    /// Names the field, unless an inner one was named already.
    pub fn at(mut self, field: &'static str) -> Self {
        if self.field.is_empty() {
            self.field = field;
        }
        self
    }
}

/// A decoded value, or why there is none.
pub type Result<T, E = DecodeError> = std::result::Result<T, E>;

/// A value that crosses the wire at a given version.
pub trait Wire: Sized {
    /// Takes the value off the front of `input`.
    fn read(input: &mut Reader, version: Version) -> Result<Self>;
    /// Appends the value to `out`.
    fn write(&self, out: &mut Writer, version: Version);
}

/// The unread part of a frame, and the memory its decoding may still take.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    budget: usize,
}

impl Reader {
    /// Heap bytes that decoding may take, whatever the frame's length.
    pub const BUDGET_BYTES_MIN: usize = 64 << 10;
    /// Heap bytes that decoding may take for each byte of the frame. An honest worst case is a
    /// list of one-letter topic names: 48 bytes in memory for 4 on the wire.
    pub const BUDGET_PER_BYTE: usize = 16;
    /// Heap bytes that an element of a list counts as at least. It takes four for a partition's
    /// index, which takes four on the wire; what is answered about the partition takes more.
    pub const BUDGET_PER_ELEMENT_MIN: usize = 64;
    /// Frames beyond this length are long for the record batches in them, which are not copied.
    pub const BUDGET_FRAME_BYTES_MAX: usize = 1 << 20;

    /// Reads `frame` from its start.
    pub fn new(frame: Bytes) -> Self {
        let counted = frame.len().min(Self::BUDGET_FRAME_BYTES_MAX);
        let budget = Self::BUDGET_BYTES_MIN + counted * Self::BUDGET_PER_BYTE;
        Self { bytes: frame, budget }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Fails if anything is left, as a message must end with its frame.
    pub fn finish(self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(Reason::TrailingBytes(left).into()),
        }
    }

    /// Takes the next `len` bytes as a slice of the frame.
    pub fn take(&mut self, len: usize) -> Result<Bytes> {
        self.need(len)?;
        Ok(self.bytes.split_to(len))
    }

    /// A reader of the next `len` bytes alone, with what is left of the budget.
    fn nested<T>(&mut self, len: usize, read: impl FnOnce(&mut Reader) -> Result<T>) -> Result<T> {
        let mut inner = Reader { bytes: self.take(len)?, budget: self.budget };
        let value = read(&mut inner);
        self.budget = inner.budget;
        value
    }

    fn need(&self, needed: usize) -> Result<()> {
        match self.remaining() {
            left if left < needed => Err(Reason::Truncated { needed, left }.into()),
            _ => Ok(()),
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<()> {
        self.budget = self.budget.checked_sub(bytes).ok_or(Reason::Amplified)?;
        Ok(())
    }

    /// Runs a parser over the unread bytes and moves past what it took.
    fn parse<T>(
        &mut self,
        size: usize,
        parser: impl FnOnce(&[u8]) -> nom::IResult<&[u8], T>,
    ) -> Result<T> {
        let left = self.remaining();
        let parsed = parser(&self.bytes).map(|(rest, value)| (rest.len(), value));
        let (rest, value) = parsed.map_err(|_| Reason::Truncated { needed: size, left })?;
        self.bytes.advance(left - rest);
        Ok(value)
    }
}

macro_rules! wire_integers {
    ($($ty:ty => $parser:path;)*) => {$(
        impl Wire for $ty {
            #[inline]
            fn read(input: &mut Reader, _: Version) -> Result<Self> {
                input.parse(size_of::<$ty>(), |bytes| $parser(bytes))
            }
            #[inline]
            fn write(&self, out: &mut Writer, _: Version) {
                out.put(&self.to_be_bytes());
            }
        }
    )*};
}

wire_integers! {
    i8 => number::be_i8;
    i16 => number::be_i16;
    u16 => number::be_u16;
    i32 => number::be_i32;
    u32 => number::be_u32;
    i64 => number::be_i64;
    f64 => number::be_f64;
}

impl Wire for bool {
    fn read(input: &mut Reader, version: Version) -> Result<Self> {
        Ok(i8::read(input, version)? != 0)
    }
    fn write(&self, out: &mut Writer, _: Version) {
        out.put(&[u8::from(*self)]);
    }
}

impl Wire for Uuid {
    fn read(input: &mut Reader, _: Version) -> Result<Self> {
        input.parse(size_of::<Uuid>(), |bytes| number::be_u128(bytes)).map(u128::to_be_bytes)
    }
    fn write(&self, out: &mut Writer, _: Version) {
        out.put(self);
    }
}

/// Reads an unsigned base-128 integer of at most five bytes.
pub fn read_uvarint(input: &mut Reader) -> Result<u32> {
    let mut value = 0u32;
    for shift in (0..u32::BITS).step_by(7) {
        let byte = input.parse(1, |bytes| number::be_u8(bytes))?;
        let bits = u32::from(byte & 0x7f);
        value |= bits << shift;
        if shift == 28 && byte > 0x0f {
            break;
        }
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Reason::InvalidVarint.into())
}

/// How wide the length before a value is in versions that are not flexible.
#[derive(Clone, Copy)]
enum Prefix {
    Short,
    Long,
}

impl Prefix {
    fn read(self, input: &mut Reader, version: Version) -> Result<Option<usize>> {
        let len = match (version.flexible, self) {
            (true, _) => i64::from(read_uvarint(input)?) - 1,
            (false, Self::Short) => i64::from(i16::read(input, version)?),
            (false, Self::Long) => i64::from(i32::read(input, version)?),
        };
        match len {
            -1 => Ok(None),
            len => Ok(Some(
                usize::try_from(len).map_err(|_| DecodeError::from(Reason::InvalidLength(len)))?,
            )),
        }
    }

    /// Writes the length of a value, `None` for null. What we send is bounded well below the
    /// prefix's range, but for strings, which [`write_str`] cuts.
    fn write(self, out: &mut Writer, version: Version, len: Option<usize>) {
        match (version.flexible, self) {
            (true, _) => {
                let len = len.map_or(0, |len| len as u64 + 1);
                out.put_uvarint(u32::try_from(len).unwrap_or(u32::MAX));
            }
            (false, Self::Short) => {
                let len = len.map_or(-1, |len| i16::try_from(len).unwrap_or(i16::MAX));
                out.put(&len.to_be_bytes());
            }
            (false, Self::Long) => {
                let len = len.map_or(-1, |len| i32::try_from(len).unwrap_or(i32::MAX));
                out.put(&len.to_be_bytes());
            }
        }
    }
}

/// The three types with a length before them. Null and value share one encoding; a null read
/// where null is not allowed is the empty value, as Kafka's own clients rely on.
macro_rules! wire_lengths {
    ($([$($generics:tt)*] $ty:ty, $prefix:expr, $read:expr, $write:expr;)*) => {$(
        impl $($generics)* Wire for Option<$ty> {
            fn read(input: &mut Reader, version: Version) -> Result<Self> {
                let Some(len) = $prefix.read(input, version)? else { return Ok(None) };
                $read(input, version, len).map(Some)
            }
            fn write(&self, out: &mut Writer, version: Version) {
                match self {
                    None => $prefix.write(out, version, None),
                    Some(value) => Wire::write(value, out, version),
                }
            }
        }

        impl $($generics)* Wire for $ty {
            fn read(input: &mut Reader, version: Version) -> Result<Self> {
                Ok(<Option<$ty>>::read(input, version)?.unwrap_or_default())
            }
            fn write(&self, out: &mut Writer, version: Version) {
                $write(self, out, version);
            }
        }
    )*};
}

wire_lengths! {
    [] Str, Prefix::Short, read_str, write_str;
    [] Bytes, Prefix::Long, |input: &mut Reader, _, len| input.take(len), write_bytes;
    [<T: Wire>] Vec<T>, Prefix::Long, read_vec, write_vec;
}

fn read_str(input: &mut Reader, _: Version, len: usize) -> Result<Str> {
    if len > STRING_BYTES_MAX {
        return Err(Reason::StringTooLong(len).into());
    }
    Str::try_from(input.take(len)?).map_err(|_| Reason::InvalidUtf8.into())
}

/// A string is cut where its length has no room: an error's text may quote a name that is as long
/// as a string may be, and clients would refuse it or lose their place in the frame.
fn write_str(value: &Str, out: &mut Writer, version: Version) {
    let text = &value[..value.floor_char_boundary(STRING_BYTES_MAX)];
    Prefix::Short.write(out, version, Some(text.len()));
    out.put(text.as_bytes());
}

fn write_bytes(value: &Bytes, out: &mut Writer, version: Version) {
    Prefix::Long.write(out, version, Some(value.len()));
    out.put_bytes(value);
}

/// The count is the peer's claim. Every element takes at least a byte, so a count beyond the
/// bytes in hand is a lie; and what the elements take in memory is charged to the frame, or what it
/// takes to answer them.
fn read_vec<T: Wire>(input: &mut Reader, version: Version, len: usize) -> Result<Vec<T>> {
    input.need(len)?;
    input.charge(len.saturating_mul(size_of::<T>().max(Reader::BUDGET_PER_ELEMENT_MIN)))?;
    let mut items = Vec::with_capacity(len);
    for _ in 0..len {
        items.push(T::read(input, version)?);
    }
    Ok(items)
}

fn write_vec<T: Wire>(items: &Vec<T>, out: &mut Writer, version: Version) {
    Prefix::Long.write(out, version, Some(items.len()));
    for item in items {
        item.write(out, version);
    }
}

/// Reads a struct that may be null: a marker byte, -1 or 1, and then the struct.
pub(crate) fn read_nullable<T: Wire>(input: &mut Reader, version: Version) -> Result<Option<T>> {
    match i8::read(input, version)? {
        -1 => Ok(None),
        1 => T::read(input, version).map(Some),
        marker => Err(Reason::InvalidMarker(marker).into()),
    }
}

/// Writes a struct that may be null.
pub(crate) fn write_nullable<T: Wire>(value: &Option<T>, out: &mut Writer, version: Version) {
    match value {
        None => out.put(&[0xff]),
        Some(value) => {
            out.put(&[1]);
            value.write(out, version);
        }
    }
}

/// Writes the empty value for `null`, at a version that has no null there.
pub(crate) fn write_empty<T: Wire + Default>(
    _null: &Option<T>,
    out: &mut Writer,
    version: Version,
) {
    T::default().write(out, version);
}

/// Reads a section of tagged fields, handing each one's bytes to `field`. Unknown tags are
/// passed over without being kept; `field` reads what it knows.
pub(crate) fn read_tags(
    input: &mut Reader,
    mut field: impl FnMut(u32, &mut Reader) -> Result<()>,
) -> Result<()> {
    for _ in 0..read_uvarint(input)? {
        let tag = read_uvarint(input)?;
        let len = read_uvarint(input)? as usize;
        input.nested(len, |inner| field(tag, inner))?;
    }
    Ok(())
}
