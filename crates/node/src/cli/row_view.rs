//! Rows, versions and times of the conflict log and the dead letters, for people and for programs.

use harmonylite_core::conflict::Version;
use harmonylite_core::model::{Hlc, Origin};
use harmonylite_sqlite::Fields;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// Characters of a row in a list.
const ROW_WIDTH_MAX: usize = 60;

/// A version, for programs.
#[derive(Serialize)]
pub(super) struct VersionView {
    node_id: u64,
    incarnation: String,
    hlc: i64,
    written_at: String,
    displaced: bool,
}

impl VersionView {
    pub(super) fn new(version: Version) -> Self {
        Self {
            node_id: version.origin.raw_node(),
            incarnation: incarnation(version.origin),
            hlc: version.hlc.get(),
            written_at: written_at(version.hlc),
            displaced: version.displaced,
        }
    }
}

/// Columns and SQL literals as an object, in the table's order.
pub(super) struct RowView<'a>(pub(super) &'a Fields);

impl Serialize for RowView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(column, value)| (column, value)))
    }
}

/// 16 hex digits, as everywhere.
pub(super) fn incarnation(origin: Origin) -> String {
    format!("{:016x}", origin.raw_incarnation())
}

/// The wall clock part of a clock.
pub(super) fn written_at(hlc: Hlc) -> String {
    time(hlc.millis())
}

/// RFC 3339 in UTC, always with milliseconds, so that columns stay aligned.
pub(super) fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| ms.to_string(), |time| format!("{time:.3}"))
}

/// Of which node a version is, for people.
pub(super) fn node(origin: Origin) -> String {
    origin.node().map_or_else(|| "-".to_owned(), |node| node.to_string())
}

/// A version, for people.
pub(super) fn version(version: Version) -> String {
    if version.origin == Origin::NONE {
        return "from before the first start".to_owned();
    }
    let displaced = if version.displaced { ", displaced" } else { "" };
    let (origin, hlc) = (version.origin, version.hlc);
    format!(
        "node {}, {} (hlc {hlc}, incarnation {}){displaced}",
        node(origin),
        written_at(hlc),
        incarnation(origin)
    )
}

/// `column=literal, ...` on one line.
pub(super) fn line(fields: &Fields) -> String {
    let parts: Vec<String> =
        fields.iter().map(|(column, value)| visible(&format!("{column}={value}"))).collect();
    parts.join(", ")
}

/// The same, not too long for a list.
pub(super) fn short_line(fields: &Fields) -> String {
    let line = line(fields);
    if line.chars().count() <= ROW_WIDTH_MAX {
        return line;
    }
    line.chars().take(ROW_WIDTH_MAX - 3).collect::<String>() + "..."
}

/// A row that may be a delete, one column per line.
pub(super) fn block(row: Option<&Fields>) -> String {
    let Some(row) = row else { return "  (a delete)\n".to_owned() };
    row.iter().map(|(column, value)| format!("  {}\n", visible(&format!("{column} = {value}")))).collect()
}

/// Values come from anywhere: nothing of them may control the terminal.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_even_when_there_are_none() {
        assert_eq!(time(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(time(u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn rows_stay_on_their_line_and_do_not_control_the_terminal() {
        let fields = vec![("a\u{1b}".to_owned(), "'x\ny'".to_owned()), ("b".to_owned(), "1".repeat(99))];
        assert!(line(&fields).starts_with("a\\u{1b}='x\\ny', b=111"));
        let short = short_line(&fields);
        assert_eq!((short.chars().count(), short.ends_with("...")), (ROW_WIDTH_MAX, true));
    }

    #[test]
    fn rows_keep_the_order_of_their_columns_in_json() {
        let fields = vec![("z".to_owned(), "1".to_owned()), ("a".to_owned(), "NULL".to_owned())];
        assert_eq!(serde_json::to_string(&RowView(&fields)).unwrap(), r#"{"z":"1","a":"NULL"}"#);
    }
}
