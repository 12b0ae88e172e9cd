//! Words of messages that more than one room writes.

/// `1 table`, `2 tables`, `3 indexes`, `4 entries`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let takes_es = noun.ends_with(['x', 's']) || noun.ends_with("ch");
    match (number, takes_es, noun.strip_suffix('y')) {
        (1, _, _) => format!("1 {noun}"),
        (_, true, _) => format!("{number} {noun}es"),
        (_, _, Some(stem)) => format!("{number} {stem}ies"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn nouns_have_their_plural() {
        let two = ["table", "index", "class", "branch", "entry"].map(|noun| count(2, noun));
        assert_eq!(
            two,
            [
                "2 tables",
                "2 indexes",
                "2 classes",
                "2 branches",
                "2 entries"
            ]
        );
        assert_eq!(count(1, "index"), "1 index");
        assert_eq!(count(0, "file"), "0 files");
    }
}
