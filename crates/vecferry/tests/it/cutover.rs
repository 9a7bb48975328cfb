//! `cutover` and `rollback` as an operator types them, and the program killed at every step of them, under an
//! application that writes and is checked write by write.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vecferry_core::migration::{RunOptions, migrate};
use vecferry_core::policy::{Clusters, Method, Policy};
use vecferry_core::report::{Event, Reporter};
use vecferry_testkit::{Database, Version, Writer, WriterOptions, pair};

use crate::migrating::program;
use crate::program::Program;

/// Events are not what these tests are about.
struct Silent;

impl Reporter for Silent {
    fn event(&self, _: &Event) {}
}

/// A target that follows a source with an application on it.
struct Followed {
    source: Database,
    target: Database,
    program: Program,
    writer: Writer,
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Followed {
    async fn start(name: &str) -> Followed {
        let pair = pair().await;
        let source = Database::with_vector(&pair.source, name).await.unwrap();
        let target = Database::create(&pair.target, name).await.unwrap();
        let program = program(source.url(), target.url());
        let options = WriterOptions {
            url_file: Some(program.folder().join("url")),
            connections: 2,
            rate: Some(200.0),
            ..WriterOptions::new(source.url())
        };
        source.batch(&options.tables()).await.unwrap();
        let clusters = Clusters {
            source: source.url().parse().unwrap(),
            target: target.url().parse().unwrap(),
        };
        let policy = Policy {
            method: Some(Method::Follow),
            pg_bin_dir: Some(Version::Pg18.bin_dir().unwrap()),
            ..Policy::default()
        };
        let run = RunOptions { detach: true, ..RunOptions::default() };
        migrate(&clusters, &policy, run, &Silent, &CancellationToken::new()).await.unwrap();
        let writer = Writer::start(options).unwrap();
        let followed = Followed { source, target, program, writer };
        followed.writes("at the beginning");
        followed
    }

    /// The application is at work wherever it is.
    #[track_caller]
    fn writes(&self, what: &str) {
        let wrote = self.writer.wait_for_acknowledged(20, PATIENCE);
        assert!(wrote, "{what}: {:?}", self.writer.progress());
    }

    /// Everything it was told is done is there, and it goes on afterwards.
    async fn assert_intact(&self, database: &Database, what: &str) {
        self.writes(what);
        let ledger = self.writer.pause().unwrap();
        assert_eq!(ledger.check(database.url()).await.unwrap(), Vec::<String>::new(), "{what}");
        self.writer.resume();
    }

    /// The switch command: the application reads the file.
    fn switch(&self) -> String {
        "printf %s \"$VECFERRY_SWITCH_URL\" > url.next && mv url.next url".into()
    }

    fn run(&self, command: &str) -> crate::program::Ran {
        self.program.run(&[command, "--yes", "--json", "--switch", &self.switch()])
    }

    /// Starts a command and kills it when it says these words.
    fn kill_at(&self, command: &str, words: &str) {
        let arguments = [command, "--yes", "--switch", &self.switch()];
        let mut command = self.program.command(&arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines: Vec<String> = stderr
            .lines()
            .map_while(Result::ok)
            .scan(false, |said, line| {
                let go_on = !*said;
                *said = line.contains(words);
                if *said {
                    child.kill().unwrap();
                }
                go_on.then_some(line)
            })
            .collect();
        child.wait().unwrap();
        assert!(lines.iter().any(|line| line.contains(words)), "{words} was not said: {lines:#?}");
    }
}

/// What the program says at each step before it records the switch.
const BEFORE_THE_SWITCH: [&str; 8] = [
    "prepare …",
    "prepare done",
    "fence …",
    "fence done",
    "drain done",
    "sequences done",
    "verify …",
    "verify done",
];

/// And from then on.
const FROM_THE_SWITCH: [&str; 4] = ["switch …", "switch done", "finish …", "finish done"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_switch_a_rollback_gives_the_source_back() {
    let followed = Followed::start("kill_rollback").await;
    for words in BEFORE_THE_SWITCH {
        followed.kill_at("cutover", words);
        let answer = followed.run("rollback").expect(0).json();
        assert_eq!((&answer["end"], &answer["downtime_seconds"]), (&"done".into(), &().into()));
        followed.assert_intact(&followed.source, words).await;
        let again = followed.run("rollback").expect(1).json();
        assert_eq!(again["end"], "refused", "{words}: {again}");
    }
    // And the cutover that all of them were about can still be made.
    followed.run("cutover").expect(0);
    assert!(followed.writer.wait_for_redirect(1, PATIENCE));
    followed.assert_intact(&followed.target, "after the cutover").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_a_cutover_is_ended_by_the_next() {
    for words in BEFORE_THE_SWITCH.into_iter().chain(FROM_THE_SWITCH) {
        let followed = Followed::start("kill_again").await;
        followed.kill_at("cutover", words);
        let answer = followed.run("cutover").expect(0).json();
        assert_eq!(answer["end"], "done", "{words}: {answer}");
        assert!(answer["downtime_seconds"].as_f64().is_some_and(|s| s > 0.0), "{words}: {answer}");
        assert!(followed.writer.wait_for_redirect(1, PATIENCE), "{words}");
        followed.assert_intact(&followed.target, words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_the_switch_or_after_a_rollback_brings_every_write_back() {
    for words in FROM_THE_SWITCH {
        let followed = Followed::start("kill_back").await;
        followed.kill_at("cutover", words);
        let answer = followed.run("rollback").expect(0).json();
        assert_eq!(answer["end"], "done", "{words}: {answer}");
        followed.assert_intact(&followed.source, words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_killed_anywhere_is_ended_by_the_next() {
    for words in ["prepare …", "fence …", "fence done", "drain done", "verify done"]
        .into_iter()
        .chain(FROM_THE_SWITCH)
    {
        let followed = Followed::start("kill_return").await;
        followed.run("cutover").expect(0);
        assert!(followed.writer.wait_for_redirect(1, PATIENCE), "{words}");
        followed.writes(words);
        followed.kill_at("rollback", words);
        let answer = followed.run("rollback").expect(0).json();
        assert_eq!(answer["end"], "done", "{words}: {answer}");
        assert!(followed.writer.wait_for_redirect(2, PATIENCE), "{words}");
        followed.assert_intact(&followed.source, words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_reads_from_dry_run_to_rollback() {
    let followed = Followed::start("operator").await;
    let program = &followed.program;
    let asked = program.run(&["cutover", "--dry-run"]).expect(0).stdout;
    assert!(asked.contains("cutover can be done now"), "{asked}");
    let json = program.run(&["cutover", "--dry-run", "--json"]).expect(0).json();
    assert_eq!((&json["version"], &json["go"]), (&1.into(), &true.into()));
    let early = program.run(&["rollback", "--dry-run"]).expect(1).stdout;
    assert!(early.contains("blocker") && early.contains("nothing to roll back"), "{early}");
    let unasked = program.run(&["cutover"]).expect(2).stderr;
    assert!(
        unasked.contains("refuse writes to database") && unasked.contains("--yes"),
        "{unasked}"
    );

    let failing =
        program.run(&["cutover", "--yes", "--switch", "echo no such secret >&2; exit 4"]).expect(1);
    assert!(failing.stderr.contains("switch: no such secret"), "{}", failing.stderr);
    for words in ["exit code 4", "nothing was switched", "takes writes as before"] {
        assert!(failing.stdout.contains(words), "{words} is not in\n{}", failing.stdout);
    }
    followed.assert_intact(&followed.source, "after a failed switch").await;

    let crossed = program.run(&["cutover", "--yes"]).expect(0);
    for words in [
        "drain",
        "verify",
        "way back",
        "point the application at the target now",
        "next: vecferry rollback",
    ] {
        assert!(crossed.stdout.contains(words), "{words} is not in\n{}", crossed.stdout);
    }
    assert!(crossed.stderr.contains("fence done in"), "{}", crossed.stderr);
    // The operator's own switch, and with the way back in the file.
    followed.writer.redirect(followed.target.url());
    assert!(followed.writer.wait_for_redirect(1, PATIENCE));
    followed.assert_intact(&followed.target, "on the target").await;
    program.write("vecferry.toml", &format!("switch = '{}'", followed.switch()));
    let back = program.run(&["rollback", "--yes"]).expect(0).stdout;
    for words in ["the application is on the source", "next: vecferry cleanup"] {
        assert!(back.contains(words), "{words} is not in\n{back}");
    }
    followed.assert_intact(&followed.source, "back on the source").await;
}
