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
        let heard = Heard::default();
        let answer = self.switch.switch(order(direction, to), &heard).await.unwrap();
        let told = format!("{}{answer:?}{:?}", heard.0.lock().unwrap(), self.switch);
        assert!(!told.contains("hunter2") && !told.contains("p@ss"), "{told}");
        answer
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
