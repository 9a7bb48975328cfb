//! Real text to search in: five translations of one migration guide, a bot for each language, and
//! the project's own documentation as one more bot. Cut into chunks as an application would.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Result, file};
use crate::vectors::SplitMix;

/// No chunk is longer than this many characters.
const LONGEST: usize = 1000;

/// A chunk is closed at the first boundary after this many characters.
const LONG_ENOUGH: usize = 600;

/// A piece of a document, as one row of the application's table holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The owner's id, 26 characters.
    pub bot: String,
    /// The document, as a path within the project.
    pub source: String,
    /// The chunk's place in its document, from 0.
    pub ordinal: usize,
    /// The text.
    pub text: String,
}

/// The five guides, one bot each.
pub fn guides() -> Result<Vec<Chunk>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut chunks = Vec::new();
    for path in markdown_in(&folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        chunks.extend(chunks_of(&path, &bot_id(&name), &name)?);
    }
    Ok(chunks)
}

/// The project's own documents under `root`, as far as they exist, all of one bot.
pub fn project(root: &Path) -> Result<Vec<Chunk>> {
    let mut paths: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    paths.retain(|path| path.is_file());
    if root.join("docs").is_dir() {
        paths.extend(markdown_in(&root.join("docs"))?);
    }
    let mut chunks = Vec::new();
    for path in paths {
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        chunks.extend(chunks_of(&path, &bot_id("vecferry"), &name)?);
    }
    Ok(chunks)
}

/// A stable id of 26 characters in the alphabet of ULIDs, as the application's ids are.
pub fn bot_id(name: &str) -> String {
    let alphabet = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut random = SplitMix::new(seed);
    let rest = (0..24).map(|_| char::from(alphabet[random.below(32) as usize]));
    "01".chars().chain(rest).collect()
}

/// Cuts a text at paragraphs, at sentences where a paragraph is too long, and in mid-sentence only
/// where even a sentence is.
pub fn split(text: &str) -> Vec<String> {
    let mut chunks = Vec::new();
    let mut chunk = String::new();
    for piece in text.split("\n\n").flat_map(pieces) {
        let (have, more) = (chunk.chars().count(), piece.chars().count());
        if have > 0 && (have >= LONG_ENOUGH || have + more > LONGEST) {
            chunks.push(std::mem::take(&mut chunk));
        }
        chunk.push_str(&piece);
    }
    chunks.push(chunk);
    let trimmed = chunks.iter().map(|chunk| chunk.trim().to_owned());
    trimmed.filter(|chunk| !chunk.is_empty()).collect()
}

/// A paragraph whole when it fits, otherwise its sentences, each with what separates it.
fn pieces(paragraph: &str) -> Vec<String> {
    if paragraph.chars().count() + 2 <= LONGEST {
        return vec![format!("{paragraph}\n\n")];
    }
    let mut pieces = vec![String::new()];
    let mut length = 0;
    let mut before = ' ';
    for character in paragraph.chars() {
        let ends = matches!(before, '。' | '！' | '？' | '\n')
            || (matches!(before, '.' | '!' | '?') && character.is_whitespace());
        if ends || length == LONGEST {
            pieces.push(String::new());
            length = 0;
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(character);
        }
        length += 1;
        before = character;
    }
    pieces
}

fn chunks_of(path: &Path, bot: &str, source: &str) -> Result<Vec<Chunk>> {
    let text = fs::read_to_string(path).map_err(file("read", path))?;
    let chunk = |(ordinal, text)| Chunk { bot: bot.into(), source: source.into(), ordinal, text };
    Ok(split(&text).into_iter().enumerate().map(chunk).collect())
}

/// All Markdown files below a folder, sorted, so that chunks keep their order.
fn markdown_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(file("read", folder))? {
        let path = entry.map_err(file("read", folder))?.path();
        if path.is_dir() {
            found.extend(markdown_in(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "md" || extension == "txt")
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
