//! `plan` with bots and money: for a source that is gone, and for one that is a snapshot.

use vecferry_testkit::chat::Release;
use vecferry_testkit::ecs::Faults;
use vecferry_testkit::{Database, pair};

use crate::stack::Stack;

fn method<'a>(plan: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    plan["methods"].as_array().unwrap().iter().find(|one| one["method"] == name).unwrap()
}

fn units(method: &serde_json::Value) -> Vec<&str> {
    let lines = method["price"]["lines"].as_array().unwrap();
    lines.iter().map(|line| line["unit"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn without_a_source_the_price_of_embedding_every_bot_is_told_and_nothing_starts() {
    let stack = Stack::start(Faults::default()).await;
    for n in 0..3 {
        stack.bot("u", &format!("01BOT{n}"), 2, Release::V1_4).await;
    }
    let program = stack.program();
    let planned = program.run(&["plan"]).expect(0).stdout;
    for words in [
        "recommended: reembed: the source is not named",
        "embedding by cohere.embed-",
        "embed the documents of 3 bots anew",
        "published prices on demand for us-east-1",
        "next: vecferry migrate --method reembed",
    ] {
        assert!(planned.contains(words), "{words} is not in\n{planned}");
    }
    let plan = program.run(&["plan", "--json"]).expect(0).json();
    assert_eq!((&plan["version"], plan["source"].is_null()), (&2.into(), true));
    assert_eq!(
        (&plan["embedding"]["bots"], &plan["embedding"]["documents"]),
        (&3.into(), &6.into())
    );
    let reembed = method(&plan, "reembed");
    assert_eq!(units(reembed)[0], "million tokens");
    assert!(reembed["price"]["low"].as_f64() < reembed["price"]["high"].as_f64(), "{reembed}");
    assert!(reembed["seconds"].as_f64().unwrap() > 0.0);
    for name in ["copy", "follow", "delta"] {
        assert_eq!(method(&plan, name)["possible"], false, "{name}");
    }
    program.run(&["plan", "--method", "delta"]).expect(1);
    let none = program.run(&["plan", "--bots", "01NOBODY", "--json"]).expect(1).json();
    let why = method(&none, "reembed")["why_not"].as_str().unwrap();
    assert!(why.contains("01NOBODY"), "{why}");
    assert_eq!((stack.model.seen().calls, stack.ecs.launched().len()), (0, 0));
}

#[tokio::test]
async fn a_snapshot_is_priced_with_its_temporary_cluster_and_the_operators_prices() {
    let stack = Stack::start(Faults::default()).await;
    stack.bot("u", "01BOT", 1, Release::V1_4).await;
    let source = Database::with_vector(&pair().await.source, "priced").await.unwrap();
    let rows = "CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), content text, source text, \
                embedding vector(1024)); \
                INSERT INTO items (id, botid, content, source) SELECT i, '01BOT', repeat('文書です。', 100), 's' \
                FROM generate_series(1, 400) i; ANALYZE";
    source.batch(rows).await.unwrap();
    let program = stack.program().set("VECFERRY_SOURCE", source.url());
    let plan = |more: &[&str]| {
        program.run(&[&["plan", "--json", "--temporary-cluster"], more].concat()).expect(0).json()
    };
    let published = plan(&[]);
    assert_eq!(published["recommended"], "delta");
    // 200 000 characters of Japanese, of which three fifths are Chinese characters or their punctuation.
    let tokens = published["embedding"]["tokens"].as_u64().unwrap();
    assert!((160_000..175_000).contains(&tokens), "{tokens}");
    let delta = method(&published, "delta");
    for unit in ["ACU-hours", "GB-months", "million tokens", "secret-months"] {
        assert!(units(delta).contains(&unit), "{unit} is not in {delta}");
    }
    program.write("mine.toml", "aurora_acu_hour = 12\n");
    let dear = plan(&["--prices", "mine.toml"]);
    let usd = |plan: &serde_json::Value| method(plan, "copy")["price"]["dollars"].as_f64().unwrap();
    assert!(usd(&dear) > 50.0 * usd(&published), "{} {}", usd(&dear), usd(&published));
    assert!(dear["prices"].as_str().unwrap().contains("mine.toml"), "{}", dear["prices"]);

    program.write("wrong.toml", "aurora_acu_hours = 12\n");
    let wrong = program.run(&["plan", "--prices", "wrong.toml"]).expect(2).stderr;
    assert!(wrong.contains("did you mean `aurora_acu_hour`"), "{wrong}");

    let other = plan(&["--model", "cohere.embed-v4:0"]);
    assert_eq!(other["recommended"], "reembed");
    let why = method(&other, "copy")["why_not"].as_str().unwrap();
    assert!(why.contains("cannot be compared"), "{why}");

    // A source that does not answer, though bots could be embedded without it.
    let gone = program.set("VECFERRY_SOURCE", "postgres://u@127.0.0.1:1/d");
    let plan = gone.run(&["plan", "--json"]).expect(0).json();
    assert_eq!(plan["recommended"], "reembed");
    assert!(method(&plan, "copy")["why_not"].as_str().unwrap().contains("cannot be read"));
}
