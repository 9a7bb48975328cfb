//! The tables of the settings file that only re-embedding reads: `[bots]`, `[aws]`, `[embedding]`, `[documents]`,
//! `[tasks]`. Each is read into the group of flags that asks the same.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use toml::de::DeValue;

use super::{Wrong, decimal, number, price, switch, text, texts};
use crate::cli::{Aws, Documents, Embedding, Registry, Tasks};
use crate::units::{parse_duration, parse_size};

/// Keys of `[bots]`.
pub(crate) const BOTS_KEYS: [&str; 3] = ["table", "file", "full_scan"];
/// Keys of `[aws]`.
pub(crate) const AWS_KEYS: [&str; 2] = ["region", "profile"];
/// Keys of `[embedding]`.
pub(crate) const EMBEDDING_KEYS: [&str; 10] = [
    "provider",
    "model",
    "dimensions",
    "region",
    "url",
    "folder",
    "source_model",
    "requests_per_minute",
    "tokens_per_minute",
    "price",
];
/// Keys of `[documents]`.
pub(crate) const DOCUMENTS_KEYS: [&str; 6] =
    ["bucket", "lost_documents", "allow_private", "ignore_robots", "max_page", "timeout"];
/// Keys of `[tasks]`.
pub(crate) const TASKS_KEYS: [&str; 12] = [
    "runner",
    "cluster",
    "task_definition",
    "container",
    "subnets",
    "security_groups",
    "assign_public_ip",
    "launch_rate",
    "in_flight",
    "attempts",
    "poll",
    "busy_wait",
];

/// What the file says of re-embedding.
#[derive(Debug, Default)]
pub(crate) struct ReembedFile {
    pub(crate) registry: Registry,
    pub(crate) aws: Aws,
    pub(crate) embedding: Embedding,
    pub(crate) documents: Documents,
    pub(crate) tasks: Tasks,
    pub(crate) state: Option<PathBuf>,
}

impl ReembedFile {
    /// Takes one key of one of the tables over.
    pub(super) fn set(&mut self, table: &str, key: &str, value: &DeValue<'_>) -> Result<(), Wrong> {
        match table {
            "bots" => set_registry(&mut self.registry, key, value),
            "aws" => set_aws(&mut self.aws, key, value),
            "embedding" => set_embedding(&mut self.embedding, key, value),
            "documents" => set_documents(&mut self.documents, key, value),
            _ => set_tasks(&mut self.tasks, key, value),
        }
    }

    /// A path in the file means the same wherever the program is started.
    pub(super) fn relative_to(&mut self, folder: &Path) {
        let paths =
            [&mut self.registry.bot_file, &mut self.embedding.model_folder, &mut self.state];
        for path in paths.into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }
}

fn set_registry(registry: &mut Registry, key: &str, value: &DeValue<'_>) -> Result<(), Wrong> {
    match key {
        "table" => registry.bot_table = Some(text(value)?.to_owned()),
        "file" => registry.bot_file = Some(text(value)?.into()),
        "full_scan" => registry.full_scan = switch(value)?,
        unknown => return Err(Wrong::unknown(unknown, &BOTS_KEYS)),
    }
    Ok(())
}

fn set_aws(aws: &mut Aws, key: &str, value: &DeValue<'_>) -> Result<(), Wrong> {
    match key {
        "region" => aws.region = Some(text(value)?.to_owned()),
        "profile" => aws.profile = Some(text(value)?.to_owned()),
        unknown => return Err(Wrong::unknown(unknown, &AWS_KEYS)),
    }
    Ok(())
}

fn set_embedding(embedding: &mut Embedding, key: &str, value: &DeValue<'_>) -> Result<(), Wrong> {
    let amount = |value| number(value, 1, u32::MAX).map(u64::from);
    match key {
        "provider" => embedding.provider = Some(one_of(value)?),
        "model" => embedding.model = Some(text(value)?.to_owned()),
        "dimensions" => embedding.dimensions = Some(number(value, 1, 16_000)?),
        "region" => embedding.model_region = Some(text(value)?.to_owned()),
        "url" => embedding.model_url = Some(text(value)?.to_owned()),
        "folder" => embedding.model_folder = Some(text(value)?.into()),
        "source_model" => embedding.source_model = Some(text(value)?.to_owned()),
        "requests_per_minute" => embedding.requests_per_minute = Some(amount(value)?),
        "tokens_per_minute" => embedding.tokens_per_minute = Some(amount(value)?),
        "price" => embedding.price = Some(price(value)?),
        unknown => return Err(Wrong::unknown(unknown, &EMBEDDING_KEYS)),
    }
    Ok(())
}

fn set_documents(documents: &mut Documents, key: &str, value: &DeValue<'_>) -> Result<(), Wrong> {
    match key {
        "bucket" => documents.bucket = Some(text(value)?.to_owned()),
        "lost_documents" => documents.lost_documents = Some(one_of(value)?),
        "allow_private" => documents.allow_private = texts(value)?,
        "ignore_robots" => documents.ignore_robots = switch(value)?,
        "max_page" => documents.max_page = Some(parse_size(text(value)?)?),
        "timeout" => documents.document_timeout = Some(parse_duration(text(value)?)?),
        unknown => return Err(Wrong::unknown(unknown, &DOCUMENTS_KEYS)),
    }
    Ok(())
}

fn set_tasks(tasks: &mut Tasks, key: &str, value: &DeValue<'_>) -> Result<(), Wrong> {
    match key {
        "runner" => tasks.runner = Some(one_of(value)?),
        "cluster" => tasks.cluster = Some(text(value)?.to_owned()),
        "task_definition" => tasks.task_definition = Some(text(value)?.to_owned()),
        "container" => tasks.container = Some(text(value)?.to_owned()),
        "subnets" => tasks.subnets = texts(value)?,
        "security_groups" => tasks.security_groups = texts(value)?,
        "assign_public_ip" => tasks.assign_public_ip = switch(value)?,
        "launch_rate" => tasks.launch_rate = Some(decimal(value)?),
        "in_flight" => tasks.in_flight = Some(number(value, 1, 5_000)?),
        "attempts" => tasks.attempts = Some(number(value, 1, 20)?),
        "poll" => tasks.poll = Some(parse_duration(text(value)?)?),
        "busy_wait" => tasks.busy_wait = Some(parse_duration(text(value)?)?),
        unknown => return Err(Wrong::unknown(unknown, &TASKS_KEYS)),
    }
    Ok(())
}

/// Reads a word that is one of a flag's values.
fn one_of<T: ValueEnum>(value: &DeValue<'_>) -> Result<T, Wrong> {
    let word = text(value)?;
    T::from_str(word, false).map_err(|_| {
        let words: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|variant| Some(variant.to_possible_value()?.get_name().to_owned()))
            .collect();
        Wrong::plain(format!("{word:?} is none of {}", words.join(", ")))
    })
}
