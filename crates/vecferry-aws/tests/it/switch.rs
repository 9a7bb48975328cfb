//! The application's secret as the switch, on moto: what it holds afterwards, what is kept, and what is not overwritten.

use std::sync::Mutex;
use std::time::Duration;

use vecferry_aws::{Account, SecretSwitch};
use vecferry_core::cutover::step::Direction;
use vecferry_core::cutover::switch::{Answer, Order, Switch};
use vecferry_core::pg::Dsn;
use vecferry_core::report::{Event, Reporter};
use vecferry_testkit::chat::{change_secret, put_secret, secret_text};
use vecferry_testkit::moto;

use crate::interruption::{Fate, Interruption};
use crate::rig::account;

/// As RDS writes it, with a key and white space of somebody's own.
const BEFORE: &str = r#"{"dbClusterIdentifier":"old", "password":"p@ss\\","dbname":"postgres","engine":"postgres","port":5432,
 "note":{"host":"kept"},"host":"old.cluster-x.us-east-1.rds.amazonaws.com","username":"postgres"}"#;

const MIGRATION: &str = "0198c0de-0000-7000-8000-000000000001";

#[derive(Default)]
struct Heard(Mutex<String>);

impl Reporter for Heard {
    fn event(&self, event: &Event) {
        if let Event::SwitchSaid { line } = event {
            self.0.lock().unwrap().push_str(line);
        }
    }
}

fn cluster(name: &str, password: &str) -> Dsn {
    let host = format!("{name}.cluster-x.us-east-1.rds.amazonaws.com");
    format!("host={host} user=postgres password='{password}' dbname=postgres").parse().unwrap()
}

fn order(direction: Direction, to: &Dsn) -> Order<'_> {
    Order { direction, to, migration: MIGRATION, timeout: Duration::from_secs(60) }
}

/// One secret and the way to it.
struct Case {
    secret: String,
    switch: SecretSwitch,
}

impl Case {
    async fn new(account: &Account) -> Case {
        let secret = put_secret(moto().await, BEFORE).await.unwrap();
        Case { switch: SecretSwitch::new(account, &secret), secret }
    }

    async fn go(&self, direction: Direction, to: &Dsn) -> Answer {
        self.going(direction, to).await.0
    }

    /// The same with what was said.
    async fn going(&self, direction: Direction, to: &Dsn) -> (Answer, String) {
        let heard = Heard::default();
        let answer = self.switch.switch(order(direction, to), &heard).await.unwrap();
        let heard = heard.0.into_inner().unwrap();
        let told = format!("{heard}{answer:?}{:?}", self.switch);
        assert!(!told.contains("hunter2") && !told.contains("p@ss"), "{told}");
        (answer, heard)
    }

    async fn text(&self, label: &str) -> Option<String> {
        secret_text(moto().await, &self.secret, label).await.unwrap()
    }

    async fn current(&self) -> String {
        self.text("AWSCURRENT").await.unwrap()
    }

    async fn kept(&self) -> Option<String> {
        self.text(&format!("vecferry-{MIGRATION}")).await
    }
}

