//! What `verify` says of targets on which nothing but embeddings is recorded: knowledge tables of every shape, and a
//! source beside them.

use tokio_util::sync::CancellationToken;
use vecferry_core::Result;
use vecferry_core::knowledge::Knowledge;
use vecferry_core::pg::QualifiedName;
use vecferry_core::policy::{Pattern, Policy};
use vecferry_core::reembed::store::{
    Batch, BotRecord, BotState, MigrationStore, PostgresStore, Settings, Skip, Yield,
};
use vecferry_core::verify::embedded::Embedded;
use vecferry_core::verify::{Answer, Options, Verdict, verify, verify_recorded};
use vecferry_testkit::{Database, pair};

use super::store::settings;
use super::world::key;
use crate::fixture::{Recorder, clusters, items, policy};

const PROVEN: BotState = BotState::Proven;

/// Records a re-embedding with these bots on the target, with their rows.
async fn record(target: &Database, settings: &Settings, bots: &[(&str, BotState, u64)]) {
    let store = PostgresStore::new(target.url().parse().unwrap());
    store.begin("run", settings, None).await.unwrap();
    let bot = |(id, state, rows): &(&str, BotState, u64)| BotRecord {
        state: state.clone(),
        got: Yield { rows: Some(*rows), ..Yield::default() },
        ..BotRecord::waiting(key(id), String::new(), 1)
    };
    let bots = bots.iter().map(bot).collect();
    store.write("run", &Batch { bots, attempts: Vec::new() }).await.unwrap();
}

async fn recorded(target: &Database, policy: &Policy) -> Result<Verdict> {
    let options = Options { recall_bots: 0, ..Options::default() };
    let (recorder, cancel) = (Recorder::default(), CancellationToken::new());
    verify_recorded(&target.url().parse().unwrap(), policy, &options, &recorder, &cancel).await
}

