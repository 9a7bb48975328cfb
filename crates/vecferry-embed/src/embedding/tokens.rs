//! How many tokens a text is, without the model's tokenizer: for pacing and for prices before anything is paid.

/// Estimates the tokens of a text, at least 1. Within some 30 % for prose: four characters of Latin script make a
/// token (the figure of the Bedrock user guide, `model-parameters-embed-v3`), Chinese, Japanese and Korean take about
/// 0.8 tokens a character in multilingual vocabularies, other alphabets about half a token.
pub fn estimated_tokens(text: &str) -> u64 {
    let hundredths: u64 = text.chars().map(hundredths).sum();
    hundredths.div_ceil(100).max(1)
}

/// Hundredths of a token that a character takes.
fn hundredths(letter: char) -> u64 {
    match letter as u32 {
        0x00..=0x7f => 25,
        // Latin with diacritics: such words fall into more pieces.
        0x80..=0x24f | 0x1e00..=0x1eff => 40,
        // Han, kana, bopomofo, hangul, their punctuation and full-width forms.
        0x1100..=0x11ff | 0x2e80..=0x9fff | 0xac00..=0xd7ff | 0xf900..=0xfaff => 80,
        0xff00..=0xffef | 0x2_0000..=0x3_ffff => 80,
        // Emoji and the rarest scripts are spelt out in bytes.
        0x1_0000..=0x1_ffff | 0x4_0000.. => 200,
        _ => 50,
    }
}

/// What the service counted against what was estimated, so that pacing follows the model's real tokenizer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calibration {
    ratio: f64,
}

/// Weight of one call in the running ratio: some ten calls make the old one forgotten.
const WEIGHT: f64 = 0.2;

/// How far a count may move the estimate; beyond it, the service counts something else than tokens.
const BOUNDS: (f64, f64) = (0.25, 4.0);

impl Calibration {
    pub(super) fn new() -> Calibration {
        Calibration { ratio: 1.0 }
    }

    /// The estimate, corrected by what was learnt.
    pub(super) fn corrected(&self, estimated: u64) -> u64 {
        (estimated as f64 * self.ratio).ceil() as u64
    }

    /// Learns from a call.
    pub(super) fn learn(&mut self, estimated: u64, counted: u64) {
        if estimated == 0 {
            return;
        }
        let seen = (counted as f64 / estimated as f64).clamp(BOUNDS.0, BOUNDS.1);
        self.ratio += WEIGHT * (seen - self.ratio);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin_takes_four_characters_a_token_and_others_fewer() {
        assert_eq!(estimated_tokens(""), 1);
        assert_eq!(estimated_tokens(&"abcd ".repeat(80)), 100);
        assert_eq!(estimated_tokens(&"天".repeat(100)), 80);
        assert_eq!(estimated_tokens(&"か".repeat(100)), 80);
        assert_eq!(estimated_tokens(&"한".repeat(100)), 80);
        assert_eq!(estimated_tokens(&"ж".repeat(100)), 50);
        assert_eq!(estimated_tokens(&"é".repeat(100)), 40);
        assert_eq!(estimated_tokens("🙂"), 2);
    }

    #[test]
    fn a_mixture_is_the_sum_of_its_parts() {
        let mixed = format!("{}{}", "a".repeat(400), "語".repeat(100));
        assert_eq!(estimated_tokens(&mixed), 180);
    }

    #[test]
    fn a_calibration_follows_the_services_count_within_bounds() {
        let mut calibration = Calibration::new();
        assert_eq!(calibration.corrected(100), 100);
        for _ in 0..50 {
            calibration.learn(100, 150);
        }
        assert_eq!(calibration.corrected(1000), 1500);
        for _ in 0..100 {
            calibration.learn(1, 1_000_000);
        }
        assert!(calibration.corrected(100) <= 400);
        calibration.learn(0, 7);
        assert!(calibration.corrected(100) <= 400);
    }
}
