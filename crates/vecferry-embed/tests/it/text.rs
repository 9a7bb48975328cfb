//! Text of documents, read by real child processes: the program `extract-text` plays them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use vecferry_embed::document::{Lost, Reason};
use vecferry_embed::text::{Error, Extractor, Format, Hints, Limits, Text};
use vecferry_testkit::papers::{self, Paper};

const PROGRAM: &str = env!("CARGO_BIN_EXE_extract-text");

fn extractor(limits: Limits, processes: usize) -> Extractor {
    marked(limits, processes, "")
}

/// An extractor whose children can be told from those of other tests by an argument.
fn marked(limits: Limits, processes: usize, mark: &str) -> Extractor {
    let arguments = vec!["--in-child".into(), mark.into()];
    Extractor::new(PROGRAM.into(), arguments, limits, NonZeroUsize::new(processes).unwrap())
}

fn named(name: &str) -> Hints {
    Hints { name: Some(name.to_owned()), ..Hints::default() }
}

fn content(text: &Text) -> String {
    let mut content = String::new();
    text.file.reopen().unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content.len() as u64, text.bytes);
    content
}

fn lost(result: Result<Text, Error>) -> Lost {
    match result {
        Err(Error::Lost(lost)) => lost,
        Err(error) => panic!("{error:?}"),
        Ok(text) => panic!("a text of {} bytes, {}", text.bytes, text.format),
    }
}

fn word(reason: Reason) -> String {
    serde_json::to_value(reason).unwrap().as_str().unwrap().to_owned()
}

/// What became of a document, in one line that a wrong one can be recognised by.
async fn told(extractor: &Extractor, folder: &Path, paper: &Paper) -> String {
    match extractor.extract(&folder.join(&paper.name), &named(&paper.name), folder).await {
        Ok(text) => content(&text).trim_end_matches('\n').to_owned(),
        Err(Error::Lost(lost)) => word(lost.reason),
        Err(error) => panic!("{}: {error:?}", paper.name),
    }
}

#[tokio::test]
async fn good_and_hostile_documents_side_by_side_are_each_read_or_lost_as_they_must() {
    let folder = TempDir::new().unwrap();
    let mut mixed = Vec::new();
    let (mut good, mut hostile) = (papers::good().into_iter(), papers::hostile().into_iter());
    loop {
        let before = mixed.len();
        mixed.extend(good.next());
        mixed.extend(hostile.next());
        if mixed.len() == before {
            break;
        }
    }
    // A build without the reader loses them all alike.
    mixed.retain(|paper| cfg!(feature = "pdf") || !paper.bytes.starts_with(b"%PDF"));
    for paper in &mut mixed {
        fs::write(folder.path().join(&paper.name), &paper.bytes).unwrap();
        paper.bytes.clear();
    }
    assert!(mixed.len() > 60, "{}", mixed.len());
    let extractor = extractor(Limits::default(), 2);
    let told = mixed.iter().map(|paper| told(&extractor, folder.path(), paper));
    let told = futures_util::future::join_all(told).await;
    let wrong: Vec<String> = mixed
        .iter()
        .zip(&told)
        .filter(|(paper, told)| paper.expected.trim_end_matches('\n') != *told)
        .map(|(paper, told)| format!("{}: {told:?} instead of {:?}", paper.name, paper.expected))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_text_says_what_it_was_made_of() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("upload");
    fs::write(&file, papers::docx(&["Text."])).unwrap();
    let text = extractor(Limits::default(), 1)
        .extract(&file, &named("upload.txt"), folder.path())
        .await
        .unwrap();
    assert_eq!(text.format, Format::Docx);
    assert!(text.reader.starts_with("vecferry docx "), "{}", text.reader);
    let path = text.file.path().to_owned();
    drop(text);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_charset_that_the_place_names_counts() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("page");
    fs::write(&file, b"caf\xe9 \xbf").unwrap();
    let hints = Hints {
        media_type: Some("text/plain".into()),
        charset: Some("iso-8859-2".into()),
        ..Hints::default()
    };
    let text = extractor(Limits::default(), 1).extract(&file, &hints, folder.path()).await.unwrap();
    assert_eq!(content(&text), "café ż");
}

#[tokio::test]
async fn html_nested_without_end_costs_one_document_at_most() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("deep.html");
    fs::write(&file, format!("<html>{}text", "<div>".repeat(200_000))).unwrap();
    let limits = Limits { processor: Duration::from_secs(1), ..Limits::default() };
    let extractor = extractor(limits, 1);
    // Reading it is as good as losing it; the next document must be read either way.
    match extractor.extract(&file, &named("deep.html"), folder.path()).await {
        Ok(text) => assert_eq!(content(&text).trim(), "text"),
        Err(Error::Lost(lost)) => {
            assert!(matches!(lost.reason, Reason::Broken | Reason::TooSlow), "{lost}");
        }
        Err(error) => panic!("{error:?}"),
    }
    fs::write(&file, "<html><p>next").unwrap();
    let text = extractor.extract(&file, &named("next.html"), folder.path()).await.unwrap();
    assert_eq!(content(&text).trim(), "next");
}

