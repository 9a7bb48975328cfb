//! Documents from the web: pages and files, what sitemaps list, transcripts of videos.
//!
//! A page is wherever its URL leads within ten redirects, and every hop passes the same doors in the same order:
//! [`Guard`] (which addresses are open at all), robots.txt (what the site forbids us), a place in its origin's queue.
//! Bodies stream into files, limited in length (after decompression), in time and in silence; what may pass is tried
//! again, as late as the site asks. Nothing is kept between runs.

mod captions;
mod guard;
mod permission;
mod places;
mod reply;
mod robots;
mod sitemap;
mod video;
mod visit;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use url::Url;
use vecferry_core::bot::{Bot, DocumentAddress};

pub use self::guard::{AddressClass, Allowed, Forbidden, Guard, NotAllowable, class_of};
use self::permission::Permission;
pub use self::reply::content_type;
use self::video::Videos;
pub use self::video::video_id;
use self::visit::{Gate, Open, Visitor, Want};
use self::walk::Walk;
use crate::document::{Document, DocumentSource, Fetched, Found, Lost, Reason};

/// How the web is read.
#[derive(Debug, Clone)]
pub struct WebSettings {
    /// What we call ourselves; robots.txt knows us by its first word up to the slash.
    pub user_agent: String,
    /// Whether robots.txt is respected, for pages and sitemaps.
    pub robots: bool,
    /// Which addresses may be connected to.
    pub guard: Guard,
    /// Whether `HTTPS_PROXY` and the like count. The proxy then connects to whatever a name resolves to, so that it
    /// must do the guard's work for names; addresses written out in URLs are still checked.
    pub proxy_from_environment: bool,
    /// Longest document, in bytes after decompression.
    pub document_bytes: u64,
    /// Longest time a document may take, over all tries, without the waits between them.
    pub document_time: Duration,
    /// Longest silence of a server.
    pub idle_time: Duration,
    /// Longest time to connect.
    pub connect_time: Duration,
    /// Most tries of a document.
    pub tries: u32,
    /// Wait before the second try; doubled for each further one, with up to as much again at random.
    pub first_wait: Duration,
    /// Longest wait between tries. A server that asks for more loses the document.
    pub longest_wait: Duration,
    /// Most requests at once to one origin.
    pub per_origin: usize,
    /// Most requests at once.
    pub at_once: usize,
    /// Where robots.txt and sitemaps pass through.
    pub work_folder: PathBuf,
    /// Sitemaps.
    pub sitemaps: SitemapLimits,
    /// Videos.
    pub videos: VideoSettings,
}

/// How far sitemaps are followed.
#[derive(Debug, Clone)]
pub struct SitemapLimits {
    /// Most pages and sitemaps behind one address. One that has more is lost as a whole, for a part would look like
    /// all.
    pub pages: usize,
    /// Most sitemaps below one another, the first included.
    pub depth: usize,
    /// Longest sitemap in bytes, unpacked. The protocol allows 50 MB.
    pub bytes: u64,
}

impl Default for SitemapLimits {
    /// 50 000 pages, five levels, 64 MiB each.
    fn default() -> Self {
        SitemapLimits { pages: 50_000, depth: 5, bytes: 64 << 20 }
    }
}

/// How videos are read.
#[derive(Debug, Clone)]
pub struct VideoSettings {
    /// Where YouTube is.
    pub base: String,
    /// Languages in the order of preference. Without them, or when a video has none of them, its first captions
    /// count, which is what Bedrock Chat's loader takes; those that people wrote come before generated ones.
    pub languages: Vec<String>,
}

impl Default for VideoSettings {
    /// YouTube itself, no preference.
    fn default() -> Self {
        VideoSettings { base: "https://www.youtube.com".to_owned(), languages: Vec::new() }
    }
}

