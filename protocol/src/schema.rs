//! `messages!` and `apis!`: a message is declared once, and its struct, default, decoder and
//! encoder follow; an API is declared once, and its key, versions and dispatch follow.
//!
//! ```text
//! messages! {
//!     /// What the message is for.
//!     Name {
//!         field: Type,                  // in every version
//!         field: Type [3..],            // since version 3
//!         field: Type [..=12] = -1,     // up to version 12; after that it reads as -1
//!         field: Type [tag 0, 12..],    // tagged field 0, since version 12
//!         field: Option<Type> [null 7..],      // in every version, but never null before 7
//!         field: Option<Type> [null 7.., 2..], // likewise, and only since version 2
//!     }
//! }
//! ```
//!
//! A field that a version does not carry is its default, so `Option` means nullable and nothing
//! else. Where null came later than the field, it crosses earlier versions as the empty value, so
//! that whoever fills a message need not know its version. The rustdoc of a message is its
//! declaration's; fields carry the protocol's names.

/// Declares wire structs.
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $name:ident {
            $(
                $(#[$field_doc:meta])*
                $field:ident : $ty:ty $([$($when:tt)+])? $(= $default:expr)?
            ),* $(,)?
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: messages!(@default $($default)?),)* }
            }
        }

        impl $crate::wire::Wire for $name {
            #[allow(unused_variables, unused_mut)]
            fn read(
                input: &mut $crate::wire::Reader,
                version: $crate::wire::Version,
            ) -> $crate::wire::Result<Self> {
                let mut message = Self::default();
                $(if messages!(@present [$($($when)+)?], version) {
                    messages!(@read [$($($when)+)?] $name message.$field, input, version);
                })*
                if version.flexible {
                    $crate::wire::read_tags(input, |tag, input| {
                        $(messages!(
                            @read_tag [$($($when)+)?] $name message.$field, input, version, tag
                        );)*
                        Ok(())
                    })?;
                }
                Ok(message)
            }

            #[allow(unused_variables, unused_mut)]
            fn write(&self, out: &mut $crate::wire::Writer, version: $crate::wire::Version) {
                $(if messages!(@present [$($($when)+)?], version) {
                    messages!(@write [$($($when)+)?] self.$field, out, version);
                })*
                if version.flexible {
                    let (mut tags, absent) = ($crate::wire::Tags::default(), Self::default());
                    $(messages!(@write_tag [$($($when)+)?] self.$field, absent, tags, version);)*
                    tags.finish(out);
                }
            }
        }

        impl $crate::wire::Wire for Option<$name> {
            fn read(
                input: &mut $crate::wire::Reader,
                version: $crate::wire::Version,
            ) -> $crate::wire::Result<Self> {
                $crate::wire::read_nullable(input, version)
            }
            fn write(&self, out: &mut $crate::wire::Writer, version: $crate::wire::Version) {
                $crate::wire::write_nullable(self, out, version);
            }
        }

        #[cfg(feature = "sample")]
        impl $crate::sample::Sample for $name {
            #[allow(unused_variables, unused_mut)]
            fn sample(source: &mut $crate::sample::Source, version: $crate::wire::Version) -> Self {
                let mut message = Self::default();
                $(if messages!(@present [$($($when)+)?], version) {
                    messages!(@sample [$($($when)+)?] message.$field, source, version);
                })*
                message
            }
        }
    )*};

    (@default) => { Default::default() };
    (@default $default:expr) => { $default };

    (@field $input:ident, $version:ident, $name:ident.$field:ident) => {
        $crate::wire::Wire::read($input, $version)
            .map_err(|error| error.at(concat!(stringify!($name), ".", stringify!($field))))?
    };

    // Whether a version carries a field.
    (@present [], $version:ident) => { true };
    (@present [null $since:literal ..], $version:ident) => { true };
    (@present [null $since:literal .., $($range:tt)+], $version:ident) => {
        ($($range)+).contains(&$version.number)
    };
    (@present [tag $tag:literal, $($range:tt)+], $version:ident) => {
        ($($range)+).contains(&$version.number)
    };
    (@present [$($range:tt)+], $version:ident) => { ($($range)+).contains(&$version.number) };

    (@read [tag $($_:tt)+] $($rest:tt)*) => {};
    (
        @read [null $since:literal .. $($_:tt)*]
        $name:ident $m:ident.$f:ident, $input:ident, $version:ident
    ) => {
        messages!(@read [] $name $m.$f, $input, $version);
        if $version.number < $since {
            $m.$f.get_or_insert_default();
        }
    };
    (@read [$($_:tt)*] $name:ident $m:ident.$f:ident, $input:ident, $version:ident) => {
        $m.$f = messages!(@field $input, $version, $name.$f);
    };

    (
        @sample [null $since:literal .. $($_:tt)*]
        $m:ident.$f:ident, $source:ident, $version:ident
    ) => {
        messages!(@sample [] $m.$f, $source, $version);
        if $version.number < $since {
            $m.$f.get_or_insert_default();
        }
    };
    (@sample [$($_:tt)*] $m:ident.$f:ident, $source:ident, $version:ident) => {
        $m.$f = $crate::sample::Sample::sample($source, $version);
    };

    (
        @read_tag [tag $tag:literal, $($range:tt)+]
        $name:ident $m:ident.$f:ident, $input:ident, $version:ident, $seen:ident
    ) => {
        if $seen == $tag && ($($range)+).contains(&$version.number) {
            $m.$f = messages!(@field $input, $version, $name.$f);
        }
    };
    (@read_tag $($_:tt)*) => {};

    (@write [tag $($_:tt)+] $($rest:tt)*) => {};
    (@write [null $since:literal .. $($_:tt)*] $m:ident.$f:ident, $out:ident, $version:ident) => {
        match &$m.$f {
            None if $version.number < $since => {
                $crate::wire::write_empty(&$m.$f, $out, $version);
            }
            value => $crate::wire::Wire::write(value, $out, $version),
        }
    };
    (@write [$($_:tt)*] $m:ident.$f:ident, $out:ident, $version:ident) => {
        $crate::wire::Wire::write(&$m.$f, $out, $version);
    };

    (
        @write_tag [tag $tag:literal, $($range:tt)+]
        $m:ident.$f:ident, $absent:ident, $tags:ident, $version:ident
    ) => {
        if ($($range)+).contains(&$version.number) && $m.$f != $absent.$f {
            $tags.push($tag, |out| $crate::wire::Wire::write(&$m.$f, out, $version));
        }
    };
    (@write_tag $($_:tt)*) => {};
}

