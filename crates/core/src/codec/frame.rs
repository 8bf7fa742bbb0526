//! Envelope and header: where a message stands in its origin's chain.

use xxhash_rust::xxh3::Xxh3;

use super::body_v1::check_raw_size;
use super::cbor::{self, Reader};
use super::{DecodeError, EncodedBody};
use crate::limits::{CLUSTER_NAME_MAX, HEADER_SIZE_MAX, PARTS_MAX};
use crate::model::{FrameMark, Hlc, LogPosition, Origin, Shard};
use crate::planted::{Bug, is_planted};

/// The first bytes of every message.
const MAGIC: [u8; 4] = *b"HLFR";
/// The format that this build writes, and the newest that it reads.
const FORMAT_VERSION: u8 = 1;
/// Offsets in the envelope: magic, version, flags, length, checksum. Integers are big-endian, as in CBOR.
const AT_VERSION: usize = 4;
const AT_FLAGS: usize = 5;
const AT_LENGTH: usize = 6;
const AT_CHECKSUM: usize = 10;
/// Bytes of the envelope.
const ENVELOPE_SIZE: usize = 18;
const FLAG_COMPRESSED: u8 = 1;
const FLAG_CONTINUED: u8 = 2;
const FLAGS_ALL: u8 = FLAG_COMPRESSED | FLAG_CONTINUED;
/// Fields of the header, numbered from 0.
const HEADER_FIELDS: usize = 11;

/// The place of a group in its origin's chain on one shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupPlace {
    /// The cluster's name.
    pub cluster: String,
    /// Whose log.
    pub origin: Origin,
    /// Which shard.
    pub shard: Shard,
    /// How far the origin's chain on this shard reached before this group.
    pub prev: LogPosition,
    /// How far it reaches with it.
    pub through: LogPosition,
}

/// The header of one frame: readable without touching the body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// The group's place in its chain; the same in all its frames.
    pub place: GroupPlace,
    /// Digest of all bodies of the group: two attempts at one place with other rows are two groups.
    pub group: u64,
    /// This frame's number in the group, from 0.
    pub part: u32,
    /// Frames of the group, at least 1.
    pub parts: u32,
    /// Rows in the body that ends in this frame; 0 when it continues.
    pub rows: u32,
    /// The body continues in the next part.
    pub continued: bool,
    /// The body is compressed.
    pub compressed: bool,
    /// Bytes of the whole body before compression.
    pub raw_size: u32,
}

impl FrameHeader {
    /// Is this the group's last frame?
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.part + 1 == self.parts
    }
}

/// A message ready to be published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// `Nats-Msg-Id` (R6): origin, shard, prev, through, part and digest.
    pub id: String,
    /// Envelope, header and body.
    pub bytes: Vec<u8>,
    /// What recognises it again: the checksum of its envelope.
    pub mark: FrameMark,
}

/// Cuts the bodies of a group into messages of at most `message_size_max` bytes each; without bodies, one message that
/// only moves the chain.
///
/// The caller has checked that the cluster's name has at most [`CLUSTER_NAME_MAX`] bytes, and that `message_size_max`
/// is at least [`MESSAGE_SIZE_MIN`](crate::limits::MESSAGE_SIZE_MIN): a smaller one still works for small groups, as
/// long as it has room for envelope and header. Each body is freed once its messages are made: the greatest group is not
/// in memory twice.
#[must_use]
pub fn encode_group(place: &GroupPlace, bodies: Vec<EncodedBody>, message_size_max: usize) -> Vec<Message> {
    let room = message_size_max.saturating_sub(ENVELOPE_SIZE + header_size_bound(place)).max(1);
    let pieces = cut(&bodies, room);
    let group = digest(place, &pieces);
    let parts = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
    let mut messages = Vec::with_capacity(pieces.len());
    drop(pieces);
    let mut add = |piece: &Piece<'_>| {
        let header = FrameHeader {
            place: place.clone(),
            group,
            part: u32::try_from(messages.len()).unwrap_or(u32::MAX),
            parts,
            rows: piece.rows,
            continued: piece.continued,
            compressed: piece.compressed,
            raw_size: piece.raw_size,
        };
        messages.push(message(&header, piece.bytes));
    };
    if bodies.is_empty() {
        add(&Piece::EMPTY);
    }
    for body in bodies {
        cut_body(&body, room).for_each(|piece| add(&piece));
    }
    messages
}

