//! The bytes of records, answers and of the list that a node keeps: CBOR with numbered fields, bounded before it is read
//! and checked after it. Fields that are not known are skipped, so that a later version may say more.

use minicbor::data::Type;
use minicbor::decode::{self, Decode, Decoder};
use minicbor::encode::{self, Encode, Encoder, Write};
use thiserror::Error;

use crate::limits::{
    ADDRESS_SIZE_MAX, BACKLOG_SAMPLES_MAX, CLUSTER_NAME_MAX, KNOWN_MEMBERS_MAX, RECORD_POSITIONS_MAX,
    RECORD_SIZE_MAX, RECORD_SOURCES_MAX, RECORD_TEXT_MAX,
};
use crate::model::{Incarnation, LogPosition, NodeId, Origin, Shard};

use super::record::{Acquaintance, MemberRecord, MemberVersion};
use super::refusal::{Holder, Refusal};

/// The format that this build writes and reads.
const FORMAT: u8 = 1;

/// What is wrong with bytes about members.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum MemberError {
    /// Longer than anything that a node sends.
    #[error("the record has {size} bytes, more than {RECORD_SIZE_MAX}")]
    TooLarge {
        /// How long.
        size: usize,
    },
    /// Of another version.
    #[error("records of format {found} are not understood here, only of format {FORMAT}: use one version")]
    Format {
        /// Its format.
        found: u8,
    },
    /// Not what it should be.
    #[error("not a member's record: {reason}")]
    Malformed {
        /// What was found.
        reason: String,
    },
}

/// What a node answers to a record.
#[derive(Clone, PartialEq, Eq, Debug, minicbor::Encode, minicbor::Decode)]
pub enum Answer {
    /// It is believed; this is the record of the one that answers.
    #[n(0)]
    Welcome(#[n(0)] Box<MemberRecord>),
    /// It is not.
    #[n(1)]
    Refused(#[n(0)] Refusal),
}

/// A member as a node keeps it across restarts.
#[derive(Clone, PartialEq, Eq, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct SavedMember {
    /// Who.
    #[n(0)]
    pub node: NodeId,
    /// The newest of its records that we knew of.
    #[n(1)]
    pub version: MemberVersion,
    /// Where it was reached.
    #[n(2)]
    pub address: Option<String>,
    /// It was removed.
    #[n(3)]
    pub forgotten: bool,
}

/// The bytes of a record.
#[must_use]
pub fn encode_hello(record: &MemberRecord) -> Vec<u8> {
    encode(record)
}

/// Reads a record.
///
/// # Errors
/// When the bytes are none, or one of another format.
pub fn decode_hello(bytes: &[u8]) -> Result<MemberRecord, MemberError> {
    let record: MemberRecord = decode(bytes)?;
    check_record(&record)?;
    Ok(record)
}

/// The bytes of an answer.
#[must_use]
pub fn encode_answer(answer: &Answer) -> Vec<u8> {
    encode(answer)
}

/// Reads an answer.
///
/// # Errors
/// When the bytes are none, or one of another format.
pub fn decode_answer(bytes: &[u8]) -> Result<Answer, MemberError> {
    let answer = decode(bytes)?;
    match &answer {
        Answer::Welcome(record) => check_record(record)?,
        Answer::Refused(refusal) => {
            check_text("reason", &refusal.reason, RECORD_TEXT_MAX)?;
            let address = refusal.holder.as_ref().and_then(|Holder { address, .. }| address.as_deref());
            check_address(address)?;
        }
    }
    Ok(answer)
}

/// The bytes of the list that a node keeps.
#[must_use]
pub fn encode_saved(members: &[SavedMember]) -> Vec<u8> {
    encode(&members)
}

/// Reads such a list.
///
/// # Errors
/// When the bytes are none, or one of another format.
pub fn decode_saved(bytes: &[u8]) -> Result<Vec<SavedMember>, MemberError> {
    let members: Vec<SavedMember> = decode(bytes)?;
    check_count("members", members.len(), KNOWN_MEMBERS_MAX)?;
    members.iter().try_for_each(|member| check_address(member.address.as_deref()))?;
    Ok(members)
}

fn encode<T: Encode<()>>(body: &T) -> Vec<u8> {
    // A `Vec` refuses nothing.
    minicbor::to_vec((FORMAT, body)).unwrap_or_default()
}

/// Memory is bounded by the size: every item takes a byte at least.
fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, MemberError> {
    if bytes.len() > RECORD_SIZE_MAX {
        return Err(MemberError::TooLarge { size: bytes.len() });
    }
    let mut decoder = Decoder::new(bytes);
    let opening = decoder.array().map_err(|error| malformed(&error))?;
    let found = decoder.u8().map_err(|error| malformed(&error))?;
    if opening != Some(2) || found != FORMAT {
        return Err(MemberError::Format { found });
    }
    let body = decoder.decode().map_err(|error| malformed(&error))?;
    if decoder.position() < bytes.len() {
        return Err(MemberError::Malformed { reason: "something follows it".to_owned() });
    }
    Ok(body)
}

fn malformed(error: &decode::Error) -> MemberError {
    MemberError::Malformed { reason: error.to_string() }
}

fn check_record(record: &MemberRecord) -> Result<(), MemberError> {
    check_text("cluster", &record.cluster, CLUSTER_NAME_MAX)?;
    check_text("release", &record.release, RECORD_TEXT_MAX)?;
    check_address(record.address.as_deref())?;
    let progress = &record.progress;
    check_count("published positions", progress.published.len(), RECORD_POSITIONS_MAX)?;
    check_count("applied positions", progress.applied.len(), RECORD_POSITIONS_MAX)?;
    check_count("checkpoints", progress.checkpoints.len(), RECORD_SOURCES_MAX)?;
    check_count("samples", progress.samples.len(), BACKLOG_SAMPLES_MAX)?;
    check_count("members", record.known.len(), KNOWN_MEMBERS_MAX)?;
    if !progress.applied.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)) {
        return Err(MemberError::Malformed { reason: "applied positions are not in order".to_owned() });
    }
    for (source, _) in &progress.checkpoints {
        check_text("source", source, RECORD_TEXT_MAX)?;
    }
    record.known.iter().try_for_each(|Acquaintance { address, .. }| check_address(address.as_deref()))
}

