//! A deployed stack is read from CloudFormation and its task definition from ECS.

use vecferry_aws::Account;
use vecferry_aws::stack::{Generation, Item, read};
use vecferry_core::Error;
use vecferry_testkit::chat::ChatStack;
use vecferry_testkit::ecs::{Definition, Ecs, EcsOptions, Program};
use vecferry_testkit::{MOTO_REGION, moto};

use crate::interruption::{Fate, Interruption};
use crate::rig::{account, account_apart};

/// What `cdk/lib` of v1.0.0 to v1.4.0 declares, as far as a migration reads it.
const V1: [(&str, &str); 10] = [
    ("ConversationTableName", "Conversations"),
    ("DatabaseConversationTableName1E2F3A4B", "Conversations"),
    ("DbConfigSecretArn", "arn:aws:secretsmanager:us-east-1:123456789012:secret:Db-AbCdEf"),
    ("DbConfigHostname", "chat.cluster-x.us-east-1.rds.amazonaws.com"),
    ("DocumentBucketName", "documents"),
    ("EmbeddingClusterName79B87DC5", "chat"),
    ("EmbeddingTaskDefinitionName05274A2B", "embedding:1"),
    ("EmbeddingTaskSecurityGroupIdA17B96D2", "sg-1"),
    ("PrivateSubnetId0", "subnet-0"),
    ("PrivateSubnetId1", "subnet-1"),
];

/// The rest.
const REST: [(&str, &str); 2] =
    [("DbConfigPort", "5432"), ("TableAccessRoleArn", "arn:aws:iam::123456789012:role/Table")];

/// ECS with Bedrock Chat's task definition, and an account that finds it there and all else in moto.
async fn rig(environment: &[(&str, &str)]) -> (Ecs, Account) {
    let mut definition = Definition::bedrock_chat("embedding", 1);
    definition.environment =
        environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let mut options = EcsOptions::new(Program::process(["true"]));
    options.definitions = vec![definition];
    let ecs = Ecs::start(options).unwrap();
    let account = account_apart(moto().await.endpoint(), &[("ecs", &ecs.url())]).await;
    (ecs, account)
}

#[tokio::test]
async fn a_stack_and_its_task_definition_tell_everything() {
    let environment = [
        ("BEDROCK_REGION", "us-west-2"),
        ("DOCUMENT_BUCKET", "documents"),
        ("DB_PASSWORD", "hunter2"),
    ];
    let (_ecs, account) = rig(&environment).await;
    let name = ChatStack::new(&[&V1[..], &REST].concat()).create(moto().await).await.unwrap();
    let stack = read(&account, &name).await.unwrap();
    assert_eq!((stack.name.as_str(), stack.region.as_deref()), (name.as_str(), Some(MOTO_REGION)));
    assert_eq!(stack.container.as_deref(), Some("Container"));
    assert_eq!(stack.notes, Vec::<String>::new());
    let told = &stack.discovery;
    assert_eq!(told.generation, Generation::V1);
    assert_eq!((told.missing.len(), told.doubled.len(), told.unknown.len()), (0, 0, 0), "{told:?}");
    assert_eq!(told.value(Item::ModelRegion).unwrap().value, "us-west-2");
    assert!(!format!("{stack:?}").contains("hunter2"), "a variable that nobody asked for");
}

#[tokio::test]
async fn nested_stacks_are_read_where_something_is_missing_however_many_pages_come_first() {
    let (_ecs, account) = rig(&[]).await;
    let stack = ChatStack::new(&V1).nesting(&REST).of(120);
    let name = stack.create(moto().await).await.unwrap();
    let stack = read(&account, &name).await.unwrap();
    let role = stack.discovery.value(Item::TableRole).unwrap();
    assert_eq!(role.value, REST[1].1);
    assert!(role.from.contains(&name), "{}: of the nested stack", role.from);
    assert_eq!(stack.discovery.missing.len(), 1, "the region of Bedrock");
}

#[tokio::test]
async fn a_task_definition_that_is_gone_is_a_note() {
    let (ecs, account) = rig(&[]).await;
    let outputs: Vec<(&str, &str)> = V1
        .into_iter()
        .map(|(key, value)| (key, if value == "embedding:1" { "other:9" } else { value }))
        .chain(REST)
        .collect();
    let name = ChatStack::new(&outputs).create(moto().await).await.unwrap();
    let stack = read(&account, &name).await.unwrap();
    assert_eq!(stack.container, None);
    let note = &stack.notes[0];
    assert!(note.contains("the task definition other:9 cannot be read"), "{note}");
    assert_eq!(ecs.calls()["DescribeTaskDefinition"], 1);
}

#[tokio::test]
async fn a_stack_that_is_not_there_is_named_with_its_region() {
    let account = account(moto().await.endpoint()).await;
    let error = read(&account, "NoSuchStack").await.unwrap_err();
    assert!(matches!(error, Error::Configuration { .. }), "{error:?}");
    assert_eq!(error.to_string(), "there is no stack NoSuchStack in us-east-1");
}

#[tokio::test]
async fn throttles_are_waited_for() {
    let way = Interruption::before(moto().await.endpoint());
    let name = ChatStack::new(&[("DocumentBucketName", "b"), ("FrontendURL", "u")])
        .create(moto().await)
        .await
        .unwrap();
    way.next(&[Fate::ThrottledInXml]);
    let stack = read(&account(way.endpoint()).await, &name).await.unwrap();
    assert_eq!(stack.discovery.generation, Generation::V0);
}
