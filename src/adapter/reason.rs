//! Why a reading is bad: every reason, with the word that payloads carry. No I/O.
//!
//! | word | what happened |
//! |---|---|
//! | `timeout` | no whole reply within `response_timeout` |
//! | `offline` | the device was silent before; it is only probed, see `$status` |
//! | `connect_failed` | no TCP connection: refused, no route, no such host, or not within `connect_timeout` |
//! | `connection_closed` | the peer closed or reset the connection instead of replying |
//! | `exception_NN` | the device refused the request; NN is the exception code as manuals print it: 01 to 0B, hexadecimal |
//! | `wrong_count` | a reply with fewer or more bits or registers than were asked for |
//! | `wrong_unit` | a reply of another unit |
//! | `wrong_function` | a reply to another function |
//! | `wrong_transaction` | a reply to another request: late, or the gateway before the device mixes replies up |
//! | `wrong_reply` | a device that confirms another write than was asked of it |
//! | `wrong_checksum` | a reply with a byte wrong: noise on the line, two units with one address, or termination |
//! | `echo` | the serial adapter hears what it sends: set `discard_echo: true`, or switch the adapter's echo off |
//! | `garbled` | bytes that are no Modbus reply |
//! | `not_a_number` | the float in the registers is NaN or infinite |
//! | `not_text` | the bytes in the registers are no UTF-8 |
//! | `bad_bcd` | a digit of the BCD number is above 9 |
//! | `bad_scale_factor` | what `scale_from` names is no power of ten from -10 to 10 |
//! | `not_in_enum` | the tag's `enum` has no name for the number |
//! | `invalid` | the number is one of the tag's `invalid` |
//! | `no_match` | a frame of a serial instrument, or a field of it, that is not what `parse` says |
//! | `other_unit` | a serial instrument says another unit than the field's `unit` |

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::Unfit;

/// Why a reading is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A write that had to wait until it was too old; never of a reading.
    Expired,
    /// No whole reply in time.
    Timeout,
    /// Not asked, because it was silent before.
    Offline,
    /// No connection.
    ConnectFailed,
    /// Closed or reset by the peer.
    ConnectionClosed,
    /// A Modbus exception code.
    Exception(u8),
    /// Not as many bits or registers as asked for.
    WrongCount,
    /// Of another unit.
    WrongUnit,
    /// To another function.
    WrongFunction,
    /// To another request.
    WrongTransaction,
    /// It confirms another write.
    WrongReply,
    /// A reply whose checksum is not that of its bytes.
    WrongChecksum,
    /// What was sent, not what the device said.
    Echo,
    /// No Modbus reply.
    Garbled,
    /// NaN or infinite.
    NotANumber,
    /// No UTF-8.
    NotText,
    /// No BCD number.
    BadBcd,
    /// No power of ten.
    BadScaleFactor,
    /// A number without a name.
    NotInEnum,
    /// A number by which the device says that it has no value.
    Invalid,
    /// Not what a serial instrument is known to say.
    NoMatch,
    /// Measured in another unit than is expected.
    OtherUnit,
}

/// The device does not have all of these registers.
const ILLEGAL_DATA_ADDRESS: u8 = 0x02;
/// The device does not take this quantity.
const ILLEGAL_DATA_VALUE: u8 = 0x03;
/// The device failed while it did what it was asked.
const DEVICE_FAILURE: u8 = 0x04;
/// The device has begun, and does not wait for the end.
const ACKNOWLEDGE: u8 = 0x05;
/// The gateway before the device cannot reach its line.
const GATEWAY_PATH_UNAVAILABLE: u8 = 0x0A;
/// The gateway before the device had no reply from it.
const GATEWAY_TARGET_FAILED: u8 = 0x0B;
/// The device has no time now.
pub(super) const DEVICE_BUSY: u8 = 0x06;

