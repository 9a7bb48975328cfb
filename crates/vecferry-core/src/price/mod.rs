//! What services cost: one dated table, `prices.toml`, of which an operator's file may replace single values.
//!
//! Kept as data beside the code, so that a price is looked up, compared and corrected without reading any; each stands
//! with the page it comes from and a day, because a price without either is a guess. Prices are those of one region
//! ([`Prices::region`]): no page says how regions relate, so no factor is applied, and whoever is elsewhere is told so.

mod read;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::operator_file::{self, Kind};

/// The table as published.
const PUBLISHED: &str = include_str!("prices.toml");

/// What an operator's file may be: the published table is a few KiB.
const KIND: Kind = Kind {
    most_bytes: 1 << 20,
    format: "TOML",
    too_large: "is it the right file? Prices are a few lines of TOML",
    may_be_pipe: false,
};

/// What is paid for besides embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// A Fargate vCPU for an hour.
    FargateVcpuHour,
    /// A GB of a Fargate task's memory for an hour.
    FargateGbHour,
    /// An Aurora capacity unit of Serverless v2 for an hour.
    AuroraAcuHour,
    /// A GB in an Aurora cluster's volume for a month.
    AuroraStorageGbMonth,
    /// A million requests to an Aurora cluster's storage.
    AuroraIoMillion,
    /// A GB of a manual snapshot for a month.
    AuroraSnapshotGbMonth,
    /// A GB from one availability zone to another, for each direction.
    TransferZoneGb,
    /// A secret in Secrets Manager for a month.
    SecretMonth,
}

impl Item {
    /// All of them, as they are declared.
    pub const ALL: [Item; 8] = [
        Item::FargateVcpuHour,
        Item::FargateGbHour,
        Item::AuroraAcuHour,
        Item::AuroraStorageGbMonth,
        Item::AuroraIoMillion,
        Item::AuroraSnapshotGbMonth,
        Item::TransferZoneGb,
        Item::SecretMonth,
    ];

    /// The key in a file of prices.
    pub fn key(self) -> &'static str {
        match self {
            Item::FargateVcpuHour => "fargate_vcpu_hour",
            Item::FargateGbHour => "fargate_gb_hour",
            Item::AuroraAcuHour => "aurora_acu_hour",
            Item::AuroraStorageGbMonth => "aurora_storage_gb_month",
            Item::AuroraIoMillion => "aurora_io_million",
            Item::AuroraSnapshotGbMonth => "aurora_snapshot_gb_month",
            Item::TransferZoneGb => "transfer_zone_gb",
            Item::SecretMonth => "secret_month",
        }
    }
}

/// A price, and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quote {
    /// USD for one unit.
    pub usd: f64,
    /// Day on which it held, `2026-06-10`; `None` when the operator's file does not say.
    pub as_of: Option<String>,
    /// The page or the file that says so.
    pub source: String,
    /// Whether anybody compared it with what the page says.
    pub compared: bool,
}

/// All prices: never without one of [`Item::ALL`].
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    region: String,
    /// In the order of [`Item::ALL`].
    items: [Quote; Item::ALL.len()],
    /// USD for a million tokens, by model.
    embedding: BTreeMap<String, Quote>,
    /// The operator's file, when one replaced something.
    replaced_by: Option<String>,
}

impl Prices {
    /// The published ones.
    ///
    /// # Errors
    /// [`Error::Bug`] when the table that was built in is wrong, which a test rules out.
    pub fn published() -> Result<Prices> {
        let wrong = |what: String| Error::Bug { what: format!("the table of prices: {what}") };
        let table = read::read(PUBLISHED, "prices.toml").map_err(|all| wrong(all.join("; ")))?;
        let region = table.region.ok_or_else(|| wrong("region is missing".into()))?;
        let items: Vec<Quote> = table.items.into_values().collect();
        let items = items.try_into().map_err(|_| wrong("an item is missing".into()))?;
        Ok(Prices { region, items, embedding: table.embedding, replaced_by: None })
    }

    /// These, with the values of a file instead where it has any.
    ///
    /// # Errors
    /// [`Error::Local`] when the file cannot be read, [`Error::Configuration`] when it is no regular file, too large or
    /// not UTF-8, or naming every mistake in it.
    pub fn replaced_by(self, path: &Path) -> Result<Prices> {
        let text = operator_file::read(path, &KIND)?;
        self.replaced_with(&text, &path.display().to_string())
    }

    /// These, with the values of a file's text instead; `name` is the file's.
    ///
    /// # Errors
    /// [`Error::Configuration`] naming every mistake.
    pub fn replaced_with(mut self, text: &str, name: &str) -> Result<Prices> {
        let table = read::read(text, name).map_err(|mistakes| Error::Configuration {
            what: format!("{name}: {}", mistakes.join("; ")),
            hint: Some(format!(
                "keys are region, [embedding] with a model's id, {}",
                Item::ALL.map(Item::key).join(", ")
            )),
        })?;
        for (item, quote) in table.items {
            self.items[item as usize] = quote;
        }
        self.embedding.extend(table.embedding);
        if let Some(region) = table.region {
            self.region = region;
        }
        self.replaced_by = Some(name.to_owned());
        Ok(self)
    }

    /// The region that the prices hold for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// USD for one unit of the item.
    pub fn usd(&self, item: Item) -> f64 {
        self.quote(item).usd
    }

    /// The price of the item with its source.
    pub fn quote(&self, item: Item) -> &Quote {
        &self.items[item as usize]
    }

    /// The price of a million tokens of a model; one of Bedrock may be named through an inference profile
    /// (`eu.cohere.embed-v4:0`); `None` when it is not known.
    pub fn embedding(&self, model: &str) -> Option<&Quote> {
        let ends = |known: &str| {
            model
                .strip_suffix(known)
                .is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        };
        // A price for the profile itself goes before the model's.
        let fits = self.embedding.iter().filter(|(known, _)| ends(known));
        fits.max_by_key(|(known, _)| known.len()).map(|(_, quote)| quote)
    }

    /// What has to be said about them, given the region that things are paid in, where it is known.
    pub fn note(&self, region: Option<&str>) -> String {
        let from = match &self.replaced_by {
            Some(file) => format!("prices of {file}, else the published ones"),
            None => "published prices".to_owned(),
        };
        let newest = self.items.iter().filter_map(|quote| quote.as_of.as_deref()).max();
        let day = newest.map_or(String::new(), |day| format!(" as of {day}"));
        match region {
            Some(region) if region != self.region => format!(
                "{from} on demand for {}{day}; those of {region} differ, --prices FILE sets them",
                self.region
            ),
            _ => format!("{from} on demand for {}{day}", self.region),
        }
    }
}

#[cfg(test)]
mod tests;
