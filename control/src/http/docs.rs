//! The document of [`super::openapi`] as a page to read: plain HTML, made once, without a script.
//!
//! Own, because the ready-made viewers are larger than the rest of the binary's web files together, or load from elsewhere.

use std::fmt::{self, Display, Formatter, Write as _};

use serde_json::Value;
use utoipa::openapi::OpenApi;

/// A whole page.
pub(super) fn page(document: &OpenApi) -> String {
    let document = serde_json::to_value(document).unwrap_or_default();
    let mut page = String::new();
    // Writing to a string can't fail.
    let _ = write_page(&mut page, &document);
    page
}

fn write_page(out: &mut String, document: &Value) -> fmt::Result {
    let info = &document["info"];
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title} API</title>\n\
         <link rel=\"stylesheet\" href=\"/style/base.css\">\n\
         <link rel=\"stylesheet\" href=\"/style/docs.css\">\n</head>\n<body>\n<header><h1>{title} API <small>{}</small></h1>\n",
        Text(&info["version"]),
        title = Text(&info["title"]),
    )?;
    write_prose(out, &info["description"])?;
    out.push_str(
        "<p>As a document for programs: <a href=\"openapi.json\">OpenAPI 3.1</a>.</p></header>\n<nav><ul>\n",
    );
    for tag in list(&document["tags"]) {
        writeln!(out, "<li><a href=\"#{0}\">{0}</a></li>", Text(&tag["name"]))?;
    }
    out.push_str("<li><a href=\"#schemas\">schemas</a></li>\n</ul></nav>\n<main>\n");
    for tag in list(&document["tags"]) {
        writeln!(
            out,
            "<section id=\"{0}\"><h2>{0}</h2><p>{1}</p>",
            Text(&tag["name"]),
            Text(&tag["description"])
        )?;
        for (path, item) in entries(&document["paths"]) {
            for (method, operation) in entries(item) {
                if list(&operation["tags"]).contains(&tag["name"]) {
                    write_operation(out, method, path, operation)?;
                }
            }
        }
        out.push_str("</section>\n");
    }
    out.push_str("<section id=\"security\"><h2>Who asks</h2><dl>\n");
    for (name, scheme) in entries(within(document, "/components/securitySchemes")) {
        writeln!(out, "<dt>{}</dt><dd>{}</dd>", Escaped(name), Prose(&scheme["description"]))?;
    }
    out.push_str("</dl></section>\n<section id=\"schemas\"><h2>Schemas</h2>\n");
    for (name, schema) in entries(within(document, "/components/schemas")) {
        write!(out, "<article id=\"schema-{0}\"><h3>{0}</h3>", Escaped(name))?;
        write_schema(out, schema)?;
        out.push_str("</article>\n");
    }
    out.push_str("</section>\n</main>\n</body>\n</html>\n");
    Ok(())
}

fn write_operation(out: &mut String, method: &str, path: &str, operation: &Value) -> fmt::Result {
    writeln!(
        out,
        "<details id=\"{}\"><summary><b class=\"{method}\">{method}</b> <code>{}</code> <span>{}</span></summary>",
        Text(&operation["operationId"]),
        Escaped(path),
        Prose(&operation["summary"]),
    )?;
    write_prose(out, &operation["description"])?;
    if operation["security"].is_array() {
        out.push_str("<p>Nobody has to be logged in.</p>");
    }
    let parameters = list(&operation["parameters"]);
    if !parameters.is_empty() {
        out.push_str("<h4>Parameters</h4><dl>");
        for parameter in parameters {
            let place = if parameter["in"] == "path" { "path" } else { "query" };
            let need = if parameter["required"] == true { "required" } else { "optional" };
            write!(out, "<dt><code>{}</code></dt><dd>{place}, {need}: ", Text(&parameter["name"]))?;
            writeln!(out, "{}. {}</dd>", Shape(&parameter["schema"]), Prose(&parameter["description"]))?;
        }
        out.push_str("</dl>");
    }
    for (content_type, content) in entries(within(operation, "/requestBody/content")) {
        writeln!(out, "<h4>Body</h4><p>{}: {}</p>", Escaped(content_type), Shape(&content["schema"]))?;
    }
    out.push_str("<h4>Answers</h4><dl class=\"answers\">");
    for (status, answer) in entries(&operation["responses"]) {
        write!(out, "<dt>{}</dt><dd>{}", Escaped(status), Prose(&answer["description"]))?;
        for (content_type, content) in entries(&answer["content"]) {
            write!(out, " <i>{}: {}</i>", Escaped(content_type), Shape(&content["schema"]))?;
        }
        out.push_str("</dd>\n");
    }
    out.push_str("</dl></details>\n");
    Ok(())
}

/// What a schema is: its words, or its fields.
fn write_schema(out: &mut String, schema: &Value) -> fmt::Result {
    write_prose(out, &schema["description"])?;
    let mut fields = entries(&schema["properties"]).peekable();
    if fields.peek().is_none() {
        return writeln!(out, "<p>{}</p>", Shape(schema));
    }
    let required = list(&schema["required"]);
    out.push_str("<dl>");
    for (name, field) in fields {
        let need = if required.iter().any(|one| one == name) { "" } else { " (optional)" };
        write!(out, "<dt><code>{}</code></dt><dd>{}{need} ", Escaped(name), Shape(field))?;
        writeln!(out, "{}</dd>", Prose(&field["description"]))?;
    }
    out.push_str("</dl>");
    Ok(())
}

