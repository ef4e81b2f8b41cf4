//! Money, exact to the millionth of a unit.

use std::fmt;

use fastmcp_protocol::args::Node;

use crate::provider::ProviderError;

const MICROS: i64 = 1_000_000;
/// The largest budget, in units.
const MAX_UNITS: i64 = 1_000_000_000;
const FORM: &str =
    "`budget` must be a number above 0, at most 1000000000, with at most 6 decimal places";

/// A budget in millionths of the account's currency, as advertising platforms count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget(i64);

impl Budget {
    /// Reads the argument `budget`.
    ///
    /// # Errors
    ///
    /// An invalid-argument error when it is not a number in range.
    pub(super) fn read(node: Option<&Node>) -> Result<Self, ProviderError> {
        let refused = || ProviderError::invalid(FORM);
        let Some(Node::Number(number)) = node else {
            return Err(refused());
        };
        // The normal form: digits, with a point where it is needed; an exponent only where it is out of range.
        let text = number.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let whole: i64 = whole.parse().map_err(|_| refused())?;
        if number.is_negative() || whole > MAX_UNITS || fraction.len() > 6 {
            return Err(refused());
        }
        let fraction: i64 = format!("{fraction:0<6}").parse().map_err(|_| refused())?;
        let micros = whole * MICROS + fraction;
        if micros == 0 || micros > MAX_UNITS * MICROS {
            return Err(refused());
        }
        Ok(Self(micros))
    }

    /// The budget that was kept as `micros`.
    pub(super) const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub(super) const fn micros(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Budget {
    /// As a JSON number without zeros at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / MICROS, self.0 % MICROS);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let fraction = format!("{fraction:06}");
        write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use fastmcp_protocol::args::{Args, ArgsLimits};

    use super::*;

    fn read(token: &str) -> Result<Budget, ProviderError> {
        let args =
            Args::parse_str(&format!(r#"{{"budget":{token}}}"#), &ArgsLimits::default()).unwrap();
        Budget::read(args.member("budget"))
    }

    #[test]
    fn budgets_are_exact() {
        for (token, micros, shown) in [
            ("0.1", 100_000, "0.1"),
            ("1234.56", 1_234_560_000, "1234.56"),
            ("1e3", 1_000_000_000, "1000"),
            ("5.000001", 5_000_001, "5.000001"),
            ("0.000001", 1, "0.000001"),
            ("1000000000", 1_000_000_000_000_000, "1000000000"),
        ] {
            let budget = read(token).unwrap();
            assert_eq!(
                (budget.micros(), budget.to_string().as_str()),
                (micros, shown),
                "{token}"
            );
        }
    }

    #[test]
    fn what_is_no_budget_is_refused_by_name() {
        for token in [
            "0",
            "-1",
            "-0.5",
            "0.0000001",
            "1e-9",
            "1000000000.000001",
            "1e64",
            "1e300",
            "\"5\"",
            "null",
            "true",
            "[5]",
        ] {
            assert_eq!(read(token).unwrap_err().message, FORM, "{token}");
        }
        assert!(Budget::read(None).is_err());
    }
}
