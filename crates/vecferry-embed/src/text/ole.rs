//! Names of the streams in an OLE2 compound file (MS-CFB): enough to tell an old workbook from an encrypted document.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Most directory sectors followed. A loop in the chain ends here, and what decides is near the start.
const SECTORS: usize = 1024;

/// Names in the directory of a compound file.
///
/// # Errors
/// As reading the file does; a damaged one ends early or is an [`io::ErrorKind::UnexpectedEof`].
pub(super) fn streams(file: &File) -> io::Result<Vec<String>> {
    let mut header = [0; 512];
    file.read_exact_at(&mut header, 0)?;
    // MS-CFB 2.2: sector shift at 30 (9 or 12), first directory sector at 48, the table's own sectors from 76.
    let size = 1_u64 << u16::from_le_bytes([header[30], header[31]]).clamp(9, 12);
    let mut names = Vec::new();
    let mut sector = word(&header, 48);
    for _ in 0..SECTORS {
        // MS-CFB 2.1: larger numbers mean "end of chain" and the like.
        if sector > 0xFFFF_FFFA {
            break;
        }
        let mut entries = vec![0; size as usize];
        file.read_exact_at(&mut entries, (u64::from(sector) + 1) * size)?;
        names.extend(entries.chunks_exact(128).filter_map(name));
        let Some(next) = next(file, &header, size, sector)? else { break };
        sector = next;
    }
    Ok(names)
}

/// The sector after `sector`, from the allocation table. `None` where the table lies beyond the header's own list,
/// which is so in files of more than 7 MB, whose directory begins early.
fn next(file: &File, header: &[u8], size: u64, sector: u32) -> io::Result<Option<u32>> {
    let per_sector = size / 4;
    let place = u64::from(sector) / per_sector;
    if place >= 109 {
        return Ok(None);
    }
    let table = word(header, 76 + 4 * place as usize);
    let mut found = [0; 4];
    let offset = (u64::from(table) + 1) * size + 4 * (u64::from(sector) % per_sector);
    file.read_exact_at(&mut found, offset)?;
    Ok(Some(u32::from_le_bytes(found)))
}

/// Name of a directory entry (MS-CFB 2.6.1): UTF-16, its length in bytes with the closing zero at 64.
fn name(entry: &[u8]) -> Option<String> {
    let length = usize::from(u16::from_le_bytes([entry[64], entry[65]])).checked_sub(2)?;
    let units: Vec<u16> = entry
        .get(..length.min(62))?
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    Some(String::from_utf16_lossy(&units))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