/// Reads envelope and header, checks the checksum; gives the header, the mark, and where the (piece of the) body starts.
///
/// # Errors
///
/// Any [`DecodeError`], on whatever bytes. A newer format is recognised before anything else is looked at.
pub fn decode_frame(bytes: &[u8]) -> Result<(FrameHeader, FrameMark, usize), DecodeError> {
    let (flags, mark) = check_envelope(bytes)?;
    let bound = bytes.len().min(HEADER_SIZE_MAX);
    let mut reader = Reader::new("header", &bytes[ENVELOPE_SIZE..bound]);
    let fields = read_fields(&mut reader)?;
    let header = validate(&fields, flags)?;
    let body = ENVELOPE_SIZE + reader.position();
    if bytes.len() - body > header.raw_size as usize {
        return Err(invalid("a piece longer than its body"));
    }
    Ok((header, mark, body))
}

/// The mark in the envelope of a message, without checking the rest; `None` when these are not our bytes.
///
/// The envelope is the same in all format versions, so this works for newer ones too.
#[must_use]
pub fn peek_mark(bytes: &[u8]) -> Option<FrameMark> {
    let envelope = bytes.first_chunk::<ENVELOPE_SIZE>()?;
    envelope.starts_with(&MAGIC).then(|| FrameMark(u64::from_be_bytes(array_at(envelope, AT_CHECKSUM))))
}

/// What one message carries of a body.
struct Piece<'b> {
    bytes: &'b [u8],
    rows: u32,
    continued: bool,
    compressed: bool,
    raw_size: u32,
}

impl Piece<'_> {
    /// What a group without bodies has.
    const EMPTY: Self = Self { bytes: &[], rows: 0, continued: false, compressed: false, raw_size: 0 };
}

fn cut(bodies: &[EncodedBody], room: usize) -> Vec<Piece<'_>> {
    if bodies.is_empty() {
        return vec![Piece::EMPTY];
    }
    bodies.iter().flat_map(|body| cut_body(body, room)).collect()
}

/// At least one piece, of `room` bytes but for the last; the rows count where the body ends.
fn cut_body(body: &EncodedBody, room: usize) -> impl Iterator<Item = Piece<'_>> {
    let count = body.bytes.len().div_ceil(room).max(1);
    (0..count).map(move |index| {
        let end = body.bytes.len().min((index + 1) * room);
        let continued = index + 1 < count;
        Piece {
            bytes: &body.bytes[index * room..end],
            rows: if continued { 0 } else { body.rows },
            continued,
            compressed: body.compressed,
            raw_size: body.raw_size,
        }
    })
}

