//! What a certificate says, for people to read.
//!
//! Nothing is decided by it: whether a certificate is accepted is for rustls to say. So what cannot be read is left out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;

use super::TlsError;
use super::files;
use super::fingerprint::Fingerprint;
use crate::conn::Conn;

/// The most names of a certificate that are kept, and the most bytes of a text in it.
const MAX_NAMES: usize = 64;
const MAX_TEXT: usize = 256;

/// A certificate as somebody shows it. That it is shown proves nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShownCertificate {
    /// Its hash.
    pub fingerprint: Fingerprint,
    /// What is in it; `None` if that cannot be read.
    pub details: Option<CertificateDetails>,
}

/// What is in a certificate. Texts have their control characters escaped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateDetails {
    /// For whom it is; empty if it does not say.
    pub subject: String,
    /// Who has signed it; empty if it does not say.
    pub issuer: String,
    /// The names and addresses that it is for (subject alternative names).
    pub names: Vec<String>,
    /// From when on it is valid.
    pub not_before: UnixSeconds,
    /// Until when.
    pub not_after: UnixSeconds,
}

/// Whether a certificate is valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Validity {
    /// It was, so long ago.
    Expired(Duration),
    /// It will be, in so long.
    NotYet(Duration),
    /// It is, for so long.
    Valid(Duration),
}

/// A moment in seconds since 1970, before which it is negative. Prints as a date and a time of UTC.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnixSeconds(pub i64);

impl ShownCertificate {
    /// Reads one.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self {
            fingerprint: Fingerprint::of(certificate),
            details: CertificateDetails::read(certificate),
        }
    }

    /// That of the other end of `conn`; `None` as in [`Fingerprint::of_other_end`].
    pub fn of_other_end(conn: &Conn) -> Option<Self> {
        conn.peer_certificate().map(Self::of)
    }

    /// The first of a file.
    ///
    /// # Errors
    /// There is none, or the file cannot be read.
    pub fn in_file(path: &Path) -> Result<Self, TlsError> {
        Ok(Self::of(&files::first_certificate(path)?))
    }
}

impl CertificateDetails {
    /// Whether it is valid at `now`.
    pub fn validity(&self, now: SystemTime) -> Validity {
        let seconds = |from: i64, to: i64| Duration::from_secs(to.abs_diff(from));
        let now = match now.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            Err(_) => 0,
        };
        if now < self.not_before.0 {
            Validity::NotYet(seconds(now, self.not_before.0))
        } else if now > self.not_after.0 {
            Validity::Expired(seconds(self.not_after.0, now))
        } else {
            Validity::Valid(seconds(now, self.not_after.0))
        }
    }

    /// `Certificate` of RFC 5280, section 4.1.
    fn read(der: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(der).expect(SEQUENCE)?);
        let mut signed = Der(certificate.expect(SEQUENCE)?);
        signed.skip_if(VERSION);
        // The serial number, and the algorithm of the signature.
        signed.next()?;
        signed.next()?;
        let issuer = name(signed.expect(SEQUENCE)?);
        let mut validity = Der(signed.expect(SEQUENCE)?);
        let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
        let subject = name(signed.expect(SEQUENCE)?);
        // The key.
        signed.next()?;
        let mut names = Vec::new();
        while let Some((tag, content)) = signed.next() {
            if tag == EXTENSIONS {
                names = alternative_names(content).unwrap_or_default();
            }
        }
        Some(Self {
            subject,
            issuer,
            names,
            not_before,
            not_after,
        })
    }
}

const BMP_STRING: u8 = 0x1e;
const BOOLEAN: u8 = 0x01;
const EXTENSIONS: u8 = 0xa3;
const GENERALIZED_TIME: u8 = 0x18;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const UTC_TIME: u8 = 0x17;
const VERSION: u8 = 0xa0;

/// Kinds of `GeneralName`.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// 2.5.29.17.
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// The parts of a name that are shown, and what they are called.
const ATTRIBUTES: [(&[u8], &str); 4] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 6], "C"),
];

/// Elements in DER, one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The tag of the next element, and what is in it; `None` at the end, or where no element is.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk()?;
        let mut len = usize::from(first);
        if first >= 0x80 {
            let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if bytes.is_empty() || bytes.len() > 4 {
                return None;
            }
            len = bytes
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(len)?;
        self.0 = after;
        Some((tag, content))
    }

    /// What is in the next element, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content) = self.next()?;
        (found == tag).then_some(content)
    }

    /// Passes over the next element if it has this tag.
    fn skip_if(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }
}

/// `Name`, as far as it is shown.
fn name(content: &[u8]) -> String {
    let mut parts = Vec::new();
    let mut sets = Der(content);
    while let Some(set) = sets.expect(SET) {
        let mut attributes = Der(set);
        while let Some(attribute) = attributes.expect(SEQUENCE) {
            parts.extend(part(attribute));
        }
    }
    parts.join(", ")
}

fn part(attribute: &[u8]) -> Option<String> {
    let mut attribute = Der(attribute);
    let kind = attribute.expect(OBJECT_IDENTIFIER)?;
    let (_, called) = ATTRIBUTES.iter().find(|(it, _)| *it == kind)?;
    let (tag, value) = attribute.next()?;
    Some(format!("{called}={}", text(tag, value)))
}

fn text(tag: u8, value: &[u8]) -> String {
    let value = &value[..value.len().min(MAX_TEXT)];
    if tag != BMP_STRING {
        return escaped(String::from_utf8_lossy(value).chars());
    }
    let units = value
        .chunks_exact(2)
        .map(|it| u16::from_be_bytes([it[0], it[1]]));
    escaped(char::decode_utf16(units).map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER)))
}

