//! Which web addresses are videos, by the application's own rule (`_parse_video_id` of its `loaders/youtube.py`): the
//! host is one of six, and the id, `v` of `/watch` or the last part of the path, has 11 characters.

use url::Url;

const HOSTS: [&str; 6] = [
    "youtu.be",
    "m.youtube.com",
    "youtube.com",
    "www.youtube.com",
    "www.youtube-nocookie.com",
    "vid.plus",
];

/// The video's id, when the address is a video's.
pub(super) fn video_id(address: &str) -> Option<String> {
    let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    if !HOSTS.contains(&url.host_str()?) {
        return None;
    }
    let id = if url.path().ends_with("/watch") {
        url.query_pairs().find(|(name, _)| name == "v").map(|(_, id)| id.into_owned())?
    } else {
        url.path().rsplit('/').next()?.to_owned()
    };
    (id.chars().count() == 11).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_video_is_known_by_host_and_length() {
        let id = Some("dQw4w9WgXcQ".to_owned());
        assert_eq!(video_id("https://www.youtube.com/watch?t=3&v=dQw4w9WgXcQ"), id);
        assert_eq!(video_id("https://youtu.be/dQw4w9WgXcQ?si=x"), id);
        assert_eq!(video_id("http://m.youtube.com/embed/dQw4w9WgXcQ"), id);
        assert_eq!(video_id("https://www.youtube.com/watch"), None);
        assert_eq!(video_id("https://www.youtube.com/watch?v=short"), None);
        assert_eq!(video_id("https://www.youtube.com/playlist?list=dQw4w9WgXcQ"), None);
        assert_eq!(video_id("https://example.com/watch?v=dQw4w9WgXcQ"), None);
        assert_eq!(video_id("ftp://youtu.be/dQw4w9WgXcQ"), None);
        assert_eq!(video_id("youtu.be/dQw4w9WgXcQ"), None);
    }
}