/// Over the place and every piece with its length: what is cut differently is another group too, because parts of two
/// attempts must never be joined.
fn digest(place: &GroupPlace, pieces: &[Piece<'_>]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&(place.cluster.len() as u64).to_be_bytes());
    hash.update(place.cluster.as_bytes());
    hash.update(&place.origin.raw_node().to_be_bytes());
    hash.update(&place.origin.raw_incarnation().to_be_bytes());
    hash.update(&place.shard.get().to_be_bytes());
    hash.update(&place.prev.get().to_be_bytes());
    hash.update(&place.through.get().to_be_bytes());
    for piece in pieces {
        hash.update(&[flags(piece.compressed, piece.continued)]);
        hash.update(&piece.rows.to_be_bytes());
        hash.update(&piece.raw_size.to_be_bytes());
        hash.update(&(piece.bytes.len() as u64).to_be_bytes());
        hash.update(piece.bytes);
    }
    hash.digest()
}

fn message(header: &FrameHeader, piece: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(ENVELOPE_SIZE + header_size_bound(&header.place) + piece.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[FORMAT_VERSION, flags(header.compressed, header.continued)]);
    bytes.resize(ENVELOPE_SIZE, 0);
    write_header(&mut bytes, header);
    bytes.extend_from_slice(piece);
    let length = u32::try_from(bytes.len() - ENVELOPE_SIZE).unwrap_or(u32::MAX);
    bytes[AT_LENGTH..AT_CHECKSUM].copy_from_slice(&length.to_be_bytes());
    let checksum = checksum(&bytes);
    bytes[AT_CHECKSUM..ENVELOPE_SIZE].copy_from_slice(&checksum.to_be_bytes());
    Message { id: message_id(header, checksum), bytes, mark: FrameMark(checksum) }
}

fn message_id(header: &FrameHeader, checksum: u64) -> String {
    let GroupPlace { origin, shard, prev, through, .. } = &header.place;
    if is_planted(Bug::MessageIdWithoutPrev) {
        return format!("{origin}:{shard}:{through}:{}", header.part);
    }
    format!("{origin}:{shard}:{prev}:{through}:{}:{checksum:016x}", header.part)
}

const fn flags(compressed: bool, continued: bool) -> u8 {
    (if compressed { FLAG_COMPRESSED } else { 0 }) | (if continued { FLAG_CONTINUED } else { 0 })
}

fn write_header(bytes: &mut Vec<u8>, header: &FrameHeader) {
    let place = &header.place;
    let numbers: [u64; HEADER_FIELDS - 1] = [
        place.origin.raw_node(),
        place.origin.raw_incarnation(),
        place.shard.get().into(),
        place.prev.get().unsigned_abs(),
        place.through.get().unsigned_abs(),
        header.group,
        header.part.into(),
        header.parts.into(),
        header.rows.into(),
        header.raw_size.into(),
    ];
    cbor::write_map(bytes, HEADER_FIELDS);
    cbor::write_uint(bytes, 0);
    cbor::write_text(bytes, &place.cluster);
    for (field, number) in (1..).zip(numbers) {
        cbor::write_uint(bytes, field);
        cbor::write_uint(bytes, number);
    }
}

/// Bytes of the longest header at `place`: the cut must not depend on what comes after it.
fn header_size_bound(place: &GroupPlace) -> usize {
    let (map, key, head, number) = (1, 1, 9, 9);
    map + key + head + place.cluster.len() + (HEADER_FIELDS - 1) * (key + number)
}

/// Over everything but the magic and itself.
fn checksum(bytes: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&bytes[AT_VERSION..AT_CHECKSUM]);
    hash.update(&bytes[ENVELOPE_SIZE..]);
    hash.digest()
}

/// The flags and the mark of an undamaged message of a version that we read.
fn check_envelope(bytes: &[u8]) -> Result<(u8, FrameMark), DecodeError> {
    if !bytes.starts_with(&MAGIC) {
        return Err(DecodeError::NotAFrame);
    }
    match bytes.get(AT_VERSION).copied() {
        Some(FORMAT_VERSION) => {}
        Some(0) => return Err(invalid("format version 0")),
        Some(found) => return Err(DecodeError::NewerFormat { found, supported: FORMAT_VERSION }),
        None => return Err(DecodeError::NotAFrame),
    }
    let envelope = bytes.first_chunk::<ENVELOPE_SIZE>().ok_or(DecodeError::NotAFrame)?;
    let length = u32::from_be_bytes(array_at(envelope, AT_LENGTH)) as usize;
    if length != bytes.len() - ENVELOPE_SIZE {
        return Err(DecodeError::Damaged("not as long as its envelope says"));
    }
    let stored = u64::from_be_bytes(array_at(envelope, AT_CHECKSUM));
    if stored != checksum(bytes) {
        return Err(DecodeError::Damaged("the checksum differs"));
    }
    Ok((envelope[AT_FLAGS], FrameMark(stored)))
}

/// `N` bytes of the envelope from `start`, an offset of ours.
fn array_at<const N: usize>(envelope: &[u8; ENVELOPE_SIZE], start: usize) -> [u8; N] {
    std::array::from_fn(|index| envelope[start + index])
}

