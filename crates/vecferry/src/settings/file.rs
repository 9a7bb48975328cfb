//! `vecferry.toml`: read by hand rather than by derive, so that every mistake is found in one reading, named with its
//! line and the nearest right word, and never shown with its value, which may be a password.

mod reembed;
mod restore;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use vecferry_core::Error as CoreError;
use vecferry_core::delta::WebPolicy;
use vecferry_core::knowledge::Knowledge;
use vecferry_core::operator_file::{self, Kind, Lines, nearest};
use vecferry_core::pg::QualifiedName;
use vecferry_core::policy::{ApplyStart, Existing, IvfflatLists};

use crate::cli::parse_time;
use crate::error::{Error, Mistake};
use crate::units::{parse_duration, parse_size};
pub(crate) use reembed::ReembedFile;
#[cfg(test)]
pub(crate) use reembed::{AWS_KEYS, BOTS_KEYS, DOCUMENTS_KEYS, EMBEDDING_KEYS, TASKS_KEYS};
#[cfg(test)]
pub(crate) use restore::RESTORE_KEYS;
pub(crate) use restore::RestoreFile;

/// Keys of the file's top, in the template's order.
pub(crate) const KEYS: [&str; 33] = [
    "source",
    "source_secret",
    "target",
    "target_secret",
    "jobs",
    "part_size",
    "include",
    "exclude",
    "existing",
    "lock_timeout",
    "index_memory",
    "index_jobs",
    "ivfflat_lists",
    "pg_bin_dir",
    "retries",
    "detach",
    "set_replica_identity",
    "source_from_target",
    "target_from_source",
    "apply_start",
    "switch",
    "switch_secret",
    "source_time",
    "web",
    "state",
    "prices",
    "knowledge",
    "bots",
    "aws",
    "embedding",
    "documents",
    "tasks",
    "restore",
];

/// Keys of `[knowledge]`.
pub(crate) const KNOWLEDGE_KEYS: [&str; 9] =
    ["profile", "table", "id", "bot", "content", "source", "embedding", "operator", "limit"];

/// pgvector's distance operators.
const OPERATORS: [&str; 6] = ["<->", "<=>", "<#>", "<+>", "<~>", "<%>"];

/// What the file may be.
const KIND: Kind = Kind {
    most_bytes: 1 << 20,
    format: "TOML",
    too_large: "is it the right file? Settings are a few lines of TOML",
    may_be_pipe: true,
};

/// What the file says.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(crate) source: Option<String>,
    pub(crate) source_secret: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) target_secret: Option<String>,
    pub(crate) jobs: Option<u32>,
    pub(crate) part_size: Option<u64>,
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
    pub(crate) existing: Option<Existing>,
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) index_memory: Option<u64>,
    pub(crate) index_jobs: Option<u32>,
    pub(crate) ivfflat_lists: Option<IvfflatLists>,
    pub(crate) pg_bin_dir: Option<PathBuf>,
    pub(crate) retries: Option<u32>,
    pub(crate) detach: Option<bool>,
    pub(crate) set_replica_identity: Option<bool>,
    pub(crate) source_from_target: Option<String>,
    pub(crate) target_from_source: Option<String>,
    pub(crate) apply_start: Option<ApplyStart>,
    pub(crate) switch: Option<String>,
    pub(crate) switch_secret: Option<String>,
    pub(crate) source_time: Option<Timestamp>,
    pub(crate) web: Option<WebPolicy>,
    pub(crate) prices: Option<PathBuf>,
    pub(crate) knowledge: Knowledge,
    pub(crate) reembed: ReembedFile,
    pub(crate) restore: RestoreFile,
}

impl File {
    /// Reads a file that must be there.
    pub(crate) fn read(path: &Path) -> Result<File, Error> {
        let text = operator_file::read(path, &KIND).map_err(|error| match error {
            CoreError::Local { doing, source } => Error::from(Mistake::new(
                format!("cannot {doing}: {source}"),
                "`vecferry init` writes a commented settings file; --config names another one",
            )),
            other => Error::from(other),
        })?;
        File::parse(&text, path)
    }

