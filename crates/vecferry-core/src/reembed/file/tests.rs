//! Bots from files, right ones and wrong ones.

use std::path::{Path, PathBuf};

use super::*;

const EXAMPLE: &str = r#"
[[bots]]
id = "b2"
owner = "ann"
title = "Handbook"
chunk_chars = 500
chunk_overlap = 0
folders = ["handbook", "/srv/all"]
urls = ["https://example.com/a", "https://example.com/a"]
sitemaps = ["https://example.com/sitemap.xml"]
videos = ["dQw4w9WgXcQ"]
s3 = ["s3://bucket/prefix/"]
files = ["a.pdf"]

[[bots]]
id = "b1"
"#;

fn mistakes(text: &str, name: &str) -> Vec<String> {
    let error = FileBots::parse(text, Path::new(name)).unwrap_err().to_string();
    let all = error.strip_prefix(&format!("{name}: ")).unwrap();
    all.split("; ").map(str::to_owned).collect()
}

#[tokio::test]
async fn every_kind_of_document_is_read_and_repetitions_are_dropped() {
    let bots = FileBots::parse(EXAMPLE, Path::new("/etc/ferry/bots.toml")).unwrap();
    let listing = bots.list().await.unwrap();
    assert_eq!(listing.without_documents, [BotKey { owner: String::new(), id: "b1".into() }]);
    let [bot] = &listing.bots[..] else { panic!("{listing:?}") };
    assert_eq!((bot.key.to_string(), bot.title.as_str()), ("ann/b2".into(), "Handbook"));
    assert_eq!(bot.splitting, Splitting { chunk_chars: 500, overlap_chars: 0 });
    assert_eq!(
        bot.documents,
        [
            DocumentAddress::Folder(PathBuf::from("/etc/ferry/handbook")),
            DocumentAddress::Folder(PathBuf::from("/srv/all")),
            DocumentAddress::Page("https://example.com/a".into()),
            DocumentAddress::Sitemap("https://example.com/sitemap.xml".into()),
            DocumentAddress::Video("dQw4w9WgXcQ".into()),
            DocumentAddress::S3("s3://bucket/prefix/".into()),
            DocumentAddress::File("a.pdf".into()),
        ]
    );
    assert_eq!(bots.get(&bot.key).await.unwrap().as_ref(), Some(bot));
    assert!(!bots.keeps_sync());
}

#[test]
fn json_says_the_same_as_toml() {
    let json = r#"{"bots": [{"id": "b", "urls": ["https://e.com"]}]}"#;
    let toml = "[[bots]]\nid = 'b'\nurls = ['https://e.com']";
    let read = |text, name: &str| FileBots::parse(text, Path::new(name)).unwrap().listing;
    assert_eq!(read(json, "b.json"), read(toml, "b.toml"));
}

#[test]
fn every_mistake_is_named_with_its_line_and_the_nearest_word() {
    let text = "botz = 1\n[[bots]]\nid = 'a'\nurl = ['x']\nchunk_chars = 0\nvideos = ['short']\n\
                [[bots]]\ntitle = 5\n[[bots]]\nid = 'a'\nurls = ['ftp://x']\nchunk_overlap = 1000\n\
                [[bots]]\nowner = 'o'\nzzz = 1\n[[bots]]\nfiles = 'x'";
    assert_eq!(
        mistakes(text, "b.toml"),
        [
            "line 1: unknown key `botz`: did you mean `bots`?",
            "line 4: unknown key `url`: did you mean `urls`?",
            "line 5: `chunk_chars` must be from 1 to 100000",
            "line 6: \"short\" in `videos` must be a YouTube id of 11 characters",
            "line 8: `title` must be a text, not a number",
            "line 9: `chunk_overlap` must be less than `chunk_chars`",
            "line 11: \"ftp://x\" in `urls` must begin with http:// or https://",
            "line 9: a second bot has the id \"a\"",
            "line 15: unknown key `zzz`: known keys are id, owner, title, chunk_chars, chunk_overlap, folders, urls, \
             sitemaps, videos, s3, files",
            "line 17: `files` must be a list of texts, not a text",
        ]
    );
    assert_eq!(mistakes("[[bots]]\nowner = 'o'", "b.toml"), ["line 1: a bot without `id`"]);
}

#[test]
fn a_mistake_in_json_is_named_with_its_path_and_no_json_with_its_line() {
    assert_eq!(
        mistakes(r#"{"bots": [{"id": "a"}, {"id": "", "s3": ["s3://b"]}]}"#, "b.json"),
        [
            "bots[1].id: `id` is empty",
            "bots[1].s3[0]: \"s3://b\" in `s3` must be s3://bucket/key or s3://bucket/prefix/",
        ]
    );
    let broken = mistakes("{\n\"bots\": [\n}", "b.json");
    assert!(broken.len() == 1 && broken[0].starts_with("line 3: "), "{broken:?}");
    assert_eq!(mistakes("[]", "b.json"), ["the file: must be a table with a list `bots`"]);
    assert_eq!(mistakes("", "b.toml"), ["line 1: no `bots` in it"]);
}

#[test]
fn what_is_no_file_of_bots_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let huge = folder.path().join("huge.toml");
    std::fs::File::create(&huge).unwrap().set_len(KIND.most_bytes + 1).unwrap();
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    for (path, why) in [
        (pipe.as_path(), "is not a regular file"),
        (folder.path(), "is not a regular file"),
        (Path::new("/dev/zero"), "is not a regular file"),
        (&huge, "is larger than 64 MiB"),
        (&binary, "is not text in UTF-8"),
    ] {
        let Err(Error::Configuration { what, hint }) = FileBots::read(path) else {
            panic!("{} was read", path.display())
        };
        assert!(what.ends_with(why) && hint.is_some(), "{what}");
    }
    let missing = FileBots::read(&folder.path().join("none.toml"));
    assert!(matches!(missing, Err(Error::Local { .. })), "{missing:?}");
}
