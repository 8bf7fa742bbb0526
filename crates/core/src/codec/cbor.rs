//! The part of CBOR (RFC 8949) that the format uses.
//!
//! Writing goes into a `Vec`, which never refuses, so it needs no `Result` per number. Reading is minicbor's, which
//! compares every length with the bytes that are left before it trusts it; here its errors get the name of the thing
//! that was expected.

use minicbor::data::{Tag, Type};
use minicbor::decode::{Decoder, Error};

use super::DecodeError;
use crate::model::Value;

/// The tag before the bytes of a text that is not valid UTF-8: "HL".
pub(super) const TAG_TEXT_BYTES: u64 = 0x484c;
/// Opens an array that ends at [`BREAK`] instead of after a number of items.
pub(super) const OPEN_ARRAY: u8 = 0x9f;
/// Ends it.
pub(super) const BREAK: u8 = 0xff;

const MAJOR_UINT: u8 = 0x00;
const MAJOR_NEGATIVE: u8 = 0x20;
const MAJOR_BYTES: u8 = 0x40;
const MAJOR_TEXT: u8 = 0x60;
const MAJOR_ARRAY: u8 = 0x80;
const MAJOR_MAP: u8 = 0xa0;
const MAJOR_TAG: u8 = 0xc0;
const NULL: u8 = 0xf6;
const FLOAT_64: u8 = 0xfb;

pub(super) fn write_uint(bytes: &mut Vec<u8>, number: u64) {
    write_head(bytes, MAJOR_UINT, number);
}

pub(super) fn write_text(bytes: &mut Vec<u8>, text: &str) {
    write_head(bytes, MAJOR_TEXT, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

pub(super) fn write_array(bytes: &mut Vec<u8>, items: usize) {
    write_head(bytes, MAJOR_ARRAY, items as u64);
}

pub(super) fn write_map(bytes: &mut Vec<u8>, entries: usize) {
    write_head(bytes, MAJOR_MAP, entries as u64);
}

/// The storage class is the CBOR type, so that each comes back as what it was.
pub(super) fn write_value(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => bytes.push(NULL),
        Value::Integer(integer) => write_integer(bytes, *integer),
        Value::Real(real) => {
            bytes.push(FLOAT_64);
            bytes.extend_from_slice(&real.to_bits().to_be_bytes());
        }
        Value::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => write_text(bytes, text),
            Err(_) => {
                write_head(bytes, MAJOR_TAG, TAG_TEXT_BYTES);
                write_bytes(bytes, text);
            }
        },
        Value::Blob(blob) => write_bytes(bytes, blob),
    }
}

/// Bytes that [`write_array`] takes for an array of `items`.
pub(super) const fn array_head_size(items: usize) -> usize {
    match items {
        0..24 => 1,
        24..0x100 => 2,
        0x100..0x1_0000 => 3,
        0x1_0000..0x1_0000_0000 => 5,
        _ => 9,
    }
}

/// CBOR's negative integers are -1 - n, which is the complement of the bits.
fn write_integer(bytes: &mut Vec<u8>, integer: i64) {
    if integer < 0 {
        write_head(bytes, MAJOR_NEGATIVE, !integer as u64);
    } else {
        write_head(bytes, MAJOR_UINT, integer as u64);
    }
}

fn write_bytes(bytes: &mut Vec<u8>, content: &[u8]) {
    write_head(bytes, MAJOR_BYTES, content.len() as u64);
    bytes.extend_from_slice(content);
}

fn write_head(bytes: &mut Vec<u8>, major: u8, argument: u64) {
    let wide = argument.to_be_bytes();
    let (code, width) = match argument {
        0..24 => return bytes.push(major | wide[7]),
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    bytes.push(major | code);
    bytes.extend_from_slice(&wide[8 - width..]);
}

/// Reads items one after another. Nothing is believed: a length is at most what is left.
pub(super) struct Reader<'b> {
    decoder: Decoder<'b>,
    whole: &'static str,
}

impl<'b> Reader<'b> {
    /// Of `bytes`, which errors call `whole`.
    pub(super) fn new(whole: &'static str, bytes: &'b [u8]) -> Self {
        Self { decoder: Decoder::new(bytes), whole }
    }

    pub(super) fn uint(&mut self, what: &str) -> Result<u64, DecodeError> {
        let number = self.decoder.u64();
        number.map_err(|error| self.unreadable(what, &error))
    }