    /// Reads the file's text; `path` is for messages and for directories relative to it.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<File, Error> {
        let lines = Lines::of(text);
        let place = |at: usize| format!("{} line {}", path.display(), lines.number(at));
        let document = DeTable::parse(text).map_err(|error| {
            // The error's own text shows the line, and a password may stand in it.
            let at = error.span().map_or(0, |span| span.start);
            Mistake {
                what: format!("{}: {}", place(at), error.message().to_lowercase()),
                hint: None,
            }
        })?;
        let mut file = File::default();
        let mut wrong = Vec::new();
        for (key, value) in document.get_ref() {
            match file.set(key.get_ref(), value.get_ref()) {
                Ok(below) => wrong.extend(below),
                Err(why) => wrong.push(why.at(key)),
            }
        }
        wrong.sort_by_key(|(at, _)| *at);
        if wrong.is_empty() {
            file.relative_to(path.parent());
            return Ok(file);
        }
        let mistakes = wrong.into_iter().map(|(at, mistake)| Mistake {
            what: format!("{}: {}", place(at), mistake.what),
            ..mistake
        });
        Err(Error::Settings(mistakes.collect()))
    }

    /// Takes one key of the top over. `Ok` carries the mistakes inside a table.
    fn set(&mut self, key: &str, value: &DeValue<'_>) -> Result<Vec<(usize, Mistake)>, Wrong> {
        match key {
            "source" => self.source = Some(text(value)?.to_owned()),
            "source_secret" => self.source_secret = Some(text(value)?.to_owned()),
            "target" => self.target = Some(text(value)?.to_owned()),
            "target_secret" => self.target_secret = Some(text(value)?.to_owned()),
            "jobs" => self.jobs = Some(number(value, 1, 256)?),
            "part_size" => self.part_size = Some(parse_size(text(value)?)?),
            "include" => self.include = texts(value)?,
            "exclude" => self.exclude = texts(value)?,
            "existing" => self.existing = Some(existing(text(value)?)?),
            "lock_timeout" => self.lock_timeout = Some(parse_duration(text(value)?)?),
            "index_memory" => self.index_memory = Some(parse_size(text(value)?)?),
            "index_jobs" => self.index_jobs = Some(number(value, 1, 64)?),
            "ivfflat_lists" => self.ivfflat_lists = Some(lists(text(value)?)?),
            "pg_bin_dir" => self.pg_bin_dir = Some(PathBuf::from(text(value)?)),
            "retries" => self.retries = Some(number(value, 0, u32::MAX)?),
            "detach" => self.detach = Some(switch(value)?),
            "set_replica_identity" => self.set_replica_identity = Some(switch(value)?),
            "source_from_target" => self.source_from_target = Some(text(value)?.to_owned()),
            "target_from_source" => self.target_from_source = Some(text(value)?.to_owned()),
            "apply_start" => self.apply_start = Some(apply_start(text(value)?)?),
            "switch" => self.switch = Some(text(value)?.to_owned()),
            "switch_secret" => self.switch_secret = Some(text(value)?.to_owned()),
            "source_time" => self.source_time = Some(time(value)?),
            "web" => self.web = Some(web(text(value)?)?),
            "prices" => self.prices = Some(PathBuf::from(text(value)?)),
            "state" => self.reembed.state = Some(PathBuf::from(text(value)?)),
            "knowledge" => {
                let knowledge = &mut self.knowledge;
                return table(key, value, |key, value| set_knowledge_key(knowledge, key, value));
            }
            "bots" | "aws" | "embedding" | "documents" | "tasks" => {
                let reembed = &mut self.reembed;
                return table(key, value, |below, value| reembed.set(key, below, value));
            }
            "restore" => {
                let restore = &mut self.restore;
                return table(key, value, |below, value| restore.set(below, value));
            }
            unknown => return Err(Wrong::unknown(unknown, &KEYS)),
        }
        Ok(Vec::new())
    }

    /// A directory in the file means the same wherever the program is started.
    fn relative_to(&mut self, folder: Option<&Path>) {
        let Some(folder) = folder else { return };
        for path in [&mut self.pg_bin_dir, &mut self.prices].into_iter().flatten() {
            *path = folder.join(&*path);
        }
        self.reembed.relative_to(folder);
    }
}

