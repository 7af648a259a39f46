//! JSON as Go's `encoding/json` reads and writes it, on top of serde_json.
//!
//! Go differs from serde's habits in ways that its peers rely on. Reading, names match whatever their case, unknown ones are
//! skipped, the last of several wins, `null` leaves a value as it was, and broken UTF-8 is repaired. Writing, zero values are
//! left out, but never an object. [`object!`] makes a struct that keeps these rules for its own members, [`Value`] says
//! what they mean for each type.
//!
//! Some of what Go reads but never writes is left out on purpose: `-0`, escapes of half a surrogate pair, bytes as a list of
//! numbers, names that equal ours only beyond ASCII. An object that comes twice is not merged with itself.
//!
//! Nothing here can be driven into deep recursion: messages nest four levels at most, and serde_json skips unknown values
//! without recursion.

mod html_safe;
mod value;

use std::{fmt, marker::PhantomData};

use bytes::{BufMut, BytesMut};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{IgnoredAny, MapAccess, Visitor},
    ser::SerializeMap,
};

use self::html_safe::HtmlSafe;

/// A type that can be a member's value.
pub(crate) trait Value: Sized {
    /// Whether Go takes it for empty, and leaves it out.
    fn is_zero(&self) -> bool;

    /// Reads anything but `null`.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// Writes it, zero or not.
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

/// A JSON object with known members.
pub(crate) trait Object: Default {
    /// Reads the value of the member that is called `name` in the input, or skips it.
    fn read_member<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
    ) -> Result<(), A::Error>;

    /// Writes the members that are not to be left out.
    fn write_members<M: SerializeMap>(&self, members: &mut M) -> Result<(), M::Error>;
}

/// Declares a struct that is an [`Object`]. A member is called as its field, or as is said behind `as`.
macro_rules! object {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* pub $field:ident: $type:ty $(as $wire_name:literal)?, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, Eq, PartialEq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl $crate::go_json::Object for $name {
            fn read_member<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                name: &str,
                members: &mut A,
            ) -> Result<(), A::Error> {
                match name {
                    $(
                        name if name.eq_ignore_ascii_case($crate::go_json::name_of!($field $($wire_name)?)) => {
                            $crate::go_json::read_member(&mut self.$field, members)
                        }
                    )*
                    _ => $crate::go_json::skip_member(members),
                }
            }

            #[allow(unused_variables, reason = "one of the messages has no members")]
            fn write_members<M: serde::ser::SerializeMap>(
                &self,
                members: &mut M,
            ) -> Result<(), M::Error> {
                $(
                    let name = $crate::go_json::name_of!($field $($wire_name)?);
                    $crate::go_json::write_member(name, &self.$field, members)?;
                )*
                Ok(())
            }
        }
    };
}

/// What the member of a field is called on the wire.
macro_rules! name_of {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $wire_name:literal) => {
        $wire_name
    };
}

pub(crate) use {name_of, object};

/// Reads a whole document. `null` is an object at its zero value; anything but white space behind it is an error.
pub(crate) fn read<T: Object>(json: &[u8]) -> Result<T, serde_json::Error> {
    let object: Option<Go<T>> = match str::from_utf8(json) {
        Ok(json) => serde_json::from_str(json),
        Err(_) => serde_json::from_str(&repaired(json)),
    }?;
    Ok(object.map(|Go(object)| object).unwrap_or_default())
}

/// Puts U+FFFD in place of every byte that is not UTF-8. Outside of strings that is as wrong as the byte was.
fn repaired(json: &[u8]) -> String {
    let mut repaired = String::with_capacity(json.len());
    for chunk in json.utf8_chunks() {
        repaired.push_str(chunk.valid());
        repaired.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    repaired
}

/// Appends a whole document.
#[expect(
    clippy::expect_used,
    reason = "memory takes every byte, and every name is a string"
)]
pub(crate) fn write<T: Object>(object: &T, out: &mut BytesMut) {
    let mut serializer = serde_json::Serializer::with_formatter(out.writer(), HtmlSafe);
    Go(object)
        .serialize(&mut serializer)
        .expect("memory takes every byte, and every name is a string");
}

/// Appends one string.
#[expect(clippy::expect_used, reason = "memory takes every byte")]
pub(crate) fn write_str(text: &str, out: &mut BytesMut) {
    let mut serializer = serde_json::Serializer::with_formatter(out.writer(), HtmlSafe);
    text.serialize(&mut serializer)
        .expect("memory takes every byte");
}

/// Reads the value of a member whose name was just read.
pub(crate) fn read_member<'de, T: Value, A: MapAccess<'de>>(
    field: &mut T,
    members: &mut A,
) -> Result<(), A::Error> {
    if let Some(Go(value)) = members.next_value()? {
        *field = value;
    }
    Ok(())
}

/// Skips the value of a member whose name was just read.
pub(crate) fn skip_member<'de, A: MapAccess<'de>>(members: &mut A) -> Result<(), A::Error> {
    members.next_value::<IgnoredAny>().map(drop)
}

/// Writes a member unless Go would leave it out.
pub(crate) fn write_member<T: Value, M: SerializeMap>(
    name: &'static str,
    field: &T,
    members: &mut M,
) -> Result<(), M::Error> {
    if field.is_zero() {
        return Ok(());
    }
    members.serialize_entry(name, &Go(field))
}

/// Hands a value under Go's rules to serde, so that serde's own traits stay off the messages.
pub(crate) struct Go<T>(pub(crate) T);

impl<'de, T: Value> Deserialize<'de> for Go<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Self)
    }
}

impl<T: Value> Serialize for Go<&T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(serializer)
    }
}

/// An object is a value; Go never leaves one out.
impl<T: Object> Value for T {
    fn is_zero(&self) -> bool {
        false
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        self.write_members(&mut members)?;
        members.end()
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Object> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<T, A::Error> {
        let mut object = T::default();
        while let Some(name) = members.next_key::<String>()? {
            object.read_member(&name, &mut members)?;
        }
        Ok(object)
    }
}
