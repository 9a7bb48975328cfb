//! What YouTube's answers say: the key in a video's page, the captions in the player's answer, the text in a
//! transcript. Pure; `video` does the asking.
//!
//! None of this is a documented interface. The facts are those that public transcript readers rely on (the way of
//! youtube-transcript-api 1.x: the page for its key, the player asked as the Android application would, the captions'
//! own address for the text), and every step that does not fit ends in a stated reason, never in an empty text.

use quick_xml::Reader;
use quick_xml::events::Event;
use serde::Deserialize;
use serde_json::Value;

use crate::document::{Lost, Reason};

/// What a video's page leads to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Watch {
    /// The key with which to ask the player.
    Key(String),
    /// The player's answer, which older pages carry.
    Player(Value),
    /// Consent is asked first; this is the form's token.
    Consent(String),
}

/// Reads a video's page.
pub(crate) fn watch(html: &str) -> Result<Watch, Lost> {
    if html.contains("action=\"https://consent.youtube.com/s\"") {
        let token = between(html, "name=\"v\" value=\"", "\"").filter(|token| is_word(token));
        let token =
            token.ok_or_else(|| refused("YouTube asks for consent in a form we do not know"))?;
        return Ok(Watch::Consent(token.to_owned()));
    }
    let after_key = html.split_once("\"INNERTUBE_API_KEY\"").map(|(_, rest)| rest.trim_start());
    let key = after_key.and_then(|rest| between(rest.strip_prefix(':')?, "\"", "\""));
    if let Some(key) = key.filter(|key| is_word(key)) {
        return Ok(Watch::Key(key.to_owned()));
    }
    if let Some((_, rest)) = html.split_once("ytInitialPlayerResponse = ") {
        // The value is followed by more script, so that only its beginning is JSON.
        let first = serde_json::Deserializer::from_str(rest).into_iter::<Value>().next();
        if let Some(Ok(player)) = first {
            return Ok(Watch::Player(player));
        }
    }
    if html.contains("class=\"g-recaptcha\"") {
        return Err(refused("YouTube asks for a captcha: it blocks this machine's address"));
    }
    Err(Lost::new(Reason::Broken, "YouTube's page has neither a key nor captions in it"))
}

/// What the player is asked.
pub(crate) fn player_question(video: &str) -> Value {
    serde_json::json!({
        "context": { "client": { "clientName": "ANDROID", "clientVersion": "20.10.38" } },
        "videoId": video,
    })
}

/// The player's answer, as far as it concerns us.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Player {
    playability_status: Playability,
    captions: Option<Captions>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Playability {
    status: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Captions {
    player_captions_tracklist_renderer: TrackList,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TrackList {
    caption_tracks: Vec<Track>,
}

/// Captions in one language.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Track {
    /// Where the text is.
    pub(crate) base_url: String,
    language_code: String,
    #[serde(default)]
    kind: Option<String>,
}

impl Track {
    fn is_generated(&self) -> bool {
        self.kind.as_deref() == Some("asr")
    }
}

/// The captions in the player's answer.
pub(crate) fn tracks(player: Value) -> Result<Vec<Track>, Lost> {
    let player: Player = serde_json::from_value(player).map_err(|error| {
        let detail = format!("YouTube's player answers in a form we do not know: {error}");
        Lost::new(Reason::Broken, detail)
    })?;
    let Playability { status, reason } = player.playability_status;
    let reason = reason.unwrap_or_default();
    let reason: String = reason.chars().filter(|c| !c.is_control()).take(120).collect();
    match status.as_deref() {
        None | Some("OK") => {}
        Some("ERROR") => {
            return Err(Lost::new(Reason::Missing, format!("YouTube says: {reason}")));
        }
        Some(status) => return Err(refused(&format!("YouTube says {status}: {reason}"))),
    }
    let tracks = player.captions.unwrap_or_default();
    let tracks = tracks.player_captions_tracklist_renderer.caption_tracks;
    if tracks.is_empty() {
        return Err(Lost::new(Reason::NoText, "the video has no captions"));
    }
    Ok(tracks)
}

/// The captions to read: the first of the wanted languages that there is, then whatever comes first, as Bedrock
/// Chat's loader takes it. Captions that people wrote come before generated ones.
pub(crate) fn choose<'a>(tracks: &'a [Track], languages: &[String]) -> Option<&'a Track> {
    let by_people_first = || {
        let written = tracks.iter().filter(|track| !track.is_generated());
        written.chain(tracks.iter().filter(|track| track.is_generated()))
    };
    let wanted = languages.iter().find_map(|language| {
        by_people_first().find(|track| track.language_code.eq_ignore_ascii_case(language))
    });
    wanted.or_else(|| by_people_first().next())
}

