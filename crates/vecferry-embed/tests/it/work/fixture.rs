//! A bench whose documents, model and registry are in memory and do what a test tells them; the target, the readers'
//! child processes and everything in between are real.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tempfile::NamedTempFile;
use tokio::sync::Notify;
use vecferry_core::Result;
use vecferry_core::bot::{Bot, BotKey, DocumentAddress, Splitting, SyncRecord, SyncStatus};
use vecferry_core::knowledge::Knowledge;
use vecferry_core::reembed::registry::{BotRegistry, Expected, Listing, Written};
use vecferry_embed::document::{Document, DocumentSource, Fetched, Found, Lost, Reason};
use vecferry_embed::embedder::{Embedder, Embeddings, Failure, Model};
use vecferry_embed::embedding::{self, Pace, Pacer, Service};
use vecferry_embed::sources::Sources;
use vecferry_embed::stage::Patience;
use vecferry_embed::text::{self, Extractor};
use vecferry_embed::work::{Attempt, Limits, LostPolicy, Workbench};
use vecferry_testkit::{Database, Session};

pub(crate) const BOT: &str = "01HXBOT0000000000000000001";

/// What happens at a chosen step of a run.
#[derive(Default)]
pub(crate) struct Tripwire {
    /// Steps left until it is hit; below zero never.
    left: AtomicI64,
    /// Ends the worker's connections, where that is to happen; otherwise the step never ends.
    kill: Option<String>,
    pub hit: Notify,
}

const KILL: &str = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
     WHERE application_name = 'vecferry worker' AND datname = current_database()";

impl Tripwire {
    pub(crate) fn hang_at(step: i64) -> Tripwire {
        Tripwire { left: AtomicI64::new(step), ..Tripwire::default() }
    }

    pub(crate) fn kill_at(step: i64, database: &Database) -> Tripwire {
        let kill = Some(database.url().to_owned());
        Tripwire { left: AtomicI64::new(step), kill, ..Tripwire::default() }
    }

    /// Whether it was hit.
    pub(crate) fn was_hit(&self) -> bool {
        self.left.load(Ordering::SeqCst) <= 0
    }

    async fn step(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        self.hit.notify_one();
        match &self.kill {
            Some(url) => Session::open(url).await.unwrap().batch_execute(KILL).await.unwrap(),
            None => std::future::pending().await,
        }
    }
}

/// Documents by source: their bytes, or why they are lost.
pub(crate) struct Shelf {
    pub documents: Mutex<BTreeMap<String, std::result::Result<Vec<u8>, Lost>>>,
    pub version: Mutex<Option<String>>,
    pub fetches: AtomicU64,
    pub on_fetch: Mutex<Option<Box<dyn Fn() + Send>>>,
    wire: Arc<Tripwire>,
}

impl Shelf {
    fn of_five(wire: Arc<Tripwire>) -> Shelf {
        let name = |(at, name)| (format!("s3://b/{name}.txt"), Ok(text(name, 3 + at * 7)));
        Shelf {
            documents: Mutex::new(
                ["a", "b", "c", "d", "e"].into_iter().enumerate().map(name).collect(),
            ),
            version: Mutex::new(Some("v1".into())),
            fetches: AtomicU64::new(0),
            on_fetch: Mutex::default(),
            wire,
        }
    }
}

#[async_trait]
impl DocumentSource for Shelf {
    fn takes(&self, _: &DocumentAddress) -> bool {
        true
    }

    async fn find(&self, _: &Bot, address: &DocumentAddress) -> std::result::Result<Found, Lost> {
        self.wire.step().await;
        if address.kind() == "sitemap" {
            return Err(Lost::new(Reason::Unreachable, "status 500"));
        }
        let version = self.version.lock().unwrap().clone();
        let one = |source: &String| Document {
            address: address.clone(),
            source: source.clone(),
            bytes: None,
            version: version.clone(),
            modified: None,
        };
        Ok(self.documents.lock().unwrap().keys().map(one).collect::<Vec<_>>().into())
    }

