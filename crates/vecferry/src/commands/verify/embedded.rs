//! What `verify` found of bots that were embedded anew, for the operator.

use vecferry_core::verify::embedded::{Embedded, EmbeddedBot, FailedBot};

use super::first;
use crate::ui::table;
use crate::units::{counted, printable};

/// What was looked at, in one line.
pub(super) fn looked_at(embedded: &Embedded) -> String {
    let how = if embedded.vectors { "every vector looked at" } else { "counted only" };
    let rows = counted(embedded.rows, "row");
    let proven = format!("{rows} of {}, {how}", counted(embedded.bots, "proven bot"));
    let bots = |number: u64, what: &str| (number, format!("{} {what}", counted(number, "bot")));
    let parts = [
        (embedded.bots, proven),
        bots(embedded.removed, "removed"),
        bots(embedded.failed.len() as u64, "failed"),
        bots(embedded.pending(), "not embedded yet"),
    ];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0).map(|(_, text)| text);
    parts.collect::<Vec<_>>().join("; ")
}

/// Which bots are not as they should be, and why.
pub(super) fn differences(embedded: &Embedded) -> Vec<String> {
    let differing = first(&embedded.differing, |bot: &EmbeddedBot| {
        vec![printable(&bot.bot), bot.differences.join("; ")]
    });
    let failed = first(&embedded.failed, |bot: &FailedBot| {
        vec![printable(&bot.bot), printable(&bot.reason)]
    });
    let blocks =
        [(["embedded bot", "on the target"], differing), (["bot not embedded", "because"], failed)];
    let shown = blocks.into_iter().filter(|(_, (rows, _))| !rows.is_empty());
    shown.map(|(header, (rows, more))| table(&header, &[], rows) + &more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_that_are_not_as_they_should_be_stand_with_what_is_wrong() {
        let sound =
            Embedded { matches: true, vectors: true, bots: 2, rows: 1200, ..Embedded::default() };
        assert_eq!(looked_at(&sound), "1,200 rows of 2 proven bots, every vector looked at");
        assert!(differences(&sound).is_empty());
        let bot = |n: usize| EmbeddedBot {
            bot: format!("B{n}"),
            recorded_rows: Some(2),
            rows: 1,
            differences: vec!["1 row, 2 when it was proven".into()],
        };
        let reason = "no answer\nfrom the model".to_owned();
        let unsound = Embedded {
            removed: 1,
            waiting: 1,
            running: 2,
            failed: vec![FailedBot { bot: "F".into(), reason }],
            differing: (0..25).map(bot).collect(),
            ..sound
        };
        assert!(
            looked_at(&unsound).ends_with("; 1 bot removed; 1 bot failed; 3 bots not embedded yet")
        );
        let said = differences(&unsound).join("\n\n");
        for part in [
            "B19  ",
            "1 row, 2 when it was proven",
            "… and 5 more",
            "bot not embedded",
            "no answer",
        ] {
            assert!(said.contains(part), "{part} is not in\n{said}");
        }
        assert!(!said.contains("B20") && !said.contains("answer\n"), "{said}");
    }
}