/// The text of a transcript, its pieces joined by spaces as Bedrock Chat's loader joins them.
pub(crate) fn transcript(body: &str) -> Result<String, Lost> {
    let body = body.trim_start_matches('\u{feff}').trim();
    let pieces = match body.as_bytes().first() {
        None => {
            return Err(refused(
                "YouTube sent an empty transcript, as it does to readers it mistrusts",
            ));
        }
        Some(b'{') => json_pieces(body)?,
        Some(_) => xml_pieces(body)?,
    };
    let pieces = pieces.iter().map(|piece| piece.split_whitespace().collect::<Vec<_>>().join(" "));
    let text = pieces.filter(|piece| !piece.is_empty()).collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        Err(Lost::new(Reason::NoText, "its captions are empty"))
    } else {
        Ok(text)
    }
}

/// `<text>` of the plain form, `<p>` (with `<s>` for each word) of the one called srv3.
fn xml_pieces(body: &str) -> Result<Vec<String>, Lost> {
    let mut reader = Reader::from_str(body);
    let mut pieces = Vec::new();
    let mut depth = 0_usize;
    loop {
        match reader.read_event().map_err(|error| damaged(&error.to_string()))? {
            Event::Start(start)
                if depth > 0 || matches!(start.local_name().as_ref(), "text" | "p") =>
            {
                if depth == 0 {
                    pieces.push(String::new());
                }
                depth += 1;
            }
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Text(text) => add(&mut pieces, depth, &text.xml10_content()),
            Event::CData(text) => add(&mut pieces, depth, &text.xml10_content()),
            Event::GeneralRef(name) => {
                let name = name.xml10_content();
                add(&mut pieces, depth, &character(&name).unwrap_or_default());
            }
            Event::Eof => break,
            _ => {}
        }
    }
    // The plain form escapes twice, and the text within may have tags of its own.
    Ok(pieces.iter().map(|piece| untagged(&unescaped(piece))).collect())
}

fn add(pieces: &mut [String], depth: usize, text: &str) {
    if let Some(piece) = pieces.last_mut().filter(|_| depth > 0) {
        piece.push_str(text);
    }
}

#[derive(Deserialize)]
struct Timed {
    #[serde(default)]
    events: Vec<Moment>,
}

#[derive(Deserialize)]
struct Moment {
    #[serde(default)]
    segs: Vec<Segment>,
}

#[derive(Deserialize)]
struct Segment {
    #[serde(default)]
    utf8: String,
}

/// The form called json3.
fn json_pieces(body: &str) -> Result<Vec<String>, Lost> {
    let timed: Timed = serde_json::from_str(body).map_err(|error| damaged(&error.to_string()))?;
    let joined = |moment: Moment| moment.segs.into_iter().map(|segment| segment.utf8).collect();
    Ok(timed.events.into_iter().map(joined).collect())
}

/// The character behind an entity's name: XML's own, a number, or the space that HTML adds.
fn character(name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).map(String::from);
    }
    let text = match name {
        "nbsp" => Some(" "),
        name => quick_xml::escape::resolve_predefined_entity(name),
    };
    text.map(str::to_owned)
}

