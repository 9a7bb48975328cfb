//! Pages against a site that answers every way the web does: what arrives, and why what does not is lost.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use vecferry_core::bot::{Bot, BotKey, DocumentAddress, Splitting};
use vecferry_embed::document::{Document, DocumentSource, Fetched, Found, Lost, Reason};
use vecferry_embed::web::{Guard, Web, WebSettings};
use vecferry_testkit::site::{Page, Site};

/// Only the fixture's own address is open; tries follow at once.
pub(crate) fn settings() -> WebSettings {
    WebSettings {
        robots: false,
        guard: Guard { allow_private: false, allowed: vec!["127.0.0.1".parse().unwrap()] },
        first_wait: Duration::from_millis(1),
        document_bytes: 100_000,
        ..WebSettings::default()
    }
}

pub(crate) fn bot() -> Bot {
    Bot {
        key: BotKey { owner: "owner".into(), id: "bot".into() },
        title: String::new(),
        documents: Vec::new(),
        splitting: Splitting::default(),
        sync: None,
    }
}

pub(crate) async fn find(web: &Web, address: DocumentAddress) -> Result<Found, Lost> {
    web.find(&bot(), &address).await
}

/// A page fetched by its URL.
async fn fetch(web: &Web, url: &str) -> (Result<Fetched, Lost>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let found = find(web, DocumentAddress::Page(url.to_owned())).await;
    let outcome = match found {
        Ok(found) => web.fetch(&found.documents[0], folder.path()).await,
        Err(lost) => Err(lost),
    };
    (outcome, folder)
}

async fn text(web: &Web, url: &str) -> String {
    let (fetched, _folder) = fetch(web, url).await;
    String::from_utf8(read(&fetched.unwrap())).unwrap()
}

async fn lost(web: &Web, url: &str) -> String {
    let (outcome, folder) = fetch(web, url).await;
    let lost = outcome.unwrap_err();
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "a lost document leaves no file"
    );
    lost.to_string()
}

pub(crate) fn read(fetched: &Fetched) -> Vec<u8> {
    let bytes = std::fs::read(fetched.file.path()).unwrap();
    assert_eq!(bytes.len() as u64, fetched.bytes);
    bytes
}

fn web() -> Web {
    Web::new(settings()).unwrap()
}

#[tokio::test]
async fn a_page_arrives_with_its_bytes_type_charset_and_name() {
    let (site, web) = (Site::start().unwrap(), web());
    // 日本 in Shift_JIS: passed on as it is, decoding is the reader's business.
    let japanese = [0x93, 0xfa, 0x96, 0x7b];
    site.put("/a/p%C3%A4ge.html?q=1", Page::of("text/HTML; charset=Shift_JIS", japanese.to_vec()));
    site.put(
        "/download",
        Page::of("application/pdf", "%PDF-1.7")
            .header("content-disposition", "attachment; filename=\"terms.pdf\""),
    );
    let (fetched, _folder) = fetch(&web, &site.url("/a/p%C3%A4ge.html?q=1")).await;
    let fetched = fetched.unwrap();
    assert_eq!(read(&fetched), japanese);
    assert_eq!(fetched.media_type.as_deref(), Some("text/html"));
    assert_eq!(fetched.charset.as_deref(), Some("shift_jis"));
    assert_eq!(fetched.name.as_deref(), Some("päge.html"));
    let (fetched, _folder) = fetch(&web, &site.url("/download")).await;
    let fetched = fetched.unwrap();
    assert_eq!(fetched.name.as_deref(), Some("terms.pdf"));
    assert_eq!((fetched.media_type.as_deref(), fetched.charset), (Some("application/pdf"), None));
    let asked = &site.asked()[0];
    assert!(asked.header("user-agent").starts_with("vecferry/"), "{asked:?}");
    assert!(asked.header("user-agent").contains("(+https://"), "{asked:?}");
}

#[tokio::test]
async fn the_source_column_holds_the_address_as_it_was_written() {
    let web = web();
    let page = "HTTP://Example.com/a b#part".to_owned();
    let found = find(&web, DocumentAddress::Page(page.clone())).await.unwrap();
    assert_eq!(found.documents[0].source, page);
    let lost = find(&web, DocumentAddress::Page("no url".into())).await.unwrap_err();
    assert_eq!(lost.reason, Reason::Missing);
}

