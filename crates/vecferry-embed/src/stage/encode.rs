//! Chunks as PostgreSQL's binary COPY format, which costs half the bytes of text and no parsing of numbers.
//!
//! Format: <https://www.postgresql.org/docs/current/sql-copy.html> (Binary Format); vectors as pgvector's `vector_recv`
//! and `halfvec_recv` read them: dimensions and an unused zero, 16 bits each, then the numbers, big-endian.

use bytes::{BufMut, BytesMut};

use super::shape::Numbers;

/// Signature, flags, length of the header's extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// One row of the staging table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Row of `staged_document`.
    pub document: i64,
    /// Place in the document.
    pub ordinal: i32,
    /// Id that its row will have, unless the server makes it.
    pub id: Option<&'a str>,
    /// Text.
    pub content: &'a str,
    /// Embedding.
    pub vector: &'a [f32],
}

/// Begins a stream.
pub(crate) fn begin(out: &mut BytesMut) {
    out.put_slice(HEADER);
}

/// Ends a stream.
pub(crate) fn end(out: &mut BytesMut) {
    out.put_i16(-1);
}

/// Appends a row: document, ordinal, id, content, embedding. A field beyond 2 GiB cannot occur: chunks are bounded far
/// below, vectors by pgvector's 16 000 dimensions; the server refuses a stream whose lengths do not agree.
pub(crate) fn row(out: &mut BytesMut, row: Row<'_>, numbers: Numbers) {
    out.put_i16(5);
    out.put_i32(8);
    out.put_i64(row.document);
    out.put_i32(4);
    out.put_i32(row.ordinal);
    match row.id {
        Some(id) => text(out, id),
        None => out.put_i32(-1),
    }
    text(out, row.content);
    vector(out, row.vector, numbers);
}

fn text(out: &mut BytesMut, text: &str) {
    out.put_i32(text.len() as i32);
    out.put_slice(text.as_bytes());
}

fn vector(out: &mut BytesMut, vector: &[f32], numbers: Numbers) {
    let width = match numbers {
        Numbers::Single => 4,
        Numbers::Half => 2,
    };
    out.put_i32((4 + width * vector.len()) as i32);
    out.put_u16(vector.len() as u16);
    out.put_u16(0);
    for &number in vector {
        match numbers {
            Numbers::Single => out.put_f32(number),
            Numbers::Half => out.put_u16(half(number)),
        }
    }
}

/// Whether nothing but zeros would be stored: in 16 bits that may be so although no number is zero.
pub(crate) fn is_stored_as_zero(vector: &[f32], numbers: Numbers) -> bool {
    vector.iter().all(|&number| match numbers {
        Numbers::Single => number == 0.0,
        // Without the sign.
        Numbers::Half => half(number) & 0x7fff == 0,
    })
}

/// A number in IEEE 754's 16 bits, rounded to the nearest, ties to even: what a cast from `vector` to `halfvec` gives.
fn half(number: f32) -> u16 {
    let bits = number.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let exponent = ((bits >> 23) & 0xff) as i32 - 127;
    let mantissa = bits & 0x7f_ffff;
    match exponent {
        128 if mantissa != 0 => sign | 0x7e00,
        16.. => sign | 0x7c00,
        // Rounding up may carry into the exponent, which is what it should do.
        -14..=15 => sign | ((((exponent + 15) as u16) << 10) + rounded(mantissa, 13)),
        -25..=-15 => sign | rounded(mantissa | 0x80_0000, (-1 - exponent) as u32),
        _ => sign,
    }
}

/// The bits above the lowest `cut`, rounded to the nearest, ties to even.
fn rounded(bits: u32, cut: u32) -> u16 {
    let (kept, rest, tie) = (bits >> cut, bits & ((1 << cut) - 1), 1 << (cut - 1));
    (kept + u32::from(rest > tie || (rest == tie && kept & 1 == 1))) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other direction, written from the format's definition.
    fn number(half: u16) -> f64 {
        let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
        let (exponent, mantissa) = (i32::from((half >> 10) & 0x1f), f64::from(half & 0x3ff));
        sign * match exponent {
            0 => mantissa * 2f64.powi(-24),
            31 => f64::INFINITY,
            _ => (1024.0 + mantissa) * 2f64.powi(exponent - 25),
        }
    }

    #[test]
    fn every_half_is_read_back_as_itself() {
        for bits in (0..=0xffff_u16).filter(|bits| bits & 0x7c00 != 0x7c00) {
            assert_eq!(half(number(bits) as f32), bits, "{bits:#06x}");
        }
    }

    #[test]
    fn numbers_between_two_halves_go_to_the_nearer_and_ties_to_the_even_one() {
        for low in (0..0x7bff_u16).step_by(7) {
            let (below, above) = (number(low), number(low + 1));
            let middle = (below + above) / 2.0;
            let even = if low & 1 == 0 { low } else { low + 1 };
            assert_eq!(half(middle as f32), even, "{low:#06x}");
            let (nearer_low, nearer_high) =
                ((middle as f32).next_down(), (middle as f32).next_up());
            assert_eq!((half(nearer_low), half(nearer_high)), (low, low + 1), "{low:#06x}");
            assert_eq!(half(-nearer_low), low | 0x8000);
        }
        assert_eq!(half(65_519.996), 0x7bff);
        assert_eq!(half(65_520.0), 0x7c00);
        assert_eq!(half(f32::INFINITY), 0x7c00);
        assert_eq!(half(f32::NAN) & 0x7c00, 0x7c00);
        assert_eq!(half(f32::MIN_POSITIVE), 0);
    }

    #[test]
    fn what_16_bits_make_zero_is_told_from_what_is_zero() {
        let of = |vector: &[f32]| {
            [Numbers::Single, Numbers::Half].map(|numbers| is_stored_as_zero(vector, numbers))
        };
        assert_eq!(of(&[0.0, -0.0]), [true, true]);
        assert_eq!(of(&[1e-60_f64 as f32; 2]), [true, true]);
        // Half of the smallest half is a tie, which goes to the even one: zero.
        assert_eq!(of(&[2f32.powi(-25), -1e-9]), [false, true]);
        assert_eq!(of(&[2f32.powi(-25).next_up(), 0.0]), [false, false]);
    }

    #[test]
    fn a_row_has_its_five_fields() {
        let mut out = BytesMut::new();
        let chunk = Row { document: 7, ordinal: 2, id: None, content: "é", vector: &[1.0, -2.0] };
        row(&mut out, chunk, Numbers::Single);
        let expected: &[u8] = &[
            0, 5, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0, 2, 255, 255, 255, 255,
            0, 0, 0, 2, 0xc3, 0xa9, 0, 0, 0, 12, 0, 2, 0, 0, 0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0,
        ];
        assert_eq!(&out[..], expected);
    }
}
