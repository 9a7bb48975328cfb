//! What the parts of an HTTP reply mean for a document: statuses, types, names, and when to come again. Pure.

use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use url::Url;

use crate::document::{Lost, Reason};

/// A try that brought no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Miss {
    /// Why.
    pub(crate) lost: Lost,
    /// Whether another try may succeed.
    pub(crate) again: bool,
    /// How long the server asks to wait before one.
    pub(crate) after: Option<Duration>,
    /// The status, where there was an answer.
    pub(crate) status: Option<u16>,
}

impl Miss {
    /// Another try would end the same way.
    pub(crate) fn last(lost: Lost) -> Miss {
        Miss { lost, again: false, after: None, status: None }
    }

    /// Another try may succeed.
    pub(crate) fn passing(reason: Reason, detail: impl Into<String>) -> Miss {
        Miss { lost: Lost::new(reason, detail), again: true, after: None, status: None }
    }

    /// The reason with how often it was tried.
    pub(crate) fn after_tries(mut self, tries: u32) -> Miss {
        if tries > 1 {
            self.lost.detail = format!("{} after {tries} tries", self.lost.detail);
        }
        self
    }

    /// How long to wait before the next try: as planned, or longer if the server asks for it.
    ///
    /// # Errors
    /// The miss itself when there is no next try: none can succeed, none is left, or the server asks to wait longer
    /// than `longest`. Coming earlier than asked would only bring the same answer, and ill will.
    pub(crate) fn next_try(
        mut self,
        planned: Option<Duration>,
        longest: Duration,
    ) -> Result<Duration, Miss> {
        let Some(planned) = planned.filter(|_| self.again) else { return Err(self) };
        let wait = self.after.map_or(planned, |after| after.max(planned));
        if wait > longest {
            let (asked, longest) = (wait.as_secs(), longest.as_secs());
            let more = format!(" (it asks to wait {asked} s, {longest} s are allowed)");
            self.lost.detail.push_str(&more);
            return Err(self);
        }
        Ok(wait)
    }
}

/// What to do with a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its body is the document.
    Take,
    /// The document is where `Location` says.
    Elsewhere,
    /// No document.
    Miss(Miss),
}

/// Judges a status (RFC 9110, 15). `after` is what [`retry_after`] made of the header.
pub(crate) fn judge(status: u16, after: Option<Duration>) -> Verdict {
    let reason = match status {
        204 | 205 => Reason::NoText,
        206 => Reason::Unreachable,
        200..=299 => return Verdict::Take,
        301 | 302 | 303 | 307 | 308 => return Verdict::Elsewhere,
        401 | 402 | 403 | 407 | 451 => Reason::Refused,
        404 | 410 => Reason::Missing,
        _ => Reason::Unreachable,
    };
    let lost = Lost::new(reason, format!("status {status}"));
    // 501 and 505 speak of the request, not of the moment.
    let again = matches!(status, 408 | 425 | 429 | 500 | 502..=504 | 506..=599);
    Verdict::Miss(Miss { lost, again, after: after.filter(|_| again), status: Some(status) })
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let wait = date.as_millisecond() - now.as_millisecond();
    // A date that has passed asks for nothing.
    Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
}

/// Media type and charset of a `Content-Type`, both in lower case, as [`crate::document::Fetched`] holds them.
pub fn content_type(value: &str) -> (Option<String>, Option<String>) {
    let mut parts = value.split(';').map(str::trim);
    let media_type = parts.next().filter(|part| part.contains('/')).map(str::to_ascii_lowercase);
    let charset = parts.find_map(|part| {
        let (key, value) = part.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        (key.trim().eq_ignore_ascii_case("charset") && !value.is_empty())
            .then(|| value.to_ascii_lowercase())
    });
    (media_type, charset)
}

/// The file name of a reply: as `Content-Disposition` says (RFC 6266), else what the URL ends in.
pub(crate) fn file_name(disposition: Option<&str>, url: &Url) -> Option<String> {
    let stated = disposition.and_then(stated_name);
    let last = || {
        let segment = url.path_segments()?.next_back()?;
        Some(percent_decode_str(segment).decode_utf8_lossy().into_owned())
    };
    let name = stated.or_else(last)?;
    // Somebody else's words: a name, not a path, and no longer than a file system would take.
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(255).collect();
    (!name.is_empty()).then_some(name)
}