#[tokio::test]
async fn more_memory_than_allowed_is_too_large() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("wide.html");
    fs::write(&file, format!("<html>{}", "<b>x</b>".repeat(1 << 20))).unwrap();
    let limits = Limits { memory: 300 << 20, ..Limits::default() };
    let extractor = extractor(limits, 1);
    let lost = lost(extractor.extract(&file, &named("wide.html"), folder.path()).await);
    assert_eq!(lost.reason, Reason::TooLarge, "{lost}");
    assert!(lost.detail.contains("300 MiB"), "{lost}");
}

/// A text that takes no room on the disk and a long time to read: its zeros are read and left out.
fn endless(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("endless.txt");
    let mut file = File::create(&path).unwrap();
    file.write_all(&b"text ".repeat(2000)).unwrap();
    file.set_len(1 << 40).unwrap();
    path
}

#[tokio::test]
async fn more_processor_time_than_allowed_is_too_slow_and_the_next_document_has_its_own() {
    let folder = TempDir::new().unwrap();
    let limits = Limits { processor: Duration::from_secs(1), ..Limits::default() };
    let extractor = extractor(limits, 1);
    let endless = endless(folder.path());
    for _ in 0..2 {
        let result = extractor.extract(&endless, &named("endless.txt"), folder.path()).await;
        assert_eq!(lost(result), Lost::new(Reason::TooSlow, "over 1 s of processor time"));
    }
    let file = folder.path().join("next.txt");
    fs::write(&file, "next").unwrap();
    extractor.extract(&file, &named("next.txt"), folder.path()).await.unwrap();
}

#[tokio::test]
async fn more_text_than_allowed_is_too_large() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("long.txt");
    fs::write(&file, "text ".repeat(100_000)).unwrap();
    let limits = Limits { text: 300_000, ..Limits::default() };
    let result = extractor(limits, 1).extract(&file, &named("long.txt"), folder.path()).await;
    assert_eq!(lost(result).reason, Reason::TooLarge);
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "what was written of it is gone");
}

/// A document that cannot be opened until somebody writes to it, which nobody does.
fn stuck(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("stuck.txt");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[tokio::test]
async fn more_time_than_allowed_is_too_slow() {
    let folder = TempDir::new().unwrap();
    let limits = Limits { time: Duration::from_millis(50), ..Limits::default() };
    let stuck = stuck(folder.path());
    let result = extractor(limits, 1).extract(&stuck, &named("stuck.txt"), folder.path()).await;
    assert_eq!(lost(result).reason, Reason::TooSlow);
}

/// Ids of live processes for which `is` says so of their `/proc` folder.
fn processes(is: impl Fn(&Path) -> bool) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    all.filter(|path| is(path) && is_alive(path))
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// Not a zombie: those wait for whoever adopted them.
fn is_alive(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

fn with_argument(mark: &str) -> Vec<String> {
    processes(|path| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == mark.as_bytes())
    })
}

/// Waits for a condition, as long as it takes; a test that hangs says as much as one that fails.
async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_document_that_is_given_up_takes_its_child_along() {
    let folder = TempDir::new().unwrap();
    let mark = format!("given-up-{}", std::process::id());
    let extractor = marked(Limits::default(), 1, &mark);
    let stuck = stuck(folder.path());
    let hints = named("stuck.txt");
    tokio::select! {
        result = extractor.extract(&stuck, &hints, folder.path()) => panic!("{result:?}"),
        () = until(|| !with_argument(&mark).is_empty()) => {}
    }
    until(|| with_argument(&mark).is_empty()).await;
}

#[tokio::test]
async fn a_child_dies_with_its_parent_even_when_it_is_busy() {
    let folder = TempDir::new().unwrap();
    let mut parent = Command::new(PROGRAM)
        .arg(stuck(folder.path()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let id = parent.id().to_string();
    let of_parent = |path: &Path| {
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.to_owned());
        fields.is_some_and(|fields| fields.split(' ').nth(1) == Some(&id))
    };
    let mut children = Vec::new();
    until(|| {
        children = processes(of_parent);
        !children.is_empty()
    })
    .await;
    parent.kill().unwrap();
    parent.wait().unwrap();
    until(|| children.iter().all(|child| !is_alive(&Path::new("/proc").join(child)))).await;
}

#[tokio::test]
async fn a_program_that_cannot_be_started_loses_no_document() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.txt");
    fs::write(&file, "text").unwrap();
    let nowhere = folder.path().join("no-such-program");
    let extractor = Extractor::new(nowhere, Vec::new(), Limits::default(), NonZeroUsize::MIN);
    let result = extractor.extract(&file, &named("a.txt"), folder.path()).await;
    assert!(matches!(result, Err(Error::Machine { .. })), "{result:?}");
    let missing = folder.path().join("missing.txt");
    let extractor = marked(Limits::default(), 1, "");
    let result = extractor.extract(&missing, &named("missing.txt"), folder.path()).await;
    assert!(matches!(result, Err(Error::Machine { .. })), "{result:?}");
}

#[test]
fn the_program_prints_the_text_of_a_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.docx");
    fs::write(&file, papers::docx(&["One.", "Two."])).unwrap();
    let output = Command::new(PROGRAM).arg(&file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "One.\n\nTwo.");
    assert!(output.status.success());
    fs::write(&file, "").unwrap();
    let output = Command::new(PROGRAM).arg(&file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "error: no text: an empty file\n");
    assert!(!output.status.success());
}