impl Default for WebSettings {
    /// 64 MiB and five minutes a document, 30 s of silence, four tries within minutes, two requests per origin.
    fn default() -> Self {
        WebSettings {
            user_agent: concat!(
                "vecferry/",
                env!("CARGO_PKG_VERSION"),
                " (+",
                env!("CARGO_PKG_REPOSITORY"),
                ")"
            )
            .to_owned(),
            robots: true,
            guard: Guard::default(),
            proxy_from_environment: false,
            document_bytes: 64 << 20,
            document_time: Duration::from_secs(300),
            idle_time: Duration::from_secs(30),
            connect_time: Duration::from_secs(10),
            tries: 4,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
            per_origin: 2,
            at_once: 16,
            work_folder: std::env::temp_dir(),
            sitemaps: SitemapLimits::default(),
            videos: VideoSettings::default(),
        }
    }
}

/// No client can be made of the settings.
#[derive(Debug, thiserror::Error)]
#[error("prepare to read the web")]
pub struct Unprepared(#[from] reqwest::Error);

/// Reads the web.
pub struct Web {
    settings: WebSettings,
    visitor: Arc<Visitor>,
    gate: Box<dyn Gate>,
}

impl Web {
    /// A reader with these settings. Connections and robots.txt are shared by all its documents.
    ///
    /// # Errors
    /// [`Unprepared`] when no client can be made: a user agent that is no header value, no certificates.
    pub fn new(settings: WebSettings) -> Result<Web, Unprepared> {
        let visitor = Arc::new(Visitor::new(&settings)?);
        let gate: Box<dyn Gate> = if settings.robots {
            let agent = robots::token(&settings.user_agent);
            let folder = settings.work_folder.clone();
            Box::new(Permission::new(Arc::clone(&visitor), agent, folder))
        } else {
            Box::new(Open)
        };
        Ok(Web { settings, visitor, gate })
    }

    async fn page(&self, source: &str, folder: &Path) -> Result<Fetched, Lost> {
        let want = Want::page(web_url(source)?, self.settings.document_bytes);
        Ok(self.visitor.get(&want, folder, self.gate.as_ref()).await?.document)
    }
}

#[async_trait]
impl DocumentSource for Web {
    fn takes(&self, address: &DocumentAddress) -> bool {
        use DocumentAddress::{Page, Sitemap, Video};
        matches!(address, Page(_) | Sitemap(_) | Video(_))
    }

    async fn find(&self, _: &Bot, address: &DocumentAddress) -> Result<Found, Lost> {
        match address {
            DocumentAddress::Page(page) => {
                web_url(page)?;
                Ok(vec![one(address, page)].into())
            }
            DocumentAddress::Sitemap(sitemap) => {
                let walk = Walk {
                    visitor: &self.visitor,
                    gate: self.gate.as_ref(),
                    limits: &self.settings.sitemaps,
                    folder: &self.settings.work_folder,
                };
                walk.find(address, sitemap).await
            }
            DocumentAddress::Video(id) if video::is_id(id) => Ok(vec![one(address, id)].into()),
            DocumentAddress::Video(_) => {
                Err(Lost::new(Reason::Missing, "not the id of a video: those have 11 characters"))
            }
            _ => Err(not_ours()),
        }
    }

    async fn fetch(&self, document: &Document, folder: &Path) -> Result<Fetched, Lost> {
        match &document.address {
            DocumentAddress::Page(_) | DocumentAddress::Sitemap(_) => {
                self.page(&document.source, folder).await
            }
            DocumentAddress::Video(id) => {
                let videos = Videos { visitor: &self.visitor, settings: &self.settings.videos };
                videos.fetch(id, folder).await
            }
            _ => Err(not_ours()),
        }
    }
}

/// The one document behind an address; its source column holds the address as the registry writes it.
fn one(address: &DocumentAddress, source: &str) -> Document {
    let (address, source) = (address.clone(), source.to_owned());
    Document { address, source, bytes: None, version: None, modified: None }
}

fn not_ours() -> Lost {
    Lost::new(Reason::Unsupported, "not an address on the web")
}

/// Reads an address as somebody typed it.
fn web_url(text: &str) -> Result<Url, Lost> {
    let url = Url::parse(text.trim());
    url.map_err(|error| Lost::new(Reason::Missing, format!("not a URL: {error}")))
}
