//! What verify says about large objects.

use super::Both;
use vecferry_core::verify::content::Standing;

/// Two pieces and a bit, a small one and an empty one.
const MAKE: &str = "SELECT lo_from_bytea(70001, decode(repeat('00ff', 1100000), 'hex')),
                           lo_from_bytea(70002, 'b'), lo_from_bytea(70003, '')";

#[tokio::test]
async fn large_objects_are_compared_by_content_and_named_by_number() {
    let mut both = Both::made_by("objects", MAKE).await;
    let verdict = both.verify().await;
    let objects = verdict.large_objects.as_ref().unwrap();
    assert!(verdict.matches && objects.digests, "{verdict:#?}");
    assert_eq!((objects.objects, objects.bytes), (3, 2_200_001));
    let verdict = both
        .after(
            "SELECT lo_put(70001, 2199999, '\\x07'), lo_unlink(70002), lo_put(70003, 0, 'x'),
                    lo_from_bytea(60000, 'theirs')",
        )
        .await;
    assert!(!verdict.matches && verdict.content.matches);
    let objects = verdict.large_objects.unwrap();
    assert_eq!((objects.missing, objects.extra, objects.changed), (1, 1, 2));
    let named: Vec<_> = objects.first.iter().map(|one| (one.oid, one.standing)).collect();
    let expected = [
        (70001, Standing::Changed),
        (70002, Standing::Missing),
        (70003, Standing::Changed),
        (60000, Standing::Extra),
    ];
    assert_eq!(named, expected);
    both.options.quick = true;
    let objects = both.verify().await.large_objects.unwrap();
    assert_eq!((objects.missing, objects.extra, objects.changed), (1, 1, 0));
}

#[tokio::test]
async fn more_large_objects_than_are_looked_at_together_are_all_compared() {
    let make = "SELECT count(lo_from_bytea((70000 + i)::oid, i::text::bytea)) FROM generate_series(1, 1000) i";
    let both = Both::made_by("many_objects", make).await;
    let verdict = both
        .after("SELECT lo_unlink(70256), lo_put(70257, 0, 'x'), lo_from_bytea(90000, 'x'), lo_put(71000, 0, 'x')")
        .await;
    let objects = verdict.large_objects.unwrap();
    assert_eq!(objects.objects, 1000);
    let named: Vec<_> = objects.first.iter().map(|one| one.oid).collect();
    assert_eq!(named, [70256, 70257, 71000, 90000]);
}
