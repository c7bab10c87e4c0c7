//! Which registers a person means: a table and the number on the wire, or the reference that manuals print. No I/O.

use std::fmt;

use super::Fault;
use crate::adapter::Table;
use crate::config;

/// The first of the registers, or bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Register {
    pub(in crate::cli) table: Table,
    pub(in crate::cli) address: u16,
}

/// As a person names it.
#[derive(Debug, clap::Args)]
pub(super) struct RegisterArguments {
    /// The number that manuals print, 40101 or 400101, in place of TABLE ADDRESS.
    #[arg(long, value_name = "NUMBER")]
    pub(super) reference: Option<u32>,
}

impl RegisterArguments {
    /// The register that `words` (TABLE ADDRESS) or the reference name; `None`: they name none, but may be something else.
    pub(super) fn register(&self, words: &[String]) -> Result<Option<Register>, Fault> {
        if let Some(reference) = self.reference {
            if !words.is_empty() {
                return Err(Fault::Usage(
                    "--reference says which register it is: leave TABLE and ADDRESS out".to_owned(),
                ));
            }
            let (table, address) = config::referred(reference).ok_or_else(|| {
                Fault::Usage(format!(
                    "{reference} is no reference: they are 1-9999 (coil), 10001-19999 (discrete), 30001-39999 (input), \
                     40001-49999 (holding), and 100001, 300001, 400001 to ...65536"
                ))
            })?;
            return Ok(Some(Register { table, address }));
        }
        let [table, address] = words else {
            return Ok(None);
        };
        let Some(number) = number(address) else {
            return Ok(None);
        };
        let table = config::table(table).map_err(Fault::Usage)?;
        let address = u16::try_from(number).map_err(|_| {
            Fault::Usage(format!(
                "{address} is no address: they are 0 to 65535, as on the wire; is it --reference {address}?"
            ))
        })?;
        Ok(Some(Register { table, address }))
    }
}

/// `100` or `0x64`.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

impl Register {
    /// So many registers on; `None` beyond the last.
    pub(super) fn after(self, registers: u16) -> Option<Self> {
        let address = self.address.checked_add(registers)?;
        Some(Self { address, ..self })
    }

    pub(super) fn reference(self) -> Option<u32> {
        config::reference(self.table, self.address)
    }
}

/// `holding 100 (reference 40101)`: both numbers, since which one a manual prints is what goes wrong.
impl fmt::Display for Register {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {}",
            config::table_word(self.table),
            self.address
        )?;
        match self.reference() {
            Some(reference) => write!(formatter, " (reference {reference})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(words: &[&str], reference: Option<u32>) -> Result<Option<String>, String> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let found = RegisterArguments { reference }.register(&words);
        found
            .map(|register| register.map(|register| register.to_string()))
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_register_is_named_by_its_address_or_its_reference() {
        let holding = "holding 100 (reference 40101)".to_owned();
        assert_eq!(
            register(&["holding", "100"], None),
            Ok(Some(holding.clone()))
        );
        assert_eq!(
            register(&["holding", "0x64"], None),
            Ok(Some(holding.clone()))
        );
        assert_eq!(register(&[], Some(40_101)), Ok(Some(holding)));
        let far = "input 20000 (reference 320001)".to_owned();
        assert_eq!(register(&["input", "20000"], None), Ok(Some(far)));
        assert_eq!(
            register(&["coil", "20000"], None),
            Ok(Some("coil 20000".to_owned()))
        );
    }

    #[test]
    fn what_is_no_register_is_said_or_may_be_a_tag() {
        assert_eq!(register(&["power", "energy"], None), Ok(None));
        assert_eq!(register(&[], None), Ok(None));
        let fault = register(&["holdin", "1"], None).unwrap_err();
        assert!(fault.contains("did you mean `holding`?"), "{fault}");
        let fault = register(&["holding", "400101"], None).unwrap_err();
        assert!(fault.contains("--reference 400101"), "{fault}");
        assert!(register(&["holding", "1"], Some(40_001)).is_err());
        assert!(register(&[], Some(20_001)).is_err());
    }
}