/// What the secret holds when it names the cluster `new`.
fn after() -> String {
    let text = BEFORE.replace(r#""old""#, r#""new""#).replace("old.cluster", "new.cluster");
    text.replace(r#"p@ss\\"#, "hunter2")
}

#[tokio::test]
async fn a_cutover_changes_place_and_login_and_a_rollback_brings_the_very_version_back() {
    let case = Case::new(&account(moto().await.endpoint()).await).await;
    let target = cluster("new", "hunter2");
    assert_eq!(case.switch.obstacle(order(Direction::Cutover, &target)).await.unwrap(), None);
    assert_eq!(case.current().await, BEFORE, "a look changes nothing");
    assert_eq!(case.go(Direction::Cutover, &target).await, Answer::Switched);
    assert_eq!(case.current().await, after());
    assert_eq!(case.text("AWSPREVIOUS").await.as_deref(), Some(BEFORE));
    assert_eq!(case.kept().await.as_deref(), Some(BEFORE));
    // Whoever was cut off and asks again gets the same answer, and nothing is written.
    assert_eq!(case.go(Direction::Cutover, &target).await, Answer::Switched);
    assert_eq!(case.text("AWSPREVIOUS").await.as_deref(), Some(BEFORE));

    assert_eq!(case.go(Direction::Rollback, &cluster("old", "p@ss\\\\")).await, Answer::Switched);
    assert_eq!(case.current().await, BEFORE);
    // A second cutover keeps what is current now.
    assert_eq!(case.go(Direction::Cutover, &target).await, Answer::Switched);
    assert_eq!((case.current().await, case.kept().await.unwrap()), (after(), BEFORE.into()));
}

/// What somebody does by hand after AWSCURRENT was moved. Two calls, because moto's PutSecretValue then leaves the label on
/// two versions, which the service never does.
async fn edit(account: &Account, secret: &str, text: &str) {
    let client = aws_sdk_secretsmanager::Client::new(account.config());
    let put = client.put_secret_value().secret_id(secret).secret_string(text);
    let put = put.version_stages("edited").send().await.unwrap();
    let now = client.get_secret_value().secret_id(secret).version_stage("AWSCURRENT");
    let now = now.send().await.unwrap();
    let moved = client.update_secret_version_stage().secret_id(secret).version_stage("AWSCURRENT");
    let moved = moved.remove_from_version_id(now.version_id().unwrap());
    moved.move_to_version_id(put.version_id().unwrap()).send().await.unwrap();
}

#[tokio::test]
async fn a_rollback_undoes_the_cutover_and_nothing_that_somebody_has_done_since() {
    let account = account(moto().await.endpoint()).await;
    let case = Case::new(&account).await;
    assert_eq!(case.go(Direction::Cutover, &cluster("new", "hunter2")).await, Answer::Switched);
    let noted = |text: &str| text.replace(r#""kept""#, r#""edited","pool":7"#);
    edit(&account, &case.secret, &noted(&after())).await;
    // The source by another name than the application's.
    let source = "host=OLD.cluster-x.us-east-1.rds.amazonaws.com hostaddr=127.0.0.1 user=ops password=x dbname=postgres";
    let source: Dsn = source.parse().unwrap();
    let (answer, said) = case.going(Direction::Rollback, &source).await;
    assert_eq!((answer, case.current().await), (Answer::Switched, noted(BEFORE)));
    assert!(said.contains("1 other key changed since the cutover stays"), "{said}");

    // Somebody has pointed it elsewhere meanwhile: told before, and left alone.
    assert_eq!(case.go(Direction::Cutover, &cluster("new", "hunter2")).await, Answer::Switched);
    let elsewhere = case.current().await.replace("new.cluster", "proxy.cluster");
    edit(&account, &case.secret, &elsewhere).await;
    let why = case.switch.obstacle(order(Direction::Rollback, &source)).await.unwrap().unwrap();
    assert!(why.contains("changed its host since the cutover"), "{why}");
    assert!(matches!(case.go(Direction::Rollback, &source).await, Answer::NotSwitched(_)));
    assert_eq!(case.current().await, elsewhere);
}

#[tokio::test]
async fn a_lost_answer_is_read_back() {
    let way = Interruption::before(moto().await.endpoint());
    let case = Case::new(&account(way.endpoint()).await).await;
    // Described, read, labelled and written; then the answer to the move is lost.
    way.next(&[Fate::Passed, Fate::Passed, Fate::Passed, Fate::Passed, Fate::AnswerLost]);
    let target = cluster("new", "hunter2");
    assert_eq!(case.go(Direction::Cutover, &target).await, Answer::Switched);
    assert_eq!(case.current().await, after());
}

#[tokio::test]
async fn a_rotation_meanwhile_is_not_overwritten() {
    let way = Interruption::before(moto().await.endpoint());
    let case = Case::new(&account(way.endpoint()).await).await;
    let rotated = BEFORE.replace(r#"p@ss\\"#, "rotated");
    // The answer to the write is held until somebody has rotated the secret.
    way.next(&[Fate::Passed, Fate::Passed, Fate::Passed, Fate::Held]);
    let target = cluster("new", "hunter2");
    let (answer, ()) = tokio::join!(case.go(Direction::Cutover, &target), async {
        way.held().await;
        change_secret(moto().await, &case.secret, &rotated).await.unwrap();
        way.release();
    });
    assert!(
        matches!(&answer, Answer::NotSwitched(why) if why.contains("AWSCURRENT")),
        "{answer:?}"
    );
    assert_eq!(case.current().await, rotated);
    assert_eq!(case.go(Direction::Cutover, &target).await, Answer::Switched);
    assert_eq!((case.current().await, case.kept().await), (after(), Some(rotated)));
}

#[tokio::test]
async fn what_cannot_be_the_switch_is_told_before() {
    let account = account(moto().await.endpoint()).await;
    let target = cluster("new", "hunter2");
    let none = SecretSwitch::new(&account, "no-such-secret");
    let login = put_secret(moto().await, r#"{"username":"u","password":"hunter2"}"#).await.unwrap();
    let login = SecretSwitch::new(&account, login);
    for (switch, words) in [(none, "ResourceNotFound"), (login, "names no host")] {
        let why = switch.obstacle(order(Direction::Cutover, &target)).await.unwrap().unwrap();
        assert!(why.contains(words) && !why.contains("hunter2"), "{why}");
        let answer = switch.switch(order(Direction::Cutover, &target), &Heard::default()).await;
        assert!(matches!(answer.unwrap(), Answer::NotSwitched(why) if why.contains(words)));
    }
}