/// Entities replaced; what is none stays.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        // No entity we know is longer than this.
        let name = after.split_once(';').filter(|(name, _)| name.len() <= 8);
        match name.and_then(|(name, after)| Some((character(name)?, after))) {
            Some((character, after)) => {
                plain.push_str(&character);
                rest = after;
            }
            None => {
                plain.push('&');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn untagged(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        plain.push_str(before);
        match after.split_once('>') {
            Some((_, after)) => rest = after,
            None => {
                plain.push('<');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// What may go into a URL or a cookie as it is.
fn is_word(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    !text.is_empty() && text.len() <= 200 && text.chars().all(fits)
}

fn refused(detail: &str) -> Lost {
    Lost::new(Reason::Refused, detail)
}

fn damaged(said: &str) -> Lost {
    Lost::new(Reason::Broken, format!("its transcript is damaged: {said}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_gives_a_key_or_captions_or_asks_for_consent_or_blocks() {
        assert_eq!(
            watch("x\"INNERTUBE_API_KEY\": \"AI-za_9\",y"),
            Ok(Watch::Key("AI-za_9".into()))
        );
        let old = "var ytInitialPlayerResponse = {\"a\": \"};\"};var more = 1;";
        assert_eq!(watch(old), Ok(Watch::Player(json!({ "a": "};" }))));
        let consent =
            "<form action=\"https://consent.youtube.com/s\"><input name=\"v\" value=\"cb.20+1\">";
        assert_eq!(watch(consent), Ok(Watch::Consent("cb.20+1".into())));
        let hostile = consent.replace("cb.20+1", "x; evil=1");
        assert_eq!(watch(&hostile).unwrap_err().reason, Reason::Refused);
        assert_eq!(watch("<div class=\"g-recaptcha\">").unwrap_err().reason, Reason::Refused);
        assert_eq!(watch("<html>").unwrap_err().reason, Reason::Broken);
        assert_eq!(watch("\"INNERTUBE_API_KEY\":\"a b\"").unwrap_err().reason, Reason::Broken);
    }

    #[test]
    fn an_answer_without_captions_says_why() {
        let of = |player: Value| tracks(player).unwrap_err().to_string();
        let status = |status: &str, reason: &str| {
            of(json!({ "playabilityStatus": { "status": status, "reason": reason } }))
        };
        assert_eq!(
            status("ERROR", "Video unavailable"),
            "missing: YouTube says: Video unavailable"
        );
        assert_eq!(
            status("LOGIN_REQUIRED", "Sign in to confirm you’re not a bot"),
            "refused: YouTube says LOGIN_REQUIRED: Sign in to confirm you’re not a bot"
        );
        assert_eq!(status("OK", ""), "no text: the video has no captions");
        assert_eq!(of(json!({})), "no text: the video has no captions");
        assert!(of(json!({ "captions": 5 })).starts_with("broken: "));
    }

    fn track(language: &str, kind: Option<&str>) -> Value {
        json!({ "baseUrl": "u", "languageCode": language, "kind": kind })
    }

    #[test]
    fn wanted_languages_come_first_then_people_then_whatever_is_first() {
        let player = json!({ "captions": { "playerCaptionsTracklistRenderer": { "captionTracks": [
            track("en", Some("asr")), track("ko", None), track("ja", Some("asr")), track("en", None),
        ] } } });
        let tracks = tracks(player).unwrap();
        let of = |languages: &[&str]| {
            let languages: Vec<String> = languages.iter().map(|text| (*text).to_owned()).collect();
            let track = choose(&tracks, &languages).unwrap();
            (track.language_code.clone(), track.is_generated())
        };
        assert_eq!(of(&[]), ("ko".into(), false));
        assert_eq!(of(&["ja", "en"]), ("ja".into(), true));
        assert_eq!(of(&["EN"]), ("en".into(), false));
        assert_eq!(of(&["fr"]), ("ko".into(), false));
        assert_eq!(choose(&[], &[]), None);
    }

    #[test]
    fn every_form_of_transcript_becomes_the_same_text() {
        let plain = "<?xml version=\"1.0\"?><transcript>\
                     <text start=\"0\" dur=\"1\">It&amp;#39;s &lt;i&gt;one&lt;/i&gt;\n\
                     line</text><text start=\"1\"/>\
                     <text start=\"2\">R&amp;amp;D &amp;amp; two &lt; three</text></transcript>";
        let srv3 = "<timedtext format=\"3\"><head><pen id=\"1\"/></head><body>\
                    <p t=\"0\"><s>It's</s><s t=\"9\"> one</s></p>\
                    <p>line</p><p>R&amp;D &amp; two &lt; three</p></body></timedtext>";
        let json3 = "{\"events\":[{\"id\":1},\
                     {\"segs\":[{\"utf8\":\"It's\"},{\"utf8\":\" one\\nline\"}]},\
                     {\"segs\":[{\"utf8\":\"\\n\"}]},{\"segs\":[{\"utf8\":\"R&D & two < three\"}]}]}";
        for body in [plain, srv3, json3] {
            assert_eq!(transcript(body).unwrap(), "It's one line R&D & two < three", "{body}");
        }
    }

    #[test]
    fn an_empty_or_broken_transcript_is_never_an_empty_text() {
        assert_eq!(transcript("  ").unwrap_err().reason, Reason::Refused);
        assert_eq!(transcript("<transcript></transcript>").unwrap_err().reason, Reason::NoText);
        assert_eq!(transcript("{}").unwrap_err().reason, Reason::NoText);
        assert_eq!(transcript("{\"events\":[").unwrap_err().reason, Reason::Broken);
        assert_eq!(transcript("<transcript><text>a</p>").unwrap_err().reason, Reason::Broken);
    }

    #[test]
    fn odd_escapes_and_tags_stay_or_go_but_never_fail() {
        assert_eq!(
            unescaped("a &amp b; &#x41;&#65; &unknown; &&lt; &#xFFFFFFFF;"),
            "a &amp b; AA &unknown; &< &#xFFFFFFFF;"
        );
        assert_eq!(untagged("a<b>c</b> 1 < 2"), "ac 1 < 2");
    }
}
