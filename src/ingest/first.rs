//! Lists in JSON of which no more is kept than there may be: a body of a few MiB may have millions
//! of entries, each of which takes many times its text.

use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;

/// The first entries of a list: up to `MAX`, and one more if there are more, so that whoever reads
/// it can tell. The others are passed over.
#[derive(Debug)]
pub(super) struct First<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for First<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for First<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Entries<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Entries<T, MAX> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
                let mut first = Vec::new();
                while first.len() <= MAX
                    && let Some(entry) = list.next_element()?
                {
                    first.push(entry);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(first)
            }
        }
        input.deserialize_seq(Entries::<T, MAX>(PhantomData)).map(Self)
    }
}

/// A list for `#[serde(deserialize_with)]`, refused if it has more than `MAX` entries.
pub(super) fn at_most<'de, D, T, const MAX: usize>(input: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let First(entries) = First::<T, MAX>::deserialize(input)?;
    match entries.len() > MAX {
        true => Err(D::Error::custom(format_args!("a list has more than {MAX} entries"))),
        false => Ok(entries),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_list_one_more_entry_is_kept_than_there_may_be() {
        let read = |text: &str| serde_json::from_str::<First<u8, 3>>(text).map(|it| it.0);
        assert!(read("[]").unwrap().is_empty());
        assert_eq!(read("[1,2,3]").unwrap(), [1, 2, 3]);
        assert_eq!(read("[1,2,3,4,{},[5]]").unwrap(), [1, 2, 3, 4]);
        assert!(read("[1,2,3,4,5,").unwrap_err().to_string().starts_with("EOF"));
        assert!(read("7").unwrap_err().to_string().contains("expected a sequence"));
        let read = |text| at_most::<_, u8, 2>(&mut serde_json::Deserializer::from_str(text));
        assert_eq!(read("[1,2]").unwrap(), [1, 2]);
        assert!(read("[1,2,3]").unwrap_err().to_string().contains("more than 2 entries"));
    }
}
