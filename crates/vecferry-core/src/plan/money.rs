//! Amounts with their uncertainty, and the lines that a method's price is made of. Pure.

use serde::Serialize;

use crate::price::{Item, Prices, Quote};
use crate::reembed::estimate::Estimate;

/// The least, the expected and the most of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Range {
    /// The least.
    pub low: f64,
    /// What is expected.
    pub expected: f64,
    /// The most.
    pub high: f64,
}

impl Range {
    /// Three values, in any order of size that the caller vouches for.
    pub(super) fn new(low: f64, expected: f64, high: f64) -> Range {
        Range { low, expected, high }
    }

    /// What is known.
    pub(super) fn exactly(value: f64) -> Range {
        Range::new(value, value, value)
    }

    /// So many times this.
    pub(super) fn times(self, factor: f64) -> Range {
        Range::new(self.low * factor, self.expected * factor, self.high * factor)
    }

    /// Both together.
    pub(super) fn plus(self, other: Range) -> Range {
        Range::new(self.low + other.low, self.expected + other.expected, self.high + other.high)
    }
}

/// Money for services that are called because of the migration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Price {
    /// US dollars expected; `None` when a line's amount or price is not known.
    pub dollars: Option<f64>,
    /// The least that it may cost, likewise.
    pub low: Option<f64>,
    /// The most that it may cost, likewise.
    pub high: Option<f64>,
    /// What it is made of.
    pub lines: Vec<Line>,
    /// What it covers and what it leaves out, or why it is unknown.
    pub note: String,
}

impl Price {
    /// The sum of lines.
    pub(super) fn of(lines: Vec<Line>, note: String) -> Price {
        let total = lines.iter().fold(Range::default(), |sum, line| sum.plus(line.usd));
        Price {
            dollars: Some(total.expected),
            low: Some(total.low),
            high: Some(total.high),
            lines,
            note,
        }
    }

    /// Lines that are not all of it.
    pub(super) fn unknown(lines: Vec<Line>, note: String) -> Price {
        Price { dollars: None, low: None, high: None, lines, note }
    }
}

/// One line of a price.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// What is paid for.
    pub what: String,
    /// What is counted: `ACU-hours`, `GB`.
    pub unit: &'static str,
    /// How many.
    pub quantity: Range,
    /// USD for one, with its source.
    pub price: Quote,
    /// USD for all.
    pub usd: Range,
}

impl Line {
    /// So many units of an item.
    pub(super) fn new(what: &str, item: Item, quantity: Range, prices: &Prices) -> Line {
        Line::at(what, unit(item), quantity, prices.quote(item).clone())
    }

    fn at(what: &str, unit: &'static str, quantity: Range, price: Quote) -> Line {
        Line { what: what.into(), unit, quantity, usd: quantity.times(price.usd), price }
    }
}

fn unit(item: Item) -> &'static str {
    match item {
        Item::FargateVcpuHour => "vCPU-hours",
        Item::FargateGbHour => "GB-hours",
        Item::AuroraAcuHour => "ACU-hours",
        Item::AuroraStorageGbMonth | Item::AuroraSnapshotGbMonth => "GB-months",
        Item::AuroraIoMillion => "million requests",
        Item::TransferZoneGb => "GB",
        Item::SecretMonth => "secret-months",
    }
}

/// What an estimate's tokens and tasks cost. `low` is the least of it: nothing where only some bots are embedded, and
/// which is not known.
pub(super) fn embedding(estimate: &Estimate, model: &str, prices: &Prices) -> Vec<Line> {
    let three = |of: fn(&crate::reembed::estimate::Amount) -> f64| {
        Range::new(of(&estimate.low), of(&estimate.expected), of(&estimate.high))
    };
    let mut lines = Vec::new();
    if let Some(usd) = estimate.usd_per_million_tokens {
        let published = prices.embedding(model).filter(|quote| quote.usd == usd);
        let chosen = || Quote { usd, as_of: None, source: "the settings".into(), compared: true };
        let quantity = three(|amount| amount.tokens as f64 / 1e6);
        let price = published.cloned().unwrap_or_else(chosen);
        lines.push(Line::at(&format!("embedding by {model}"), "million tokens", quantity, price));
    }
    if estimate.fargate.is_some() {
        let tasks = "tasks on Fargate";
        let vcpus = three(|amount| amount.vcpu_hours);
        lines.push(Line::new(tasks, Item::FargateVcpuHour, vcpus, prices));
        let memory = three(|amount| amount.gb_hours);
        lines.push(Line::new(tasks, Item::FargateGbHour, memory, prices));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_the_sum_of_its_lines_with_its_range() {
        let prices = Prices::published().unwrap();
        let line = |item, low, expected, high| {
            Line::new("x", item, Range::new(low, expected, high), &prices)
        };
        let lines = vec![
            line(Item::AuroraAcuHour, 1.0, 2.0, 3.0),
            line(Item::TransferZoneGb, 0.0, 10.0, 20.0),
        ];
        let price = Price::of(lines.clone(), String::new());
        assert!((price.dollars.unwrap() - 0.34).abs() < 1e-9, "{price:?}");
        assert!((price.low.unwrap() - 0.12).abs() < 1e-9);
        assert!((price.high.unwrap() - 0.56).abs() < 1e-9);
        assert_eq!(price.lines[0].unit, "ACU-hours");
        assert_eq!(Price::unknown(lines, String::new()).dollars, None);
        assert_eq!(Price::of(vec![], String::new()).high, Some(0.0));
    }

    #[test]
    fn ranges_are_reckoned_end_by_end() {
        let range = Range::new(1.0, 2.0, 4.0);
        assert_eq!(range.times(0.5).plus(Range::exactly(1.0)), Range::new(1.5, 2.0, 3.0));
    }

    #[test]
    fn the_operators_price_of_a_model_names_the_settings() {
        let prices = Prices::published().unwrap();
        let source = |usd| {
            let estimate = Estimate { usd_per_million_tokens: Some(usd), ..Estimate::default() };
            embedding(&estimate, "cohere.embed-v4:0", &prices)[0].price.source.clone()
        };
        assert!(source(0.12).starts_with("https://"));
        assert_eq!(source(0.5), "the settings");
        assert!(embedding(&Estimate::default(), "m", &prices).is_empty(), "no price, no tasks");
    }
}
