//! Values as they were written, checked against the kind of their key.
//!
//! No message of this file repeats a text that was written: it may be a secret.

use std::time::Duration;

use toml::de::{DeInteger, DeValue};

use super::keys::Kind;
use crate::secret::Secret;

/// A value of the kind that its key asks for. No `Debug`: texts and lists may hold passwords by mistake.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    Integer(i64),
    Text(String),
    Secret(Secret),
    List(Vec<String>),
    Duration(Duration),
    Size(u64),
}

impl Value {
    /// An empty text or list: as good as not set.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Secret(secret) => secret.reveal().is_empty(),
            Self::List(items) => items.is_empty(),
            _ => false,
        }
    }

    /// Nothing would happen with it, whether it is acted on or not.
    pub(super) fn asks_for_nothing(&self) -> bool {
        match self {
            Self::Bool(on) => !on,
            Self::Integer(number) => *number == 0,
            Self::Duration(duration) => duration.is_zero(),
            Self::Size(bytes) => *bytes == 0,
            _ => self.is_empty(),
        }
    }
}

/// From a TOML value.
pub(super) fn from_toml(kind: Kind, value: &DeValue<'_>) -> Result<Value, String> {
    match (kind, value) {
        (Kind::Bool, DeValue::Boolean(on)) => Ok(Value::Bool(*on)),
        (Kind::Integer { min, max }, DeValue::Integer(number)) => in_range(integer(number)?, min, max),
        (Kind::Duration, DeValue::Integer(number)) if integer(number)? == 0 => {
            Ok(Value::Duration(Duration::ZERO))
        }
        (Kind::Size, DeValue::Integer(number)) => {
            u64::try_from(integer(number)?).map(Value::Size).map_err(|_| "must not be negative".into())
        }
        (Kind::List, DeValue::Array(items)) => {
            let text = |item: &toml::Spanned<DeValue<'_>>| item.get_ref().as_str().map(str::to_owned);
            let items: Option<Vec<String>> = items.iter().map(text).collect();
            items.map(Value::List).ok_or_else(|| "must be a list of strings".into())
        }
        (
            Kind::Text | Kind::Secret | Kind::Choice(_) | Kind::Duration | Kind::Size,
            DeValue::String(text),
        ) => from_text(kind, text),
        (_, other) => Err(format!("expected {}, found {}", expected(kind), found(other))),
    }
}

/// From the text of a variable or an option.
pub(super) fn from_text(kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Bool => match text {
            "true" | "1" => Ok(Value::Bool(true)),
            "false" | "0" => Ok(Value::Bool(false)),
            _ => Err("expected true or false".into()),
        },
        Kind::Integer { min, max } => text
            .trim()
            .parse()
            .map_err(|_| "expected a whole number".to_owned())
            .and_then(|n| in_range(n, min, max)),
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Secret => Ok(Value::Secret(Secret::new(text))),
        Kind::Choice(words) => match words.iter().find(|word| **word == text) {
            Some(_) => Ok(Value::Text(text.to_owned())),
            None if text.is_empty() => Ok(Value::Text(String::new())),
            None => Err(format!("must be one of {}", words.join(", "))),
        },
        Kind::List => Ok(Value::List(split_list(text))),
        Kind::Duration => duration(text).map(Value::Duration).ok_or_else(|| DURATION_ERROR.into()),
        Kind::Size => size(text).map(Value::Size).ok_or_else(|| SIZE_ERROR.into()),
    }
}

const DURATION_ERROR: &str = "expected a number with a unit (ms, s, m, h or d), such as \"90s\", or 0";
const SIZE_ERROR: &str =
    "expected a number of bytes, or a number with a unit (KB, MB, GB, KiB, MiB, GiB), such as \"64MiB\"";

fn integer(number: &DeInteger<'_>) -> Result<i64, String> {
    i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| "the number is too large".into())
}

fn in_range(number: i64, min: i64, max: i64) -> Result<Value, String> {
    if (min..=max).contains(&number) {
        Ok(Value::Integer(number))
    } else if max == i64::MAX {
        Err(format!("is {number}, must be at least {min}"))
    } else {
        Err(format!("is {number}, must be from {min} to {max}"))
    }
}

fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == 0 => 1,
        _ => return None,
    };
    number.checked_mul(ms).map(Duration::from_millis)
}

fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let bytes = match unit {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::Integer { .. } => "a whole number",
        Kind::Text | Kind::Secret | Kind::Choice(_) => "a string",
        Kind::List => "a list of strings",
        Kind::Duration => "a duration such as \"90s\", or 0",
        Kind::Size => "a number of bytes or a size such as \"64MiB\"",
    }
}

fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("7 d"), Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        assert_eq!((duration("7"), duration("1w"), duration("-1s"), duration("")), (None, None, None, None));
        assert_eq!((size("10"), size("4GiB"), size("3 MB")), (Some(10), Some(4 << 30), Some(3_000_000)));
        assert_eq!((size("GiB"), size("1.5GiB"), size("99999999999GiB")), (None, None, None));
    }

    #[test]
    fn numbers_outside_their_bounds_are_refused_with_the_bounds() {
        let kind = Kind::Integer { min: 1, max: 5 };
        assert_eq!(from_text(kind, "6").err().unwrap(), "is 6, must be from 1 to 5");
        assert!(from_text(kind, "5").is_ok());
        assert_eq!(
            from_text(Kind::Integer { min: 1, max: i64::MAX }, "0").err().unwrap(),
            "is 0, must be at least 1"
        );
        assert!(from_text(kind, "99999999999999999999").is_err());
    }

    #[test]
    fn lists_in_variables_are_separated_by_commas() {
        assert_eq!(split_list(" a, b ,,c"), ["a", "b", "c"]);
    }
}
