//! Pages of the program's own file that nobody uses any more.
//!
//! What a start or a burst has run stays mapped until the system is short of memory, and with each page that is used the kernel
//! maps those around it. The file stays in the system's cache: a page that is used once more is mapped again without a read, and one that
//! is not can be reclaimed ahead of those that are in use.

#![allow(
    unsafe_code,
    reason = "to take a page from the program is unsafe unless the page can be had again as it was"
)]

use std::fs;
use std::ops::Range;

/// Takes all such pages from the program. Those that it goes on using come back as they are used, sixteen with each fault. Nothing
/// happens where the system does not say which they are.
pub(super) fn unmap() {
    let Ok(program) = fs::read_link("/proc/self/exe") else {
        return;
    };
    let (Some(program), Ok(mappings)) = (program.to_str(), fs::read_to_string("/proc/self/smaps"))
    else {
        return;
    };
    for range in nothing_but_file(&mappings, program) {
        // SAFETY: the range is a mapping of this program's own file, which stays as long as the program runs. It cannot be written,
        // and no page of it differs from the file, so that a page that is used again is as it was (madvise(2)).
        unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(range.start),
                range.len(),
                libc::MADV_DONTNEED,
            );
        }
    }
}

/// The mappings of the file `program` among `mappings`, the text of `smaps`, of which no page can be lost. Those of a page that is
/// the process's own, which are relocations or a breakpoint, are not among them, be it in memory or in swap.
fn nothing_but_file(mappings: &str, program: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut range = None;
    let mut is_in_memory = false;
    for line in mappings.lines() {
        if let Some((name, value)) = line.split_once(':')
            && !name.contains(' ')
        {
            match (name, value.trim()) {
                // `Anonymous` comes ahead of `Swap`.
                ("Anonymous", "0 kB") => is_in_memory = true,
                ("Anonymous", _) => range = None,
                ("Swap", "0 kB") if is_in_memory => ranges.extend(range.take()),
                _ => {}
            }
        } else {
            range = file_mapping(line, program);
            is_in_memory = false;
        }
    }
    ranges
}

/// The addresses of a mapping of `program` that cannot be written, from the first line of its entry.
fn file_mapping(line: &str, program: &str) -> Option<Range<usize>> {
    // addresses, permissions, offset, device, inode, then spaces, and the path, which may hold some.
    let mut fields = line.splitn(6, ' ');
    let (addresses, permissions) = (fields.next()?, fields.next()?);
    let path = fields.nth(3)?.trim_start();
    let may = permissions.as_bytes();
    if path != program || may.first() != Some(&b'r') || may.get(1) != Some(&b'-') {
        return None;
    }
    let (start, end) = addresses.split_once('-')?;
    let address = |it| usize::from_str_radix(it, 16).ok();
    Some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6 writes it, but for lines that say nothing here.
    fn mapping(permissions: &str, path: &str, anonymous: u32, swap: u32) -> String {
        format!(
            "7f10-7f20 {permissions} 003e86c0 fe:00 1048 {path:>40}\n\
             Size: 64 kB\nRss: 16 kB\nAnonymous: {anonymous:8} kB\nSwap: {swap:8} kB\nTHPeligible: 0\nVmFlags: rd ex mr mw me\n"
        )
    }

    #[test]
    fn only_what_is_as_in_the_file_is_found() {
        let program = "/opt/two words/mgroks (deleted)";
        let mappings = [
            mapping("r-xp", program, 0, 0),
            mapping("r--p", program, 0, 0),
            // Relocations, in memory and swapped out.
            mapping("r--p", program, 4, 0),
            mapping("r--p", program, 0, 4),
            mapping("rw-p", program, 0, 0),
            mapping("---p", program, 0, 0),
            mapping("r-xp", "/usr/lib/libc.so.6", 0, 0),
            mapping("r--p", "", 0, 0),
        ];
        let found = |it: &String| nothing_but_file(it, program).len();
        assert_eq!(mappings.each_ref().map(found), [1, 1, 0, 0, 0, 0, 0, 0]);
        let all = nothing_but_file(&mappings.concat(), program);
        assert_eq!(all, [0x7f10..0x7f20, 0x7f10..0x7f20]);
        let without_counts = "7f10-7f20 r-xp 003e86c0 fe:00 1048  /bin/it\nSize: 64 kB\n";
        assert_eq!(nothing_but_file(without_counts, "/bin/it"), []);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_program_goes_on_with_fewer_pages() {
        let of_files = || super::super::kib_of("RssFile:").unwrap();
        let before = of_files();
        unmap();
        let after = of_files();
        // Relocated pointers to functions are as they were.
        let numbers: [&dyn std::fmt::Display; 2] = [&before, &after];
        let said = numbers.map(ToString::to_string);
        assert!(after + 512 < before, "{said:?} KiB");
    }
}
