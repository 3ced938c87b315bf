//! A record's entity tag (RFC 9110, 8.8.3): in which topic its last event is, and at which offset,
//! as `"1f0c9a3e-12"`. Where a sync is deleted and made anew, so are offsets: by the first digits
//! of the topic's id, which is random, a tag from before is of no record there is.

use tidelog_protocol::Uuid;

/// The tag of a record whose last event is there, in its quotes.
pub(super) fn write(topic: &Uuid, offset: i64) -> String {
    format!("\"{}-{offset}\"", mark(topic))
}

/// The offset that a tag, without its quotes, names in a topic; nothing if it is not of that topic.
pub(super) fn read(topic: &Uuid, tag: &str) -> Option<i64> {
    let offset = tag.strip_prefix(&mark(topic))?.strip_prefix('-')?;
    offset.parse().ok()
}

fn mark(topic: &Uuid) -> String {
    let [a, b, c, d, ..] = *topic;
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_of_its_topic_and_of_no_other() {
        let (topic, other) = ([0x0f; 16], [0x1f; 16]);
        assert_eq!(write(&topic, 12), "\"0f0f0f0f-12\"");
        assert_eq!(read(&topic, "0f0f0f0f-12"), Some(12));
        assert_eq!(read(&other, "0f0f0f0f-12"), None);
        for tag in ["12", "-12", "0f0f0f0f", "0f0f0f0f-", "0f0f0f0f12", "0F0F0F0F-12", ""] {
            assert_eq!(read(&topic, tag), None, "{tag}");
        }
    }
}
