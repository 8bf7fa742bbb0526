//! Who belongs to the cluster: what nodes tell one another, whom a node believes, and how far everybody is.
//!
//! Pure like the rest of the core: records and moments come in, verdicts and views go out. How records travel (a request
//! to each peer's server, or a bucket that all read) is the runtime's business; so is dialling an address.
//!
//! Nothing here decides about rows. A node that knows no other member captures and publishes all the same; all that the
//! roster withholds is following the streams of somebody who was refused.

mod backlog;
mod record;
mod refusal;
mod roster;
mod view;
mod wire;

pub use self::backlog::{Backlog, Lag, Sample};
pub use self::record::{Acquaintance, Life, MemberRecord, MemberVersion, Progress};
pub use self::refusal::{Holder, Refusal, RefusalKind};
pub use self::roster::{Forgetting, Heard, Identity, Moment, Roster};
pub use self::view::{MemberState, MemberView, RefusedCaller};
pub use self::wire::{
    Answer, MemberError, SavedMember, decode_answer, decode_hello, decode_saved, encode_answer, encode_hello,
    encode_saved,
};
