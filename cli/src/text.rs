//! Text layouts shared by commands.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table, TableComponent};
use serde_json::Value;

/// A table with round corners, in the width of its content.
pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Disabled);
    for (component, symbol) in [
        (TableComponent::TopLeftCorner, '╭'),
        (TableComponent::TopRightCorner, '╮'),
        (TableComponent::BottomLeftCorner, '╰'),
        (TableComponent::BottomRightCorner, '╯'),
        (TableComponent::HeaderLines, '─'),
        (TableComponent::LeftHeaderIntersection, '├'),
        (TableComponent::RightHeaderIntersection, '┤'),
        (TableComponent::MiddleHeaderIntersections, '┼'),
        (TableComponent::VerticalLines, '│'),
    ] {
        table.set_style(component, symbol);
    }
    table.set_header(headings);
    table
}

/// A value for people: text without quotes, nothing for null, JSON for the rest.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => visible(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Text of a stranger, without the control characters that would move the cursor or change the terminal.
pub(crate) fn visible(text: &str) -> String {
    let is_harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars()
        .map(|c| if is_harmless(c) { c } else { '\u{fffd}' })
        .collect()
}

/// JSON on several lines: short lists stay on one, and every line after the first starts with `prefix`.
pub(crate) fn layout(value: &Value, prefix: &str) -> String {
    let mut text = String::new();
    write_value(value, prefix, 80, &mut text);
    text
}

fn write_value(value: &Value, prefix: &str, width: usize, text: &mut String) {
    match value {
        Value::Array(items) if items.is_empty() => text.push_str("[]"),
        Value::Object(members) if members.is_empty() => text.push_str("{}"),
        Value::Array(items) => {
            let is_flat = items
                .iter()
                .all(|item| !item.is_array() && !item.is_object());
            let line: Vec<String> = items.iter().map(Value::to_string).collect();
            let line = line.join(", ");
            if is_flat && line.len() + prefix.len() < width {
                text.push_str(&format!("[{line}]"));
                return;
            }
            let inner = format!("{prefix}  ");
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "\n" } else { ",\n" });
                text.push_str(&inner);
                write_value(item, &inner, width, text);
            }
            text.push_str(&format!("\n{prefix}]"));
        }
        Value::Object(members) => {
            let inner = format!("{prefix}  ");
            text.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                text.push_str(if index == 0 { "\n" } else { ",\n" });
                text.push_str(&format!("{inner}{}: ", Value::from(name.as_str())));
                write_value(member, &inner, width, text);
            }
            text.push_str(&format!("\n{prefix}}}"));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string());
        }
    }
}

/// Names in columns of equal width, filled row by row.
pub(crate) fn columns(names: &[String], count: usize) -> String {
    let width = |column: usize| {
        names
            .iter()
            .skip(column)
            .step_by(count)
            .map(|name| name.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..count)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in names.chunks(count) {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(name, width)| format!("{name:width$}"))
            .collect();
        text.push_str(&format!("    {}\n", cells.join("    ").trim_end()));
    }
    text
}

/// Names in columns of equal width, filled column by column.
pub(crate) fn columns_down(names: &[String], count: usize) -> String {
    let rows = names.len().div_ceil(count);
    let cell = |row: usize, column: usize| names.get(column * rows + row).cloned();
    let across: Vec<String> = (0..rows)
        .flat_map(|row| (0..count).map(move |column| cell(row, column).unwrap_or_default()))
        .collect();
    columns(&across, count)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn short_lists_stay_on_one_line() {
        let value = json!({"b": ["x", "y"], "a": {"n": null}});
        let text = layout(&value, "  ");
        assert_eq!(
            text,
            "{\n    \"a\": {\n      \"n\": null\n    },\n    \"b\": [\"x\", \"y\"]\n  }"
        );
    }

    #[test]
    fn a_node_cannot_take_over_the_terminal() {
        assert_eq!(visible("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\n");
        assert_eq!(plain(&json!("x\u{7}")), "x\u{fffd}");
    }

    #[test]
    fn names_stand_in_columns() {
        let names = ["a", "bbb", "c", "dd"].map(str::to_owned);
        assert_eq!(columns(&names, 3), "    a     bbb    c\n    dd\n");
    }

    #[test]
    fn names_can_go_down_the_columns() {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        assert_eq!(columns_down(&names, 3), "    a    c\n    b    d\n");
        assert_eq!(columns_down(&[], 3), "");
    }

    #[test]
    fn a_table_has_round_corners() {
        let mut table = table(&["Fact", "Matches"]);
        table.add_row(["RedHat", "2"]);
        let expected = "╭────────┬─────────╮\n│ Fact   ┆ Matches │\n├────────┼─────────┤\n│ RedHat ┆ 2       │\n╰────────┴─────────╯";
        assert_eq!(table.to_string(), expected.replace('┆', "│"));
    }
}
