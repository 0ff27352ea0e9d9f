//! Enumerations of protocol numbers in which every number has a place.

/// Declares an enumeration over an integer: named values, and `Unknown` for all others, with conversions both
/// ways. Converting from the integer never yields `Unknown` for a named value.
macro_rules! enum_with_unknown {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident($int:ty) {
            $($(#[$value_meta:meta])* $variant:ident = $value:literal),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name {
            $($(#[$value_meta])* $variant,)+
            /// Any value without a name here.
            Unknown($int),
        }

        impl $name {
            /// All named values, in the order of their numbers.
            pub const KNOWN: &'static [$name] = &[$($name::$variant),+];

            /// The number on the wire.
            pub const fn value(self) -> $int {
                match self {
                    $($name::$variant => $value,)+
                    $name::Unknown(n) => n,
                }
            }
        }

        impl From<$int> for $name {
            fn from(n: $int) -> $name {
                match n {
                    $($value => $name::$variant,)+
                    n => $name::Unknown(n),
                }
            }
        }

        impl From<$name> for $int {
            fn from(v: $name) -> $int {
                v.value()
            }
        }
    };
}