fn check_count(what: &str, count: usize, max: usize) -> Result<(), MemberError> {
    if count <= max {
        return Ok(());
    }
    Err(MemberError::Malformed { reason: format!("{count} {what}, more than {max}") })
}

fn check_address(address: Option<&str>) -> Result<(), MemberError> {
    address.map_or(Ok(()), |address| check_text("address", address, ADDRESS_SIZE_MAX))
}

/// Texts are shown to people: nothing that a terminal would act on.
fn check_text(what: &str, text: &str, max: usize) -> Result<(), MemberError> {
    if text.len() <= max && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(MemberError::Malformed { reason: format!("{what} is too long or has control characters") })
}

impl<C> Encode<C> for NodeId {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.u64(self.get())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for NodeId {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::new(d.u64()?).ok_or_else(|| decode::Error::message("node id out of range"))
    }
}

impl<C> Encode<C> for Incarnation {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.u64(self.get())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Incarnation {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::new(d.u64()?).ok_or_else(|| decode::Error::message("incarnation out of range"))
    }
}

impl<C> Encode<C> for Shard {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.u16(self.get())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Shard {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::new(d.u16()?).ok_or_else(|| decode::Error::message("shard 0"))
    }
}

impl<C> Encode<C> for LogPosition {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.i64(self.get())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for LogPosition {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::new(d.i64()?).ok_or_else(|| decode::Error::message("negative position"))
    }
}

impl<C> Encode<C> for Origin {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.array(2)?.u64(self.raw_node())?.u64(self.raw_incarnation())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Origin {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        if d.datatype()? != Type::Array || d.array()? != Some(2) {
            return Err(decode::Error::message("an origin is an array of two"));
        }
        Self::from_raw(d.u64()?, d.u64()?).ok_or_else(|| decode::Error::message("origin out of range"))
    }
}