    async fn fetch(
        &self,
        document: &Document,
        folder: &Path,
    ) -> std::result::Result<Fetched, Lost> {
        self.wire.step().await;
        self.fetches.fetch_add(1, Ordering::SeqCst);
        if let Some(hook) = &*self.on_fetch.lock().unwrap() {
            hook();
        }
        let bytes = self.documents.lock().unwrap()[&document.source].clone()?;
        let mut file = NamedTempFile::new_in(folder).unwrap();
        file.write_all(&bytes).unwrap();
        let name = Some("document.txt".into());
        Ok(Fetched { file, bytes: bytes.len() as u64, name, media_type: None, charset: None })
    }
}

/// A model of four dimensions: the same text has the same vector, "meaningless" has zeros, "unspeakable" has none.
pub(crate) struct Words {
    model: Model,
    pub calls: AtomicU64,
    pub panics: AtomicBool,
    wire: Arc<Tripwire>,
}

pub(crate) fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    (0..dimensions).map(|at| ((hash >> (at * 8 % 57)) & 0xff) as f32 / 64.0).collect()
}

#[async_trait]
impl Embedder for Words {
    fn model(&self) -> &Model {
        &self.model
    }

    async fn embed(&self, texts: &[String]) -> std::result::Result<Embeddings, Failure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics.load(Ordering::SeqCst), "the model panics");
        self.wire.step().await;
        if texts.iter().any(|text| text.contains("unspeakable")) {
            return Err(Failure::Texts("not this text".into()));
        }
        let dimensions = self.model.dimensions;
        let of = |text: &String| match text.contains("meaningless") {
            true => vec![1e-60_f64 as f32; dimensions],
            false => vector(text, dimensions),
        };
        let vectors = texts.iter().map(of).collect();
        Ok(Embeddings { vectors, tokens: Some(texts.len() as u64) })
    }
}

/// A service of such a model, with nothing in its way.
pub(crate) fn model_of(dimensions: usize, texts_per_call: usize) -> Service {
    let model = Model {
        id: "words".into(),
        dimensions,
        texts_per_call,
        chars_per_text: None,
        tokens_per_text: 512,
    };
    let words = Words {
        model,
        calls: AtomicU64::new(0),
        panics: AtomicBool::new(false),
        wire: Arc::default(),
    };
    let pacer = Arc::new(Pacer::new(Pace::default()));
    Service::new(Arc::new(words), pacer, embedding::Patience::default())
}

/// A registry of one bot.
pub(crate) struct Registry {
    pub bot: Mutex<Option<Bot>>,
    /// The bot is deleted right after it was looked at.
    pub gone_after_look: AtomicBool,
    wire: Arc<Tripwire>,
}

impl Registry {
    pub(crate) fn record(&self) -> Option<(SyncStatus, String, String)> {
        let bot = self.bot.lock().unwrap();
        let sync = bot.as_ref()?.sync.as_ref()?;
        Some((sync.status, sync.exec_id.clone(), sync.reason.clone()))
    }

    pub(crate) fn set(&self, status: SyncStatus, exec_id: &str) {
        let exec_id = exec_id.to_owned();
        let record = SyncRecord { status, reason: String::new(), exec_id };
        self.bot.lock().unwrap().as_mut().unwrap().sync = Some(record);
    }
}

#[async_trait]
impl BotRegistry for Registry {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn keeps_sync(&self) -> bool {
        true
    }

    async fn list(&self) -> Result<Listing> {
        let bots = self.bot.lock().unwrap().iter().cloned().collect();
        Ok(Listing { bots, ..Listing::default() })
    }

    async fn get(&self, _: &BotKey) -> Result<Option<Bot>> {
        self.wire.step().await;
        let mut bot = self.bot.lock().unwrap();
        let found = bot.clone();
        if self.gone_after_look.load(Ordering::SeqCst) {
            *bot = None;
        }
        Ok(found)
    }