#[tokio::test]
async fn redirects_are_followed_ten_times_and_not_in_circles() {
    let (site, web) = (Site::start().unwrap(), web());
    for hop in 0..11 {
        site.put(
            &format!("/{hop}"),
            Page::redirect([301, 302, 303, 307, 308][hop % 5], &format!("/{}", hop + 1)),
        );
    }
    site.put("/11", Page::html("at last"));
    assert_eq!(text(&web, &site.url("/1")).await, "at last");
    assert_eq!(lost(&web, &site.url("/0")).await, "unreachable: more than 10 redirects");
    site.put("/one", Page::redirect(302, "/two?token=secret"));
    site.put("/two?token=secret", Page::redirect(302, "/one"));
    let said = lost(&web, &site.url("/two?token=secret")).await;
    assert_eq!(said, format!("unreachable: redirects lead back to {}", site.url("/two")));
    site.put("/nowhere", Page::status(302));
    assert_eq!(
        lost(&web, &site.url("/nowhere")).await,
        "unreachable: status 302 that leads nowhere"
    );
}

#[tokio::test]
async fn no_redirect_leads_past_the_guard() {
    let (site, web) = (Site::start().unwrap(), web());
    let port = site.address().port();
    for (to, host) in [
        (format!("http://127.0.0.2:{port}/secret"), "127.0.0.2"),
        (format!("http://0x7f.2:{port}/secret"), "127.0.0.2"),
        ("http://169.254.169.254/latest/meta-data/".to_owned(), "169.254.169.254"),
        (format!("http://[::1]:{port}/secret"), "::1"),
        (format!("http://[::ffff:7f00:2]:{port}/secret"), "127.0.0.2"),
    ] {
        site.put("/page", Page::redirect(302, &to));
        let said = lost(&web, &site.url("/page")).await;
        assert!(said.starts_with(&format!("refused: {host} is ")), "{to}: {said}");
    }
    site.put("/page", Page::redirect(302, "file:///etc/passwd"));
    let said = lost(&web, &site.url("/page")).await;
    assert_eq!(said, "refused: addresses that begin with file: are not fetched");
    assert_eq!(site.count("/secret"), 0);
}

#[tokio::test]
async fn a_name_that_resolves_to_a_closed_address_is_not_connected_to() {
    let site = Site::start().unwrap();
    site.put("/", Page::html("inside"));
    let by_name = format!("http://localhost:{}/", site.address().port());
    let closed = Web::new(WebSettings { guard: Guard::default(), ..settings() }).unwrap();
    let said = lost(&closed, &by_name).await;
    assert_eq!(said, "refused: localhost is this machine itself, which the settings do not allow");
    assert_eq!(site.asked().len(), 0);
    let guard = Guard { allow_private: false, allowed: vec!["localhost".parse().unwrap()] };
    let open = Web::new(WebSettings { guard, ..settings() }).unwrap();
    assert_eq!(text(&open, &by_name).await, "inside");
}

#[tokio::test]
async fn statuses_that_pass_are_tried_again_and_others_are_not() {
    let (site, web) = (Site::start().unwrap(), web());
    let failing = || Page::status(500);
    site.script(
        "/heals",
        vec![failing(), Page::status(503), Page::cut("half a page"), Page::html("whole")],
    );
    assert_eq!(text(&web, &site.url("/heals")).await, "whole");
    assert_eq!(site.count("/heals"), 4);
    site.put("/ill", failing());
    assert_eq!(lost(&web, &site.url("/ill")).await, "unreachable: status 500 after 4 tries");
    for (path, status, said) in [
        ("/gone", 410, "missing: status 410"),
        ("/missing", 404, "missing: status 404"),
        ("/login", 401, "refused: status 401"),
        ("/closed", 403, "refused: status 403"),
        ("/teapot", 418, "unreachable: status 418"),
        ("/empty", 204, "no text: status 204"),
    ] {
        site.put(path, Page::status(status));
        assert_eq!(lost(&web, &site.url(path)).await, said);
        assert_eq!(site.count(path), 1, "{path}");
    }
}

