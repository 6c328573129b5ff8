//! Words of a text.

/// How much of a text is looked at, in bytes: otherwise one of many words takes long.
const MAX_LOOKED_AT: usize = 256;

/// How a word of a text must begin, whatever the case of letters. It may go on over the end of the word: `john s` is the
/// beginning of a word of `John Smith`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beginning(Vec<char>);

impl Beginning {
    /// Of this text.
    pub(super) fn of(text: &str) -> Self {
        Self(lower_case(text).collect())
    }

    /// Whether a word in the first [`MAX_LOOKED_AT`] bytes of the text begins so. The text itself counts as a word.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let text = &text[..text.floor_char_boundary(MAX_LOOKED_AT)];
        let mut is_in_word = false;
        text.char_indices().any(|(at, char)| {
            let starts = at == 0 || (!is_in_word && char.is_alphanumeric());
            is_in_word = char.is_alphanumeric();
            starts && self.begins(&text[at..])
        }) || (text.is_empty() && self.0.is_empty())
    }

    fn begins(&self, text: &str) -> bool {
        let mut chars = lower_case(text);
        self.0.iter().all(|wanted| chars.next() == Some(*wanted))
    }
}

fn lower_case(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_begin_in_either_case() {
        for (text, beginning, is_in) in [
            ("John Smith", "jo", true),
            ("John Smith", "SMI", true),
            ("John Smith", "john s", true),
            ("John Smith", "ohn", false),
            ("John Smith", "john  s", false),
            ("john-paul.jones@x", "pa", true),
            ("john-paul.jones@x", "jones@", true),
            ("john-paul.jones@x", "-paul", false),
            ("-x", "-", true),
            ("Ärger", "är", true),
            ("straße", "STRASSE", false),
            ("İstanbul", "i", true),
            ("12 monkeys", "mon", true),
            ("a", "ab", false),
            ("", "", true),
            ("", "a", false),
            ("anything", "", true),
            (&format!("{} late", "a".repeat(256)), "late", false),
        ] {
            assert_eq!(Beginning::of(beginning).is_in(text), is_in, "{beginning:?} in {text:?}");
        }
    }
}