    pub(super) fn text(&mut self, what: &str) -> Result<&'b str, DecodeError> {
        let text = self.decoder.str();
        text.map_err(|error| self.unreadable(what, &error))
    }

    /// The number of items of an array that says it.
    pub(super) fn array(&mut self, what: &str) -> Result<u64, DecodeError> {
        let items = self.decoder.array().map_err(|error| self.unreadable(what, &error))?;
        items.ok_or_else(|| self.invalid(&format!("{what}: an array without length")))
    }

    /// An array that says that it has `items`.
    pub(super) fn array_of(&mut self, what: &str, items: u64) -> Result<(), DecodeError> {
        match self.array(what)? {
            found if found == items => Ok(()),
            found => Err(self.invalid(&format!("{what}: {found} items instead of {items}"))),
        }
    }

    /// The start of an array that ends where [`Reader::at_break`] says so.
    pub(super) fn open_array(&mut self, what: &str) -> Result<(), DecodeError> {
        match self.decoder.array().map_err(|error| self.unreadable(what, &error))? {
            None => Ok(()),
            Some(_) => Err(self.invalid(&format!("{what}: an array with length"))),
        }
    }

    /// Steps over the end of an open array when it is here.
    pub(super) fn at_break(&mut self) -> bool {
        let here = self.decoder.input().get(self.position()) == Some(&BREAK);
        if here {
            self.decoder.set_position(self.position() + 1);
        }
        here
    }

    /// The number of entries of a map that says it.
    pub(super) fn map(&mut self, what: &str) -> Result<u64, DecodeError> {
        let entries = self.decoder.map().map_err(|error| self.unreadable(what, &error))?;
        entries.ok_or_else(|| self.invalid(&format!("{what}: a map without length")))
    }

    /// Steps over an item, whatever it is; without recursion.
    pub(super) fn skip(&mut self, what: &str) -> Result<(), DecodeError> {
        let skipped = self.decoder.skip();
        skipped.map_err(|error| self.unreadable(what, &error))
    }

    /// One value of a row.
    pub(super) fn value(&mut self) -> Result<Value, DecodeError> {
        match self.raw_value() {
            Ok(Some(Value::Real(real))) if real.is_nan() => Err(self.invalid("value: not a number")),
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(self.invalid("value: not of a storage class")),
            Err(error) => Err(self.unreadable("value", &error)),
        }
    }

    /// Where the next item starts.
    pub(super) fn position(&self) -> usize {
        self.decoder.position()
    }

    /// Bytes after [`Reader::position`].
    pub(super) fn remaining(&self) -> usize {
        self.decoder.input().len().saturating_sub(self.position())
    }

    pub(super) fn invalid(&self, message: &str) -> DecodeError {
        DecodeError::Invalid(format!("{} at byte {}: {message}", self.whole, self.position()))
    }

    fn raw_value(&mut self) -> Result<Option<Value>, Error> {
        Ok(Some(match self.decoder.datatype()? {
            Type::Null => self.decoder.null().map(|()| Value::Null)?,
            Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 => {
                Value::Integer(self.decoder.i64()?)
            }
            Type::F64 => Value::Real(self.decoder.f64()?),
            Type::String => Value::Text(self.decoder.str()?.as_bytes().to_vec()),
            Type::Bytes => Value::Blob(self.decoder.bytes()?.to_vec()),
            Type::Tag if self.decoder.tag()? == Tag::new(TAG_TEXT_BYTES) => {
                Value::Text(self.decoder.bytes()?.to_vec())
            }
            _ => return Ok(None),
        }))
    }

    fn unreadable(&self, what: &str, error: &Error) -> DecodeError {
        self.invalid(&format!("{what}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_value(&mut bytes, value);
        bytes
    }

    #[test]
    fn numbers_are_written_as_rfc_8949_says() {
        // Appendix A of the RFC.
        for (integer, hex) in [
            (0, "00"),
            (23, "17"),
            (24, "1818"),
            (255, "18ff"),
            (256, "190100"),
            (1_000_000, "1a000f4240"),
            (1_000_000_000_000, "1b000000e8d4a51000"),
            (-1, "20"),
            (-100, "3863"),
            (i64::MIN, "3b7fffffffffffffff"),
        ] {
            let found: String =
                written(&Value::Integer(integer)).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(found, hex, "{integer}");
        }
    }

    #[test]
    fn array_head_size_is_what_write_array_writes() {
        for items in [0, 23, 24, 255, 256, 65_535, 65_536, 1 << 32] {
            let mut bytes = Vec::new();
            write_array(&mut bytes, items);
            assert_eq!(bytes.len(), array_head_size(items), "{items}");
        }
    }

    #[test]
    fn values_of_no_storage_class_are_refused() {
        for hex in [
            &[0xf5][..],                                 // true
            &[0xf7],                                     // undefined
            &[0xf9, 0x3c, 0x00],                         // half a float
            &[0xfa, 0x3f, 0x80, 0, 0],                   // a small float
            &[0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],       // not a number
            &[0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0],          // 2^63
            &[0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0],          // -2^63 - 1
            &[0x7f, 0x61, b'a', 0xff],                   // a text in chunks
            &[0x5f, 0x41, b'a', 0xff],                   // bytes in chunks
            &[0x61, 0xff],                               // text that is not UTF-8, untagged
            &[0xc1, 0x41, b'a'],                         // another tag
            &[0xd9, 0x48, 0x4c, 0x61, b'a'],             // our tag before text
            &[0x5b, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], // bytes without end
            &[],
        ] {
            let result = Reader::new("body", hex).value();
            assert!(matches!(result, Err(DecodeError::Invalid(_))), "{hex:02x?}: {result:?}");
        }
    }
}
