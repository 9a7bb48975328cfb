//! The database's address comes from Secrets Manager, and nothing of a secret gets into a message.

use vecferry_aws::database_from_secret;
use vecferry_core::{Class, Error};
use vecferry_testkit::chat::put_secret;
use vecferry_testkit::moto;

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
}
