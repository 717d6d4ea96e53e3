//! Turns the API's answers into text for people: tables, records, or the JSON as it came.
//!
//! Tables are tolerant: a column that no row has is left out, and rows without any of the expected
//! columns show what they do have, so that a newer server still prints something useful.

use clap::ValueEnum;
use comfy_table::Table;
use comfy_table::presets;
use serde_json::Value;

/// How to print an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// The API's answer as it is
    Json,
}

/// Width of text for people, in columns.
pub const COLUMNS: usize = 100;

/// What a command has to say on standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The text; nothing is printed when it is empty.
    pub text: String,
    /// Whether the process shall exit as failed although there is an answer.
    pub failed: bool,
}

impl Answer {
    /// A good answer.
    pub fn text(text: impl Into<String>) -> Answer {
        Answer { text: text.into(), failed: false }
    }

    /// `value` as it is, or as `readable` makes it.
    pub fn of(value: &Value, format: Format, readable: impl FnOnce(&Value) -> String) -> Answer {
        match format {
            Format::Table => Answer::text(readable(value)),
            Format::Json if value.is_null() => Answer::default(),
            Format::Json => Answer::text(format!("{value:#}")),
        }
    }

    /// A table with these columns, or the JSON as it is.
    pub fn table(value: &Value, format: Format, columns: &[&str]) -> Answer {
        Answer::of(value, format, |value| table(&rows(value), columns))
    }

    /// One line per field, or the JSON as it is; `done` when the answer is empty.
    pub fn record(value: &Value, format: Format) -> Answer {
        let readable = |value: &Value| match value {
            Value::Null => "done".to_owned(),
            other => record(other),
        };
        Answer::of(value, format, readable)
    }
}

/// The rows of an answer: an array, else the first array of an object, else the value itself.
pub fn rows(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(rows) => rows.iter().collect(),
        Value::Object(fields) => match fields.values().find_map(Value::as_array) {
            Some(rows) => rows.iter().collect(),
            None => vec![value],
        },
        Value::Null => Vec::new(),
        other => vec![other],
    }
}

/// A table of those of `columns` that some row has.
pub fn table(rows: &[&Value], columns: &[&str]) -> String {
    if rows.is_empty() {
        return "nothing there".to_owned();
    }
    let present = |column: &&str| rows.iter().any(|row| !cell(&row[*column]).is_empty());
    let mut shown: Vec<String> =
        columns.iter().filter(|column| present(column)).map(|name| (*name).to_owned()).collect();
    if shown.is_empty() {
        shown = rows[0].as_object().map_or(vec![], |row| row.keys().cloned().collect());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(shown.iter().map(|name| name.to_ascii_uppercase()));
    for row in rows {
        table.add_row(shown.iter().map(|name| cell(&row[name.as_str()])));
    }
    trim_lines(&table.to_string())
}

/// One line per field of an object, fields aligned; fields without a value are left out.
pub fn record(value: &Value) -> String {
    let Some(fields) = value.as_object() else {
        return cell(value);
    };
    let filled: Vec<(&String, String)> = fields
        .iter()
        .map(|(name, value)| (name, cell(value)))
        .filter(|(_, text)| !text.is_empty())
        .collect();
    let width = filled.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines: Vec<String> =
        filled.iter().map(|(name, text)| format!("{name:width$}  {text}")).collect();
    lines.join("\n")
}

/// Words after a beginning; when the line is full they go on in the column `indent`. Words wider
/// than a line stay whole, and so do runs of spaces within a line.
pub fn folded(beginning: &str, words: &str, indent: usize) -> String {
    let mut text = beginning.to_owned();
    let mut column = beginning.chars().count();
    for (index, word) in words.split(' ').enumerate() {
        let width = word.chars().count();
        if index > 0 && column + 1 + width > COLUMNS {
            text.truncate(text.trim_end().len());
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if index > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text
}

/// One value on one line; fields without a value are left out. Control characters, which
/// could drive a terminal, become spaces.
pub fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .filter_map(|(name, value)| match (cell(value), value) {
                (text, _) if text.is_empty() => None,
                (text, Value::Object(_)) => Some(format!("{name}={{{text}}}")),
                (text, _) => Some(format!("{name}={text}")),
            })
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    };
    text.replace(|c: char| c.is_control(), " ")
}

/// Table cells are padded; nobody wants the spaces at the ends of lines.
fn trim_lines(text: &str) -> String {
    let indented = text.lines().all(|line| line.starts_with(' '));
    let lines: Vec<&str> = text
        .lines()
        .map(|line| if indented { line[1..].trim_end() } else { line.trim_end() })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_shows_the_columns_that_rows_have() {
        let answer = json!({"devices": [
            {"device_id": "pixel", "cert_id": 7, "brand": null},
            {"device_id": "ipad-of-joon", "cert_id": 12, "brand": null},
        ]});
        let text = table(&rows(&answer), &["device_id", "cert_id", "brand", "gone"]);
        let expected = "\
DEVICE_ID     CERT_ID
pixel         7
ipad-of-joon  12";
        assert_eq!(text, expected);
    }

    #[test]
    fn rows_of_an_unknown_shape_are_shown_whole() {
        assert_eq!(table(&[&json!({"a": 1, "b": [1, 2]})], &["x"]), "A  B\n1  1, 2");
        assert_eq!(table(&[], &["x"]), "nothing there");
    }

    #[test]
    fn a_record_aligns_its_fields_and_leaves_out_empty_ones() {
        let text = record(&json!({"id": 3, "name": "x", "status": null, "nested": {"k": true}}));
        assert_eq!(text, "id      3\nname    x\nnested  k=true");
    }

    #[test]
    fn no_folded_line_is_wider_than_the_terminal_and_no_word_is_lost() {
        let words = "a sentence of advice that goes on and on, ".repeat(9);
        let text = folded("  advice: ", words.trim_end(), 4);
        assert!(text.lines().count() > 3);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        let together: Vec<&str> = text.split_whitespace().skip(1).collect();
        assert_eq!(together, words.split_whitespace().collect::<Vec<_>>());
        assert_eq!(folded("  ", "joon/ipad   apns", 4), "  joon/ipad   apns");
    }

    #[test]
    fn nested_fields_stand_in_braces_and_empty_ones_nowhere() {
        let value = json!({"action": {"type": "open_app"}, "sound": null, "level": 2});
        assert_eq!(cell(&value), "action={type=open_app} level=2");
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(cell(&json!("a\u{1b}[2Jb\nc")), "a [2Jb c");
    }
}
