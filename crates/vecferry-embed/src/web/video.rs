//! Transcripts of YouTube videos, as text. robots.txt does not count here: nobody crawls, one video that a bot's
//! owner named is read the way its own player reads it.

use std::path::Path;

use reqwest::header::{ACCEPT_LANGUAGE, COOKIE};
use serde_json::Value;
use url::Url;

use super::captions::{Watch, choose, player_question, tracks, transcript, watch};
use super::visit::{Arrival, Open, Visitor, Want};
use super::{VideoSettings, web_url};
use crate::document::{Fetched, Lost, Reason};
use crate::spool::{Spool, unstored};

/// Longest page, answer or transcript, in bytes. Pages have one or two million.
const ANSWER_BYTES: u64 = 16 << 20;

/// The video behind a URL: its id of 11 characters. Knows the forms `watch?v=`, `youtu.be/`, `shorts/`, `embed/`,
/// `live/` and `v/`, with any of YouTube's hosts. (Bedrock Chat reads only `https://www.youtube.com/watch?v=` as a
/// video; other forms are pages to it.)
pub fn video_id(url: &str) -> Option<String> {
    let url = Url::parse(url.trim()).ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    let host = url.host_str()?;
    let mut path = url.path_segments()?;
    let id = match host.strip_prefix("www.").or(host.strip_prefix("m.")).unwrap_or(host) {
        "youtu.be" => path.next()?.to_owned(),
        "youtube.com" | "music.youtube.com" | "youtube-nocookie.com" => match path.next()? {
            "watch" => url.query_pairs().find(|(key, _)| key == "v")?.1.into_owned(),
            "shorts" | "embed" | "live" | "v" => path.next()?.to_owned(),
            _ => return None,
        },
        _ => return None,
    };
    is_id(&id).then_some(id)
}

/// Whether a text can be a video's id.
pub(crate) fn is_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() == 11 && text.bytes().all(fits)
}

/// Reads transcripts.
pub(crate) struct Videos<'a> {
    pub(crate) visitor: &'a Visitor,
    pub(crate) settings: &'a VideoSettings,
}

impl Videos<'_> {
    /// A video's transcript, as a text file in `folder`.
    pub(crate) async fn fetch(&self, id: &str, folder: &Path) -> Result<Fetched, Lost> {
        let base = web_url(&self.settings.base)?;
        let player = self.player(&base, id, folder).await?;
        let tracks = tracks(player)?;
        let Some(track) = choose(&tracks, &self.settings.languages) else {
            return Err(Lost::new(Reason::NoText, "the video has no captions"));
        };
        // Captions marked so come empty to all but browsers that proved themselves.
        if track.base_url.contains("&exp=xpe") {
            let detail = "YouTube gives these captions only to a browser with a token of its own";
            return Err(Lost::new(Reason::Refused, detail));
        }
        let unusable =
            |error| Lost::new(Reason::Broken, format!("its captions are at no URL: {error}"));
        let url = base.join(&track.base_url.replace("&fmt=srv3", "")).map_err(unusable)?;
        let body = self.ask(Want::page(url, ANSWER_BYTES), folder).await?;
        let text = transcript(&body)?;
        let mut spool = Spool::create(folder, ANSWER_BYTES)?;
        spool.write(text.as_bytes()).await?;
        let (file, bytes) = spool.finish().await?;
        Ok(Fetched {
            file,
            bytes,
            name: Some(format!("{id}.txt")),
            media_type: Some("text/plain".to_owned()),
            charset: Some("utf-8".to_owned()),
        })
    }

    /// The player's answer: its key is in the video's page, perhaps behind a form for consent.
    async fn player(&self, base: &Url, id: &str, folder: &Path) -> Result<Value, Lost> {
        let mut page = base.clone();
        page.set_path("/watch");
        page.set_query(Some(&format!("v={id}")));
        let mut want = Want::page(page, ANSWER_BYTES);
        let first = watch(&self.ask(want.clone(), folder).await?)?;
        let answer = match first {
            Watch::Consent(token) => {
                want.headers.push((COOKIE, format!("CONSENT=YES+{token}")));
                watch(&self.ask(want, folder).await?)?
            }
            answer => answer,
        };
        let key = match answer {
            Watch::Key(key) => key,
            Watch::Player(player) => return Ok(player),
            Watch::Consent(_) => {
                let detail = "YouTube asks for consent again after it was given";
                return Err(Lost::new(Reason::Refused, detail));
            }
        };
        let mut player = base.clone();
        player.set_path("/youtubei/v1/player");
        player.set_query(Some(&format!("key={key}")));
        let want = Want { json: Some(player_question(id)), ..Want::page(player, ANSWER_BYTES) };
        let answer = self.ask(want, folder).await?;
        serde_json::from_str(&answer).map_err(|error| {
            let detail = format!("YouTube's player answers in a form we do not know: {error}");
            Lost::new(Reason::Broken, detail)
        })
    }

    /// An answer as text. In English, so that reasons are the same everywhere.
    async fn ask(&self, mut want: Want, folder: &Path) -> Result<String, Lost> {
        want.headers.push((ACCEPT_LANGUAGE, "en-US".to_owned()));
        let Arrival { document, .. } = self.visitor.get(&want, folder, &Open).await?;
        let bytes =
            tokio::fs::read(document.file.path()).await.map_err(|error| unstored(&error))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_videos_url_gives_its_id() {
        for url in [
            "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
            "https://youtube.com/watch?list=x&v=dQw4w9WgXcQ&t=10s#a",
            "http://m.youtube.com/watch?v=dQw4w9WgXcQ",
            "https://music.youtube.com/watch?v=dQw4w9WgXcQ",
            "https://youtu.be/dQw4w9WgXcQ?si=x",
            "https://www.youtube.com/shorts/dQw4w9WgXcQ",
            "https://www.youtube.com/embed/dQw4w9WgXcQ?autoplay=1",
            "https://www.youtube-nocookie.com/embed/dQw4w9WgXcQ",
            "https://www.youtube.com/live/dQw4w9WgXcQ",
            " https://www.YouTube.com/v/dQw4w9WgXcQ ",
        ] {
            assert_eq!(video_id(url).as_deref(), Some("dQw4w9WgXcQ"), "{url}");
        }
    }

    #[test]
    fn other_urls_are_no_videos() {
        for url in [
            "https://www.youtube.com/",
            "https://www.youtube.com/watch",
            "https://www.youtube.com/watch?v=short",
            "https://www.youtube.com/watch?v=dQw4w9WgXcQx",
            "https://www.youtube.com/watch?v=dQw4w9WgXc!",
            "https://www.youtube.com/@channel",
            "https://www.youtube.com/playlist?list=dQw4w9WgXcQ",
            "https://notyoutube.com/watch?v=dQw4w9WgXcQ",
            "https://youtube.com.evil/watch?v=dQw4w9WgXcQ",
            "https://youtu.be/",
            "ftp://youtu.be/dQw4w9WgXcQ",
            "dQw4w9WgXcQ",
            "",
        ] {
            assert_eq!(video_id(url), None, "{url}");
        }
    }
}
