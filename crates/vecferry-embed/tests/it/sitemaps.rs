//! Sitemaps of a whole site: what they lead to, in order, and what of it is lost.

use vecferry_core::bot::DocumentAddress;
use vecferry_embed::document::{DocumentSource, Found, Lost, Reason};
use vecferry_embed::web::{SitemapLimits, Web, WebSettings};
use vecferry_testkit::site::{Page, Site, gzip};

use crate::web::{find, read, settings};

fn xml(body: &str) -> Page {
    Page::of("application/xml", body.to_owned())
}

fn index(site: &Site, paths: &[&str]) -> Page {
    let entry = |path: &&str| format!("<sitemap><loc>{}</loc></sitemap>", site.url(path));
    xml(&format!("<sitemapindex>{}</sitemapindex>", paths.iter().map(entry).collect::<String>()))
}

fn list(site: &Site, paths: &[&str]) -> String {
    let entry = |path: &&str| format!("<url><loc>{}</loc></url>", site.url(path));
    format!("<urlset>{}</urlset>", paths.iter().map(entry).collect::<String>())
}

async fn walk(site: &Site, limits: SitemapLimits) -> Result<Found, Lost> {
    let web = Web::new(WebSettings { sitemaps: limits, ..settings() }).unwrap();
    find(&web, DocumentAddress::Sitemap(site.url("/sitemap.xml"))).await
}

fn paths(site: &Site, found: &Found) -> Vec<String> {
    let path = |source: &str| source.strip_prefix(&site.url("")).unwrap_or(source).to_owned();
    found.documents.iter().map(|document| path(&document.source)).collect()
}

fn losses(site: &Site, found: &Found) -> Vec<String> {
    let path = |source: &str| source.strip_prefix(&site.url("")).unwrap_or(source).to_owned();
    found.lost.iter().map(|(source, lost)| format!("{} {lost}", path(source))).collect()
}

#[tokio::test]
async fn indexes_are_followed_in_order_and_every_page_comes_once() {
    let site = Site::start().unwrap();
    site.put("/sitemap.xml", index(&site, &["/a.xml", "/deeper.xml", "/lines.txt"]));
    site.put("/a.xml", xml(&list(&site, &["/1", "/2", "/1#again"])));
    site.put("/deeper.xml", index(&site, &["/packed.xml.gz", "/sitemap.xml", "/deeper.xml"]));
    let packed = gzip(list(&site, &["/2", "/3"]).as_bytes());
    site.put("/packed.xml.gz", Page::of("application/octet-stream", packed));
    site.put(
        "/lines.txt",
        Page::of("text/plain", format!("{}\n{}\n", site.url("/4"), site.url("/3"))),
    );
    let found = walk(&site, SitemapLimits::default()).await.unwrap();
    assert_eq!(paths(&site, &found), ["/1", "/2", "/3", "/4"]);
    assert!(found.lost.is_empty(), "{:?}", found.lost);
    assert_eq!(site.asked().len(), 5, "a cycle is walked once");
}

#[tokio::test]
async fn a_pages_last_change_is_its_version_and_it_is_fetched_like_any_page() {
    let site = Site::start().unwrap();
    let url = format!("{}?a=1&amp;b=2", site.url("/page"));
    let body = format!(
        "<urlset><url><loc> {url} </loc><lastmod>2026-11-01T10:00:00Z</lastmod></url>\
         <url><loc>/relative</loc></url></urlset>"
    );
    site.put("/sitemap.xml", xml(&body).gzip());
    site.put("/page?a=1&b=2", Page::html("text"));
    let web = Web::new(settings()).unwrap();
    let address = DocumentAddress::Sitemap(site.url("/sitemap.xml"));
    let found = find(&web, address.clone()).await.unwrap();
    assert_eq!(paths(&site, &found), ["/page?a=1&b=2", "/relative"]);
    assert_eq!(found.documents[0].version.as_deref(), Some("2026-11-01T10:00:00Z"));
    assert_eq!((&found.documents[0].address, &found.documents[1].version), (&address, &None));
    let folder = tempfile::tempdir().unwrap();
    let fetched = web.fetch(&found.documents[0], folder.path()).await.unwrap();
    assert_eq!(read(&fetched), b"text");
}

