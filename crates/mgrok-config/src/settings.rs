//! Settings that do not come from a file, such as those of a command line's flags.

use std::collections::BTreeMap;
use std::fmt;

/// Settings in the order in which they were given, for [`load_server_from_settings`](crate::load_server_from_settings) and
/// [`load_client_from_settings`](crate::load_client_from_settings).
///
/// Each names the key of the configuration file that it stands for, and the flag that it came from: mistakes are told as
/// the flag's, because a person at a shell has no file to look at.
///
/// ```
/// use mgrok_config::{Settings, Strictness, load_client_from_settings};
///
/// let mut settings = Settings::default();
/// settings.set("proxies[0].name", "ssh", "--proxy-name");
/// settings.set("proxies[0].type", "tcp", "tcp");
/// settings.set("proxies[0].localPort", 22, "--local-port");
/// settings.set("proxies[0].remotePort", 70000, "--remote-port");
/// let mistakes = load_client_from_settings(&settings, Strictness::Strict).unwrap_err();
/// assert_eq!(
///     mistakes.to_string(),
///     "--remote-port: port number 70000 must be in the range 0..65535",
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    set: Vec<Setting>,
    /// Keys, and the flags that would set them.
    flags: BTreeMap<String, String>,
}

/// One setting.
#[derive(Clone, PartialEq)]
pub(crate) struct Setting {
    /// The dotted key.
    pub(crate) key: String,
    pub(crate) value: SettingValue,
    pub(crate) flag: String,
}

/// What a key is set to.
#[derive(Clone, PartialEq)]
pub enum SettingValue {
    /// Yes or no.
    Boolean(bool),
    /// A number.
    Integer(i64),
    /// Texts under free names.
    Map(BTreeMap<String, String>),
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
}

impl Settings {
    /// Sets `key`, such as `transport.tls.enable` or `proxies[0].remotePort`, to what `flag` says. A key that is set again has the
    /// last value. Entries of lists are counted from 0, and none may be left out.
    pub fn set(
        &mut self,
        key: impl Into<String>,
        value: impl Into<SettingValue>,
        flag: impl Into<String>,
    ) {
        self.set.push(Setting {
            key: key.into(),
            value: value.into(),
            flag: flag.into(),
        });
    }

    /// Makes known which flag sets `key`. If the key is missed, the flag is named.
    pub fn know_flag(&mut self, key: impl Into<String>, flag: impl Into<String>) {
        self.flags.insert(key.into(), flag.into());
    }

    /// Whether `key`, or a key below it, is set.
    pub fn has(&self, key: &str) -> bool {
        self.set.iter().any(|setting| {
            let rest = setting.key.strip_prefix(key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Setting> {
        self.set.iter()
    }

    pub(crate) fn flags(&self) -> impl Iterator<Item = (&str, &str)> {
        let flags = self.flags.iter();
        flags.map(|(key, flag)| (key.as_str(), flag.as_str()))
    }
}

/// Without the value, which may be a secret.
impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.key, self.flag)
    }
}

/// The value's kind alone: it may be a secret.
impl fmt::Debug for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Map(_) => "a map of texts",
            Self::Text(_) => "a text",
            Self::Texts(_) => "a list of texts",
        })
    }
}

impl From<bool> for SettingValue {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for SettingValue {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<i32> for SettingValue {
    fn from(value: i32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u16> for SettingValue {
    fn from(value: u16) -> Self {
        Self::Integer(value.into())
    }
}

impl From<BTreeMap<String, String>> for SettingValue {
    fn from(value: BTreeMap<String, String>) -> Self {
        Self::Map(value)
    }
}

impl From<&str> for SettingValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for SettingValue {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<String>> for SettingValue {
    fn from(value: Vec<String>) -> Self {
        Self::Texts(value)
    }
}
