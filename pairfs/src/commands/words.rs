//! Cuts a stream of bytes into words, each with the white space after it.

/// Gives words as soon as they are complete. What it gives, put together, is what it took.
#[derive(Debug, Default)]
pub struct Words {
    pending: Vec<u8>,
}

impl Words {
    /// Takes bytes; gives the words that are complete: a word begins where white space ends.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut words = Vec::new();
        for &byte in bytes {
            let ended = self.pending.last().is_some_and(u8::is_ascii_whitespace);
            if ended && !byte.is_ascii_whitespace() {
                words.push(std::mem::take(&mut self.pending));
            }
            self.pending.push(byte);
        }
        words
    }

    /// What is left at the end.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.pending)).filter(|rest| !rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_white_space_and_survive_any_cut() {
        let text = b"  one two\n\nthree  four\xff five".to_vec();
        for cut in 0..=text.len() {
            let mut words = Words::default();
            let mut all = words.push(&text[..cut]);
            all.extend(words.push(&text[cut..]));
            all.extend(words.rest());
            assert_eq!(all.concat(), text);
            let expected: [&[u8]; 6] = [b"  ", b"one ", b"two\n\n", b"three  ", b"four\xff ", b"five"];
            assert_eq!(all, expected);
        }
        assert_eq!(Words::default().rest(), None);
    }
}
