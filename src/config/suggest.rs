//! "Did you mean": the nearest of the names that were possible.

/// The candidate that was probably meant: the nearest to `word`, where one is near enough to be a slip of the keyboard, at
/// most a third of the letters wrong and at most three; else the only one that has `word` as a part, as `unit_id` has `unit`.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let mut longer = candidates.clone().into_iter().filter(|candidate| {
        let mut parts = candidate.split('_');
        parts.clone().count() > 1 && parts.any(|part| part.eq_ignore_ascii_case(word))
    });
    let only = longer.next().filter(|_| longer.next().is_none());
    slip(word, candidates).or(only)
}

fn slip<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are no slip, and the distance costs the product of the lengths.
    if word.chars().count() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 256)
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            let letters = candidate.chars().count().max(lower.chars().count());
            *distance <= (letters / 3).clamp(1, 3)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein, with two neighbours swapped counting as one slip.
pub(super) fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    let mut previous = None;
    for (row, letter) in one.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, wanted) in other.iter().enumerate() {
            let at =
                |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut cost = (at(&last, column) + usize::from(letter != *wanted))
                .min(at(&last, column + 1) + 1)
                .min(at(&current, column) + 1);
            let swapped =
                column > 0 && previous == Some(*wanted) && other.get(column - 1) == Some(&letter);
            if swapped {
                cost = cost.min(at(&before_last, column - 1) + 1);
            }
            current.push(cost);
        }
        before_last = std::mem::replace(&mut last, current);
        previous = Some(letter);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let keys = ["register", "reference", "retain", "name"];
        assert_eq!(nearest("registr", keys), Some("register"));
        assert_eq!(nearest("Register", keys), Some("register"));
        assert_eq!(nearest("reatin", keys), Some("retain"));
        assert_eq!(nearest("nmae", keys), Some("name"));
        assert_eq!(nearest("publish", keys), None);
        let longer = ["unit_id", "baud_rate", "max_gap", "max_age"];
        assert_eq!(nearest("unit", longer), Some("unit_id"));
        assert_eq!(nearest("Baud", longer), Some("baud_rate"));
        assert_eq!(nearest("max", longer), None);
        assert_eq!(nearest("", keys), None);
    }

    #[test]
    fn distances_are_those_of_the_textbook() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }
}
