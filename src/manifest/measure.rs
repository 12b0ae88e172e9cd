//! Durations and sizes: a number and its unit, so that nobody has to guess what `30` means.

use super::problem::{Fault, shown};

/// Longest duration: a year. Anything longer is a slip.
pub(super) const DURATION_MS_MAX: u64 = 365 * 24 * 60 * 60 * 1000;

/// Unit and milliseconds.
pub(super) const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Unit and bytes.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A length of time as a person gives it, in milliseconds.
pub(crate) fn duration_of(text: &str) -> Option<u64> {
    duration_ms(text).ok()
}

/// Milliseconds of `"200ms"`, `"30s"`, `"1m30s"`, `"1h"`, or `"0"`.
pub(super) fn duration_ms(text: &str) -> Result<u64, Fault> {
    if text == "0" {
        return Ok(0);
    }
    let wrong = |label: &str, help: String| {
        Fault::new(label, format!("`{}` is not a duration", shown(text)), help)
    };
    let example = || "write a number and a unit, for example \"200ms\", \"30s\", \"5m\" or \"1h\"";
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = digits_end(rest);
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        if number.is_empty() {
            return Err(wrong("no number", example().to_owned()));
        }
        if unit.is_empty() {
            let help = format!("write \"{text}s\" for seconds or \"{text}ms\" for milliseconds");
            return Err(wrong("no unit", help));
        }
        let Some((_, factor)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(wrong("not a unit of time", example().to_owned()));
        };
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*factor))
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= DURATION_MS_MAX)
            .ok_or_else(|| wrong("too long", "the longest duration is 365 days".to_owned()))?;
        rest = tail;
    }
    if text.is_empty() {
        return Err(wrong("empty", example().to_owned()));
    }
    Ok(total)
}

/// Bytes of `"512MiB"` or `"2GB"`.
pub(super) fn size_bytes(text: &str) -> Result<u64, Fault> {
    let wrong = |label: &str, help: &str| {
        Fault::new(label, format!("`{}` is not a size", shown(text)), help)
    };
    let example = "write a number and a unit, for example \"512MiB\" or \"2GiB\"";
    let (number, unit) = text.split_at(digits_end(text));
    if number.is_empty() {
        return Err(wrong("no number", example));
    }
    if unit.is_empty() {
        return Err(wrong("no unit", example));
    }
    let Some((_, factor)) = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit.trim_start())
    else {
        return Err(wrong("not a unit of size", example));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        // What the kernel takes as a limit is a signed number.
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| wrong("too large", "no file and no memory is that large"))
}

fn digits_end(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len())
}

/// The duration as a person writes it.
pub(super) fn show_duration(ms: u64) -> String {
    let (unit, factor) = DURATION_UNITS
        .iter()
        .rev()
        .find(|(_, factor)| ms >= *factor && ms.is_multiple_of(*factor))
        .unwrap_or(&DURATION_UNITS[0]);
    format!("{}{unit}", ms / factor)
}

/// The size as a person writes it.
pub(super) fn show_size(bytes: u64) -> String {
    let (unit, factor) = SIZE_UNITS[..5]
        .iter()
        .rev()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .unwrap_or(&SIZE_UNITS[0]);
    format!("{}{unit}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("0", 0),
            ("200ms", 200),
            ("30s", 30_000),
            ("60m", 3_600_000),
            ("1h30m", 5_400_000),
            ("365d", DURATION_MS_MAX),
        ] {
            assert_eq!(duration_ms(text).unwrap(), ms, "{text}");
        }
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "366d",
            "1y",
            "99999999999999999999s",
            "1s2",
            "٣s",
        ] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
        assert!(duration_ms("30").unwrap_err().help.contains("\"30s\""));
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("512MiB", 512 << 20),
            ("2GiB", 2 << 30),
            ("1 GB", 1_000_000_000),
            ("7B", 7),
        ] {
            assert_eq!(size_bytes(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "5", "MiB", "1.5GiB", "16777216TiB", "-1B", "1mib"] {
            assert!(size_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shown_values_parse_to_themselves() {
        for ms in [0, 1, 999, 1000, 90_000, 3_600_000, 86_400_000] {
            assert_eq!(duration_ms(&show_duration(ms)).unwrap(), ms);
        }
        for bytes in [1, 1023, 1024, 1 << 20, (1 << 30) + 1] {
            assert_eq!(size_bytes(&show_size(bytes)).unwrap(), bytes);
        }
    }
}
