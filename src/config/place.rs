//! Where in the configuration something stands: `devices[1].groups[0].tags[2].address`, in the file itself or in one that
//! belongs to it. No text, no positions; those come from `locate`.

use std::fmt;
use std::path::Path;
use std::rc::Rc;

use super::secrecy::is_secret;

/// The way from the root of a file to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// `None`: the file itself, which comes before all others.
    file: Option<Rc<Path>>,
    steps: Vec<Step>,
}

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Into a mapping. The number tells keys apart that were given twice: 0 is the first.
    Key(Rc<str>, usize),
    /// Into a list.
    Index(usize),
}

impl Place {
    /// The root of another file.
    pub(super) fn root_of(file: Rc<Path>) -> Self {
        Self {
            file: Some(file),
            steps: Vec::new(),
        }
    }

    /// The other file that it is in.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The value of `name` in this mapping.
    pub(super) fn key(&self, name: &str) -> Self {
        self.repeated_key(name, 0)
    }

    /// The value of the `nth` occurrence of `name`.
    pub(super) fn repeated_key(&self, name: &str, nth: usize) -> Self {
        self.down(Step::Key(Rc::from(name), nth))
    }

    /// The element `index` of this list.
    pub(super) fn index(&self, index: usize) -> Self {
        self.down(Step::Index(index))
    }

    fn down(&self, step: Step) -> Self {
        let mut below = self.clone();
        below.steps.push(step);
        below
    }

    /// Where `steps` lead from here.
    pub(super) fn below(&self, steps: &[Step]) -> Self {
        let mut below = self.clone();
        below.steps.extend_from_slice(steps);
        below
    }

    /// One step up; `None` at the root.
    pub(super) fn parent(&self) -> Option<Self> {
        let (_, rest) = self.steps.split_last()?;
        Some(Self {
            file: self.file.clone(),
            steps: rest.to_vec(),
        })
    }

    /// The steps from the root on.
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The way alone, `devices[1].unit_id`.
    pub(super) fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.steps {
            match step {
                Step::Key(name, _) if path.is_empty() => path.push_str(name),
                Step::Key(name, _) => path.extend([".", name]),
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }

    /// Whether what stands there is not to be shown.
    pub(super) fn is_secret(&self) -> bool {
        match self.steps.last() {
            Some(Step::Key(name, _)) => is_secret(name),
            _ => false,
        }
    }

    /// Whether the last step leads into a mapping, so that there is a key to point at.
    pub(super) fn has_key(&self) -> bool {
        self.last_key().is_some()
    }

    /// The key that the last step takes, if it leads into a mapping.
    pub(super) fn last_key(&self) -> Option<&str> {
        match self.steps.last() {
            Some(Step::Key(name, _)) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Place {
    /// The path, after the file where it is another.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(formatter, "{}: ", file.display())?;
        }
        formatter.write_str(&self.path())
    }
}
