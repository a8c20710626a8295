//! Durations (`"250ms"`), sizes (`"64KiB"`) and byte rates (`"256B/s"`) as configuration writes them.

use std::fmt;
use std::time::Duration;

/// A quantity that could not be read; its text says what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantityError {
    expected: &'static str,
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }
}

impl std::error::Error for QuantityError {}

const DURATION: QuantityError = QuantityError {
    expected: "a duration: a number and one of ms, s, m, h, d, such as \"250ms\" or \"3s\"",
};
const SIZE: QuantityError = QuantityError {
    expected: "a size: a number and one of B, KiB, MiB, GiB, such as \"64KiB\"",
};
const RATE: QuantityError = QuantityError {
    expected: "a rate: a whole number from 1 to 10000000, for each of s, m or h, such as \"500/s\" or \"30/m\"",
};
const BYTE_RATE: QuantityError = QuantityError {
    expected: "a byte rate: a size for each second, such as \"256B/s\"",
};

/// Reads a duration: a decimal number and a unit of `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// Anything else, a negative or a non-finite number, or one beyond 10,000 days.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let (number, unit) = split_unit(text).ok_or(DURATION)?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return Err(DURATION),
    };
    if seconds > 864_000_000.0 {
        return Err(DURATION);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| DURATION)
}

/// Writes a duration in the largest unit that keeps it whole.
pub fn format_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0 => "0s".to_owned(),
        _ if ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Reads a size: a decimal number and a unit of `B`, `KiB`, `MiB` or `GiB`.
    ///
    /// # Errors
    /// Anything else, or more than 2^53 bytes.
    pub fn parse(text: &str) -> Result<ByteSize, QuantityError> {
        let (number, unit) = split_unit(text).ok_or(SIZE)?;
        let scale = match unit {
            "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1_048_576.0,
            "GiB" => 1_073_741_824.0,
            _ => return Err(SIZE),
        };
        let bytes = number * scale;
        if bytes.fract() != 0.0 || bytes > 9_007_199_254_740_992.0 {
            return Err(SIZE);
        }
        Ok(ByteSize(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        match bytes {
            0 => f.write_str("0B"),
            _ if bytes.is_multiple_of(1 << 30) => write!(f, "{}GiB", bytes >> 30),
            _ if bytes.is_multiple_of(1 << 20) => write!(f, "{}MiB", bytes >> 20),
            _ if bytes.is_multiple_of(1 << 10) => write!(f, "{}KiB", bytes >> 10),
            _ => write!(f, "{bytes}B"),
        }
    }
}

/// Bytes for each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteRate(pub u64);

impl ByteRate {
    /// Reads a size followed by `/s`.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<ByteRate, QuantityError> {
        let size = text.strip_suffix("/s").ok_or(BYTE_RATE)?;
        ByteSize::parse(size)
            .map(|size| ByteRate(size.0))
            .map_err(|_| BYTE_RATE)
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", ByteSize(self.0))
    }
}

/// So many of something in a period, as written: `"30/m"` is not `"0.5/s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    period: Period,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Period {
    Second,
    Minute,
    Hour,
}

impl Rate {
    /// Largest count in a rate.
    pub const MOST: u32 = 10_000_000;

    /// Reads a whole number and a period of `s`, `m` or `h`.
    ///
    /// # Errors
    /// Anything else, zero, or more than [`Rate::MOST`].
    pub fn parse(text: &str) -> Result<Rate, QuantityError> {
        let (count, period) = text.split_once('/').ok_or(RATE)?;
        let period = match period {
            "s" => Period::Second,
            "m" => Period::Minute,
            "h" => Period::Hour,
            _ => return Err(RATE),
        };
        if !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RATE);
        }
        let count = count.parse::<u32>().map_err(|_| RATE)?;
        match count {
            1..=Rate::MOST => Ok(Rate { count, period }),
            _ => Err(RATE),
        }
    }

    /// How many in each [`Rate::period`]; at least 1.
    pub fn count(self) -> u32 {
        self.count
    }

    /// A second, a minute or an hour.
    pub fn period(self) -> Duration {
        Duration::from_secs(match self.period {
            Period::Second => 1,
            Period::Minute => 60,
            Period::Hour => 3600,
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.period {
            Period::Second => "s",
            Period::Minute => "m",
            Period::Hour => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

fn split_unit(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number = text[..end].parse::<f64>().ok()?;
    Some((number, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write_in_the_same_words() {
        for text in ["250ms", "3s", "2m", "12h", "30d", "0s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("0.5s").unwrap(), Duration::from_millis(500));
    }

    #[test]
    fn sizes_and_rates_read_and_write_in_the_same_words() {
        for text in ["0B", "100B", "64KiB", "10MiB", "3GiB"] {
            assert_eq!(ByteSize::parse(text).unwrap().to_string(), text);
        }
        for text in ["1/h", "500/s", "30/m", "10000000/s"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(ByteRate::parse("256B/s").unwrap(), ByteRate(256));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "s",
            "3",
            "3 parsecs",
            "-1s",
            "1e9s",
            "99999999d",
            "1..2s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["", "10", "10MB", "0.3B", "99999999GiB"] {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
        for text in [
            "",
            "5",
            "5/",
            "/s",
            "0/s",
            "-1/s",
            "+1/s",
            "1.5/s",
            "5/d",
            "5 /s",
            "10000001/s",
        ] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
        for text in ["256", "256B", "256B/m"] {
            assert!(ByteRate::parse(text).is_err(), "{text}");
        }
    }
}
