//! Names in SQL text. The one function that quotes, and the names of everything of ours in a database.

/// Every table and trigger of ours begins so. Compare with `substr()`, never `LIKE`: `_` is a wildcard there.
pub(crate) const PREFIX: &str = "__harmonylite__";

/// `name` as an identifier in SQL text, whatever is in it.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a string literal in SQL text.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The change log of the user table `table`, unquoted.
pub(crate) fn change_log(table: &str) -> String {
    format!("{PREFIX}{table}_change_log")
}

/// The row versions of the user table `table`, unquoted.
pub(crate) fn row_version(table: &str) -> String {
    format!("{PREFIX}{table}_row_version")
}

/// The column of our tables that holds key column `column`, unquoted.
pub(crate) fn key_column(column: &str) -> String {
    format!("val_{column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_inside_names_are_doubled() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
    }
}
