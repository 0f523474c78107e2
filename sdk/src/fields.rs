//! Typed views of the packed fields that a hook receives.

/// What the bytes of a field hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Whatever the client or another plugin sent.
    Bytes,
    /// Eight bytes, little-endian.
    U64,
    /// Values of one header, kept apart; see [`Values`].
    List,
}

/// The first phase in which a field exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Before the handler.
    Request,
    /// After the handler.
    Response,
    /// After the last byte.
    Completion,
}

struct Spec {
    name: &'static str,
    kind: Kind,
    always: bool,
    since: Phase,
}

const fn always(name: &'static str, kind: Kind, since: Phase) -> Spec {
    Spec { name, kind, always: true, since }
}

const fn maybe(name: &'static str, kind: Kind, since: Phase) -> Spec {
    Spec { name, kind, always: false, since }
}

/// The contract's table of fields; a name that ends in `:` stands for a family.
const SPECS: &[Spec] = &[
    always("method", Kind::Text, Phase::Request),
    always("path", Kind::Text, Phase::Request),
    maybe("query", Kind::Text, Phase::Request),
    maybe("route", Kind::Text, Phase::Request),
    maybe("authority", Kind::Text, Phase::Request),
    always("protocol", Kind::Text, Phase::Request),
    always("service", Kind::Text, Phase::Request),
    always("generation", Kind::U64, Phase::Request),
    maybe("address", Kind::Text, Phase::Request),
    always("request-id", Kind::Text, Phase::Request),
    always("trace-id", Kind::Text, Phase::Request),
    always("span-id", Kind::Text, Phase::Request),
    always("time", Kind::U64, Phase::Request),
    maybe("header:", Kind::Bytes, Phase::Request),
    maybe("header-list:", Kind::List, Phase::Request),
    maybe("attribute:", Kind::Bytes, Phase::Request),
    maybe("caller.user-id", Kind::Text, Phase::Request),
    maybe("caller.client-id", Kind::Text, Phase::Request),
    maybe("caller.scopes", Kind::Text, Phase::Request),
    always("status", Kind::U64, Phase::Response),
    maybe("response-header:", Kind::Bytes, Phase::Response),
    maybe("response-header-list:", Kind::List, Phase::Response),
    always("duration-us", Kind::U64, Phase::Response),
    always("response-bytes", Kind::U64, Phase::Completion),
    always("ended-by", Kind::Text, Phase::Completion),
    always("decisions", Kind::Text, Phase::Completion),
];

/// A Rust type that a field can be read as: `&str` (text), `&[u8]` (bytes), `u64`, [`Values`]
/// (lists), or an `Option` of one of them.
pub trait Value<'a>: Sized {
    /// What the field must hold.
    const KIND: Kind;
    /// Whether the field may be absent.
    const OPTIONAL: bool;
    /// Reads the field `name`; `raw` is `None` when it is absent.
    fn read(name: &str, raw: Option<&'a [u8]>) -> Self;
}

impl<'a> Value<'a> for &'a [u8] {
    const KIND: Kind = Kind::Bytes;
    const OPTIONAL: bool = false;
    #[inline]
    fn read(name: &str, raw: Option<&'a [u8]>) -> Self {
        raw.unwrap_or_else(|| broken(name, "is absent"))
    }
}

impl<'a> Value<'a> for &'a str {
    const KIND: Kind = Kind::Text;
    const OPTIONAL: bool = false;
    #[inline]
    fn read(name: &str, raw: Option<&'a [u8]>) -> Self {
        let raw = raw.unwrap_or_else(|| broken(name, "is absent"));
        std::str::from_utf8(raw).unwrap_or_else(|_| broken(name, "is not UTF-8"))
    }
}

impl<'a> Value<'a> for u64 {
    const KIND: Kind = Kind::U64;
    const OPTIONAL: bool = false;
    #[inline]
    fn read(name: &str, raw: Option<&'a [u8]>) -> Self {
        let raw = raw.unwrap_or_else(|| broken(name, "is absent"));
        raw.try_into().map_or_else(|_| broken(name, "is not of eight bytes"), u64::from_le_bytes)
    }
}