fn stated_name(disposition: &str) -> Option<String> {
    let parameter = |wanted: &str| {
        disposition.split(';').skip(1).find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    if let Some(extended) = parameter("filename*") {
        let mut parts = extended.splitn(3, '\'');
        let (charset, _, value) = (parts.next()?, parts.next()?, parts.next()?);
        if charset.eq_ignore_ascii_case("utf-8") {
            return Some(percent_decode_str(value).decode_utf8_lossy().into_owned());
        }
    }
    parameter("filename").map(|name| name.trim_matches('"').to_owned())
}

/// A URL as it may be shown: without user, password, query and fragment, which can all be secrets.
pub(crate) fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_a_document_a_redirect_a_passing_or_a_final_miss() {
        for status in 100..=599 {
            let verdict = judge(status, Some(Duration::from_secs(7)));
            match status {
                204..=206 => assert!(matches!(verdict, Verdict::Miss(Miss { again: false, .. }))),
                200..=299 => assert_eq!(verdict, Verdict::Take),
                301..=303 | 307 | 308 => assert_eq!(verdict, Verdict::Elsewhere),
                _ => {
                    let Verdict::Miss(miss) = verdict else { panic!("{status}") };
                    let passing = [408, 425, 429].contains(&status)
                        || (status >= 500 && ![501, 505].contains(&status));
                    assert_eq!(miss.again, passing, "{status}");
                    assert_eq!(miss.after.is_some(), passing);
                    assert_eq!(miss.lost.detail, format!("status {status}"));
                }
            }
        }
        let reason = |status| match judge(status, None) {
            Verdict::Miss(miss) => miss.lost.reason,
            other => panic!("{other:?}"),
        };
        assert!([404, 410].into_iter().all(|status| reason(status) == Reason::Missing));
        assert!([401, 403, 451].into_iter().all(|status| reason(status) == Reason::Refused));
        assert!([400, 429, 503].into_iter().all(|status| reason(status) == Reason::Unreachable));
    }

    #[test]
    fn a_wait_is_as_planned_or_as_asked_and_too_long_a_one_ends_the_tries() {
        let seconds = Duration::from_secs;
        let miss = |after| Miss { after, ..Miss::passing(Reason::Unreachable, "status 429") };
        assert_eq!(miss(None).next_try(Some(seconds(2)), seconds(60)), Ok(seconds(2)));
        assert_eq!(miss(Some(seconds(5))).next_try(Some(seconds(2)), seconds(60)), Ok(seconds(5)));
        assert_eq!(miss(Some(seconds(0))).next_try(Some(seconds(2)), seconds(60)), Ok(seconds(2)));
        assert!(miss(Some(seconds(5))).next_try(None, seconds(60)).is_err());
        let long = miss(Some(seconds(3600))).next_try(Some(seconds(2)), seconds(60)).unwrap_err();
        assert_eq!(
            long.after_tries(2).lost.detail,
            "status 429 (it asks to wait 3600 s, 60 s are allowed) after 2 tries"
        );
        let last = Miss::last(Lost::new(Reason::Missing, "status 404"));
        assert_eq!(last.clone().next_try(Some(seconds(2)), seconds(60)), Err(last));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
        let of = |value| retry_after(value, now);
        assert_eq!(of(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(of("Sat, 21 Nov 2026 08:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(of("Sat, 21 Nov 2026 07:00:00 GMT"), Some(Duration::ZERO));
        assert!(["", "soon", "-5", "1.5"].into_iter().all(|value| of(value).is_none()));
    }

    #[test]
    fn a_content_type_gives_type_and_charset() {
        let of = |value: &str| {
            let (media_type, charset) = content_type(value);
            (media_type.unwrap_or_default(), charset.unwrap_or_default())
        };
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        assert_eq!(of("Text/HTML; Charset=\"Shift_JIS\""), pair("text/html", "shift_jis"));
        assert_eq!(of("text/html;level=1; charset = 'utf-8'"), pair("text/html", "utf-8"));
        assert_eq!(of("application/pdf"), pair("application/pdf", ""));
        assert_eq!(of("text/html; charset="), pair("text/html", ""));
        assert_eq!(of("nonsense"), pair("", ""));
    }

    #[test]
    fn a_name_is_stated_or_the_end_of_the_url_and_never_a_path() {
        let url = |text: &str| Url::parse(text).unwrap();
        let of = |disposition, text| file_name(disposition, &url(text));
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(of(None, "http://x/a/two%20words.PDF?q=1#f"), some("two words.PDF"));
        assert_eq!(of(None, "http://x/a%2F..%2Fetc"), some("etc"));
        assert_eq!(of(None, "http://x/"), None);
        let end = "http://x/download";
        assert_eq!(of(Some("attachment; filename=\"a b.docx\""), end), some("a b.docx"));
        assert_eq!(of(Some("attachment; filename=../../x.txt"), end), some("x.txt"));
        let both = "attachment; filename=\"u.txt\"; filename*=UTF-8''%C3%BC.txt";
        assert_eq!(of(Some(both), end), some("ü.txt"));
        assert_eq!(of(Some("inline"), end), some("download"));
        assert_eq!(of(Some("attachment; filename=\"\""), end), None);
    }

    #[test]
    fn nothing_that_can_be_secret_is_shown_of_a_url() {
        let url = Url::parse("https://user:pass@x.example:8443/a/b?token=t#f").unwrap();
        assert_eq!(shown(&url), "https://x.example:8443/a/b");
    }
}