#[tokio::test]
async fn a_site_that_asks_to_wait_is_obeyed_within_bounds() {
    let site = Site::start().unwrap();
    let web = Web::new(WebSettings { longest_wait: Duration::from_secs(2), ..settings() }).unwrap();
    let busy = |after| Page::status(429).header("retry-after", after);
    site.script("/busy", vec![busy("1"), Page::html("free again")]);
    let started = std::time::Instant::now();
    assert_eq!(text(&web, &site.url("/busy")).await, "free again");
    assert!(started.elapsed() >= Duration::from_secs(1));
    site.put("/closed", busy("3600"));
    let said = lost(&web, &site.url("/closed")).await;
    assert_eq!(said, "unreachable: status 429 (it asks to wait 3600 s, 2 s are allowed)");
    assert_eq!(site.count("/closed"), 1);
}

#[tokio::test]
async fn what_is_too_large_is_left_wherever_that_shows() {
    let (site, web) = (Site::start().unwrap(), web());
    site.put("/announced", Page::html(vec![b'x'; 100_001]));
    site.put("/exact", Page::html(vec![b'x'; 100_000]));
    site.put("/endless", Page::endless());
    site.put("/bomb", Page::bomb(5_000_000));
    assert_eq!(
        lost(&web, &site.url("/announced")).await,
        "too large: 100001 bytes, 100000 are allowed"
    );
    assert_eq!(text(&web, &site.url("/exact")).await.len(), 100_000);
    for path in ["/endless", "/bomb"] {
        let said = lost(&web, &site.url(path)).await;
        assert_eq!(said, "too large: more than the 100000 bytes that are allowed");
        assert_eq!(site.count(path), 1);
    }
}

#[tokio::test]
async fn compressed_pages_are_unpacked_and_unknown_encodings_are_not_taken_for_text() {
    let (site, web) = (Site::start().unwrap(), web());
    site.put("/gzip", Page::html("plain").gzip());
    assert_eq!(text(&web, &site.url("/gzip")).await, "plain");
    assert!(site.asked()[0].header("accept-encoding").contains("gzip"));
    site.put("/odd", Page::html("?").header("content-encoding", "br"));
    let said = lost(&web, &site.url("/odd")).await;
    assert_eq!(said, "unsupported format: sent in the encoding \"br\", which was not asked for");
    site.put("/lie", Page::html("not gzip at all").header("content-encoding", "gzip"));
    let said = lost(&web, &site.url("/lie")).await;
    assert!(said.starts_with("unreachable: the connection broke after 0 bytes: "), "{said}");
}

#[tokio::test]
async fn a_server_that_drips_or_is_silent_or_breaks_off_is_given_up() {
    let site = Site::start().unwrap();
    let web = Web::new(WebSettings {
        document_time: Duration::from_millis(300),
        idle_time: Duration::from_millis(100),
        tries: 2,
        ..settings()
    })
    .unwrap();
    site.put("/drip", Page::drip());
    site.put("/silent", Page::silent());
    site.put("/cut", Page::cut("some bytes"));
    assert_eq!(
        lost(&web, &site.url("/drip")).await,
        "too slow: not done within the 300ms that a document may take"
    );
    assert_eq!(
        lost(&web, &site.url("/silent")).await,
        "too slow: nothing came for 100ms after 2 tries"
    );
    let said = lost(&web, &site.url("/cut")).await;
    assert!(said.starts_with("unreachable: the connection broke after 10 bytes: "), "{said}");
    assert!(said.ends_with(" after 2 tries"), "{said}");
    let (address, url) = (site.address(), site.url("/"));
    drop(site);
    let said = lost(&web, &url).await;
    assert!(said.starts_with("unreachable: no connection: "), "{address}: {said}");
}

#[tokio::test]
async fn no_error_shows_a_password_or_a_query() {
    let (site, web) = (Site::start().unwrap(), web());
    let url = |path: &str| format!("http://user:hunter2@{}{path}?token=hunter3", site.address());
    site.put("/loop?token=hunter3", Page::redirect(302, &url("/loop")));
    site.put("/cut?token=hunter3", Page::cut("x"));
    for path in ["/loop", "/cut", "/missing"] {
        let said = lost(&web, &url(path)).await;
        assert!(!said.contains("hunter"), "{said}");
    }
    let guarded = Web::new(WebSettings { guard: Guard::default(), ..settings() }).unwrap();
    assert!(!lost(&guarded, &url("/cut")).await.contains("hunter"));
}

