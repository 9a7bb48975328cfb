//! `verify` while a source in use is followed: what the operator reads.

use tokio_util::sync::CancellationToken;
use vecferry_core::migration::{RunOptions, migrate};
use vecferry_core::policy::{Clusters, Method, Policy};
use vecferry_core::report::{Event, Reporter};
use vecferry_testkit::{Database, Version, pair};

use crate::program::Program;

struct Silent;

impl Reporter for Silent {
    fn event(&self, _: &Event) {}
}

/// Copies and subscribes, until the target has caught up.
async fn follow(source: &Database, target: &Database) {
    let clusters =
        Clusters { source: source.url().parse().unwrap(), target: target.url().parse().unwrap() };
    let policy = Policy {
        method: Some(Method::Follow),
        pg_bin_dir: Some(Version::Pg18.bin_dir().unwrap()),
        ..Policy::default()
    };
    let options = RunOptions { detach: true, ..RunOptions::default() };
    migrate(&clusters, &policy, options, &Silent, &CancellationToken::new()).await.unwrap();
}

#[tokio::test]
async fn verify_says_what_it_read_again_and_tells_a_difference_from_what_is_not_proven() {
    let pair = pair().await;
    let source = Database::with_vector(&pair.source, "verifying").await.unwrap();
    let fill = "CREATE TABLE items (id char(26) PRIMARY KEY, botid text, content text, source text, embedding vector(3)); \
                INSERT INTO items SELECT 'id' || n, 'bot' || n % 5, 'text', 's', ARRAY[n, 1, 2]::vector FROM generate_series(1, 200) n";
    source.batch(fill).await.unwrap();
    let target = Database::create(&pair.target, "verifying").await.unwrap();
    let program = Program::new()
        .set("VECFERRY_SOURCE", source.url())
        .set("VECFERRY_TARGET", target.url())
        .set("VECFERRY_PG_BIN_DIR", Version::Pg18.bin_dir().unwrap().to_str().unwrap());
    follow(&source, &target).await;

    let matches = program.run(&["verify"]).expect(0).stdout;
    assert!(matches.contains("next: vecferry cutover"), "{matches}");

    target
        .batch("SET session_replication_role = replica; DELETE FROM items WHERE id = 'id7'")
        .await
        .unwrap();
    let differs = program.run(&["verify"]).expect(1).stdout;
    for words in ["1 bot was read again because the source is in use", "id7", "the target differs"]
    {
        assert!(differs.contains(words), "{words} is not in\n{differs}");
    }
    target.batch("SET session_replication_role = replica; INSERT INTO items VALUES ('id7', 'bot2', 'text', 's', '[7,1,2]')").await.unwrap();

    let sql = "SELECT subname::text FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()";
    let link: String = target.query_one(sql).await.unwrap().get(0);
    target.batch(&format!("ALTER SUBSCRIPTION {link} DISABLE")).await.unwrap();
    source.batch("UPDATE items SET content = 'later' WHERE botid = 'bot3'").await.unwrap();
    let unknown = program.run(&["verify"]).expect(1).stdout;
    for words in [
        "not proven: public.items: 1 bot could not be compared",
        "apply is stopped",
        "vecferry status",
    ] {
        assert!(unknown.contains(words), "{words} is not in\n{unknown}");
    }
    assert!(!unknown.contains("differs"), "{unknown}");
    let json = program.run(&["verify", "--json"]).expect(1).json();
    assert_eq!((&json["answer"], &json["in_use"]), (&"not_proven".into(), &"source".into()));

    let refused = program.run(&["verify", "--recorded"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("without --recorded"), "{}", refused.stderr);
}