    async fn write_sync(
        &self,
        _: &BotKey,
        expected: Expected<'_>,
        record: &SyncRecord,
    ) -> Result<Written> {
        self.wire.step().await;
        let mut bot = self.bot.lock().unwrap();
        let Some(bot) = bot.as_mut() else { return Ok(Written::Gone) };
        let exec_id = bot.sync.as_ref().map(|sync| sync.exec_id.as_str());
        let fits = match expected {
            Expected::Exists => true,
            Expected::Idle => bot.sync.as_ref().is_none_or(|sync| !sync.status.is_busy()),
            Expected::Exec(exec) => exec_id == Some(exec),
        };
        if !fits {
            return Ok(Written::Changed(bot.sync.clone()));
        }
        bot.sync = Some(record.clone());
        Ok(Written::Done)
    }
}

/// Everything a run needs.
pub(crate) struct Bench {
    pub shelf: Arc<Shelf>,
    pub words: Arc<Words>,
    pub registry: Arc<Registry>,
    pub bot: Bot,
    pub bench: Workbench,
    pub wire: Arc<Tripwire>,
    _folder: tempfile::TempDir,
}

pub(crate) fn key() -> BotKey {
    BotKey { owner: "user".into(), id: BOT.into() }
}

pub(crate) fn attempt(token: &str) -> Attempt {
    Attempt { migration: "m1".into(), token: Some(token.into()), exec_id: format!("task-{token}") }
}

/// Sentences enough for several chunks of 80 characters, different for every document.
pub(crate) fn text(name: &str, sentences: usize) -> Vec<u8> {
    (0..sentences)
        .map(|at| format!("Sentence {at} of document {name} says {}. ", at * at))
        .collect::<String>()
        .into()
}

impl Bench {
    /// A bench with five documents and a claim in the registry for attempt `t1`.
    pub(crate) fn new(target: &str, wire: Tripwire) -> Bench {
        let wire = Arc::new(wire);
        let shelf = Arc::new(Shelf::of_five(Arc::clone(&wire)));
        let model = Model {
            id: "words".into(),
            dimensions: 4,
            texts_per_call: 8,
            chars_per_text: None,
            tokens_per_text: 512,
        };
        let words = Arc::new(Words {
            model,
            calls: AtomicU64::new(0),
            panics: AtomicBool::new(false),
            wire: Arc::clone(&wire),
        });
        let bot = Bot {
            key: key(),
            title: "A bot".into(),
            documents: vec![DocumentAddress::S3("s3://b/".into())],
            splitting: Splitting { chunk_chars: 80, overlap_chars: 20 },
            sync: None,
        };
        let registry = Arc::new(Registry {
            bot: Mutex::new(Some(bot.clone())),
            gone_after_look: AtomicBool::new(false),
            wire: Arc::clone(&wire),
        });
        registry.set(SyncStatus::Running, "t1");
        let folder = tempfile::tempdir().unwrap();
        let shared: Arc<dyn DocumentSource> = Arc::clone(&shelf) as _;
        let extractor = Extractor::new(
            env!("CARGO_BIN_EXE_extract-text").into(),
            vec!["--in-child".into()],
            text::Limits::default(),
            NonZeroUsize::MIN,
        );
        let model = Arc::clone(&words) as Arc<dyn Embedder>;
        let pacer = Arc::new(Pacer::new(Pace::default()));
        let bench = Workbench {
            target: target.parse().unwrap(),
            knowledge: Knowledge::default(),
            registry: Some(Arc::clone(&registry) as _),
            sources: Sources::new(vec![shared]),
            extractor: Arc::new(extractor),
            embedding: Service::new(model, pacer, embedding::Patience::default()),
            reuse: None,
            policy: LostPolicy::Fail,
            limits: Limits::default(),
            patience: Patience::default(),
            folder: folder.path().to_owned(),
        };
        Bench { shelf, words, registry, bot, bench, wire, _folder: folder }
    }

    /// Takes the bot for another attempt, as the orchestrator does before it launches.
    pub(crate) fn claim(&self, token: &str) {
        self.registry.set(SyncStatus::Running, token);
    }

    pub(crate) fn lose(&self, source: &str, lost: Lost) {
        self.shelf.documents.lock().unwrap().insert(source.into(), Err(lost));
    }

    pub(crate) fn put(&self, source: &str, bytes: Vec<u8>) {
        self.shelf.documents.lock().unwrap().insert(source.into(), Ok(bytes));
    }
}
