//! Lists of numbers such as `6000-6010,6020`, as templates, INI files and port ranges have them.

/// Why a text is no such list. Messages quote the text behind the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NumberRangesError {
    /// Some part is neither a number nor two with a `-` between them.
    // frp: the beginning of these words
    #[error("range number is invalid: must be numbers and ranges, like \"6000-6010,6020\"")]
    Malformed,
    /// A range ends before it begins.
    #[error("range number is invalid: a range must not end before it begins")]
    Reversed,
    /// There are too many numbers.
    #[error("must not stand for more than {most} numbers")]
    TooMany {
        /// How many there may be.
        most: usize,
    },
}

/// The numbers that a list stands for, at most so many.
// frp: pkg/util/util#ParseRangeNumbers
pub(crate) fn parse_ranges(text: &str, most: usize) -> Result<Vec<i64>, NumberRangesError> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',') {
        let number = |text: &str| {
            let number = text.trim().parse::<i64>();
            number.map_err(|_| NumberRangesError::Malformed)
        };
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if last < first {
            return Err(NumberRangesError::Reversed);
        }
        let room = most.saturating_sub(numbers.len());
        if usize::try_from(last.abs_diff(first)).map_or(true, |more| more >= room) {
            return Err(NumberRangesError::TooMany { most });
        }
        numbers.extend(first..=last);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(parse_ranges("1-3, 7", 10), Ok(vec![1, 2, 3, 7]));
        assert_eq!(parse_ranges(" 5 ", 1), Ok(vec![5]));
        assert_eq!(parse_ranges("1 - 2", 2), Ok(vec![1, 2]));
        for text in ["", "a", "1,", "1-", "-1", "1-2-3", "1..2"] {
            assert_eq!(
                parse_ranges(text, 10),
                Err(NumberRangesError::Malformed),
                "{text:?}"
            );
        }
        assert_eq!(parse_ranges("3-1", 10), Err(NumberRangesError::Reversed));
        let many = format!("0-{}", i64::MAX);
        for text in ["1-11", "1-5,6-11", many.as_str()] {
            let error = NumberRangesError::TooMany { most: 10 };
            assert_eq!(parse_ranges(text, 10), Err(error));
        }
    }
}
