//! Pairs of types: one of a frame, one of the domain.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::domain::code::Code;
use crate::domain::ids::{At, Digest, MissionId, Signature};

/// A type of a frame that stands for a `T` of the domain.
pub(crate) trait Mirror<T>: Sized {
    /// As it lies in a frame.
    fn of(value: &T) -> Self;

    /// As the domain has it.
    fn into_domain(self) -> T;
}

macro_rules! same {
    ($($name:ty),*) => {$(
        impl Mirror<$name> for $name {
            fn of(value: &$name) -> Self {
                Clone::clone(value)
            }

            fn into_domain(self) -> $name {
                self
            }
        }
    )*};
}

same!(String, bool, i32, u32, u64);

macro_rules! newtypes {
    ($($raw:ty => $name:ident),* $(,)?) => {$(
        impl Mirror<$name> for $raw {
            fn of(value: &$name) -> Self {
                Clone::clone(&value.0)
            }

            fn into_domain(self) -> $name {
                $name(self)
            }
        }
    )*};
}

impl Mirror<Code> for String {
    fn of(value: &Code) -> Self {
        value.as_str().to_owned()
    }

    fn into_domain(self) -> Code {
        Code::from(self)
    }
}

newtypes!(i64 => At, [u8; 32] => Digest, Uuid => MissionId, String => Signature);

impl<T, F: Mirror<T>> Mirror<Option<T>> for Option<F> {
    fn of(value: &Option<T>) -> Self {
        value.as_ref().map(F::of)
    }

    fn into_domain(self) -> Option<T> {
        self.map(F::into_domain)
    }
}

impl<T, F: Mirror<T>> Mirror<Vec<T>> for Vec<F> {
    fn of(value: &Vec<T>) -> Self {
        value.iter().map(F::of).collect()
    }

    fn into_domain(self) -> Vec<T> {
        self.into_iter().map(F::into_domain).collect()
    }
}

impl<T, F: Mirror<T>> Mirror<BTreeMap<String, T>> for BTreeMap<String, F> {
    fn of(value: &BTreeMap<String, T>) -> Self {
        let entry = |(key, value): (&String, &T)| (key.clone(), F::of(value));
        value.iter().map(entry).collect()
    }

    fn into_domain(self) -> BTreeMap<String, T> {
        let entry = |(key, value): (String, F)| (key, value.into_domain());
        self.into_iter().map(entry).collect()
    }
}

/// Defines types of a frame, each the [`Mirror`] of the type of that name in `crate::domain`'s
/// module after `of`: the same fields and variants, in the order of the frame. A field or variant
/// that the domain adds or renames fails to compile here, where its layout has to be decided.
macro_rules! mirror {
    () => {};
    (
        $(#[$doc:meta])*
        struct $name:ident of $($module:ident)::+ {
            $($field:ident: $type:ty),* $(,)?
        }
        $($rest:tt)*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub(crate) struct $name {
            $(pub $field: $type,)*
        }

        impl crate::log::frame::mirror::Mirror<crate::domain::$($module)::+::$name> for $name {
            fn of(value: &crate::domain::$($module)::+::$name) -> Self {
                use crate::log::frame::mirror::Mirror;
                Self { $($field: Mirror::of(&value.$field),)* }
            }

            fn into_domain(self) -> crate::domain::$($module)::+::$name {
                use crate::log::frame::mirror::Mirror;
                crate::domain::$($module)::+::$name {
                    $($field: Mirror::into_domain(self.$field),)*
                }
            }
        }

        mirror! { $($rest)* }
    };
    (
        $(#[$doc:meta])*
        enum $name:ident of $($module:ident)::+ {
            $($variant:ident
                $({ $($field:ident: $type:ty),* $(,)? })?
                $(($inner:ident: $inner_type:ty))?
            ),* $(,)?
        }
        $($rest:tt)*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub(crate) enum $name {
            $($variant $({ $($field: $type),* })? $(($inner_type))?,)*
        }

        impl crate::log::frame::mirror::Mirror<crate::domain::$($module)::+::$name> for $name {
            fn of(value: &crate::domain::$($module)::+::$name) -> Self {
                #[allow(unused_imports)]
                use crate::log::frame::mirror::Mirror;
                use crate::domain::$($module)::+::$name as Domain;
                match value {
                    $(Domain::$variant $({ $($field),* })? $(($inner))? => {
                        Self::$variant
                            $({ $($field: Mirror::of($field)),* })?
                            $((Mirror::of($inner)))?
                    })*
                }
            }

            fn into_domain(self) -> crate::domain::$($module)::+::$name {
                #[allow(unused_imports)]
                use crate::log::frame::mirror::Mirror;
                use crate::domain::$($module)::+::$name as Domain;
                match self {
                    $(Self::$variant $({ $($field),* })? $(($inner))? => {
                        Domain::$variant
                            $({ $($field: Mirror::into_domain($field)),* })?
                            $((Mirror::into_domain($inner)))?
                    })*
                }
            }
        }

        mirror! { $($rest)* }
    };
}