/// What is wrong with the bots, bot by bot.
fn wrong(embedded: &Embedded) -> Vec<String> {
    let said = |bot: &vecferry_core::verify::embedded::EmbeddedBot| {
        format!("{}: {}", bot.bot, bot.differences.join("; "))
    };
    embedded.differing.iter().map(said).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_are_found_in_tables_of_every_shape() {
    let (one, other) =
        ("018f0c3e-0000-7000-8000-000000000001", "018f0c3e-0000-7000-8000-000000000002");
    let shapes = [
        ("bot uuid, v halfvec(8)", "", Some("bot"), [one, other]),
        ("bot char(9), v vector(8)", "", Some("bot"), ["a", "b"]),
        ("bot int, v vector", "PARTITION BY LIST (bot)", Some("bot"), ["1", "2"]),
        ("v vector(8)", "", None, ["alone", ""]),
    ];
    for (columns, kind, bot, ids) in shapes {
        let target = Database::with_vector(&pair().await.target, "shapes").await.unwrap();
        let made = format!("CREATE TABLE kb (id int, t text, s text, {columns}) {kind}");
        target.batch(&made).await.unwrap();
        if !kind.is_empty() {
            target.batch("CREATE TABLE kb_all PARTITION OF kb DEFAULT").await.unwrap();
        }
        let ids: Vec<&str> = ids.into_iter().filter(|id| !id.is_empty()).collect();
        for id in &ids {
            let (name, value) = match bot {
                Some(_) => ("bot, ", format!("'{id}', ")),
                None => ("", String::new()),
            };
            let fill = format!(
                "INSERT INTO kb (id, t, s, {name}v) SELECT g, 't', 's', {value}'[1,2,3,4,5,6,7,8]' FROM generate_series(1, 3) g"
            );
            target.batch(&fill).await.unwrap();
        }
        let knowledge = Knowledge {
            table: QualifiedName::new("public", "kb"),
            bot: bot.map(str::to_owned),
            content: "t".into(),
            source: "s".into(),
            embedding: "v".into(),
            ..Knowledge::default()
        };
        let settings = Settings { knowledge: knowledge.clone(), ..settings() };
        let bots: Vec<_> = ids.iter().map(|id| (*id, PROVEN, 3)).collect();
        record(&target, &settings, &bots).await;
        let policy = Policy { knowledge, ..policy() };
        let sound = recorded(&target, &policy).await.unwrap();
        let embedded = sound.embedded.unwrap();
        assert!(sound.matches && embedded.matches, "{columns}: {embedded:?} {:?}", sound.notes);
        assert_eq!((embedded.bots, embedded.rows), (ids.len() as u64, 3 * ids.len() as u64));
        assert!(sound.notes.iter().any(|note| note.starts_with("nothing was copied")));

        let first = bot.map_or(String::new(), |bot| format!(" AND {bot} = '{}'", ids[0]));
        let harm = format!(
            "DELETE FROM kb WHERE id = 1{first}; UPDATE kb SET v = NULL WHERE id = 2{first}; \
             UPDATE kb SET v = '[0,0,0,0,0,0,0,0]' WHERE id = 3{first}"
        );
        target.batch(&harm).await.unwrap();
        let harmed = recorded(&target, &policy).await.unwrap();
        assert_eq!((harmed.answer, harmed.content.matches), (Answer::Differs, true), "{columns}");
        let flawed = "2 rows without a vector of 8 dimensions that are not all zeros";
        let said = format!("{}: 2 rows, 3 when it was proven; {flawed}", ids[0]);
        assert_eq!(wrong(&harmed.embedded.unwrap()), [said], "{columns}");

        target.batch("DROP TABLE kb").await.unwrap();
        let gone = recorded(&target, &policy).await.unwrap().embedded.unwrap();
        assert_eq!((gone.differing.len(), gone.rows), (ids.len(), 0), "{columns}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_that_nobody_embedded_are_compared_with_the_source() {
    let source = items(&pair().await.source, "beside", 70).await;
    let target = items(&pair().await.target, "beside", 70).await;
    target.batch("UPDATE items SET content = 'anew' WHERE botid = 'bot0'").await.unwrap();
    let skipped = BotState::Skipped { why: Skip::KnowledgeBase };
    record(&target, &settings(), &[("bot0", PROVEN, 10), ("bot1", skipped, 0)]).await;
    let (clusters, policy) = (clusters(&source, &target), policy());
    let compared = async || {
        let options = Options { recall_bots: 0, ..Options::default() };
        let (recorder, cancel) = (Recorder::default(), CancellationToken::new());
        verify(&clusters, &policy, &options, &recorder, &cancel).await.unwrap()
    };
    let same = compared().await;
    assert!(same.matches, "{:?} {:?}", same.content, same.embedded);
    assert_eq!(same.content.tables[0].bots, Some(6));
    let note = "re-embedding run: left out of the rows are 1 bot chosen to be embedded anew;";
    assert!(same.notes.iter().any(|said| said.starts_with(note)), "{:?}", same.notes);
    target.batch("UPDATE items SET content = 'x' WHERE botid = 'bot1'").await.unwrap();
    let other = compared().await;
    assert_eq!((other.answer, other.embedded.unwrap().matches), (Answer::Differs, true));
    assert_eq!(other.content.tables[0].bots_differing[0].bot, "bot1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_kept_for_lost_documents_may_be_flawed_and_nothing_recorded_is_refused() {
    let target = items(&pair().await.target, "kept_flaws", 70).await;
    record(&target, &settings(), &[]).await;
    let nothing = recorded(&target, &policy()).await.unwrap_err();
    assert!(nothing.to_string().contains("no bot of the knowledge table"), "{nothing}");
    record(&target, &settings(), &[("bot0", PROVEN, 10), ("bot1", PROVEN, 10)]).await;
    let elsewhere = Policy { exclude: vec![Pattern::new("items")], ..policy() };
    assert!(recorded(&target, &elsewhere).await.is_err(), "the table is not selected");
    assert!(recorded(&target, &policy()).await.unwrap().matches);
    target
        .batch("UPDATE items SET embedding = NULL WHERE botid IN ('bot0', 'bot1')")
        .await
        .unwrap();
    let both = recorded(&target, &policy()).await.unwrap().embedded.unwrap();
    assert_eq!(both.differing.len(), 2);
    // As vecferry's worker records it.
    let lost = "CREATE TABLE vecferry.bot_result (migration text, bot text, swapped boolean, lost jsonb); \
                INSERT INTO vecferry.bot_result VALUES ('run', 'bot0', true, '[{\"source\": \"gone.pdf\"}]'), \
                ('run', 'bot1', true, '[]')";
    target.batch(lost).await.unwrap();
    let one = recorded(&target, &policy()).await.unwrap().embedded.unwrap();
    assert_eq!(wrong(&one).len(), 1, "{one:?}");
    assert_eq!(one.differing[0].bot, "bot1");
    // Without vectors rows are counted alone, as under a cutover's fence.
    let options = Options { vectors: false, quick: true, recall_bots: 0, ..Options::default() };
    let (recorder, cancel) = (Recorder::default(), CancellationToken::new());
    let dsn = target.url().parse().unwrap();
    let counted = verify_recorded(&dsn, &policy(), &options, &recorder, &cancel).await.unwrap();
    assert!(counted.matches && !counted.embedded.unwrap().vectors);
}
