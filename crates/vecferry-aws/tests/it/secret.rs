//! The database's address comes from Secrets Manager, and nothing of a secret gets into a message.

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use vecferry_aws::{Account, database_from_secret};
use vecferry_core::{Class, Error};
use vecferry_testkit::chat::put_secret;
use vecferry_testkit::{MOTO_REGION, moto};

use crate::interruption::{Fate, Interruption};
use crate::rig::account;

#[tokio::test]
async fn a_secret_of_rds_is_read() {
    let account = account(moto().await.endpoint()).await;
    let text = r#"{"dbClusterIdentifier":"chat","password":"a'b\"c@:/?","dbname":"postgres","engine":"postgres",
        "port":5432,"host":"chat.cluster-x.us-east-1.rds.amazonaws.com","username":"postgres"}"#;
    let arn = put_secret(moto().await, text).await.unwrap();
    let dsn = database_from_secret(&account, &arn).await.unwrap();
    assert_eq!(dsn.address(), "chat.cluster-x.us-east-1.rds.amazonaws.com:5432");
    assert_eq!((dsn.database.as_str(), dsn.user.as_str()), ("postgres", "postgres"));
    assert!(dsn.has_password());
}

#[tokio::test]
async fn a_secret_that_is_missing_or_of_another_kind_is_told() {
    let account = account(moto().await.endpoint()).await;
    let arn = put_secret(moto().await, r#"{"token":"hunter2"}"#).await.unwrap();
    let error = database_from_secret(&account, &arn).await.unwrap_err();
    assert!(matches!(&error, Error::Configuration { what, .. } if what.contains(&arn)), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));

    let error = database_from_secret(&account, "no-such-secret").await.unwrap_err();
    assert!(matches!(error, Error::Service { class: Class::Operator, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("--region"), "{:?}", error.hint());
}

#[tokio::test]
async fn a_secret_that_is_marked_for_deletion_is_told_with_how_to_take_it_back() {
    let account = account(moto().await.endpoint()).await;
    let text = r#"{"host":"h","username":"u","password":"hunter2"}"#;
    let arn = put_secret(moto().await, text).await.unwrap();
    let client = aws_sdk_secretsmanager::Client::new(account.config());
    client.delete_secret().secret_id(&arn).recovery_window_in_days(7).send().await.unwrap();
    let error = database_from_secret(&account, &arn).await.unwrap_err();
    assert!(error.to_string().contains(&arn), "{error}");
    assert!(error.hint().unwrap().contains("restore-secret"), "{:?}", error.hint());
    client.restore_secret().secret_id(&arn).send().await.unwrap();
    database_from_secret(&account, &arn).await.unwrap();
}

async fn class(account: &Account) -> Class {
    match database_from_secret(account, "any").await.unwrap_err() {
        Error::Service { class, .. } => class,
        other => panic!("not the service's: {other}"),
    }
}

#[tokio::test]
async fn a_failure_says_whether_repeating_helps() {
    let way = Interruption::before(moto().await.endpoint());
    let patient = account(way.endpoint()).await;
    let config = patient.config().to_builder().retry_config(RetryConfig::disabled()).build();
    let hasty = Account::with(config);
    for (fate, expected) in
        [(Fate::AnswerLost, Class::Transient), (Fate::Throttled, Class::Transient)]
    {
        way.next(&[fate]);
        assert_eq!(class(&hasty).await, expected, "{fate:?}");
    }
    assert_eq!(class(&hasty).await, Class::Operator, "there is no such secret");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = hasty.config().to_builder().endpoint_url(format!("http://{nobody}")).build();
    assert_eq!(class(&Account::with(gone)).await, Class::Transient, "nobody listens");

    let nameless = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .endpoint_url(way.endpoint())
        .region(Region::new(MOTO_REGION))
        .no_credentials()
        .load()
        .await;
    assert_eq!(class(&Account::with(nameless)).await, Class::Operator, "no credentials");
}
