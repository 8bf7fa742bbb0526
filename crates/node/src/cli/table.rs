//! Aligned columns of text.

/// Rows of cells, columns two spaces apart, nothing after the last cell. Width counts characters.
pub(super) fn columns(rows: &[Vec<String>], indent: usize) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = format!("{:indent$}{}", "", cells.collect::<Vec<_>>().join("  "));
        line.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Names and values, indented.
pub(super) fn pairs(rows: &[(&str, String)]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|(name, value)| vec![format!("{name}:"), value.clone()]).collect();
    columns(&rows, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters_and_lines_do_not_end_in_spaces() {
        let rows = vec![vec!["ä".to_owned(), "1".into()], vec!["bcd".into(), String::new()]];
        assert_eq!(columns(&rows, 1), " ä    1\n bcd\n");
        assert_eq!(columns(&[], 1), "");
    }
}
