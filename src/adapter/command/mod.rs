//! Commands to devices: what a message on a set topic asks for, whether it may be done, and what is answered. No I/O.
//!
//! `asked` is what the message says, `book` what can be asked of the devices of one wire, `answer` what is told. What is
//! done meanwhile, by whom and when, is up to the desk and to the actor of the wire.
//!
//! Invariants: a command that came from memory (RETAIN), may have come before (DUP) or is too old is never done; what a tag does not hold, exactly,
//! is never written; an answer never becomes a command.

mod answer;
mod asked;
mod book;
mod error;

pub(super) use answer::{Asker, Done, answers};
pub(super) use asked::{Asked, Body, Part, lifetime};
pub(super) use book::{Action, Ages, Book, Encoded, Place, What};
pub use error::CommandError;