fn write_prose(out: &mut String, text: &Value) -> fmt::Result {
    let text = text.as_str().unwrap_or_default();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        let mut items = paragraph.split("\n* ");
        match paragraph.strip_prefix("* ") {
            None => writeln!(out, "<p>{}</p>", Marked(paragraph))?,
            Some(_) => {
                out.push_str("<ul>");
                items.try_for_each(|item| {
                    writeln!(out, "<li>{}</li>", Marked(item.strip_prefix("* ").unwrap_or(item)))
                })?;
                out.push_str("</ul>");
            }
        }
    }
    Ok(())
}

/// What is at a place, `Null` where there is nothing.
fn within<'a>(value: &'a Value, place: &str) -> &'a Value {
    value.pointer(place).unwrap_or(&Value::Null)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// A text of the document, fit for HTML.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            other => f.write_char(other),
        })
    }
}

/// A string of the document.
struct Text<'a>(&'a Value);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Escaped(self.0.as_str().unwrap_or_default()).fmt(f)
    }
}

/// The same with `code` and **emphasis**.
struct Prose<'a>(&'a Value);

impl Display for Prose<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Marked(self.0.as_str().unwrap_or_default()).fmt(f)
    }
}

struct Marked<'a>(&'a str);

impl Display for Marked<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (number, part) in self.0.split('`').enumerate() {
            if number % 2 == 1 {
                write!(f, "<code>{}</code>", Escaped(part))?;
                continue;
            }
            for (number, part) in part.split("**").enumerate() {
                let (open, close) = if number % 2 == 1 { ("<strong>", "</strong>") } else { ("", "") };
                write!(f, "{open}{}{close}", Escaped(part))?;
            }
        }
        Ok(())
    }
}

/// A schema in a few words, other schemas by a link.
struct Shape<'a>(&'a Value);

impl Display for Shape<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let schema = self.0;
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            return write!(f, "<a href=\"#schema-{0}\">{0}</a>", Escaped(name));
        }
        for choices in [&schema["oneOf"], &schema["anyOf"], &schema["allOf"]] {
            for (number, choice) in list(choices).iter().enumerate() {
                let or = if number == 0 { "" } else { " or " };
                write!(f, "{or}{}", Shape(choice))?;
            }
        }
        for (number, word) in list(&schema["enum"]).iter().enumerate() {
            let or = if number == 0 { "" } else { ", " };
            write!(f, "{or}<code>{}</code>", Text(word))?;
        }
        if !list(&schema["enum"]).is_empty() {
            return Ok(());
        }
        match &schema["type"] {
            Value::String(kind) if kind == "array" => write!(f, "list of {}", Shape(&schema["items"]))?,
            Value::String(kind) if kind == "object" && schema["additionalProperties"].is_object() => {
                write!(f, "object of {}", Shape(&schema["additionalProperties"]))?;
            }
            Value::String(kind) => write!(f, "{}", Escaped(kind))?,
            Value::Array(kinds) => {
                let kinds: Vec<_> = kinds.iter().filter_map(Value::as_str).collect();
                write!(f, "{}", Escaped(&kinds.join(" or ")))?;
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
        }
        let bound = |name: &str| schema[name].as_u64();
        match (bound("minLength"), bound("maxLength")) {
            (Some(least), Some(most)) => write!(f, " of {least} to {most} characters")?,
            (None, Some(most)) => write!(f, " of at most {most} characters")?,
            (Some(least), None) => write!(f, " of at least {least} characters")?,
            (None, None) => {}
        }
        match (bound("minimum"), bound("maximum")) {
            (Some(least), Some(most)) => write!(f, " from {least} to {most}"),
            (Some(least), None) if least > 0 => write!(f, " from {least}"),
            (Some(_) | None, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_of_the_document_becomes_markup() {
        assert_eq!(
            Marked("<b> `a<b` **x** \"&").to_string(),
            "&lt;b&gt; <code>a&lt;b</code> <strong>x</strong> &quot;&amp;"
        );
    }

    #[test]
    fn shapes() {
        for (schema, expected) in [
            (json!({"type": "string", "minLength": 1, "maxLength": 5}), "string of 1 to 5 characters"),
            (
                json!({"type": "array", "items": {"$ref": "#/components/schemas/Room"}}),
                "list of <a href=\"#schema-Room\">Room</a>",
            ),
            (json!({"type": ["string", "null"]}), "string or null"),
            (
                json!({"oneOf": [{"type": "null"}, {"type": "string", "enum": ["a", "b"]}]}),
                "null or <code>a</code>, <code>b</code>",
            ),
            (json!({"type": "integer", "minimum": 1, "maximum": 200}), "integer from 1 to 200"),
            (json!({}), ""),
        ] {
            assert_eq!(Shape(&schema).to_string(), expected);
        }
    }
}
