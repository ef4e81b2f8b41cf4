//! Okapi BM25.
//!
//! Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009),
//! section 3.

use std::{cmp::Ordering, collections::HashMap};

/// How soon more of the same word says nothing more.
const K1: f64 = 1.5;
/// How much the length of a text counts.
const B: f64 = 0.75;
/// Words of a query that count.
const MAX_WORDS: usize = 64;
/// Longest word, in bytes.
const MAX_WORD: usize = 64;

/// Texts by their words.
pub(super) struct Index {
    texts: Vec<Words>,
}

#[derive(Default)]
struct Words {
    count: HashMap<String, u32>,
    total: u32,
}

impl Index {
    pub(super) fn of(texts: impl Iterator<Item = String>) -> Self {
        let texts = texts.map(|text| {
            let mut found = Words::default();
            for word in words(&text) {
                *found.count.entry(word).or_default() += 1;
                found.total += 1;
            }
            found
        });
        Self {
            texts: texts.collect(),
        }
    }

    /// The places of the texts that have a word of `query`, the best first. Those that `may` not be found do
    /// not count for anything: nothing about them shows in the order of the others.
    pub(super) fn search(&self, query: &str, may: &[bool]) -> Vec<usize> {
        let texts = self.texts.iter().enumerate().zip(may);
        let texts: Vec<_> = texts
            .filter(|(_, may)| **may)
            .map(|(text, _)| text)
            .collect();
        let count = f64::from(u32::try_from(texts.len()).unwrap_or(u32::MAX));
        let total: f64 = texts.iter().map(|(_, words)| f64::from(words.total)).sum();
        let average = (total / count.max(1.0)).max(1.0);
        let mut wanted: Vec<String> = words(query).take(MAX_WORDS).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut scores: HashMap<usize, f64> = HashMap::new();
        for word in &wanted {
            let having: Vec<_> = texts
                .iter()
                .filter_map(|(at, words)| Some((at, *words.count.get(word)?, words.total)))
                .collect();
            let with = f64::from(u32::try_from(having.len()).unwrap_or(u32::MAX));
            let rarity = ((count - with + 0.5) / (with + 0.5) + 1.0).ln();
            for (at, times, length) in having {
                let times = f64::from(times);
                let length = 1.0 - B + B * f64::from(length) / average;
                *scores.entry(*at).or_default() +=
                    rarity * times * (K1 + 1.0) / (times + K1 * length);
            }
        }
        let mut found: Vec<(usize, f64)> = scores.into_iter().collect();
        found.sort_by(|(at, score), (other_at, other)| {
            let by_score = other.partial_cmp(score).unwrap_or(Ordering::Equal);
            by_score.then(at.cmp(other_at))
        });
        found.into_iter().map(|(at, _)| at).collect()
    }
}

/// The words of a text in lower case: `getUserById` and `get_user_by_id` have four.
fn words(text: &str) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    for run in text.split(|c: char| !c.is_alphanumeric()) {
        let mut word = String::new();
        let mut was_lower = false;
        for c in run.chars() {
            if c.is_uppercase() && was_lower {
                found.push(std::mem::take(&mut word));
            }
            was_lower = c.is_lowercase() || c.is_numeric();
            word.extend(c.to_lowercase());
        }
        found.push(word);
    }
    let fits = |word: &String| (1..=MAX_WORD).contains(&word.len());
    found.into_iter().filter(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(texts: &[&str], query: &str, may: &[bool]) -> Vec<usize> {
        Index::of(texts.iter().map(|&text| text.to_owned())).search(query, may)
    }

    #[test]
    fn words_are_found_whatever_their_spelling() {
        let found: Vec<_> = words("getUserById HTTPServer get_user-2 Größe").collect();
        assert_eq!(
            found,
            [
                "get",
                "user",
                "by",
                "id",
                "httpserver",
                "get",
                "user",
                "2",
                "größe"
            ]
        );
    }

    #[test]
    fn the_best_stands_first() {
        let texts = [
            "send_email Sends an email to a person",
            "list_files Lists files",
            "email_status Tells whether an email was read, and when the email came",
        ];
        let all = [true; 3];
        assert_eq!(search(&texts, "lists files", &all), [1]);
        assert_eq!(search(&texts, "email", &all), [2, 0], "the word more often");
        assert_eq!(search(&texts, "send an email", &all)[0], 0);
        assert!(search(&texts, "database", &all).is_empty());
        assert!(search(&texts, "", &all).is_empty());
    }

    #[test]
    fn what_may_not_be_found_does_not_show_in_the_order_of_the_rest() {
        let texts = ["alpha beta", "beta gamma", "alpha alpha alpha secret"];
        let (with, without) = (
            search(&texts, "alpha beta", &[true, true, false]),
            search(&texts[..2], "alpha beta", &[true, true]),
        );
        assert_eq!(with, without);
    }
}
