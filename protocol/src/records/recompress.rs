//! A batch in another codec, as a topic's `compression.type` asks for.

use super::{Attributes, Batch, Compression, Header, RecordError};

impl Batch {
    /// The batch with its records compressed by `compression`, at this level or its default one,
    /// whether or not they shrink; all else stays as it is. They are not decoded, and may take
    /// `limit` bytes in between.
    ///
    /// # Errors
    /// [`RecordError::UnknownCompression`] and [`RecordError::Compression`] when the records do not
    /// come out of the codec they are in.
    pub fn recompressed(
        &self,
        compression: Compression,
        level: Option<i32>,
        limit: usize,
    ) -> Result<Self, RecordError> {
        let attributes = self.header().attributes;
        let codec = attributes.codec();
        let before =
            Compression::from_codec(codec).ok_or(RecordError::UnknownCompression(codec))?;
        let records = before.decompress(self.payload(), limit)?;
        let attributes = Attributes(attributes.0 & !Attributes::CODEC | compression.codec());
        let header = Header { attributes, ..*self.header() };
        let mut compressed = Vec::with_capacity(records.len() / 2);
        compression.compress_into(&records, level, &mut compressed);
        Ok(Self::assemble(header, &compressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::BatchBuilder;

    const LIMIT: usize = 1 << 16;

    #[test]
    fn any_codec_becomes_any_other_and_nothing_else_changes() {
        for from in Compression::ALL {
            let mut builder = BatchBuilder::new(from, LIMIT).producer(7, 1, 40);
            for n in 0..50 {
                builder.append(n, Some(b"key"), Some(&[7; 100]), &[]).unwrap();
            }
            let batch = builder.finish().unwrap();
            for to in Compression::ALL {
                let other = batch.recompressed(to, None, LIMIT).unwrap();
                other.check().unwrap();
                assert_eq!(other.header().attributes.codec(), to.codec());
                let (before, after) = (batch.header(), other.header());
                let same = Header {
                    crc: before.crc,
                    attributes: before.attributes,
                    batch_length: before.batch_length,
                    ..*after
                };
                assert_eq!(same, *before);
                let records =
                    |it: &Batch| it.records(LIMIT).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
                assert_eq!(records(&other), records(&batch), "{from} to {to}");
            }
            batch.recompressed(Compression::None, None, 100).unwrap_err();
        }
    }
}
