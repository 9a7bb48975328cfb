//! Transcripts from a site that answers as YouTube does.

use vecferry_core::bot::DocumentAddress;
use vecferry_embed::document::{DocumentSource, Lost, Reason};
use vecferry_embed::web::{VideoSettings, Web, WebSettings};
use vecferry_testkit::site::{Page, Site};

use crate::web::{find, read, settings};

const ID: &str = "dQw4w9WgXcQ";

/// The transcript of the fixture's video.
async fn fetch(site: &Site, languages: &[&str]) -> Result<String, Lost> {
    let languages = languages.iter().map(|language| (*language).to_owned()).collect();
    let videos = VideoSettings { base: site.url(""), languages };
    // Even where robots.txt counts, it does not count for videos.
    let web = Web::new(WebSettings { videos, robots: true, ..settings() }).unwrap();
    let found = find(&web, DocumentAddress::Video(ID.into())).await?;
    assert_eq!(found.documents[0].source, ID);
    let folder = tempfile::tempdir().unwrap();
    let fetched = web.fetch(&found.documents[0], folder.path()).await?;
    assert_eq!(fetched.name.as_deref(), Some("dQw4w9WgXcQ.txt"));
    assert_eq!(fetched.media_type.as_deref(), Some("text/plain"));
    Ok(String::from_utf8(read(&fetched)).unwrap())
}

async fn text(site: &Site, languages: &[&str]) -> String {
    fetch(site, languages).await.unwrap()
}

#[tokio::test]
async fn a_transcript_in_the_wanted_language_arrives_as_text() {
    let site = Site::start().unwrap();
    site.video(ID, &[("en", "It&amp;#39;s English"), ("ko", "한국어")], &[("ja", "日本語")]);
    assert_eq!(text(&site, &[]).await, "It's English");
    assert_eq!(text(&site, &["ja", "en"]).await, "日本語");
    assert_eq!(text(&site, &["pl", "ko"]).await, "한국어");
    let player = site.asked().into_iter().find(|asked| asked.method == "POST").unwrap();
    let question: serde_json::Value = serde_json::from_slice(&player.body).unwrap();
    assert_eq!(question["videoId"], ID);
    assert_eq!(question["context"]["client"]["clientName"], "ANDROID");
    assert_eq!(site.count("/robots.txt"), 0);
}

#[tokio::test]
async fn consent_is_given_once_and_asked_for_twice_is_a_refusal() {
    let site = Site::start().unwrap();
    site.video(ID, &[("en", "text")], &[]);
    let watch = format!("/watch?v={ID}");
    let form = Page::html(
        "<form action=\"https://consent.youtube.com/s\"><input name=\"v\" value=\"cb.2\">",
    );
    let page = Page::html("\"INNERTUBE_API_KEY\":\"K-1\"");
    site.script(&watch, vec![form.clone(), page]);
    assert_eq!(text(&site, &[]).await, "text");
    let cookies: Vec<String> =
        site.asked().iter().take(2).map(|asked| asked.header("cookie").to_owned()).collect();
    assert_eq!(cookies, ["", "CONSENT=YES+cb.2"]);
    site.put(&watch, form);
    let lost = fetch(&site, &[]).await.unwrap_err();
    assert_eq!(lost.to_string(), "refused: YouTube asks for consent again after it was given");
}

#[tokio::test]
async fn a_video_without_a_transcript_says_why() {
    let site = Site::start().unwrap();
    assert_eq!(fetch(&site, &[]).await.unwrap_err().to_string(), "missing: status 404");
    site.video(ID, &[], &[]);
    let none = fetch(&site, &[]).await.unwrap_err();
    assert_eq!(none.to_string(), "no text: the video has no captions");
    site.video(ID, &[("en", "")], &[]);
    assert_eq!(fetch(&site, &[]).await.unwrap_err().reason, Reason::NoText);
    site.put(&format!("/api/timedtext?v={ID}&lang=en&kind="), Page::html(""));
    assert_eq!(fetch(&site, &[]).await.unwrap_err().reason, Reason::Refused);
    let player = "{\"playabilityStatus\":{\"status\":\"LOGIN_REQUIRED\",\"reason\":\"not a bot\"}}";
    site.put("/youtubei/v1/player?key=K-1", Page::of("application/json", player));
    let lost = fetch(&site, &[]).await.unwrap_err();
    assert_eq!(lost.to_string(), "refused: YouTube says LOGIN_REQUIRED: not a bot");
    site.put(&format!("/watch?v={ID}"), Page::status(429));
    let lost = fetch(&site, &[]).await.unwrap_err();
    assert_eq!(lost.to_string(), "unreachable: status 429 after 4 tries");
    let web = Web::new(settings()).unwrap();
    let lost = find(&web, DocumentAddress::Video("too short".into())).await.unwrap_err();
    assert_eq!(lost.reason, Reason::Missing);
}
