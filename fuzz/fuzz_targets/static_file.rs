//! Whatever path and range a request has, what is looked for is beneath the root, and what is sent is within the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mgrok_http::{ByteRanges, clean_path, escape_path};

fuzz_target!(|input: (Vec<u8>, Vec<u8>, u64)| {
    let (path, range, size) = input;
    let clean = clean_path(&path);
    let inner = clean.strip_prefix(b"/").expect("it begins with a slash");
    let inner = inner.strip_suffix(b"/").unwrap_or(inner);
    for segment in inner.split(|&byte| byte == b'/') {
        assert!(inner.is_empty() || !matches!(segment, b"" | b"." | b".."));
    }
    assert_eq!(clean_path(&clean), clean);
    assert!(clean.len() <= path.len() + 1);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte);
    assert!(escape_path(&clean).bytes().all(is_plain));

    let value = [b"bytes=", &range[..]].concat();
    for value in [range, value] {
        if let ByteRanges::Some(ranges) = ByteRanges::parse(&value, size) {
            assert!((1..=32).contains(&ranges.len()));
            let mut sum = 0_u64;
            for range in ranges {
                assert!(range.start < range.end && range.end <= size);
                sum = sum.checked_add(range.end - range.start).expect("as long as what there is");
            }
            assert!(sum <= size, "no more is sent than there is");
        }
    }
});
