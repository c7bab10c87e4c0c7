//! Where in the document something stands: `devices[1].groups[0].tags[2].address`. No text, no positions; those come from
//! `locate`.

use std::fmt;
use std::rc::Rc;

/// The way from the root to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(Vec<Step>);

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Into a mapping. The number tells keys apart that were given twice: 0 is the first.
    Key(Rc<str>, usize),
    /// Into a list.
    Index(usize),
}

impl Place {
    /// The value of `name` in this mapping.
    pub(super) fn key(&self, name: &str) -> Self {
        self.repeated_key(name, 0)
    }

    /// The value of the `nth` occurrence of `name`.
    pub(super) fn repeated_key(&self, name: &str, nth: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(Rc::from(name), nth));
        Self(steps)
    }

    /// The element `index` of this list.
    pub(super) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// One step up; `None` at the root.
    pub(super) fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }

    /// The steps from the root on.
    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether the last step leads into a mapping, so that there is a key to point at.
    pub(super) fn has_key(&self) -> bool {
        matches!(self.0.last(), Some(Step::Key(..)))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(name, _) if position == 0 => write!(formatter, "{name}")?,
                Step::Key(name, _) => write!(formatter, ".{name}")?,
                Step::Index(index) => write!(formatter, "[{index}]")?,
            }
        }
        Ok(())
    }
}
