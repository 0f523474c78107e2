//! The contract's types as an import of a component in WAT: a composed plugin hands them through.

use std::fmt::Write as _;

use wit_bindgen_core::wit_parser::{Resolve, Type, TypeDefKind};

/// Imports `pillion:plugin/types` as `$types`.
pub(super) fn import(resolve: &Resolve) -> String {
    let found = resolve.interfaces.iter().find(|(_, found)| found.name.as_deref() == Some("types"));
    let (_, interface) = found.expect("the contract has types");
    let mut text = "(import \"pillion:plugin/types@{V}\" (instance $types\n".to_owned();
    for (name, id) in &interface.types {
        let written = definition(resolve, &resolve.types[*id].kind);
        let _ = writeln!(
            text,
            "(type $raw-{name} {written})\n(export \"{name}\" (type $t-{name} (eq $raw-{name})))"
        );
    }
    text + "))"
}

fn definition(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let one = |type_: &Type| reference(resolve, type_);
    match kind {
        TypeDefKind::Record(record) => {
            let fields = record.fields.iter();
            let fields: Vec<String> = fields
                .map(|field| format!("(field \"{}\" {})", field.name, one(&field.ty)))
                .collect();
            format!("(record {})", fields.join(" "))
        }
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter();
            let cases: Vec<String> = cases
                .map(|case| {
                    let payload = case.ty.as_ref().map(one).unwrap_or_default();
                    format!("(case \"{}\" {payload})", case.name)
                })
                .collect();
            format!("(variant {})", cases.join(" "))
        }
        TypeDefKind::Enum(kinds) => {
            let cases: Vec<String> =
                kinds.cases.iter().map(|case| format!("\"{}\"", case.name)).collect();
            format!("(enum {})", cases.join(" "))
        }
        TypeDefKind::List(item) => format!("(list {})", one(item)),
        TypeDefKind::Option(item) => format!("(option {})", one(item)),
        TypeDefKind::Tuple(tuple) => {
            format!(
                "(tuple {})",
                tuple.types.iter().map(|item| one(item) + " ").collect::<String>()
            )
        }
        other => panic!("the contract has a type that the corpus cannot write: {other:?}"),
    }
}

fn reference(resolve: &Resolve, type_: &Type) -> String {
    let word = match type_ {
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S8 => "s8",
        Type::S16 => "s16",
        Type::S32 => "s32",
        Type::S64 => "s64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::Id(id) => {
            let found = &resolve.types[*id];
            return match &found.name {
                Some(name) => format!("$t-{name}"),
                None => definition(resolve, &found.kind),
            };
        }
        other @ Type::ErrorContext => {
            panic!("the contract has a type that the corpus cannot write: {other:?}")
        }
    };
    word.to_owned()
}
