//! What must not be shown: it can be used and compared, and prints as `***` wherever it is part of something that is printed.

use std::fmt;

/// A password, or what can be used like one.
#[derive(Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// To be used, not shown.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_used_and_not_shown() {
        let password = Secret::from("hunter2".to_owned());
        assert_eq!(password.expose(), "hunter2");
        assert_eq!(
            format!("{:?} {:#?}", Some(&password), password),
            "Some(***) ***"
        );
        assert_ne!(password, Secret::default());
    }
}