/// All values of one header, in their order: what `header-list:NAME` and
/// `response-header-list:NAME` hold. An iterator that copies nothing.
///
/// ```
/// pillion_plugin::fields! {
///     struct Answered<'a> {
///         cookies: Option<pillion_plugin::Values<'a>> = "response-header-list:set-cookie",
///     }
/// }
/// # fn main() {}
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values<'a>(&'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let Some((value, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)
        else {
            broken("header-list", "ends within a value")
        };
        self.0 = rest;
        Some(value)
    }
}

impl<'a> Value<'a> for Values<'a> {
    const KIND: Kind = Kind::List;
    const OPTIONAL: bool = false;
    #[inline]
    fn read(name: &str, raw: Option<&'a [u8]>) -> Self {
        Self(raw.unwrap_or_else(|| broken(name, "is absent")))
    }
}

impl<'a, V: Value<'a>> Value<'a> for Option<V> {
    const KIND: Kind = V::KIND;
    const OPTIONAL: bool = true;
    #[inline]
    fn read(name: &str, raw: Option<&'a [u8]>) -> Self {
        raw.map(|raw| V::read(name, Some(raw)))
    }
}

/// A struct whose fields are those that a hook asks for; made by [`fields!`](crate::fields!).
/// `()` asks for none.
pub trait View<'a>: Sized {
    /// Names of the fields, in the order of the struct.
    const NAMES: &'static [&'static str];
    /// Reads all fields without copying.
    fn unpack(packed: Packed<'a>) -> Self;
}

impl<'a> View<'a> for () {
    const NAMES: &'static [&'static str] = &[];
    #[inline]
    fn unpack(_: Packed<'a>) -> Self {}
}

/// Bit of an entry of `ends` that says that the field is absent.
pub(crate) const ABSENT: u32 = 1 << 31;

/// The fields of one hook call as they cross from the host; see `types` in the contract.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    fields: &'a [u8],
    ends: &'a [u32],
    start: usize,
}

impl<'a> Packed<'a> {
    /// The two parameters of a hook.
    #[inline]
    pub fn new(fields: &'a [u8], ends: &'a [u32]) -> Self {
        Self { fields, ends, start: 0 }
    }

    /// The next value, called `name`.
    #[inline]
    pub fn next<V: Value<'a>>(&mut self, name: &str) -> V {
        let Some((&entry, ends)) = self.ends.split_first() else {
            broken(name, "is missing from the list of ends")
        };
        self.ends = ends;
        if entry & ABSENT != 0 {
            return V::read(name, None);
        }
        let end = entry as usize;
        let Some(value) = self.fields.get(self.start..end) else {
            broken(name, "ends out of order")
        };
        self.start = end;
        V::read(name, Some(value))
    }
}

/// The hook fails, and the plugin's failure policy decides: the host has broken the contract.
#[cold]
#[inline(never)]
#[expect(
    clippy::panic,
    reason = "nothing sensible can be done with a host that breaks the contract"
)]
fn broken(name: &str, what: &str) -> ! {
    panic!("the host broke the contract: field `{name}` {what}")
}

