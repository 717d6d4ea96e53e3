//! What is wrong with the settings, in words an operator can act on.

use std::fmt;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The dotted key; empty when it is about a whole source, such as a file that is not TOML.
    pub key: String,
    /// What is wrong: lower case, no final stop, never the value of a secret.
    pub wrong: String,
    /// Where the value came from: the file, a variable, a flag, or `default`.
    pub origin: String,
}

impl Mistake {
    /// A mistake about `key`, given by `origin`.
    pub fn new(key: &str, wrong: impl Into<String>, origin: &str) -> Self {
        Mistake { key: key.to_owned(), wrong: wrong.into(), origin: origin.to_owned() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{} [{}]", self.wrong, self.origin)
    }
}

/// Every mistake of one start; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// Whether a mistake names this key.
    pub fn names(&self, key: &str) -> bool {
        self.0.iter().any(|mistake| mistake.key == key)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 mistake in the settings:")?,
            count => write!(f, "{count} mistakes in the settings:")?,
        }
        for mistake in &self.0 {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// The candidate that `written` was probably meant to be: at most two letters away.
pub fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const LETTERS_AWAY_MAX: usize = 2;
    candidates
        .into_iter()
        .map(|candidate| (distance(written, candidate), candidate))
        .filter(|(away, _)| *away <= LETTERS_AWAY_MAX)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, remove or change to make `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_finds_the_right_one() {
        assert_eq!(nearest("engin", ["engine", "cache_mb"]), Some("engine"));
        assert_eq!(nearest("cahce_mb", ["engine", "cache_mb"]), Some("cache_mb"));
        assert_eq!(nearest("colour", ["engine", "cache_mb"]), None);
    }

    #[test]
    fn a_mistake_reads_key_first_and_origin_last() {
        let mistakes =
            Mistakes(vec![Mistake::new("store.cache_mb", "must be at least 1", "a.toml")]);
        assert_eq!(
            mistakes.to_string(),
            "1 mistake in the settings:\n  store.cache_mb: must be at least 1 [a.toml]"
        );
    }
}
