//! The words of the file for those who say the same on a command line: tables, types, orders, references. No I/O.

use super::raw::{self, Words};
use crate::adapter::{Parity, Table, TagType};
use crate::value::ByteOrder;

/// Reads `register:`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn table(text: &str) -> Result<Table, String> {
    choose(text)
}

/// Reads `byte_order:`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn byte_order(text: &str) -> Result<ByteOrder, String> {
    choose(text)
}

/// Reads `parity:`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn parity(text: &str) -> Result<Parity, String> {
    choose(text)
}

/// Reads `type:`; a string spans `length` registers.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn tag_type(text: &str, length: u16) -> Result<TagType, String> {
    choose(text).map(|kind: raw::Kind| kind.spanning(length))
}

/// Table and address of a reference as manuals print them, five or six digits.
#[must_use]
pub fn referred(reference: u32) -> Option<(Table, u16)> {
    let (table, first) = match reference {
        1..=9_999 => (Table::Coils, 1),
        10_001..=19_999 => (Table::DiscreteInputs, 10_001),
        30_001..=39_999 => (Table::InputRegisters, 30_001),
        40_001..=49_999 => (Table::HoldingRegisters, 40_001),
        100_001..=165_536 => (Table::DiscreteInputs, 100_001),
        300_001..=365_536 => (Table::InputRegisters, 300_001),
        400_001..=465_536 => (Table::HoldingRegisters, 400_001),
        _ => return None,
    };
    Some((table, u16::try_from(reference - first).ok()?))
}

/// The reference of an address: of five digits where there is one, else of six. Coils beyond 9999 have none.
#[must_use]
pub fn reference(table: Table, address: u16) -> Option<u32> {
    let leading = match table {
        Table::Coils => 0,
        Table::DiscreteInputs => 1,
        Table::InputRegisters => 3,
        Table::HoldingRegisters => 4,
    };
    let number = u32::from(address) + 1;
    match number {
        ..=9_999 => Some(leading * 10_000 + number),
        _ if leading > 0 => Some(leading * 100_000 + number),
        _ => None,
    }
}

/// The word of a table.
#[must_use]
pub fn table_word(table: Table) -> &'static str {
    word(table)
}

/// The word of a parity.
#[must_use]
pub fn parity_word(parity: Parity) -> &'static str {
    word(parity)
}

/// The word of a type.
#[must_use]
pub fn type_word(kind: TagType) -> &'static str {
    let length = kind.registers();
    let mut words = raw::Kind::WORDS.iter();
    let found = words.find(|(_, word)| word.spanning(length) == kind);
    found.map_or("", |(word, _)| word)
}

fn choose<T: Words>(text: &str) -> Result<T, String> {
    raw::choose(text).map_err(|fault| format!("{}; {}", fault.message, fault.remedy))
}

fn word<T: Words + PartialEq>(value: T) -> &'static str {
    let found = T::WORDS.iter().find(|(_, known)| *known == value);
    found.map_or("", |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_the_manuals() {
        assert_eq!(referred(1), Some((Table::Coils, 0)));
        assert_eq!(referred(10_001), Some((Table::DiscreteInputs, 0)));
        assert_eq!(referred(30_073), Some((Table::InputRegisters, 72)));
        assert_eq!(referred(40_108), Some((Table::HoldingRegisters, 107)));
        assert_eq!(referred(465_536), Some((Table::HoldingRegisters, 65_535)));
        for none in [0, 10_000, 20_001, 30_000, 50_000, 465_537, u32::MAX] {
            assert_eq!(referred(none), None, "{none}");
        }
    }

    #[test]
    fn an_address_has_the_reference_that_leads_back_to_it() {
        for (_, table) in Table::WORDS {
            for address in [0, 9998, 9999, 65_535] {
                match reference(*table, address) {
                    Some(number) => assert_eq!(referred(number), Some((*table, address))),
                    None => assert!(*table == Table::Coils && address > 9998),
                }
            }
        }
    }

    #[test]
    fn every_type_has_its_word() {
        for (word, kind) in raw::Kind::WORDS {
            assert_eq!(tag_type(word, 3), Ok(kind.spanning(3)));
            assert_eq!(type_word(kind.spanning(3)), *word);
        }
        let fault = tag_type("float23", 1).unwrap_err();
        assert!(fault.ends_with("did you mean `float32`?"), "{fault}");
        assert_eq!(table_word(Table::DiscreteInputs), "discrete");
    }
}
