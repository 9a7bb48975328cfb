//! Vectors and token counts without a model: a bag of hashed words.

use crate::vectors::SplitMix;

/// Positions that a word adds to: few enough that vectors stay sparse (and short as JSON), enough that two words
/// hardly ever meet by chance in all of them.
const POSITIONS: usize = 6;

/// Names a text without holding it (64-bit FNV-1a).
pub fn text_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Tokens of a text as the stand-in counts them: four ASCII characters make one, any other character is one.
pub fn tokens(text: &str) -> u64 {
    let ascii = text.chars().filter(char::is_ascii).count() as u64;
    (ascii.div_ceil(4) + text.chars().count() as u64 - ascii).max(1)
}

/// The vector of a text in the space of a model, of length 1: near for texts with words in common, unrelated between
/// models. `dimensions` must not be zero.
pub fn vector(model: &str, text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    let space = text_hash(model);
    for word in words(text) {
        let mut random = SplitMix::new(text_hash(&word) ^ space);
        for _ in 0..POSITIONS {
            let sign = if random.below(2) == 0 { 1.0 } else { -1.0 };
            vector[random.below(dimensions as u64) as usize] += sign;
        }
    }
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length == 0.0 {
        // No word at all, or words that cancelled out: still a vector of length 1.
        vector[0] = 1.0;
        return vector;
    }
    vector.iter_mut().for_each(|number| *number /= length);
    vector
}

/// Words in lower case; outside ASCII every letter is one, since many scripts put no spaces.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in text.chars() {
        match letter {
            letter if letter.is_ascii_alphanumeric() => {
                if let Some(word) = words.last_mut() {
                    word.push(letter.to_ascii_lowercase());
                }
            }
            letter if letter.is_alphanumeric() => {
                words.push(letter.to_string());
                words.push(String::new());
            }
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(one: &[f32], other: &[f32]) -> f32 {
        one.iter().zip(other).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_with_words_in_common_are_nearer_than_others() {
        let of = |text: &str| vector("m", text, 1024);
        let one = of("The weather is lovely today.");
        let near = cosine(&one, &of("the weather was lovely"));
        let far = cosine(&one, &of("He drove to a stadium"));
        assert!((cosine(&one, &one) - 1.0).abs() < 1e-5);
        assert!(near > 0.5 && far < 0.2, "{near} {far}");
        assert!(cosine(&of("天気が良い"), &of("天気が悪い")) > 0.5);
        assert!(cosine(&one, &vector("n", "The weather is lovely today.", 1024)).abs() < 0.3);
    }

    #[test]
    fn a_text_without_words_has_a_vector_too() {
        for text in ["", " ", "?!"] {
            assert_eq!(vector("m", text, 3), [1.0, 0.0, 0.0]);
        }
    }

    #[test]
    fn tokens_are_four_letters_or_one_character_of_another_script() {
        assert_eq!((tokens(""), tokens("word"), tokens("words"), tokens("天気 ok")), (1, 1, 2, 3));
    }
}