/// Declares the APIs: `ApiKey`, and the `Request` and `Response` enums.
macro_rules! apis {
    ($(
        $(#[$doc:meta])*
        $name:ident = $key:literal, versions $min:literal..=$max:literal, flexible $flex:tt $(..)?,
            $request:ident => $response:ident;
    )*) => {
        /// An API of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey { $($(#[$doc])* $name = $key,)* }

        impl ApiKey {
            /// Every API of the table, by key.
            pub const ALL: &[ApiKey] = &[$(ApiKey::$name),*];

            /// The API with this key, if it is in the table.
            pub const fn from_i16(key: i16) -> Option<Self> {
                match key { $($key => Some(Self::$name),)* _ => None }
            }

            /// Kafka's name of the API.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The versions we read and write.
            pub const fn versions(self) -> std::ops::RangeInclusive<i16> {
                match self { $(Self::$name => $min..=$max,)* }
            }

            /// A version number with what it implies for the encoding.
            pub const fn version(self, number: i16) -> $crate::wire::Version {
                let flexible = match self { $(Self::$name => apis!(@flexible $flex, number),)* };
                $crate::wire::Version { number, flexible }
            }
        }

        /// The body of a request.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request { $(#[allow(missing_docs)] $name($request),)* }

        /// The body of a response.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Response { $(#[allow(missing_docs)] $name($response),)* }

        impl Request {
            /// Which API this is.
            pub const fn api_key(&self) -> ApiKey {
                match self { $(Self::$name(_) => ApiKey::$name,)* }
            }

            /// Reads a body; the version must be one of [`ApiKey::versions`].
            pub fn read(
                key: ApiKey,
                version: $crate::wire::Version,
                input: &mut $crate::wire::Reader,
            ) -> $crate::wire::Result<Self> {
                use $crate::wire::Wire;
                Ok(match key {
                    $(ApiKey::$name => Self::$name($request::read(input, version)?),)*
                })
            }

            /// Appends the body.
            pub fn write(&self, out: &mut $crate::wire::Writer, version: $crate::wire::Version) {
                use $crate::wire::Wire;
                match self { $(Self::$name(body) => body.write(out, version),)* }
            }
        }

        impl Response {
            /// Which API this is.
            pub const fn api_key(&self) -> ApiKey {
                match self { $(Self::$name(_) => ApiKey::$name,)* }
            }

            /// Reads a body; the version must be one of [`ApiKey::versions`].
            pub fn read(
                key: ApiKey,
                version: $crate::wire::Version,
                input: &mut $crate::wire::Reader,
            ) -> $crate::wire::Result<Self> {
                use $crate::wire::Wire;
                Ok(match key {
                    $(ApiKey::$name => Self::$name($response::read(input, version)?),)*
                })
            }

            /// Appends the body.
            pub fn write(&self, out: &mut $crate::wire::Writer, version: $crate::wire::Version) {
                use $crate::wire::Wire;
                match self { $(Self::$name(body) => body.write(out, version),)* }
            }
        }

        #[cfg(feature = "sample")]
        impl Request {
            /// Random content for the body of an API at a version.
            pub fn sample(
                key: ApiKey,
                version: $crate::wire::Version,
                source: &mut $crate::sample::Source,
            ) -> Self {
                use $crate::sample::Sample;
                match key { $(ApiKey::$name => Self::$name($request::sample(source, version)),)* }
            }
        }

        #[cfg(feature = "sample")]
        impl Response {
            /// Random content for the body of an API's answer at a version.
            pub fn sample(
                key: ApiKey,
                version: $crate::wire::Version,
                source: &mut $crate::sample::Source,
            ) -> Self {
                use $crate::sample::Sample;
                match key { $(ApiKey::$name => Self::$name($response::sample(source, version)),)* }
            }
        }

        $(
            impl From<$request> for Request {
                fn from(body: $request) -> Self { Self::$name(body) }
            }

            impl From<$response> for Response {
                fn from(body: $response) -> Self { Self::$name(body) }
            }
        )*
    };

    (@flexible never, $number:ident) => { false };
    (@flexible $flex:literal, $number:ident) => { $number >= $flex };
}