/// Checks at compile time that the field `name` exists and can be read as `V`.
///
/// # Panics
/// With the reason, which the compiler then shows.
#[doc(hidden)]
#[expect(clippy::panic, reason = "runs in the compiler only")]
pub const fn checked<'a, V: Value<'a>>(name: &'static str) -> &'static str {
    assert!(
        !names_field(name.as_bytes(), b"response-header:set-cookie"),
        "several `set-cookie` headers cannot be joined: read `response-header-list:set-cookie`"
    );
    let Some(spec) = find(name) else {
        panic!("no such field: see the table of `types` in the contract, wit/v0.1/types.wit")
    };
    match (spec.kind, V::KIND) {
        (Kind::Text, Kind::Text)
        | (Kind::Bytes, Kind::Bytes)
        | (Kind::U64, Kind::U64)
        | (Kind::List, Kind::List) => {}
        (Kind::Text, _) => panic!("this field is text: read it as `&str`"),
        (Kind::Bytes, _) => panic!("this field is bytes: read it as `&[u8]`"),
        (Kind::U64, _) => panic!("this field is a number: read it as `u64`"),
        (Kind::List, _) => panic!("this field is a list: read it as `Values`"),
    }
    assert!(spec.always || V::OPTIONAL, "this field may be absent: read it as an `Option`");
    name
}

/// Checks at compile time that every field of a view exists in `phase`.
///
/// # Panics
/// With the reason, which the compiler then shows.
#[doc(hidden)]
pub const fn check_phase(names: &'static [&'static str], phase: Phase) {
    assert!(names.len() <= FIELDS_MAX, "at most 64 fields a phase");
    let mut rest = names;
    while let Some((name, tail)) = rest.split_first() {
        if let Some(spec) = find(name) {
            assert!(
                spec.since as u8 <= phase as u8,
                "a field of this phase exists only in a later one (`status` before the response, …)"
            );
        }
        rest = tail;
    }
}

/// The contract's bound of fields a phase.
const FIELDS_MAX: usize = 64;

const fn find(name: &str) -> Option<&'static Spec> {
    let mut rest = SPECS;
    while let Some((spec, tail)) = rest.split_first() {
        if names_field(name.as_bytes(), spec.name.as_bytes()) {
            return Some(spec);
        }
        rest = tail;
    }
    None
}

/// Whether `name` is `known`, or a lower-case member of the family `known`.
const fn names_field(mut name: &[u8], mut known: &[u8]) -> bool {
    while let Some((wanted, known_tail)) = known.split_first() {
        let Some((byte, name_tail)) = name.split_first() else {
            return false;
        };
        if *byte != *wanted {
            return false;
        }
        if *byte == b':' && known_tail.is_empty() {
            return is_member(name_tail);
        }
        name = name_tail;
        known = known_tail;
    }
    name.is_empty()
}

const fn is_member(mut name: &[u8]) -> bool {
    if name.is_empty() {
        return false;
    }
    while let Some((byte, tail)) = name.split_first() {
        if byte.is_ascii_uppercase() || !byte.is_ascii_graphic() {
            return false;
        }
        name = tail;
    }
    true
}

