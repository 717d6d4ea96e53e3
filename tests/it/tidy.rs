//! Keeps what the documents promise: floors, names, lengths, and that what is written down exists.
//!
//! Each check lists its exceptions with a reason. A list may get shorter; whoever makes it longer
//! says why in it.

mod documents;
mod floors;
mod shape;
mod source;
