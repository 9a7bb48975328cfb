//! What embedding costs: one dated table. Pure.

/// Prices in USD of a million input tokens, on demand, in us-east-1, as of November 2025. Other regions differ by a few
/// percent. Sources: <https://aws.amazon.com/bedrock/pricing/> for the Bedrock models. Whoever pays another price sets
/// it (`price` of `[embedding]`).
const PER_MILLION_TOKENS: [(&str, f64); 4] = [
    ("cohere.embed-multilingual-v3", 0.10),
    ("cohere.embed-english-v3", 0.10),
    ("cohere.embed-v4:0", 0.12),
    ("amazon.titan-embed-text-v2:0", 0.02),
];

/// Fargate on demand on Linux/x86, USD per vCPU and hour, us-east-1, November 2025
/// (<https://aws.amazon.com/fargate/pricing/>).
pub const FARGATE_VCPU_HOUR: f64 = 0.04048;

/// Fargate on demand on Linux/x86, USD per GB of memory and hour, likewise.
pub const FARGATE_GB_HOUR: f64 = 0.004_445;

/// The price of a million tokens of a Bedrock model, which may be named through an inference profile
/// (`eu.cohere.embed-v4:0`); `None` when the table does not know it.
pub fn per_million_tokens(model: &str) -> Option<f64> {
    let ends = |known: &str| {
        model.strip_suffix(known).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
    };
    PER_MILLION_TOKENS.iter().find(|(known, _)| ends(known)).map(|(_, price)| *price)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_its_price_under_an_inference_profile_too() {
        assert_eq!(per_million_tokens("cohere.embed-multilingual-v3"), Some(0.10));
        assert_eq!(per_million_tokens("eu.cohere.embed-v4:0"), Some(0.12));
        assert_eq!(per_million_tokens("mycohere.embed-v4:0"), None);
        assert_eq!(per_million_tokens("text-embedding-3-small"), None);
    }
}
