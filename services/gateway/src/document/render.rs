//! The page: first steps, then the routes, each folded to one line.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{SCRIPT, example, resolved};

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

const STYLE: &str = include_str!("page.css");

/// Commands that lead from nothing to a home timeline. The address is where the page came from.
const FIRST_STEPS: &str = include_str!("first_steps.html");

/// The page of a document.
pub(super) fn page(document: &Value) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = render(&mut page, document);
    page
}

fn render(page: &mut String, document: &Value) -> std::fmt::Result {
    let info = &document["info"];
    write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{0}</title><style>{STYLE}</style>\
         <h1>{0}</h1><p>{1}</p><p>The same for machines: \
         <a href=\"/openapi.json\">/openapi.json</a></p>{FIRST_STEPS}\
         <p hidden><input type=\"search\" id=\"search\" placeholder=\"Search routes\" \
         aria-label=\"Search routes\" autocomplete=\"off\"></p>\
         <p id=\"none\" hidden>No route has these words.</p>",
        escaped(text(&info["title"])),
        prose(text(&info["description"])),
    )?;
    for tag in document["tags"].as_array().into_iter().flatten() {
        render_tag(page, document, tag)?;
    }
    write!(page, "<script>{SCRIPT}</script></html>")
}

fn render_tag(page: &mut String, document: &Value, tag: &Value) -> std::fmt::Result {
    let name = text(&tag["name"]);
    write!(
        page,
        "<section class=\"tag\"><details><summary><h2 id=\"{0}\">{0}</h2></summary><p>{1}</p>",
        escaped(name),
        prose(text(&tag["description"])),
    )?;
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for method in METHODS {
            let operation = &item[method];
            let mut tags = operation["tags"].as_array().into_iter().flatten();
            if tags.any(|tagged| tagged == name) {
                render_operation(page, document, method, path, operation)?;
            }
        }
    }
    page.push_str("</details></section>");
    Ok(())
}

fn render_operation(
    page: &mut String,
    document: &Value,
    method: &str,
    path: &str,
    operation: &Value,
) -> std::fmt::Result {
    let (summary, description) = (text(&operation["summary"]), text(&operation["description"]));
    let words = format!("{method} {path} {summary} {description}").to_lowercase();
    write!(
        page,
        "<article data-text=\"{0}\"><details class=\"op\" id=\"{1}\"><summary>\
         <b class=\"m\">{2}</b> <code>{3}</code> <span>{4}</span></summary><p>{5}</p>",
        escaped(&words).replace('`', ""),
        escaped(text(&operation["operationId"])),
        method.to_uppercase(),
        // A long path may break between its parts.
        escaped(path).replace('/', "/<wbr>"),
        prose(summary),
        prose(description),
    )?;
    let scopes = operation.pointer("/security/0/bearer").and_then(Value::as_array);
    if let Some(scopes) = scopes {
        let scopes: Vec<&str> = scopes.iter().map(text).collect();
        let scopes = if scopes.is_empty() { "an app's own".to_owned() } else { scopes.join(" ") };
        write!(page, "<p>Token: <code>{}</code></p>", escaped(&scopes))?;
    }
    render_parameters(page, document, operation)?;
    render_answers(page, document, operation)?;
    page.push_str("</details></article>");
    Ok(())
}

fn render_parameters(page: &mut String, document: &Value, operation: &Value) -> std::fmt::Result {
    let mut rows = String::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let parameter = resolved(document, parameter);
        let required = parameter["required"] == true;
        render_row(&mut rows, parameter, &parameter["schema"], required)?;
    }
    let contents = operation.pointer("/requestBody/content").and_then(Value::as_object);
    let content = contents.and_then(|contents| contents.values().next());
    if let Some(content) = content {
        let schema = resolved(document, &content["schema"]);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut list = schema["required"].as_array().into_iter().flatten();
            let required = list.any(|required| required == name);
            let row = json!({ "name": name, "in": "body",
                "description": property["description"] });
            let property = resolved(document, property);
            render_row(&mut rows, &row, property, required)?;
        }
    }
    if !rows.is_empty() {
        write!(page, "<table><tr><th>Parameter<th>In<th>Meaning{rows}</table>")?;
    }
    if let Some(example) = content.and_then(|content| content.get("example")) {
        write!(page, "<p>A body such as</p>{}", block(example))?;
    }
    Ok(())
}

fn render_row(
    rows: &mut String,
    parameter: &Value,
    schema: &Value,
    required: bool,
) -> std::fmt::Result {
    let values = schema.pointer("/items/enum").or_else(|| schema.get("enum"));
    let values = values.and_then(Value::as_array).into_iter().flatten();
    let values: Vec<&str> = values.filter_map(Value::as_str).collect();
    write!(
        rows,
        "<tr><td><code>{}</code>{}<td>{}<td>{}",
        escaped(text(&parameter["name"])),
        if required { " *" } else { "" },
        escaped(text(&parameter["in"])),
        prose(text(&parameter["description"])),
    )?;
    match values.len() {
        0 => Ok(()),
        1..=5 => write!(rows, " <code>{}</code>", escaped(&values.join(", "))),
        // Lists of dozens of fields would fill the page.
        _ => write!(
            rows,
            " <details><summary>{} values</summary><code>{}</code></details>",
            values.len(),
            escaped(&values.join(", "))
        ),
    }
}

fn render_answers(page: &mut String, document: &Value, operation: &Value) -> std::fmt::Result {
    let mut rows = String::new();
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let answer = resolved(document, answer);
        let meaning = prose(text(&answer["description"]));
        write!(rows, "<tr><td><code>{}</code><td>{meaning}", escaped(status))?;
        if status.starts_with('2')
            && let Some(content) = answer.pointer("/content/application~1json")
        {
            let example = content.get("example").cloned();
            let example =
                example.unwrap_or_else(|| example::of_schema(document, &content["schema"]));
            rows.push_str(&block(&example));
        }
    }
    write!(page, "<table><tr><th>Answer<th>When{rows}</table>")
}

/// JSON as it is read by people.
fn block(value: &Value) -> String {
    let json = serde_json::to_string_pretty(value).unwrap_or_default();
    format!("<pre>{}</pre>", escaped(&json))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The document's prose as HTML: paragraphs, and code between backticks.
fn prose(text: &str) -> String {
    let mut html = String::new();
    for (index, part) in escaped(text).replace("\n\n", "</p><p>").split('`').enumerate() {
        if index > 0 {
            html.push_str(if index % 2 == 1 { "<code>" } else { "</code>" });
        }
        html.push_str(part);
    }
    html
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
