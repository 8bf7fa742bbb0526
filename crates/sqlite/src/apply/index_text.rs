//! Taking the text of a `CREATE` statement apart as far as R13 needs: where its parentheses are, what is between them,
//! and what follows. Nothing of it is understood; SQLite itself evaluates the pieces.

/// What a UNIQUE index compares, in its own words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct IndexText {
    /// Its terms: expressions, with COLLATE where the index has it.
    pub(crate) terms: Vec<String>,
    /// The condition of a partial index.
    pub(crate) condition: Option<String>,
}

impl IndexText {
    /// Of `CREATE UNIQUE INDEX ... ON ... (terms) [WHERE condition]`; `None` when it is not of that form.
    pub(crate) fn parse(sql: &str) -> Option<Self> {
        let (_, inside, rest) = split_parentheses(sql)?;
        let terms: Option<Vec<_>> = split_commas(&inside).iter().map(|term| without_order(term)).collect();
        let rest = rest.trim();
        let condition = match rest.get(..5) {
            None if rest.is_empty() => None,
            Some(word) if word.eq_ignore_ascii_case("where") => Some(rest[5..].trim().to_owned()),
            _ => return None,
        };
        Some(Self { terms: terms?, condition })
    }
}

/// The parenthesis of `CREATE TABLE name (...) ...` and all that follows.
pub(crate) fn table_definition(sql: &str) -> Option<String> {
    let (_, inside, rest) = split_parentheses(sql)?;
    Some(format!("({inside}){rest}"))
}

/// What stands before, within and after the first outermost parentheses. Comments become blanks.
fn split_parentheses(sql: &str) -> Option<(String, String, String)> {
    let (mut parts, mut part, mut depth) = ([String::new(), String::new(), String::new()], 0, 0_u32);
    for token in tokens(sql) {
        match token {
            "(" => {
                depth += 1;
                if depth == 1 && part == 0 {
                    part = 1;
                    continue;
                }
            }
            ")" => {
                depth = depth.checked_sub(1)?;
                if depth == 0 && part == 1 {
                    part = 2;
                    continue;
                }
            }
            _ => {}
        }
        parts[part].push_str(if is_comment(token) { " " } else { token });
    }
    let [before, inside, after] = parts;
    (part == 2 && depth == 0).then_some((before, inside, after))
}

/// The parts of a list; commas in inner parentheses do not count.
fn split_commas(list: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_i32);
    for token in tokens(list) {
        depth += i32::from(token == "(") - i32::from(token == ")");
        match parts.last_mut() {
            Some(last) if token != "," || depth != 0 => last.push_str(token),
            _ => parts.push(String::new()),
        }
    }
    parts
}

/// A term without its ASC or DESC; `None` when nothing is left.
fn without_order(term: &str) -> Option<String> {
    let term = term.trim();
    let last = tokens(term).last()?;
    let ordered = last.eq_ignore_ascii_case("asc") || last.eq_ignore_ascii_case("desc");
    let term = if ordered { term[..term.len() - last.len()].trim_end() } else { term };
    (!term.is_empty()).then(|| term.to_owned())
}

fn is_comment(token: &str) -> bool {
    token.starts_with("--") || token.starts_with("/*")
}

/// Words, quoted names and strings, comments, single other characters. Their concatenation is the text.
fn tokens(sql: &str) -> impl DoubleEndedIterator<Item = &str> {
    let mut found = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (token, after) = rest.split_at(token_length(rest, first));
        found.push(token);
        rest = after;
    }
    found.into_iter()
}

fn token_length(text: &str, first: char) -> usize {
    match first {
        '\'' | '"' | '`' => quoted_length(text, first),
        '[' => text.find(']').map_or(text.len(), |end| end + 1),
        '-' if text.starts_with("--") => text.find('\n').map_or(text.len(), |end| end + 1),
        '/' if text.starts_with("/*") => text[2..].find("*/").map_or(text.len(), |end| end + 4),
        _ if is_word(first) => text.find(|c| !is_word(c)).unwrap_or(text.len()),
        _ => first.len_utf8(),
    }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '$') || !character.is_ascii()
}

/// Up to the closing quote; a doubled one stands for itself.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut from = 1;
    while let Some(at) = text[from..].find(quote) {
        from += at + 1;
        if !text[from..].starts_with(quote) {
            return from;
        }
        from += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, terms: &[&str], condition: Option<&str>) {
        let terms = terms.iter().map(|term| (*term).to_owned()).collect();
        let expected = IndexText { terms, condition: condition.map(ToOwned::to_owned) };
        assert_eq!(IndexText::parse(sql), Some(expected), "{sql}");
    }

    #[test]
    fn terms_and_condition_are_found_whatever_the_names_contain() {
        check("CREATE UNIQUE INDEX i ON t(a)", &["a"], None);
        check("CREATE UNIQUE INDEX i ON t(a COLLATE NOCASE DESC, b asc)", &["a COLLATE NOCASE", "b"], None);
        check(
            "CREATE UNIQUE INDEX \"(i\" ON [t)]( f(a, b), ',(' || c ) where d = ')' ",
            &["f(a, b)", "',(' || c"],
            Some("d = ')'"),
        );
        check("CREATE UNIQUE INDEX i ON `t``(`(\"desc\")WHERE(a)", &["\"desc\""], Some("(a)"));
        check("CREATE UNIQUE INDEX i ON t(a -- ), b\n, /* ( */ b) WHERE a > 1", &["a", "b"], Some("a > 1"));
        check("CREATE UNIQUE INDEX i ON t('it''s' || (a))", &["'it''s' || (a)"], None);
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for sql in ["", "CREATE UNIQUE INDEX i ON t", "x(a", "x(a))", "x(a) y", "x()"] {
            assert_eq!(IndexText::parse(sql), None, "{sql}");
        }
    }

    #[test]
    fn a_table_keeps_everything_but_its_name() {
        let sql = "CREATE TABLE \"a(b\" (id INTEGER PRIMARY KEY, c CHECK(c > 0)) WITHOUT ROWID, STRICT";
        let definition = table_definition(sql).unwrap();
        assert_eq!(definition, "(id INTEGER PRIMARY KEY, c CHECK(c > 0)) WITHOUT ROWID, STRICT");
    }
}
