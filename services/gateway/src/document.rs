//! The API's own `OpenAPI` document, and a page that people can read.

use std::fmt::Write as _;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use pillion_chassis::Json;
use serde_json::{Value, json};

use crate::Gateway;

/// The `OpenAPI` 3.1 document, as served.
pub(crate) const OPENAPI: &str = include_str!("../openapi.json");

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;\
color:#1b1f24;background:#fff}h1{font-size:1.8rem}h2{margin-top:2.5rem;border-bottom:1px solid \
#d0d7de}h3{font:600 1rem ui-monospace,monospace;margin:1.8rem 0 .3rem}code{font-family:\
ui-monospace,monospace;font-size:.9em}b.m{display:inline-block;min-width:4.5em;color:#0550ae}\
nav a{display:inline-block;margin:0 1rem .25rem 0}\
table{border-collapse:collapse;width:100%;font-size:.9rem}th,td{text-align:left;padding:.25rem \
.75rem .25rem 0;vertical-align:top;border-bottom:1px solid #eaeef2}td.v{overflow-wrap:anywhere}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}b.m{color:#79c0ff}\
h2,th,td{border-color:#30363d}a{color:#79c0ff}}";

/// The page, rendered once.
#[derive(Debug)]
pub(crate) struct Document {
    page: String,
}

impl Document {
    /// Renders the page from the document.
    pub(crate) fn load() -> Result<Self, serde_json::Error> {
        let document: Value = serde_json::from_str(OPENAPI)?;
        let mut page = String::new();
        // Writing to a String cannot fail.
        let _ = render(&mut page, &document);
        Ok(Self { page })
    }
}

/// `GET /`
pub(crate) async fn welcome() -> Json<Value> {
    Json(json!({ "name": "Pillion", "docs": "/docs", "openapi": "/openapi.json" }))
}

/// `GET /openapi.json`
pub(crate) async fn json() -> Response {
    fixed("application/json", OPENAPI)
}

/// `GET /docs`
pub(crate) async fn page(State(gateway): State<Gateway>) -> Response {
    let mut response = fixed("text/html; charset=utf-8", gateway.document.page.clone());
    // The page has no scripts and needs nothing from anywhere.
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

fn fixed(kind: &'static str, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn render(page: &mut String, document: &Value) -> std::fmt::Result {
    let info = &document["info"];
    write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{0}</title><style>{STYLE}</style><h1>{0}</h1>\
         <p>{1}</p><p>The same for machines: <a href=\"/openapi.json\">/openapi.json</a></p>",
        escaped(text(&info["title"])),
        paragraphs(text(&info["description"])),
    )?;
    let tags = || document["tags"].as_array().into_iter().flatten();
    page.push_str("<nav>");
    for tag in tags() {
        write!(page, "<a href=\"#{0}\">{0}</a> ", escaped(text(&tag["name"])))?;
    }
    page.push_str("</nav>");
    for tag in tags() {
        let name = text(&tag["name"]);
        write!(page, "<h2 id=\"{0}\">{0}</h2>", escaped(name))?;
        write!(page, "<p>{}</p>", paragraphs(text(&tag["description"])))?;
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for method in METHODS {
                let operation = &item[method];
                let tagged = operation["tags"].as_array().into_iter().flatten();
                if tagged.into_iter().any(|tagged| tagged == name) {
                    render_operation(page, document, method, path, operation)?;
                }
            }
        }
    }
    page.push_str("</html>");
    Ok(())
}

fn render_operation(
    page: &mut String,
    document: &Value,
    method: &str,
    path: &str,
    operation: &Value,
) -> std::fmt::Result {
    write!(
        page,
        "<h3 id=\"{2}\"><b class=\"m\">{0}</b>{1}</h3><p>{3}</p>",
        method.to_uppercase(),
        escaped(path),
        escaped(text(&operation["operationId"])),
        paragraphs(text(&operation["description"])),
    )?;
    let mut rows = String::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let parameter = resolved(document, parameter);
        let required = parameter["required"] == true;
        render_row(&mut rows, parameter, &parameter["schema"], required)?;
    }
    let contents = operation.pointer("/requestBody/content").and_then(Value::as_object);
    for (_, content) in contents.into_iter().flatten().take(1) {
        let schema = resolved(document, &content["schema"]);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let list = schema["required"].as_array().into_iter().flatten();
            let required = list.into_iter().any(|required| required == name);
            let row = json!({ "name": name, "in": "body",
                "description": property["description"] });
            let property = resolved(document, property);
            render_row(&mut rows, &row, property, required)?;
        }
    }
    if let Some(scopes) = operation.pointer("/security/0/bearer").and_then(Value::as_array) {
        let scopes: Vec<&str> = scopes.iter().map(text).collect();
        let scopes = if scopes.is_empty() { "an app's own".to_owned() } else { scopes.join(" ") };
        write!(page, "<p>Token: <code>{}</code></p>", escaped(&scopes))?;
    }
    if !rows.is_empty() {
        write!(page, "<table><tr><th>Parameter<th>In<th>Meaning{rows}</table>")?;
    }
    let example = contents.and_then(|contents| contents.values().next()?.get("example"));
    if let Some(example) = example {
        write!(page, "<p>Such as <code>{}</code></p>", escaped(&example.to_string()))?;
    }
    let mut answers = String::new();
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let answer = resolved(document, answer);
        let meaning = escaped(text(&answer["description"]));
        write!(answers, "<tr><td><code>{}</code><td>{meaning}", escaped(status))?;
    }
    write!(page, "<table><tr><th>Answer<th>When{answers}</table>")
}

fn render_row(
    rows: &mut String,
    parameter: &Value,
    schema: &Value,
    required: bool,
) -> std::fmt::Result {
    let values = schema.pointer("/items/enum").or_else(|| schema.get("enum"));
    let values = values.and_then(Value::as_array);
    let values: Vec<&str> = values.into_iter().flatten().map(text).collect();
    write!(
        rows,
        "<tr><td><code>{}</code>{}<td>{}<td class=\"v\">{}{}",
        escaped(text(&parameter["name"])),
        if required { " *" } else { "" },
        escaped(text(&parameter["in"])),
        escaped(text(&parameter["description"])),
        if values.is_empty() {
            String::new()
        } else {
            format!(" <code>{}</code>", escaped(&values.join(", ")))
        },
    )
}

/// What a `$ref` in the same document points at; anything else is itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    target.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn paragraphs(text: &str) -> String {
    escaped(text).replace("\n\n", "</p><p>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