#[tokio::test]
async fn robots_txt_is_asked_once_and_obeyed_on_every_hop() {
    let site = Site::start().unwrap();
    let web = Web::new(WebSettings { robots: true, ..settings() }).unwrap();
    site.put(
        "/robots.txt",
        Page::of("text/plain", "User-agent: vecferry\nDisallow: /private\nAllow: /private/open\n"),
    );
    site.put("/open", Page::html("open"));
    site.put("/private/open", Page::html("open too"));
    site.put("/private/page", Page::html("closed"));
    site.put("/detour", Page::redirect(302, "/private/page"));
    assert_eq!(text(&web, &site.url("/open")).await, "open");
    assert_eq!(text(&web, &site.url("/private/open")).await, "open too");
    for path in ["/private/page", "/detour"] {
        let said = lost(&web, &site.url(path)).await;
        assert_eq!(said, "refused: the site's robots.txt forbids it to vecferry");
    }
    assert_eq!((site.count("/robots.txt"), site.count("/private/page")), (1, 0));
    let careless = Web::new(settings()).unwrap();
    assert_eq!(text(&careless, &site.url("/private/page")).await, "closed");
}

#[tokio::test]
async fn a_robots_txt_that_is_absent_allows_and_one_that_fails_forbids() {
    let respectful = || Web::new(WebSettings { robots: true, ..settings() }).unwrap();
    let site = Site::start().unwrap();
    site.put("/page", Page::html("page"));
    for status in [404, 403] {
        site.put("/robots.txt", Page::status(status));
        assert_eq!(text(&respectful(), &site.url("/page")).await, "page");
    }
    for (status, said) in [(503, "status 503 after 4 tries"), (429, "status 429 after 4 tries")] {
        site.put("/robots.txt", Page::status(status));
        let expected = format!("unreachable: its robots.txt cannot be read: {said}");
        assert_eq!(lost(&respectful(), &site.url("/page")).await, expected);
    }
    // Longer than anybody must read: what comes first counts.
    let mut long = b"User-agent: *\nDisallow: /page\n#".to_vec();
    long.resize(600 * 1024, b'x');
    long.extend(b"\nUser-agent: vecferry\nAllow: /\n");
    site.put("/robots.txt", Page::of("text/plain", long));
    assert!(
        lost(&respectful(), &site.url("/page")).await.starts_with("refused: the site's robots")
    );
}

#[tokio::test]
async fn no_more_requests_than_allowed_are_under_way_at_one_origin() {
    let site = Site::start().unwrap();
    let web = Web::new(WebSettings {
        per_origin: 1,
        document_time: Duration::from_millis(200),
        ..settings()
    })
    .unwrap();
    site.put("/silent", Page::silent());
    site.put("/quick", Page::html("quick"));
    let (silent, quick) = (site.url("/silent"), site.url("/quick"));
    let held = lost(&web, &silent);
    let waiting = async {
        // Begins second, so that it queues behind the silent one, which its own limit does not count.
        while site.count("/silent") == 0 {
            tokio::task::yield_now().await;
        }
        text(&web, &quick).await
    };
    let (said, text) = tokio::join!(held, waiting);
    assert!(said.starts_with("too slow"), "{said}");
    assert_eq!(text, "quick");
    let order: Vec<String> = site.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(order, ["/silent", "/quick"]);
}

#[tokio::test]
async fn a_work_folder_that_is_full_or_gone_is_not_the_documents_fault() {
    let (site, web) = (Site::start().unwrap(), web());
    site.put("/page", Page::html("page"));
    let document = Document {
        address: DocumentAddress::Page(site.url("/page")),
        source: site.url("/page"),
        bytes: None,
        version: None,
        modified: None,
    };
    let lost = web.fetch(&document, Path::new("/nowhere/at/all")).await.unwrap_err();
    assert!(lost.detail.starts_with("cannot be stored in the work folder"), "{lost}");
}
