//! Rust source seen as code, literals and comments, as far as a search for words needs it.

use std::ops::Range;

/// Views of one source, all as long as the source and with its line ends; what is not part of a view is blank.
#[derive(Debug)]
pub(crate) struct Source {
    /// Code of the product: no comments, no literals, nothing under `#[cfg(test)]`.
    pub(crate) product: String,
    /// Code under `#[cfg(test)]`.
    pub(crate) tests: String,
    /// What stands in string literals outside `#[cfg(test)]`.
    pub(crate) literals: String,
}

impl Source {
    /// Takes a source apart.
    pub(crate) fn parse(text: &str) -> Source {
        let literal_ranges = scan(text);
        let code = blank(text, literal_ranges.iter().map(|(range, _)| range.clone()));
        let tests = test_items(&code);
        let strings =
            literal_ranges.into_iter().filter(|(_, kind)| *kind == Skipped::Text).map(|(range, _)| range);
        let literals = keep(text, strings);
        Source {
            product: blank(&code, tests.iter().cloned()),
            tests: keep(&code, tests.iter().cloned()),
            literals: blank(&literals, tests),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Skipped {
    Comment,
    Text,
}

/// Where comments and literals stand, in order.
fn scan(text: &str) -> Vec<(Range<usize>, Skipped)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (end, kind) = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => (line_end(bytes, at), Skipped::Comment),
            b'/' if bytes[at..].starts_with(b"/*") => (block_end(bytes, at), Skipped::Comment),
            b'"' => (quoted_end(bytes, at, b'"'), Skipped::Text),
            b'r' => (raw_end(bytes, at), Skipped::Text),
            b'\'' => (character_end(text, at), Skipped::Text),
            _ => (at, Skipped::Text),
        };
        if end > at {
            found.push((at..end, kind));
        }
        at = end.max(at + 1);
    }
    found
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn block_end(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut end) = (0_usize, at);
    while end < bytes.len() {
        if bytes[end..].starts_with(b"/*") {
            (depth, end) = (depth + 1, end + 2);
        } else if bytes[end..].starts_with(b"*/") {
            (depth, end) = (depth - 1, end + 2);
        } else {
            end += 1;
        }
        if depth == 0 {
            break;
        }
    }
    end
}

fn quoted_end(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != quote {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(bytes.len())
}

/// The end of `r"..."` or `r##"..."##`; `at` when this `r` starts no such literal.
fn raw_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|&&byte| byte == b'#').count();
    let in_word = at > 0 && is_word(bytes[at - 1]) && !matches!(bytes[at - 1], b'b' | b'c');
    if in_word || bytes.get(at + 1 + hashes) != Some(&b'"') {
        return at;
    }
    let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let start = at + hashes + 2;
    let length = bytes[start..].windows(close.len()).position(|window| window == close);
    length.map_or(bytes.len(), |length| start + length + close.len())
}

/// The end of a character literal; `at` when this is a lifetime.
fn character_end(text: &str, at: usize) -> usize {
    let mut next = text[at + 1..].chars();
    match next.next() {
        Some('\\') => quoted_end(text.as_bytes(), at, b'\''),
        Some(character) if next.next() == Some('\'') => at + 2 + character.len_utf8(),
        _ => at,
    }
}

/// The items behind `#[cfg(test)]`, to their closing brace or semicolon.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let starts = code.match_indices("#[cfg(test)]").map(|(start, _)| start);
    starts.map(|start| start..item_end(code.as_bytes(), start)).collect()
}

fn item_end(code: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in code[start..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return start + offset + 1,
            b'}' => depth -= 1,
            b';' if depth == 0 => return start + offset + 1,
            _ => {}
        }
    }
    code.len()
}

/// Whether a byte can be part of a name.
pub(crate) fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

fn blank(text: &str, ranges: impl IntoIterator<Item = Range<usize>>) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for at in ranges.into_iter().flatten() {
        if bytes[at] != b'\n' {
            bytes[at] = b' ';
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn keep(text: &str, ranges: impl IntoIterator<Item = Range<usize>>) -> String {
    let mut kept = vec![b' '; text.len()];
    for at in ranges.into_iter().flatten() {
        kept[at] = text.as_bytes()[at];
    }
    for (at, _) in text.match_indices('\n') {
        kept[at] = b'\n';
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that are left of a view.
    fn words(view: &str) -> Vec<&str> {
        view.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()).collect()
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let source = Source::parse(
            "a /* b /* c */ d */ e // f\n\"g \\\" h\" i r#\"j \" k\"# l b\"m\" 'n' '\\'' 'o: 'p' r\"q\" r#s '\u{e9}' t",
        );
        assert_eq!(words(&source.product), ["a", "e", "i", "l", "b", "o", "r", "s", "t"]);
        assert_eq!(words(&source.literals), ["g", "h", "r", "j", "k", "m", "n", "p", "r", "q", "\u{e9}"]);
    }

    #[test]
    fn test_items_are_told_apart_to_their_end() {
        let source =
            Source::parse("a; #[cfg(test)] mod tests { fn b() { \"x\"; } } c; #[cfg(test)] use d; e \"y\"");
        assert_eq!(words(&source.product), ["a", "c", "e"]);
        assert_eq!(
            words(&source.tests),
            ["cfg", "test", "mod", "tests", "fn", "b", "cfg", "test", "use", "d"]
        );
        assert_eq!(words(&source.literals), ["y"]);
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "a\n/* b\n*/ c\n\"d\ne\"\n#[cfg(test)]\nmod f {\n}\n";
        let source = Source::parse(text);
        for view in [&source.product, &source.tests, &source.literals] {
            assert_eq!(view.len(), text.len());
            assert_eq!(view.lines().count(), text.lines().count());
        }
    }
}
