//! Decimal numbers without rounding.

use std::{cmp::Ordering, fmt};

use serde_json::Value;

use super::{ArgsLimits, ArgsReason};

/// The longest whole number that is written out, in digits; longer ones get an exponent, so that a
/// short text cannot make a long one.
const PLAIN_DIGITS: usize = 64;
/// The most zeros that are written between the point and the first other digit.
const PLAIN_ZEROS: usize = 6;

/// A decimal number, exactly as it was written, in its one normal form.
///
/// `1`, `1.0` and `10e-1` are one number, and so are `0` and `-0`. Written as digits where that takes at most
/// 64 of them, and as `d.ddde-7` otherwise.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Number {
    negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: String,
    /// The power of ten that the digits, read as a whole number, are multiplied by; 0 for zero.
    exponent: i64,
}

impl Number {
    /// Reads a token that has the form of a JSON number.
    pub(super) fn read(token: &str, limits: &ArgsLimits) -> Result<Self, ArgsReason> {
        if token.len() > limits.number {
            return Err(ArgsReason::Number(limits.number));
        }
        let (negative, unsigned) = match token.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, token),
        };
        let (mantissa, written) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let written: i64 = written.parse().map_err(|_| ArgsReason::Range)?;
        if written.unsigned_abs() > u64::from(limits.exponent) {
            return Err(ArgsReason::Range);
        }
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0');
        let digits = significant.trim_end_matches('0');
        if digits.is_empty() {
            return Ok(Self {
                negative: false,
                digits: String::new(),
                exponent: 0,
            });
        }
        let places = |n: usize| i64::try_from(n).map_err(|_| ArgsReason::Range);
        let exponent =
            written - places(fraction.len())? + places(significant.len() - digits.len())?;
        let number = Self {
            negative,
            digits: digits.to_owned(),
            exponent,
        };
        // Below 10^308 every number is finite.
        if number.magnitude() <= 308 || number.to_f64().is_finite() {
            Ok(number)
        } else {
            Err(ArgsReason::Range)
        }
    }

    /// Whether this is a whole number, however it was written.
    #[must_use]
    pub const fn is_integer(&self) -> bool {
        self.exponent >= 0
    }

    /// Whether this is below zero.
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.negative
    }

    /// The number as 64 bits, where it is whole and fits.
    #[must_use]
    pub fn to_i64(&self) -> Option<i64> {
        self.plain()?.parse().ok()
    }

    /// The number as 64 bits without a sign, where it is whole and fits.
    #[must_use]
    pub fn to_u64(&self) -> Option<u64> {
        self.plain()?.parse().ok()
    }

    /// The nearest 64-bit floating-point number; finite.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        // Every text of this type is a number to the standard library.
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// As [`super::Args::to_value`].
    pub(super) fn to_value(&self) -> Value {
        if let Some(n) = self.to_i64() {
            return n.into();
        }
        if let Some(n) = self.to_u64() {
            return n.into();
        }
        self.to_f64().into()
    }

    /// The text, where it is a whole number written out.
    fn plain(&self) -> Option<String> {
        (self.is_integer() && self.magnitude() <= PLAIN_DIGITS as i64).then(|| self.to_string())
    }

    /// How many digits stand before the point; negative for zeros after it. 0 for zero.
    fn magnitude(&self) -> i64 {
        i64::try_from(self.digits.len())
            .unwrap_or(i64::MAX)
            .saturating_add(self.exponent)
    }

    fn cmp_magnitude(&self, other: &Self) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            // Neither has zeros at the end, so a prefix is the smaller one.
            (false, false) => self
                .magnitude()
                .cmp(&other.magnitude())
                .then_with(|| self.digits.cmp(&other.digits)),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.cmp_magnitude(other),
            (true, true) => other.cmp_magnitude(self),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.digits.is_empty() {
            return f.write_str("0");
        }
        if self.negative {
            f.write_str("-")?;
        }
        let digits = &*self.digits;
        let magnitude = self.magnitude();
        let before = usize::try_from(magnitude).ok();
        let zeros = usize::try_from(-magnitude).ok();
        match (before, zeros) {
            (Some(before), _)
                if before >= digits.len() && before <= PLAIN_DIGITS.max(digits.len()) =>
            {
                write!(f, "{digits:0<before$}")
            }
            (Some(before), _) if 0 < before && before < digits.len() => {
                let (whole, fraction) = digits.split_at(before);
                write!(f, "{whole}.{fraction}")
            }
            (_, Some(zeros)) if zeros <= PLAIN_ZEROS => write!(f, "0.{:0<zeros$}{digits}", ""),
            _ => {
                let (first, rest) = digits.split_at(1);
                let point = if rest.is_empty() { "" } else { "." };
                write!(f, "{first}{point}{rest}e{}", magnitude - 1)
            }
        }
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(token: &str) -> Number {
        Number::read(token, &ArgsLimits::default()).unwrap()
    }

    #[test]
    fn one_number_has_one_text() {
        for (tokens, text) in [
            (&["0", "-0", "0.0", "0e9", "-0.00E-9"][..], "0"),
            (&["1", "1.0", "1e0", "10e-1", "0.1E+1", "0.01e2"], "1"),
            (&["-12.50", "-1.25e1", "-1250e-2"], "-12.5"),
            (&["0.0000001", "1e-7"], "0.0000001"),
            (&["1e-8", "0.00000001"], "1e-8"),
            (&["123e-12", "1.23e-10"], "1.23e-10"),
            (
                &["1e63"],
                "1000000000000000000000000000000000000000000000000000000000000000",
            ),
            (&["1e64", "10e63"], "1e64"),
            (&["1.5e300"], "1.5e300"),
        ] {
            for token in tokens {
                assert_eq!(read(token).to_string(), text, "{token}");
                assert_eq!(read(token), read(text), "{token}");
            }
        }
        let long = format!("{}1", "9".repeat(99));
        assert_eq!(read(&long).to_string(), long);
    }

    #[test]
    fn numbers_are_ordered_exactly() {
        let sorted = [
            "-1e300",
            "-10",
            "-9.5",
            "-1e-300",
            "0",
            "1e-300",
            "0.1",
            "0.11",
            "1",
            "9",
            "10",
            "9007199254740992",
            "9007199254740992.5",
            "9007199254740993",
            "1e300",
        ];
        for pair in sorted.windows(2) {
            assert_eq!(
                read(pair[0]).cmp(&read(pair[1])),
                Ordering::Less,
                "{pair:?}"
            );
            assert_eq!(
                read(pair[1]).cmp(&read(pair[0])),
                Ordering::Greater,
                "{pair:?}"
            );
        }
        assert_eq!(read("10").cmp(&read("1e1")), Ordering::Equal);
    }

    #[test]
    fn integers_stay_integers() {
        assert_eq!(
            read("1.8446744073709551615e19").to_value(),
            Value::from(u64::MAX)
        );
        assert_eq!(
            read("-9223372036854775808").to_value(),
            Value::from(i64::MIN)
        );
        assert_eq!(read("1e2").to_value(), Value::from(100));
        assert_eq!(
            read("18446744073709551616").to_value(),
            Value::from(18_446_744_073_709_551_616.0)
        );
        assert_eq!(read("0.5").to_value(), Value::from(0.5));
        assert_eq!(read("-1").to_u64(), None);
    }

    #[test]
    fn what_no_reader_can_hold_is_refused() {
        for token in [
            "1e309",
            "-1e309",
            "1e1001",
            "1e-1001",
            "1e99999999999999999999",
            "0e1001",
        ] {
            assert_eq!(
                Number::read(token, &ArgsLimits::default()),
                Err(ArgsReason::Range),
                "{token}"
            );
        }
        assert_eq!(read("1e-400").to_f64(), 0.0);
        let long = "1".repeat(1001);
        assert_eq!(
            Number::read(&long, &ArgsLimits::default()),
            Err(ArgsReason::Number(1000))
        );
    }

    proptest! {
        #[test]
        fn the_text_is_the_number(whole in any::<i64>(), fraction in any::<u32>(), exponent in -300_i32..280) {
            let token = format!("{whole}.{fraction}e{exponent}");
            let number = read(&token);
            prop_assert_eq!(number.to_f64(), token.parse::<f64>().unwrap());
            prop_assert_eq!(&read(&number.to_string()), &number);
        }
    }
}
