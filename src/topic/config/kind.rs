//! The types of configs, and Kafka's words for a value that is not of its type.

/// What a config may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number of 32 bits, within bounds that are both included.
    Int(i64, i64),
    /// The first number, or one within the bounds.
    IntOr(i64, i64, i64),
    /// A whole number of 64 bits, likewise.
    Long(i64, i64),
    /// A number, likewise.
    Double(i32, i32),
    /// One of these words; any text if there are none.
    Word(&'static [&'static str]),
    /// Several of these, separated by commas; of any if there are none.
    List(&'static [&'static str]),
}

impl Kind {
    /// The type's number in DescribeConfigs.
    pub const fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::Word(_) => 2,
            Self::Int(..) | Self::IntOr(..) => 3,
            Self::Long(..) => 5,
            Self::Double(..) => 6,
            Self::List(_) => 7,
        }
    }

    /// Checks a value; the error is what Kafka would have said.
    ///
    /// # Errors
    /// When it is not of this kind.
    pub fn check(self, value: &str) -> Result<(), String> {
        let value = value.trim();
        match self {
            Self::Boolean => match value.to_ascii_lowercase().as_str() {
                "true" | "false" => Ok(()),
                _ => Err("Expected value to be either true or false".to_owned()),
            },
            Self::Int(min, max) => {
                let number = value.parse::<i32>().map_err(|_| not_a("INT"))?;
                within(i64::from(number), min, max)
            }
            Self::IntOr(other, min, max) => {
                let number = i64::from(value.parse::<i32>().map_err(|_| not_a("INT"))?);
                match number == other || (min..=max).contains(&number) {
                    true => Ok(()),
                    false => {
                        Err(format!("Value must be between {min} and {max} or equal to {other}"))
                    }
                }
            }
            Self::Long(min, max) => {
                within(value.parse::<i64>().map_err(|_| not_a("LONG"))?, min, max)
            }
            Self::Double(min, max) => {
                let number = value.parse::<f64>().map_err(|_| not_a("DOUBLE"))?;
                within(number, f64::from(min), f64::from(max))
            }
            Self::Word(words) => one_of(words, value),
            Self::List(words) => split(value).try_for_each(|word| one_of(words, word)),
        }
    }

    /// What of a value that failed the check is at fault: of a list, the first wrong entry.
    pub(super) fn fault(self, value: &str) -> &str {
        match self {
            Self::List(words) => {
                split(value).find(|word| one_of(words, word).is_err()).unwrap_or(value)
            }
            _ => value,
        }
    }

    /// Whether two values that passed the check mean the same.
    pub fn same(self, a: &str, b: &str) -> bool {
        let (a, b) = (a.trim(), b.trim());
        match self {
            Self::Boolean => a.eq_ignore_ascii_case(b),
            Self::Int(..) | Self::IntOr(..) | Self::Long(..) => {
                a.parse::<i64>() == b.parse::<i64>()
            }
            Self::Double(..) => a.parse::<f64>() == b.parse::<f64>(),
            Self::Word(_) => a == b,
            Self::List(_) => split(a).eq(split(b)),
        }
    }
}

/// The entries of a list.
pub(super) fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn not_a(kind: &str) -> String {
    format!("Not a number of type {kind}")
}

fn within<T: PartialOrd + std::fmt::Display>(number: T, min: T, max: T) -> Result<(), String> {
    // Not a number is neither above the one nor below the other.
    match (number >= min, number <= max) {
        (true, true) => Ok(()),
        (false, _) => Err(format!("Value must be at least {min}")),
        (_, false) => Err(format!("Value must be no more than {max}")),
    }
}

fn one_of(words: &[&str], value: &str) -> Result<(), String> {
    match words.is_empty() || words.contains(&value) {
        true => Ok(()),
        false => Err(format!("String must be one of: {}", words.join(", "))),
    }
}