#[tokio::test]
async fn a_broken_part_is_one_lost_address_beside_the_others() {
    let site = Site::start().unwrap();
    site.put(
        "/sitemap.xml",
        index(&site, &["/gone.xml", "/torn.xml", "/html.xml", "/ill.xml", "/good.xml"]),
    );
    let torn = list(&site, &["/1", "/2"]);
    site.put("/torn.xml", xml(&torn[..torn.rfind("</loc>").unwrap()]));
    site.put("/html.xml", Page::html("<html></html>"));
    site.put("/ill.xml", Page::status(500));
    site.put("/good.xml", xml(&list(&site, &["/3"])));
    let found = walk(&site, SitemapLimits::default()).await.unwrap();
    assert_eq!(paths(&site, &found), ["/1", "/3"]);
    assert_eq!(
        losses(&site, &found),
        [
            "/gone.xml missing: status 404",
            "/torn.xml broken: broken off or damaged: it ends in the middle",
            "/html.xml unsupported format: not a sitemap but a file of <html>",
            "/ill.xml unreachable: status 500 after 4 tries",
        ]
    );
}

#[tokio::test]
async fn pages_of_other_sites_are_refused_and_named() {
    let site = Site::start().unwrap();
    let body = "<urlset><url><loc>http://elsewhere.example/x</loc></url><url><loc>ftp://127.0.0.1/x</loc></url>\
                <url><loc>http://[oops/</loc></url></urlset>";
    site.put("/sitemap.xml", xml(body));
    let found = walk(&site, SitemapLimits::default()).await.unwrap();
    assert_eq!(
        losses(&site, &found),
        [
            "http://elsewhere.example/x refused: not on the sitemap's own site",
            "ftp://127.0.0.1/x refused: neither http nor https",
            "http://[oops/ refused: not a URL",
        ]
    );
}

#[tokio::test]
async fn a_sitemap_that_leads_to_too_much_is_lost_and_not_cut() {
    let site = Site::start().unwrap();
    let limits = |pages, depth| SitemapLimits { pages, depth, ..SitemapLimits::default() };
    site.put("/sitemap.xml", index(&site, &["/a.xml"]));
    site.put("/a.xml", xml(&list(&site, &["/1", "/2", "/3"])));
    assert_eq!(walk(&site, limits(5, 5)).await.unwrap().documents.len(), 3);
    let lost = walk(&site, limits(4, 5)).await.unwrap_err();
    assert_eq!(lost.to_string(), "too large: it leads to more than 4 pages and sitemaps");
    // Repetitions take no room, but there is an end to them too.
    let again = vec!["/1"; 50];
    site.put("/a.xml", xml(&list(&site, &again)));
    assert_eq!(walk(&site, limits(5, 5)).await.unwrap_err().reason, Reason::TooLarge);
    let shallow = walk(&site, limits(50, 1)).await.unwrap();
    assert_eq!(losses(&site, &shallow), ["/a.xml too large: sitemaps nested deeper than 1"]);
}

#[tokio::test]
async fn a_sitemap_that_cannot_be_read_at_all_is_one_lost_address() {
    let site = Site::start().unwrap();
    let lost = walk(&site, SitemapLimits::default()).await.unwrap_err();
    assert_eq!(lost.to_string(), "missing: status 404");
    site.put("/sitemap.xml", Page::html("<!DOCTYPE html><html></html>"));
    let lost = walk(&site, SitemapLimits::default()).await.unwrap_err();
    assert_eq!(lost.reason, Reason::Unsupported);
    let bomb = gzip(&[b"<urlset>".as_slice(), &vec![b' '; 5_000_000]].concat());
    site.put("/sitemap.xml", Page::of("application/gzip", bomb));
    let limits = SitemapLimits { bytes: 1_000_000, ..SitemapLimits::default() };
    let lost = walk(&site, limits).await.unwrap_err();
    assert_eq!(lost.to_string(), "too large: longer than 1000000 bytes unpacked");
}