/// The fields of a header as they stand there.
#[derive(Default)]
struct Fields {
    cluster: String,
    /// By field number; the one at 0 is the cluster and stays 0.
    numbers: [u64; HEADER_FIELDS],
}

/// Each known field exactly once, in any order; unknown ones belong to a later build of the same version.
fn read_fields(reader: &mut Reader<'_>) -> Result<Fields, DecodeError> {
    let mut fields = Fields::default();
    let mut seen = [false; HEADER_FIELDS];
    for _ in 0..reader.map("fields")? {
        let number = usize::try_from(reader.uint("field number")?).unwrap_or(usize::MAX);
        match seen.get_mut(number) {
            None => reader.skip("unknown field")?,
            Some(true) => return Err(reader.invalid(&format!("field {number} twice"))),
            Some(known) => {
                *known = true;
                read_field(reader, number, &mut fields)?;
            }
        }
    }
    match seen.iter().position(|seen| !seen) {
        None => Ok(fields),
        Some(number) => Err(reader.invalid(&format!("field {number} is missing"))),
    }
}

fn read_field(reader: &mut Reader<'_>, number: usize, fields: &mut Fields) -> Result<(), DecodeError> {
    if number == 0 {
        reader.text("cluster")?.clone_into(&mut fields.cluster);
    } else {
        fields.numbers[number] = reader.uint("field")?;
    }
    Ok(())
}

fn validate(fields: &Fields, flags: u8) -> Result<FrameHeader, DecodeError> {
    let [_, node, incarnation, shard, prev, through, group, part, parts, rows, raw_size] = fields.numbers;
    if flags & !FLAGS_ALL != 0 {
        return Err(invalid("unknown flags"));
    }
    if fields.cluster.len() > CLUSTER_NAME_MAX {
        let found = fields.cluster.len() as u64;
        return Err(DecodeError::TooLarge { what: "cluster name", found, limit: CLUSTER_NAME_MAX as u64 });
    }
    let origin = Origin::from_raw(node, incarnation).filter(|origin| *origin != Origin::NONE);
    let header = FrameHeader {
        place: GroupPlace {
            cluster: fields.cluster.clone(),
            origin: origin.ok_or_else(|| invalid("origin out of range"))?,
            shard: narrow(shard, "shard").map(Shard::new)?.ok_or_else(|| invalid("shard 0"))?,
            prev: position(prev)?,
            through: position(through)?,
        },
        group,
        part: narrow(part, "part")?,
        parts: narrow(parts, "parts")?,
        rows: narrow(rows, "rows")?,
        continued: flags & FLAG_CONTINUED != 0,
        compressed: flags & FLAG_COMPRESSED != 0,
        raw_size: narrow(raw_size, "body size")?,
    };
    check_relations(&header)?;
    Ok(header)
}

fn check_relations(header: &FrameHeader) -> Result<(), DecodeError> {
    check_raw_size(header.raw_size)?;
    if header.parts > PARTS_MAX {
        let (found, limit) = (header.parts.into(), PARTS_MAX.into());
        return Err(DecodeError::TooLarge { what: "number of parts", found, limit });
    }
    if header.part >= header.parts {
        return Err(invalid("a part beyond the number of parts"));
    }
    if header.place.prev > header.place.through {
        return Err(invalid("it reaches less far than the one before"));
    }
    if header.continued && (header.is_last() || header.rows > 0) {
        return Err(invalid("a body that continues after its end"));
    }
    // Every row takes more than one byte.
    if header.rows > header.raw_size {
        return Err(invalid("more rows than bytes"));
    }
    Ok(())
}

fn narrow<T: TryFrom<u64>>(number: u64, what: &str) -> Result<T, DecodeError> {
    T::try_from(number).map_err(|_| DecodeError::Invalid(format!("{what} {number} out of range")))
}

fn position(number: u64) -> Result<LogPosition, DecodeError> {
    let position = i64::try_from(number).ok().filter(|number| *number < Hlc::FOREIGN_END.get());
    position.and_then(LogPosition::new).ok_or_else(|| invalid("log position out of range"))
}

fn invalid(message: &str) -> DecodeError {
    DecodeError::Invalid(message.to_owned())
}
