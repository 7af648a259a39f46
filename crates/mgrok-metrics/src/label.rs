//! Labels whose values are known beforehand.

use std::fmt::Debug;

/// The values of a label that has few of them, all known beforehand; see [`labels`](crate::labels).
pub trait Label: Copy + Debug + 'static {
    /// All values, each at its own [`index`](Self::index).
    const ALL: &'static [Self];

    /// The number of this value, from 0.
    fn index(self) -> usize;

    /// As it is written.
    fn as_str(self) -> &'static str;
}

/// Makes an enum the values of a label, each with its text.
#[macro_export]
macro_rules! labels {
    ($(#[$of_enum:meta])* $vis:vis enum $name:ident {
        $($(#[$of_variant:meta])* $variant:ident = $text:literal),+ $(,)?
    }) => {
        $(#[$of_enum])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        $vis enum $name {
            $($(#[$of_variant])* $variant),+
        }

        impl $crate::Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn index(self) -> usize {
                self as usize
            }

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }
    };
}
