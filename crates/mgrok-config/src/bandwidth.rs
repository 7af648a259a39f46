//! How fast a proxy may be, in frp's notation: `512KB`, `1.5MB`.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

/// A rate that both directions and all connections of one proxy share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// The rate as it was written; what is sent to the other end and shown.
    pub text: String,
    /// The rate that `text` stands for.
    pub bytes_per_second: NonZeroU64,
    /// Which end slows down.
    pub mode: BandwidthMode,
}

impl Bandwidth {
    /// Reads a limit such as `512KB` or `1.5MB`, where a KB is 1024 bytes. Nothing may stand between number and unit.
    ///
    /// `None` is no limit: an empty text, zero, or less than zero.
    pub fn parse(text: &str, mode: BandwidthMode) -> Result<Option<Self>, BandwidthError> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Ok(None);
        }
        let (number, unit) = match (trimmed.strip_suffix("MB"), trimmed.strip_suffix("KB")) {
            (Some(number), _) => (number, MIB),
            (None, Some(number)) => (number, KIB),
            (None, None) => return Err(BandwidthError::Unit),
        };
        let number: f64 = number.parse().map_err(|_| BandwidthError::Number)?;
        if !number.is_finite() {
            return Err(BandwidthError::Number);
        }
        // The cast truncates, makes anything below zero zero, and anything too large the largest rate.
        let bytes_per_second = (number * unit) as u64;
        Ok(
            NonZeroU64::new(bytes_per_second).map(|bytes_per_second| Self {
                text: text.to_owned(),
                bytes_per_second,
                mode,
            }),
        )
    }
}

/// Which end of a proxy applies its [`Bandwidth`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BandwidthMode {
    /// The client, below the encryption of the work connection.
    #[default]
    Client,
    /// The server.
    Server,
}

impl BandwidthMode {
    /// The word that configuration files and messages use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

impl fmt::Display for BandwidthMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BandwidthMode {
    type Err = BandwidthError;

    /// Reads the word; an absent one, which is empty in messages, means the client.
    fn from_str(word: &str) -> Result<Self, BandwidthError> {
        match word {
            "" | "client" => Ok(Self::Client),
            "server" => Ok(Self::Server),
            _ => Err(BandwidthError::Mode),
        }
    }
}

/// Why a bandwidth limit cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BandwidthError {
    /// Neither end is named.
    #[error("bandwidth limit mode must be `client` or `server`")]
    Mode,
    /// What stands before the unit is not a number.
    #[error(
        "the bandwidth limit must start with a number that its unit follows at once, like `1.5MB`"
    )]
    Number,
    /// Neither `KB` nor `MB` stands at the end.
    // frp: this wording
    #[error("unit not support: a bandwidth limit must end in `MB` or `KB`")]
    Unit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<Option<u64>, BandwidthError>) {
        let got = Bandwidth::parse(text, BandwidthMode::Client);
        let got = got.map(|limit| {
            limit.map(|limit| {
                assert_eq!(limit.text, text);
                limit.bytes_per_second.get()
            })
        });
        assert_eq!(got, expect, "{text:?}");
    }

    #[test]
    fn rates() {
        check("1KB", Ok(Some(1024)));
        check("1MB", Ok(Some(1024 * 1024)));
        check("1.5MB", Ok(Some(1_572_864)));
        check("1e3KB", Ok(Some(1_024_000)));
        check(".5KB", Ok(Some(512)));
        check(" \t10MB\n", Ok(Some(10 * 1024 * 1024)));
        check("0.0011KB", Ok(Some(1)));
        check("1e300MB", Ok(Some(u64::MAX)));
    }

    #[test]
    fn no_limit() {
        for text in ["", "  ", "0KB", "-1MB", "0.0001KB"] {
            check(text, Ok(None));
        }
    }

    #[test]
    fn mistakes() {
        for text in ["10", "10GB", "10mb", "10 kb", "10B", "MBx"] {
            check(text, Err(BandwidthError::Unit));
        }
        for text in ["MB", "1 MB", "1,5MB", "oneKB", "NaNKB", "infMB"] {
            check(text, Err(BandwidthError::Number));
        }
    }

    #[test]
    fn modes() {
        assert_eq!("".parse(), Ok(BandwidthMode::Client));
        assert_eq!("client".parse(), Ok(BandwidthMode::Client));
        assert_eq!("server".parse(), Ok(BandwidthMode::Server));
        assert_eq!("Server".parse::<BandwidthMode>(), Err(BandwidthError::Mode));
    }
}