fn escaped(letters: impl Iterator<Item = char>) -> String {
    let mut text = String::new();
    for letter in letters {
        match letter.is_control() {
            true => text.extend(letter.escape_default()),
            false => text.push(letter),
        }
    }
    text
}

fn alternative_names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut extensions = Der(Der(extensions).expect(SEQUENCE)?);
    while let Some(extension) = extensions.expect(SEQUENCE) {
        let mut extension = Der(extension);
        if extension.expect(OBJECT_IDENTIFIER)? != SUBJECT_ALTERNATIVE_NAME {
            continue;
        }
        // Whether it is critical.
        extension.skip_if(BOOLEAN);
        let mut names = Der(Der(extension.expect(OCTET_STRING)?).expect(SEQUENCE)?);
        let each = std::iter::from_fn(|| names.next());
        return Some(each.filter_map(alternative_name).take(MAX_NAMES).collect());
    }
    None
}

fn alternative_name((tag, content): (u8, &[u8])) -> Option<String> {
    match tag {
        DNS_NAME => Some(text(tag, content)),
        IP_ADDRESS => {
            let v4 = || {
                <[u8; 4]>::try_from(content)
                    .ok()
                    .map(|it| IpAddr::V4(Ipv4Addr::from(it)))
            };
            let v6 = || {
                <[u8; 16]>::try_from(content)
                    .ok()
                    .map(|it| IpAddr::V6(Ipv6Addr::from(it)))
            };
            Some(v4().or_else(v6)?.to_string())
        }
        _ => None,
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(der: &mut Der<'_>) -> Option<UnixSeconds> {
    let (tag, content) = der.next()?;
    let digits = content.strip_suffix(b"Z")?;
    let (century, rest) = match tag {
        GENERALIZED_TIME => {
            let (century, rest) = digits.split_at_checked(2)?;
            (number(century)?, rest)
        }
        UTC_TIME => {
            // RFC 5280, section 4.1.2.5.1
            let of_century = number(digits.get(..2)?)?;
            (if of_century < 50 { 20 } else { 19 }, digits)
        }
        _ => return None,
    };
    if rest.len() != 12 {
        return None;
    }
    let mut pairs = rest.chunks_exact(2).map(number);
    let mut pair = || pairs.next()?;
    let (year, month, day) = (century * 100 + pair()?, pair()?, pair()?);
    let (hour, minute, second) = (pair()?, pair()?, pair()?);
    let is_time = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    is_time
        .then(|| UnixSeconds(days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + i64::from(digit - b'0'))
    })
}

/// The days from 1970 to a date of the Gregorian calendar. Years begin in March here, so that the odd day is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The other way round: year, month and day.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    (year, month, day)
}

impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.0.div_euclid(86_400));
        let of_day = self.0.rem_euclid(86_400);
        let (hour, minute) = (of_day / 3_600, of_day % 3_600 / 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    fn certificate() -> CertificateDer<'static> {
        let names = ["a.test", "*.b.test", "192.0.2.1", "2001:db8::1"];
        let mut params = CertificateParams::new(names.map(str::to_owned).to_vec()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "a \u{1b}[1m test");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Ü");
        params.not_before = date_time_ymd(2019, 2, 28);
        // Beyond 2050 it is written in the other form.
        params.not_after = date_time_ymd(2060, 2, 29);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_is_read() {
        let details = ShownCertificate::of(&certificate()).details.unwrap();
        assert_eq!(details.subject, details.issuer);
        assert!(
            details.subject.contains("CN=a \\u{1b}[1m test"),
            "{details:?}"
        );
        assert!(details.subject.contains("O=Ü"), "{details:?}");
        assert_eq!(
            details.names,
            ["a.test", "*.b.test", "192.0.2.1", "2001:db8::1"]
        );
        assert_eq!(details.not_before.to_string(), "2019-02-28 00:00 UTC");
        assert_eq!(details.not_after.to_string(), "2060-02-29 00:00 UTC");
    }

    #[test]
    fn validity_is_a_matter_of_the_time() {
        let details = ShownCertificate::of(&certificate()).details.unwrap();
        let at = |seconds: i64| {
            let since = Duration::from_secs(u64::try_from(seconds).unwrap());
            details.validity(SystemTime::UNIX_EPOCH + since)
        };
        let (from, to) = (details.not_before.0, details.not_after.0);
        let second = Duration::from_secs(1);
        assert_eq!(at(from - 1), Validity::NotYet(second));
        assert_eq!(at(to - 1), Validity::Valid(second));
        assert_eq!(at(to + 1), Validity::Expired(second));
    }

    #[test]
    fn moments_are_shown() {
        for (seconds, expect) in [
            (0, "1970-01-01 00:00 UTC"),
            (-62_135_596_800, "0001-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (253_402_300_799, "9999-12-31 23:59 UTC"),
        ] {
            assert_eq!(UnixSeconds(seconds).to_string(), expect);
        }
    }

    proptest! {
        #[test]
        fn dates_and_days_are_the_same(day in -800_000_i64..3_000_000) {
            let (year, month, of_month) = date(day);
            prop_assert_eq!(days(year, month, of_month), day);
        }

        #[test]
        fn no_bytes_are_too_odd(mut at in 0_usize..600, bytes in prop::collection::vec(any::<u8>(), 1..20)) {
            let mut der = certificate().to_vec();
            at %= der.len();
            let end = der.len().min(at + bytes.len());
            der[at..end].copy_from_slice(&bytes[..end - at]);
            let _ = CertificateDetails::read(&der);
            let _ = CertificateDetails::read(&der[..at]);
            let _ = CertificateDetails::read(&bytes);
        }
    }
}