/// Declares the fields that a hook wants, as a struct that borrows them from the call.
///
/// Types: `&str` for text, `&[u8]` for bytes (headers, attributes), `u64` for numbers,
/// [`Values`](crate::Values) for lists of a header's values, each in an `Option` where the field
/// can be absent. Names are those of the contract. A wrong name, type or phase is a compile error.
/// A struct without text and bytes takes no lifetime.
///
/// ```
/// pillion_plugin::fields! {
///     struct Seen<'a> {
///         path: &'a str = "path",
///         agent: Option<&'a [u8]> = "header:user-agent",
///         time_us: u64 = "time",
///     }
/// }
/// # fn main() {}
/// ```
///
/// ```compile_fail
/// pillion_plugin::fields! {
///     struct Seen<'a> { agent: &'a [u8] = "header:user-agent" } // may be absent
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! fields {
    () => {};
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident<$life:lifetime> { $($body:tt)+ }
        $($rest:tt)*
    ) => {
        $crate::fields!(@struct [$(#[$meta])* $vis struct $name<$life>] [$name<$life>] [$life] [$name<'static>] $($body)+);
        $crate::fields!($($rest)*);
    };
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident { $($body:tt)+ }
        $($rest:tt)*
    ) => {
        $crate::fields!(@struct [$(#[$meta])* $vis struct $name] [$name] ['packed] [$name] $($body)+);
        $crate::fields!($($rest)*);
    };
    (
        @struct [$($head:tt)+] [$self:ty] [$life:lifetime] [$static:ty]
        $( $(#[$meta:meta])* $vis:vis $field:ident : $type:ty = $wire:expr ),+ $(,)?
    ) => {
        $($head)+ {
            $( $(#[$meta])* $vis $field: $type, )+
        }

        impl<$life> $crate::View<$life> for $self {
            const NAMES: &'static [&'static str] =
                &[$( $crate::__private::checked::<'_, $type>($wire) ),+];

            #[inline]
            fn unpack(mut packed: $crate::Packed<$life>) -> Self {
                Self { $( $field: packed.next($wire) ),+ }
            }
        }

        const _: &[&str] = <$static as $crate::View<'static>>::NAMES;
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fields! {
        #[derive(Debug, PartialEq)]
        struct Seen<'a> {
            path: &'a str = "path",
            query: Option<&'a str> = "query",
            agent: Option<&'a [u8]> = "header:user-agent",
            time: u64 = "time",
        }
    }

    fields! { struct Numbers { status: u64 = "status", took: u64 = "duration-us" } }

    #[test]
    fn numbers_need_no_lifetime() {
        let mut bytes = 200_u64.to_le_bytes().to_vec();
        bytes.extend_from_slice(&9_u64.to_le_bytes());
        let numbers = Numbers::unpack(Packed::new(&bytes, &[8, 16]));
        assert_eq!((numbers.status, numbers.took), (200, 9));
    }

    #[test]
    fn unpacks_present_and_absent_fields() {
        let mut bytes = b"/hello".to_vec();
        bytes.extend_from_slice(b"curl");
        bytes.extend_from_slice(&7_u64.to_le_bytes());
        let seen = Seen::unpack(Packed::new(&bytes, &[6, 6 | ABSENT, 10, 18]));
        assert_eq!(seen, Seen { path: "/hello", query: None, agent: Some(b"curl"), time: 7 });
    }

    #[test]
    fn an_empty_value_is_not_an_absent_one() {
        let seen = Seen::unpack(Packed::new(&[0; 8], &[0, 0, ABSENT, 8]));
        assert_eq!(seen, Seen { path: "", query: Some(""), agent: None, time: 0 });
    }

    #[test]
    #[should_panic(expected = "field `time` is missing from the list of ends")]
    fn a_short_list_of_ends_fails_the_hook() {
        Seen::unpack(Packed::new(b"/", &[1, ABSENT, ABSENT]));
    }

    #[test]
    #[should_panic(expected = "field `header:agent` ends out of order")]
    fn ends_out_of_order_fail_the_hook() {
        fields! { struct Two<'a> { path: &'a str = "path", #[expect(dead_code, reason = "never read")] agent: Option<&'a [u8]> = "header:agent" } }
        let two = Two::unpack(Packed::new(b"/abc", &[4, 1]));
        assert_eq!(two.path, "/abc");
    }

    #[test]
    fn h16_values_of_a_header_are_read_one_by_one() {
        fields! { struct Cookies<'a> { all: Option<Values<'a>> = "header-list:cookie" } }
        let bytes = b"\x03\0\0\0a=1\0\0\0\0\x05\0\0\0b=\x20,;";
        let end = u32::try_from(bytes.len()).unwrap();
        let ends = [end];
        let cookies = Cookies::unpack(Packed::new(bytes, &ends));
        assert_eq!(cookies.all.unwrap().collect::<Vec<_>>(), [&b"a=1"[..], b"", b"b= ,;"]);
        assert_eq!(Cookies::unpack(Packed::new(b"", &[ABSENT])).all, None);
    }

    #[test]
    fn names_are_those_of_the_contract() {
        assert!(find("caller.scopes").is_some());
        assert!(find("attribute:auth.plan").is_some());
        for wrong in ["pathh", "pat", "header:", "header:User-Agent", "header:a b", ""] {
            assert!(find(wrong).is_none(), "{wrong}");
        }
    }

    /// Every name in the contract's table is known here, and the other way round.
    #[test]
    fn the_table_is_that_of_the_contract() {
        let wit = include_str!("../../wit/v0.1/types.wit");
        let rows: Vec<&str> = wit
            .lines()
            .filter_map(|line| line.strip_prefix("/// | `")?.split('`').next())
            .map(|name| name.strip_suffix("NAME").unwrap_or(name))
            .collect();
        let known: Vec<&str> = SPECS.iter().map(|spec| spec.name).collect();
        assert_eq!(rows, known);
    }
}