impl Reason {
    /// Whether the device itself has spoken, so that it cannot be offline. The two exceptions that a gateway sends in
    /// the name of a device that did not answer prove the opposite.
    #[must_use]
    pub fn proves_alive(self) -> bool {
        match self {
            Self::Exception(code) => {
                code != GATEWAY_PATH_UNAVAILABLE && code != GATEWAY_TARGET_FAILED
            }
            Self::WrongCount
            | Self::WrongReply
            | Self::NotANumber
            | Self::NotText
            | Self::BadBcd
            | Self::BadScaleFactor
            | Self::NotInEnum
            | Self::Invalid
            | Self::NoMatch
            | Self::OtherUnit => true,
            _ => false,
        }
    }
}

impl Reason {
    /// Whether a write that ended so may have been made all the same. Most exceptions are refusals.
    pub(super) fn leaves_in_doubt(self) -> bool {
        match self {
            // An echo is heard of the read that comes before.
            Self::Expired | Self::Offline | Self::ConnectFailed | Self::Echo => false,
            Self::Exception(code) => {
                matches!(code, DEVICE_FAILURE | ACKNOWLEDGE | GATEWAY_TARGET_FAILED)
            }
            _ => true,
        }
    }

    /// Whether the device refuses this request for the addresses or the length that it has, and may take its parts.
    pub(super) fn is_of_the_request(self) -> bool {
        matches!(
            self,
            Self::Exception(ILLEGAL_DATA_ADDRESS | ILLEGAL_DATA_VALUE)
        )
    }

    /// Whether the device only has no time now.
    pub(super) fn is_busy(self) -> bool {
        self == Self::Exception(DEVICE_BUSY)
    }
}

impl From<Unfit> for Reason {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::WrongCount => Self::WrongCount,
            Unfit::NotANumber => Self::NotANumber,
            Unfit::NotText => Self::NotText,
            Unfit::BadBcd => Self::BadBcd,
            Unfit::NotInEnum => Self::NotInEnum,
            Unfit::Invalid => Self::Invalid,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Exception(code) => return write!(formatter, "exception_{code:02X}"),
            Self::Expired => "expired",
            Self::Timeout => "timeout",
            Self::Offline => "offline",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectionClosed => "connection_closed",
            Self::WrongCount => "wrong_count",
            Self::WrongUnit => "wrong_unit",
            Self::WrongFunction => "wrong_function",
            Self::WrongTransaction => "wrong_transaction",
            Self::WrongReply => "wrong_reply",
            Self::WrongChecksum => "wrong_checksum",
            Self::Echo => "echo",
            Self::Garbled => "garbled",
            Self::NotANumber => "not_a_number",
            Self::NotText => "not_text",
            Self::BadBcd => "bad_bcd",
            Self::BadScaleFactor => "bad_scale_factor",
            Self::NotInEnum => "not_in_enum",
            Self::Invalid => "invalid",
            Self::NoMatch => "no_match",
            Self::OtherUnit => "other_unit",
        };
        formatter.write_str(word)
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Those whose word is one of their own.
const WITH_A_WORD: [Reason; 21] = [
    Reason::Expired,
    Reason::Timeout,
    Reason::Offline,
    Reason::ConnectFailed,
    Reason::ConnectionClosed,
    Reason::WrongCount,
    Reason::WrongUnit,
    Reason::WrongFunction,
    Reason::WrongTransaction,
    Reason::WrongReply,
    Reason::WrongChecksum,
    Reason::Echo,
    Reason::Garbled,
    Reason::NotANumber,
    Reason::NotText,
    Reason::BadBcd,
    Reason::BadScaleFactor,
    Reason::NotInEnum,
    Reason::Invalid,
    Reason::NoMatch,
    Reason::OtherUnit,
];

/// A word that is no reason's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no reason")]
pub struct NoReason(String);

impl FromStr for Reason {
    type Err = NoReason;

