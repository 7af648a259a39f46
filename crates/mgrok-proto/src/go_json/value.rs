//! What Go's rules mean for each type that a member can have.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use super::{Go, Object, Value};
use crate::{auth::Secret, go_base64};

/// Types whose reading by serde is Go's already: integers must be plain and within range, nothing is converted.
macro_rules! plain {
    ($($type:ty),*) => { $(
        impl Value for $type {
            fn is_zero(&self) -> bool {
                *self == Self::default()
            }

            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::deserialize(deserializer)
            }

            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.serialize(serializer)
            }
        }
    )* };
}

plain!(bool, i64, u16, String);

impl Value for Secret {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::read(deserializer).map(Self::new)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

/// Padded standard base64; line breaks anywhere in it are tolerated.
impl Value for Bytes {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::read(deserializer)?;
        text.retain(|char| !matches!(char, '\r' | '\n'));
        let mut bytes = vec![0; go_base64::decoded_len(text.len())];
        let len = go_base64::decode(text.as_bytes(), &mut bytes).map_err(D::Error::custom)?;
        bytes.truncate(len);
        Ok(bytes.into())
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = vec![0; go_base64::encoded_len(self.len())];
        go_base64::encode(self, &mut text);
        serializer.serialize_str(&String::from_utf8(text).map_err(S::Error::custom)?)
    }
}

impl<T: Default + Value> Value for Vec<T> {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let elements: Vec<Option<Go<T>>> = Vec::deserialize(deserializer)?;
        Ok(elements.into_iter().map(or_zero).collect())
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Go))
    }
}

/// In the order of the keys, as Go writes maps.
impl Value for BTreeMap<String, String> {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members: BTreeMap<String, Option<Go<String>>> = BTreeMap::deserialize(deserializer)?;
        Ok(members
            .into_iter()
            .map(|(key, value)| (key, or_zero(value)))
            .collect())
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

/// A Go pointer: left out if it points nowhere.
impl<T: Object> Value for Option<T> {
    fn is_zero(&self) -> bool {
        self.is_none()
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Some)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(object) => object.write(serializer),
            None => serializer.serialize_none(),
        }
    }
}

/// `null` in a list or a map is the zero value.
fn or_zero<T: Default>(value: Option<Go<T>>) -> T {
    value.map(|Go(value)| value).unwrap_or_default()
}
