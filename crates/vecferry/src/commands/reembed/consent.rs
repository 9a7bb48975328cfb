//! What a re-embedding would do and cost, shown before anything is paid for, and the one question.

use serde::Serialize;
use vecferry_core::pg::Dsn;
use vecferry_core::reembed::estimate::Estimate;
use vecferry_core::reembed::registry::Listing;
use vecferry_embed::embedder::Model;

use crate::confirm;
use crate::error::{Error, Mistake};
use crate::ui::Ui;
use crate::units::{count, counted, duration};

/// What is proposed.
pub(in crate::commands) struct Offer<'a> {
    pub(in crate::commands) registry: String,
    pub(in crate::commands) runner: String,
    pub(in crate::commands) store: String,
    pub(in crate::commands) model: &'a Model,
    pub(in crate::commands) listing: &'a Listing,
    pub(in crate::commands) target: Option<&'a Dsn>,
    pub(in crate::commands) estimate: Estimate,
    /// Bots that the recorded run has proven already; they are not in the listing.
    pub(in crate::commands) proven: u64,
    /// Whether unchanged chunks take their vectors from the source.
    pub(in crate::commands) reuses: bool,
    /// What the estimate's money is reckoned with, in words.
    pub(in crate::commands) prices: String,
}

/// The offer for programs. An event of its own, before the run's first.
#[derive(Serialize)]
struct Json<'a> {
    version: u32,
    event: &'static str,
    registry: &'a str,
    runner: &'a str,
    state: &'a str,
    model: &'a str,
    dimensions: usize,
    usd_per_million_tokens: Option<f64>,
    prices: &'a str,
    knowledge_base: usize,
    without_documents: usize,
    aliases: u64,
    odd: usize,
    proven: u64,
    estimate: &'a Estimate,
    usd: Option<f64>,
}

impl Offer<'_> {
    /// Shows it.
    pub(in crate::commands) fn show(&self, ui: &Ui) -> Result<(), Error> {
        if !ui.json {
            return ui.data(&self.render());
        }
        ui.data_json(&Json {
            version: 1,
            event: "offer",
            registry: &self.registry,
            runner: &self.runner,
            state: &self.store,
            model: &self.model.id,
            dimensions: self.model.dimensions,
            usd_per_million_tokens: self.estimate.usd_per_million_tokens,
            prices: &self.prices,
            knowledge_base: self.listing.knowledge_base.len(),
            without_documents: self.listing.without_documents.len(),
            aliases: self.listing.aliases,
            odd: self.listing.odd.len(),
            proven: self.proven,
            estimate: &self.estimate,
            usd: self.estimate.usd(),
        })
    }

    fn render(&self) -> String {
        let estimate = &self.estimate;
        let mut lines = vec![
            format!("bots        {} of {}", count(estimate.bots), self.registry),
            format!(
                "documents   {}, about {}",
                count(estimate.documents),
                counted(estimate.chunks, "chunk")
            ),
            format!("model       {}, {} dimensions", self.model.id, self.model.dimensions),
            format!("tokens      {}", self.tokens_line()),
            format!("price       {}", self.price_line()),
            format!("time        about {}", duration(estimate.expected.hours * 3600.0)),
            format!("tasks       {}", self.runner),
            format!("state       {}", self.store),
        ];
        let apart = [
            (self.proven, "proven already"),
            (self.listing.knowledge_base.len() as u64, "on Bedrock Knowledge Bases"),
            (self.listing.without_documents.len() as u64, "without documents"),
            (self.listing.aliases, "under the name of another bot (aliases)"),
            (self.listing.odd.len() as u64, "items that are not understood"),
        ];
        for (number, what) in apart.into_iter().filter(|(number, _)| *number > 0) {
            lines.push(format!("left out    {} {what}", count(number)));
        }
        if estimate.measured > 0 {
            let bots = counted(estimate.measured, "bot");
            let reuse = if self.reuses { "; unchanged chunks cost nothing" } else { "" };
            lines.push(format!("measured    {bots} by the rows of the source{reuse}"));
        }
        lines.push(format!("prices      {}", self.prices));
        lines.extend(estimate.guesses.iter().map(|guess| format!("guessed     {guess}")));
        lines.join("\n")
    }

    /// The expected number, and the range where it says more.
    fn tokens_line(&self) -> String {
        let estimate = &self.estimate;
        let [low, expected, high] =
            [estimate.low, estimate.expected, estimate.high].map(|amount| count(amount.tokens));
        if low == high {
            return format!("about {expected}");
        }
        format!("about {expected}, from {low} to {high}")
    }

    fn price_line(&self) -> String {
        let estimate = &self.estimate;
        let tasks = estimate
            .expected
            .tasks_usd
            .map_or(String::new(), |usd| format!(" and {} for tasks", money(usd)));
        match (estimate.usd_per_million_tokens, estimate.expected.embedding_usd) {
            (Some(0.0), _) => format!("nothing for the model{tasks}"),
            (Some(price), Some(usd)) => {
                format!("{} for the model ({} per million tokens){tasks}", money(usd), money(price))
            }
            _ => format!("not known for this model, see --price{tasks}"),
        }
    }

    /// Refuses what may cost more than the operator allows.
    pub(in crate::commands) fn within(&self, limit: Option<f64>) -> Result<(), Error> {
        let Some(limit) = limit else { return Ok(()) };
        let what = match self.estimate.usd() {
            Some(usd) if usd <= limit => return Ok(()),
            Some(usd) => {
                format!("this may cost {}, more than --max-cost {}", money(usd), money(limit))
            }
            None => "the model's price is not known, so --max-cost cannot be kept".to_owned(),
        };
        Err(Mistake::new(
            what,
            "give another --max-cost, or --price; a re-embedding may choose fewer bots with --bots",
        )
        .into())
    }

    /// The one question.
    pub(in crate::commands) fn ask(&self, yes: bool, restart: bool, ui: &Ui) -> Result<(), Error> {
        let bots = counted(self.estimate.bots, "bot");
        let again = if restart { "forget the run that is recorded, " } else { "" };
        let what = format!("{again}embed {bots} and replace their rows on the target");
        match self.target {
            Some(target) => confirm::destroy(ui, yes, target, &what),
            // Without a route to the target there is no name to type.
            None => confirm::spend(ui, yes, &what),
        }
    }
}

/// Dollars, to the cent; less than that is said as such.
fn money(usd: f64) -> String {
    if usd > 0.0 && usd < 0.01 { "less than $0.01".to_owned() } else { format!("about ${usd:.2}") }
}
