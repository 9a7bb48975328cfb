//! Sizes, durations and counts: how they are read from settings and how they are shown to people.

use std::time::Duration;

/// PostgreSQL's `MB` is 1024 kB, and so is ours: whoever writes `8GB` here has written it in postgresql.conf before.
const SIZES: [(&str, u32); 10] = [
    ("KiB", 10),
    ("MiB", 20),
    ("GiB", 30),
    ("TiB", 40),
    ("kB", 10),
    ("KB", 10),
    ("MB", 20),
    ("GB", 30),
    ("TB", 40),
    ("B", 0),
];

/// Milliseconds of each unit of time, PostgreSQL's spellings and the common short ones. Longer ones first, so that
/// `ms` is not read as seconds.
const TIMES: [(&str, u64); 6] =
    [("ms", 1), ("min", 60_000), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads `64MiB`, `8GB`, `1.5 GiB`. A bare number is refused: whoever writes `8` may mean anything.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let complaint = || format!("{text:?} is not a size; write it like 64MiB or 8GiB");
    let (number, shift) = SIZES
        .iter()
        .find_map(|(unit, shift)| Some((text.trim().strip_suffix(unit)?, *shift)))
        .ok_or_else(complaint)?;
    let number: f64 = number.trim().parse().map_err(|_| complaint())?;
    let bytes = number * (1_u64 << shift) as f64;
    if !(1.0..=(1_u64 << 53) as f64).contains(&bytes) {
        return Err(complaint());
    }
    Ok(bytes as u64)
}

/// Reads `30s`, `500ms`, `2min`, `1h`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let complaint = || format!("{text:?} is not a duration; write it like 30s, 500ms or 5min");
    let (number, unit) = TIMES
        .iter()
        .find_map(|(unit, milliseconds)| Some((text.trim().strip_suffix(unit)?, *milliseconds)))
        .ok_or_else(complaint)?;
    let number: u64 = number.trim().parse().map_err(|_| complaint())?;
    number.checked_mul(unit).map(Duration::from_millis).ok_or_else(complaint)
}

/// Reads a share from 0 to 1.
pub(crate) fn parse_share(text: &str) -> Result<f64, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| format!("{text:?} is not a share; write it like 0.05"))
}

/// Reads a whole number from 1 on.
pub(crate) fn parse_count(text: &str) -> Result<u64, String> {
    let number = text.trim().replace('_', "").parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{text:?} is not a number from 1 on"))
}

/// Reads a number above 0 that may have a fraction.
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    let number =
        text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| format!("{text:?} is not a number above 0"))
}

/// Reads a price in USD: a number from 0 on, for what costs nothing has a price, too.
pub(crate) fn parse_price(text: &str) -> Result<f64, String> {
    let is_price = |number: &f64| number.is_finite() && !number.is_sign_negative();
    let number = text.trim().parse().ok().filter(is_price);
    number.ok_or_else(|| format!("{text:?} is not a price in USD; write it like 0.1, or 0"))
}

/// `1.5 GiB`, `64 MiB`, `312 B`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].iter();
    let mut unit = units.next().unwrap_or(&"B");
    // 1023.95 would be shown as 1024.0.
    while value >= 1023.95 {
        let Some(larger) = units.next() else { break };
        (value, unit) = (value / 1024.0, larger);
    }
    if *unit == "B" || value >= 100.0 {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// `310 MiB/s`.
pub(crate) fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", size(bytes_per_second.max(0.0) as u64))
}

/// `1m 23s`, `4.2s`, `2h 05m`, `3d 04h`; tenths only below ten seconds.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 9.95 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d {:02}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 table`, `2 tables`, `2 indexes`.
pub(crate) fn counted(number: u64, thing: &str) -> String {
    let ending = match (number, thing.ends_with('x')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{} {thing}{ending}", count(number))
}

/// A text of somebody else's on one line and without control characters: titles and reasons are written by users of the
/// application, and an operator's terminal obeys escape sequences.
pub(crate) fn printable(text: &str) -> String {
    let spaced = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The phase of an index build without the words that all of them begin with.
pub(crate) fn build_phase(phase: &str) -> &str {
    phase.strip_prefix("building index: ").unwrap_or(phase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_wrote_cannot_steer_the_terminal() {
        assert_eq!(printable("Bot \x1b[31mred\x1b]0;x\x07\nline 2"), "Bot [31mred ]0;x line 2");
        assert_eq!(printable("żółw 東京"), "żółw 東京");
    }

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("64MiB", 64 << 20, "64.0 MiB"),
            ("1.5 GiB", 3 << 29, "1.5 GiB"),
            ("8GB", 8 << 30, "8.0 GiB"),
            ("512kB", 512 << 10, "512 KiB"),
            ("700B", 700, "700 B"),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(size(bytes), shown);
        }
        for wrong in ["", "8", "MiB", "-1MiB", "0B", "x GiB", "1e99GiB", "NaNMiB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(size((1 << 30) - 1), "1.0 GiB");
    }

    #[test]
    fn durations_are_read_and_shown() {
        for (text, seconds) in
            [("30s", 30.0), ("500ms", 0.5), ("2min", 120.0), ("2m", 120.0), ("1h", 3600.0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for wrong in ["", "30", "s", "-1s", "1.5h", "99999999999999999d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        for (seconds, shown) in [
            (0.04, "0.0s"),
            (4.21, "4.2s"),
            (9.97, "10s"),
            (59.4, "59s"),
            (83.0, "1m 23s"),
            (7_500.0, "2h 05m"),
            (273_600.0, "3d 04h"),
        ] {
            assert_eq!(duration(seconds), shown);
        }
    }

    #[test]
    fn a_price_may_be_zero_and_a_rate_may_not() {
        for (text, price) in [("0", 0.0), ("0.0", 0.0), (" 0.1 ", 0.1), ("100", 100.0)] {
            assert_eq!(parse_price(text), Ok(price), "{text}");
        }
        for wrong in ["", "free", "-1", "-0", "NaN", "inf"] {
            assert!(parse_price(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_rate("0.5"), Ok(0.5));
        assert!(parse_rate("0").is_err() && parse_rate("-1").is_err());
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([count(0), count(999), count(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!(
            [counted(1, "index"), counted(2, "index"), counted(3, "part")],
            ["1 index", "2 indexes", "3 parts"]
        );
    }
}
