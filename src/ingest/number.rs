//! JSON numbers as exact decimals.
//!
//! A number is `0.d1 d2 d3 .. x 10^magnitude` with `d1` not zero and no trailing zeros, so two
//! texts mean the same number exactly when sign, digits and magnitude agree. Nothing is converted:
//! the digits are compared where they stand, and an exponent of any size costs nothing.

/// A number over its JSON text, which must be valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number<'a>(pub(super) &'a str);

/// A number taken apart; zero has no digits.
struct Parts<'a> {
    negative: bool,
    /// Significant digits with at most one `.` among them.
    digits: &'a str,
    /// The power of ten above the first digit: as read from the exponent's text, then corrected by
    /// where the point stands. `None` if the exponent does not fit.
    magnitude: Option<i128>,
}

impl PartialEq for Number<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.0 == other.0 {
            return true;
        }
        let (a, b) = (self.parts(), other.parts());
        if a.digits.is_empty() || b.digits.is_empty() {
            return a.digits.is_empty() && b.digits.is_empty();
        }
        // An exponent beyond i128 is compared as text above: such numbers count as different
        // unless they are written alike, which at worst publishes a change that is none.
        a.negative == b.negative
            && a.magnitude.is_some()
            && a.magnitude == b.magnitude
            && significant(a.digits).eq(significant(b.digits))
    }
}

impl<'a> Number<'a> {
    fn parts(self) -> Parts<'a> {
        let (negative, unsigned) = match self.0.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, self.0),
        };
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let integer = integer.trim_start_matches('0');
        let point = if integer.is_empty() {
            let zeros = fraction.len() - fraction.trim_start_matches('0').len();
            -(zeros as i128)
        } else {
            integer.len() as i128
        };
        let digits = mantissa.trim_start_matches(['0', '.']).trim_end_matches(['0', '.']);
        let magnitude = exponent.parse::<i128>().ok().and_then(|it| it.checked_add(point));
        Parts { negative, digits, magnitude }
    }
}

fn significant(digits: &str) -> impl Iterator<Item = u8> {
    digits.bytes().filter(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_when_their_decimals_are() {
        let classes: &[&[&str]] = &[
            &["0", "-0", "0.0", "-0.000", "0e5", "0E-999999999", "0e99999999999999999999999999999"],
            &["1", "1.0", "1e0", "10e-1", "0.1e1", "0.001E+3", "100.00e-2", "1.000"],
            &["-1", "-1.0", "-10e-1"],
            &["10", "1e1", "1E+1", "1e0000000000000000000000000000000000000000000001"],
            &["1.05", "105e-2", "0.0105e2", "1.0500"],
            &["1.5", "15e-1"],
            &["105"],
            &["15"],
            &["9007199254740993", "9007199254740993.0", "9.007199254740993e15"],
            &["9007199254740992"],
            &["123456789012345678901234567890.5", "1234567890123456789012345678905e-1"],
            &["123456789012345678901234567890.4"],
            &["0.1", "1e-1", "0.10"],
            &["0.1000000000000000055511151231257827"],
            &["1e999999999", "10e999999998", "0.1e1000000000"],
            &["1e-999999999", "0.1e-999999998"],
            &["1e99999999999999999999999999999999999999999999"],
        ];
        for (i, class) in classes.iter().enumerate() {
            for (j, other) in classes.iter().enumerate() {
                for a in *class {
                    for b in *other {
                        assert_eq!(Number(a) == Number(b), i == j, "{a} and {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn equality_agrees_with_integers_scaled_to_one_exponent() {
        let mut numbers = Vec::new();
        for mantissa in -120_i64..120 {
            for exponent in -2_i32..3 {
                let value = mantissa * 10_i64.pow((2 + exponent) as u32);
                let (sign, m) = (if mantissa < 0 { "-" } else { "" }, mantissa.abs());
                numbers.extend([
                    (format!("{mantissa}e{exponent}"), value),
                    (format!("{mantissa}.00E{exponent:+}"), value),
                    (format!("{mantissa}0e{}", exponent - 1), value),
                    (format!("{sign}{}.{}e{}", m / 10, m % 10, exponent + 1), value),
                    (format!("{sign}0.{m:03}e{}", exponent + 3), value),
                ]);
            }
        }
        for (a, value) in &numbers {
            for (b, other) in numbers.iter().step_by(61) {
                assert_eq!(Number(a) == Number(b), value == other, "{a} and {b}");
            }
        }
    }
}