/// Takes a table's keys over one by one and gives the mistakes among them.
fn table(
    name: &str,
    value: &DeValue<'_>,
    mut set: impl FnMut(&str, &DeValue<'_>) -> Result<(), Wrong>,
) -> Result<Vec<(usize, Mistake)>, Wrong> {
    let DeValue::Table(table) = value else {
        return Err(Wrong::kind(&format!("a table, [{name}]"), value));
    };
    let wrong = table.iter().filter_map(|(key, value)| {
        set(key.get_ref(), value.get_ref()).err().map(|why| why.at(key))
    });
    Ok(wrong.collect())
}

fn set_knowledge_key(
    knowledge: &mut Knowledge,
    key: &str,
    value: &DeValue<'_>,
) -> Result<(), Wrong> {
    match key {
        // The profile's values are the defaults that the other keys start from.
        "profile" => match text(value)? {
            "bedrock-chat" => {}
            other => {
                return Err(Wrong::plain(format!(
                    "there is no profile {other:?}; bedrock-chat is one"
                )));
            }
        },
        "table" => {
            let name = text(value)?;
            knowledge.table = match name.split_once('.') {
                Some((schema, table)) => QualifiedName::new(schema, table),
                None => QualifiedName::new("public", name),
            }
        }
        "id" => knowledge.id = text(value)?.to_owned(),
        "bot" => knowledge.bot = Some(text(value)?.to_owned()).filter(|column| !column.is_empty()),
        "content" => knowledge.content = text(value)?.to_owned(),
        "source" => knowledge.source = text(value)?.to_owned(),
        "embedding" => knowledge.embedding = text(value)?.to_owned(),
        "operator" => {
            let operator = text(value)?;
            if !OPERATORS.contains(&operator) {
                let known = OPERATORS.join(", ");
                return Err(Wrong::plain(format!(
                    "{operator:?} is none of pgvector's operators: {known}"
                )));
            }
            operator.clone_into(&mut knowledge.operator);
        }
        "limit" => knowledge.limit = number(value, 1, 100_000)?,
        unknown => return Err(Wrong::unknown(unknown, &KNOWLEDGE_KEYS)),
    }
    Ok(())
}

/// Why a key cannot be taken over.
enum Wrong {
    /// Its value; the key is named in front.
    Value(String),
    /// The key itself.
    Key { what: String, hint: Option<String> },
}

impl From<String> for Wrong {
    fn from(what: String) -> Wrong {
        Wrong::Value(what)
    }
}

impl Wrong {
    fn plain(what: String) -> Wrong {
        Wrong::Value(what)
    }

    fn kind(wanted: &str, value: &DeValue<'_>) -> Wrong {
        Wrong::Value(format!("must be {wanted}, not of type {}", value.type_str()))
    }

    fn unknown(key: &str, known: &[&str]) -> Wrong {
        let hint = match nearest(key, known) {
            Some(candidate) => format!("did you mean `{candidate}`?"),
            None => format!("known keys are {}", known.join(", ")),
        };
        Wrong::Key { what: format!("unknown key `{key}`"), hint: Some(hint) }
    }

    fn at(self, key: &Spanned<std::borrow::Cow<'_, str>>) -> (usize, Mistake) {
        let mistake = match self {
            Wrong::Value(what) => {
                Mistake { what: format!("`{}`: {what}", key.get_ref()), hint: None }
            }
            Wrong::Key { what, hint } => Mistake { what, hint },
        };
        (key.span().start, mistake)
    }
}

fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, Wrong> {
    value.as_str().ok_or_else(|| Wrong::kind("a text in quotes", value))
}

fn texts(value: &DeValue<'_>) -> Result<Vec<String>, Wrong> {
    let list = value.as_array().ok_or_else(|| Wrong::kind("a list of texts", value))?;
    list.iter().map(|item| text(item.get_ref()).map(str::to_owned)).collect()
}

fn number(value: &DeValue<'_>, least: u32, most: u32) -> Result<u32, Wrong> {
    let integer = value.as_integer().ok_or_else(|| Wrong::kind("a number", value))?;
    i64::from_str_radix(integer.as_str(), integer.radix())
        .ok()
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| Wrong::plain(format!("must be from {least} to {most}")))
}

/// A number above 0 that may have a fraction.
fn decimal(value: &DeValue<'_>) -> Result<f64, Wrong> {
    crate::units::parse_rate(digits(value)?).map_err(Wrong::plain)
}