    fn from_str(word: &str) -> Result<Self, NoReason> {
        let code = word.strip_prefix("exception_");
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        let own = || WITH_A_WORD.into_iter().find(|it| it.to_string() == word);
        let reason = code.map(Self::Exception).or_else(own);
        reason.ok_or_else(|| NoReason(word.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        word.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../config/docs/topics.md");

    /// The reason after this one, so that a new variant cannot be left out of the page: this match would not compile.
    fn next(reason: Reason) -> Option<Reason> {
        Some(match reason {
            Reason::Timeout => Reason::Offline,
            Reason::Offline => Reason::ConnectFailed,
            Reason::ConnectFailed => Reason::ConnectionClosed,
            Reason::ConnectionClosed => Reason::Exception(0x01),
            Reason::Exception(0x06) => Reason::Exception(0x08),
            Reason::Exception(0x08) => Reason::Exception(0x0A),
            Reason::Exception(0x0B) => Reason::WrongCount,
            Reason::Exception(code) => Reason::Exception(code + 1),
            Reason::WrongCount => Reason::WrongUnit,
            Reason::WrongUnit => Reason::WrongFunction,
            Reason::WrongFunction => Reason::WrongTransaction,
            Reason::WrongTransaction => Reason::WrongReply,
            Reason::WrongReply => Reason::WrongChecksum,
            Reason::WrongChecksum => Reason::Echo,
            Reason::Echo => Reason::Garbled,
            Reason::Garbled => Reason::NotANumber,
            Reason::NotANumber => Reason::NotText,
            Reason::NotText => Reason::BadBcd,
            Reason::BadBcd => Reason::BadScaleFactor,
            Reason::BadScaleFactor => Reason::NotInEnum,
            Reason::NotInEnum => Reason::Invalid,
            Reason::Invalid => Reason::NoMatch,
            Reason::NoMatch => Reason::OtherUnit,
            Reason::OtherUnit | Reason::Expired => return None,
        })
    }

    #[test]
    fn the_page_of_topics_explains_every_reason_in_this_order() {
        let words: Vec<_> = std::iter::successors(Some(Reason::Timeout), |reason| next(*reason))
            .map(|reason| reason.to_string())
            .collect();
        let (_, table) = PAGE.split_once("## Reasons").unwrap();
        let rows: Vec<_> = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(word, _)| word)
            .collect();
        assert_eq!(rows, words);
    }

    #[test]
    fn every_word_is_that_of_its_reason_again() {
        let all = std::iter::successors(Some(Reason::Timeout), |reason| next(*reason));
        for reason in all.chain([Reason::Expired]) {
            assert_eq!(reason.to_string().parse(), Ok(reason));
        }
        for wrong in ["", "late", "exception_", "exception_1FF", "Timeout"] {
            assert!(wrong.parse::<Reason>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn exceptions_read_as_in_manuals() {
        assert_eq!(Reason::Exception(2).to_string(), "exception_02");
        assert_eq!(Reason::Exception(0x0B).to_string(), "exception_0B");
    }

    #[test]
    fn a_gateway_that_speaks_for_a_silent_device_proves_nothing() {
        assert!(Reason::Exception(2).proves_alive());
        assert!(Reason::Exception(6).proves_alive());
        assert!(!Reason::Exception(0x0A).proves_alive());
        assert!(!Reason::Exception(0x0B).proves_alive());
        assert!(!Reason::Timeout.proves_alive());
    }

    #[test]
    fn only_a_refusal_says_that_nothing_was_written() {
        for code in [1, 2, 3, 6, 0x0A] {
            assert!(!Reason::Exception(code).leaves_in_doubt(), "{code}");
        }
        for reason in [
            Reason::Exception(4),
            Reason::Exception(5),
            Reason::Exception(0x0B),
            Reason::Timeout,
            Reason::ConnectionClosed,
            Reason::WrongReply,
        ] {
            assert!(reason.leaves_in_doubt(), "{reason}");
        }
        assert!(!Reason::ConnectFailed.leaves_in_doubt());
    }
}
