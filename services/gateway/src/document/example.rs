//! Examples made of schemas, for answers that the document has none of.

use serde_json::{Map, Value, json};

use super::resolved;

/// Schemas within schemas; no answer is deeper.
const DEPTH_MAX: usize = 8;

/// What a value of this schema looks like.
pub(super) fn of_schema(document: &Value, schema: &Value) -> Value {
    make(document, schema, DEPTH_MAX)
}

fn make(document: &Value, schema: &Value, depth: usize) -> Value {
    let schema = resolved(document, schema);
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    if let Some(first) = schema.pointer("/enum/0") {
        return first.clone();
    }
    if depth == 0 {
        return Value::Null;
    }
    if let Some(first) = schema.pointer("/oneOf/0").or_else(|| schema.pointer("/anyOf/0")) {
        return make(document, first, depth - 1);
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match kind {
        Some("object") => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let required: Vec<&str> = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let shown =
                |name: &str| required.is_empty() || required.contains(&name) || name == "data";
            let members: Map<String, Value> = properties
                .filter(|(name, _)| shown(name))
                .map(|(name, property)| (name.clone(), make(document, property, depth - 1)))
                .collect();
            members.into()
        }
        Some("array") => json!([make(document, &schema["items"], depth - 1)]),
        Some("integer" | "number") => json!(0),
        Some("boolean") => json!(true),
        Some("string") if schema["format"] == "date-time" => json!("2026-07-01T10:00:01.000Z"),
        Some("string") => json!("text"),
        _ => Value::Null,
    }
}