/// A price in USD.
fn price(value: &DeValue<'_>) -> Result<f64, Wrong> {
    crate::units::parse_price(digits(value)?).map_err(Wrong::plain)
}

/// A number as it is written.
fn digits<'a>(value: &'a DeValue<'_>) -> Result<&'a str, Wrong> {
    let float = value.as_float().map(|float| float.as_str());
    let number = float.or_else(|| value.as_integer().map(|integer| integer.as_str()));
    number.ok_or_else(|| Wrong::kind("a number", value))
}

fn switch(value: &DeValue<'_>) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| Wrong::kind("true or false", value))
}

fn apply_start(text: &str) -> Result<ApplyStart, Wrong> {
    match text {
        "auto" => Ok(ApplyStart::Auto),
        "last" => Ok(ApplyStart::Last),
        "first" => Ok(ApplyStart::First),
        other => Err(Wrong::plain(format!("{other:?} is none of auto, last, first"))),
    }
}

/// In quotes, or as TOML's own offset date-time.
fn time(value: &DeValue<'_>) -> Result<Timestamp, Wrong> {
    let text = match value {
        DeValue::Datetime(time) => time.to_string(),
        other => text(other)?.to_owned(),
    };
    parse_time(&text).map_err(Wrong::plain)
}

fn web(text: &str) -> Result<WebPolicy, Wrong> {
    let none = || Wrong::plain(format!("{text:?} is none of keep, reembed"));
    WebPolicy::parse(text).ok_or_else(none)
}

fn existing(text: &str) -> Result<Existing, Wrong> {
    match text {
        "refuse" => Ok(Existing::Refuse),
        "keep" => Ok(Existing::Keep),
        "replace" => Ok(Existing::Replace),
        other => Err(Wrong::plain(format!("{other:?} is none of refuse, keep, replace"))),
    }
}

fn lists(text: &str) -> Result<IvfflatLists, Wrong> {
    match text {
        "keep" => Ok(IvfflatLists::Keep),
        "auto" => Ok(IvfflatLists::Auto),
        other => Err(Wrong::plain(format!("{other:?} is none of keep, auto"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        match File::parse(text, Path::new("v.toml")) {
            Err(Error::Settings(mistakes)) => mistakes
                .into_iter()
                .map(|m| format!("{} | {}", m.what, m.hint.unwrap_or_default()))
                .collect(),
            other => panic!("accepted: {other:?}"),
        }
    }

    #[test]
    fn every_mistake_is_named_with_its_line_and_the_nearest_word() {
        assert_eq!(
            mistakes(
                "jbos = 4\nretries = -1\npart_size = 8\n\n[knowledge]\nembeding = 'e'\nlimit = 'x'"
            ),
            [
                "v.toml line 1: unknown key `jbos` | did you mean `jobs`?",
                "v.toml line 2: `retries`: must be from 0 to 4294967295 | ",
                "v.toml line 3: `part_size`: must be a text in quotes, not of type integer | ",
                "v.toml line 6: unknown key `embeding` | did you mean `embedding`?",
                "v.toml line 7: `limit`: must be a number, not of type string | ",
            ]
        );
    }

    #[test]
    fn a_file_that_is_no_toml_never_shows_the_password_in_it() {
        let shown = mistakes("jobs = 1\ntarget = \"postgres://u:hunter2@h/d").join("\n");
        assert!(shown.contains("line 2") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_knowledge_table_starts_from_the_profile() {
        let text = "[knowledge]\ntable = 'kb.chunks'\nbot = ''\noperator = '<=>'";
        let knowledge = File::parse(text, Path::new("v.toml")).unwrap().knowledge;
        assert_eq!(knowledge.table, QualifiedName::new("kb", "chunks"));
        assert_eq!((knowledge.bot, knowledge.operator.as_str()), (None, "<=>"));
        assert_eq!(knowledge.id, Knowledge::default().id);
    }

    #[test]
    fn a_directory_is_relative_to_the_file() {
        let file = File::parse("pg_bin_dir = 'bin'", Path::new("/etc/ferry/v.toml")).unwrap();
        assert_eq!(file.pg_bin_dir, Some(PathBuf::from("/etc/ferry/bin")));
    }
}
