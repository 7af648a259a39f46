//! Text for a person at a terminal: without what a terminal would obey, with amounts that people read, and in columns.

use std::time::Duration;

/// Between columns, and behind the last one.
const PADDING: usize = 2;

/// The text without what a terminal would obey.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// A length of time, in two units at most.
pub fn time(time: Duration) -> String {
    let secs = time.as_secs();
    match secs {
        0 => format!("{}ms", time.as_millis()),
        1..60 => format!("{:.1}s", time.as_secs_f64()),
        60..3600 => format!("{}m{:02}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h{:02}m", secs / 3600, secs / 60 % 60),
        _ => format!("{}d{:02}h", secs / 86_400, secs / 3600 % 24),
    }
}

/// An amount of bytes, with three digits at least.
pub fn size(bytes: u64) -> String {
    let mut units = ["KB", "MB", "GB", "TB"].iter();
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    // Precise enough for three digits.
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut amount = bytes as f64;
    let mut unit = "B";
    while amount >= 1000.0
        && let Some(next) = units.next()
    {
        amount /= 1000.0;
        unit = next;
    }
    format!("{amount:.1} {unit}")
}

/// Rows of cells, which must not have anything in them that a terminal would obey, each column as wide as its widest cell.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |cell: &String| cell.chars().count();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| width(&row[column]));
        cells.max().unwrap_or_default() + PADDING
    });
    let mut text = String::new();
    for row in rows {
        for (cell, column) in row.iter().zip(widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', column - width(cell)));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        for (millis, expect) in [
            (12, "12ms"),
            (1_250, "1.2s"),
            (75_000, "1m15s"),
            (3_660_000, "1h01m"),
            (90_000_000, "1d01h"),
        ] {
            assert_eq!(time(Duration::from_millis(millis)), expect);
        }
        for (bytes, expect) in [
            (999, "999 B"),
            (1_234_567, "1.2 MB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(size(bytes), expect);
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [["a", "é"], ["long", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "a     é  \nlong     \n");
    }
}
