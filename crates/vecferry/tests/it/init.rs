//! `init --stack`: a settings file from what a deployed stack tells.

use std::os::unix::fs::PermissionsExt;

use vecferry_testkit::chat::ChatStack;
use vecferry_testkit::ecs::{Definition, Ecs, EcsOptions, Program as Runs};
use vecferry_testkit::moto;

use crate::program::Program;

const SECRET: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:Db-AbCdEf";

/// What `cdk/lib` of v1.0.0 to v1.4.0 declares, with hashes of this deployment's own.
const V1: [(&str, &str); 13] = [
    ("AuthUserPoolIdC0605E59", "pool"),
    ("ConversationTableName", "Conversations"),
    ("DatabaseConversationTableName0B1C2D3E", "Conversations"),
    ("DbConfigHostname", "chat.cluster-x.us-east-1.rds.amazonaws.com"),
    ("DbConfigPort", "5432"),
    ("DbConfigSecretArn", SECRET),
    ("DocumentBucketName", "documents"),
    ("EmbeddingClusterName79B87DC5", "chat"),
    ("EmbeddingTaskDefinitionName05274A2B", "embedding:1"),
    ("EmbeddingTaskSecurityGroupIdA17B96D2", "sg-1"),
    ("PrivateSubnetId0", "subnet-0"),
    ("PrivateSubnetId1", "subnet-1"),
    ("TableAccessRoleArn", "arn:aws:iam::123456789012:role/Table"),
];

async fn rig() -> (Ecs, Program) {
    let mut definition = Definition::bedrock_chat("embedding", 1);
    definition.environment = vec![("BEDROCK_REGION".into(), "us-west-2".into())];
    let mut options = EcsOptions::new(Runs::process(["true"]));
    options.definitions = vec![definition];
    let ecs = Ecs::start(options).unwrap();
    let program = Program::new().set("AWS_ENDPOINT_URL_ECS", &ecs.url());
    let program = moto()
        .await
        .environment()
        .into_iter()
        .fold(program, |program, (name, value)| program.set(name, &value));
    (ecs, program)
}

#[tokio::test]
async fn a_deployed_stack_fills_the_settings() {
    let (_ecs, program) = rig().await;
    let name = ChatStack::new(&V1).create(moto().await).await.unwrap();
    let ran = program.run(&["init", "--stack", &name]).expect(0);
    assert!(ran.stderr.starts_with("wrote vecferry.toml with "), "{}", ran.stderr);
    assert_eq!((ran.stdout.as_str(), ran.stderr.lines().count()), ("", 1), "{}", ran.stderr);
    let path = program.folder().join("vecferry.toml");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    for line in [
        &format!("# From output DbConfigSecretArn of stack {name}.\ntarget_secret = \"{SECRET}\""),
        "[bots]\n",
        "table = \"Conversations\"",
        "[aws]\n",
        "region = \"us-east-1\"",
        "# From BEDROCK_REGION of the task's container.\nregion = \"us-west-2\"",
        "bucket = \"documents\"",
        "runner = \"ecs\"",
        "task_definition = \"embedding:1\"",
        "container = \"Container\"",
        "subnets = [\"subnet-0\", \"subnet-1\"]",
        "security_groups = [\"sg-1\"]",
        "\n# jobs = 4\n",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    // The program takes what it wrote.
    let policy = program.run(&["check", "--print-policy", "reembed", "-q"]).expect(0);
    assert!(policy.stdout.contains("arn:aws:dynamodb:us-east-1:123456789012:table/Conversations"));

    let again = program.run(&["init", "--stack", &name]).expect(2);
    assert!(again.stderr.contains("is there already"), "{}", again.stderr);
    program.run(&["init", "--stack", &name, "--force"]).expect(0);
}

#[tokio::test]
async fn what_a_stack_does_not_tell_is_said_with_where_to_look() {
    let (_ecs, program) = rig().await;
    let mut outputs = V1.to_vec();
    outputs.retain(|(key, _)| *key != "DocumentBucketName");
    outputs.extend([("EmbeddingClusterNameFFFFFFFF", "other"), ("SomethingElse", "x")]);
    let name = ChatStack::new(&outputs).create(moto().await).await.unwrap();
    let ran = program.run(&["init", "--stack", &name]).expect(0);
    for said in [
        "missing: the bucket of documents: no output begins with DocumentBucketName",
        "doubled: the ECS cluster is told 2 ways: ",
        "unknown: output SomethingElse of stack",
        "look at CloudFormation > Stacks > ",
    ] {
        assert!(ran.stderr.contains(said), "{said} is not in\n{}", ran.stderr);
    }
    let text = std::fs::read_to_string(program.folder().join("vecferry.toml")).unwrap();
    assert!(text.contains("\n# [tasks]\n"), "half of the tasks' settings are of no use:\n{text}");
}

#[tokio::test]
async fn a_version_0_stack_must_become_version_1_first() {
    let (_ecs, program) = rig().await;
    let v0: Vec<(&str, &str)> = V1
        .into_iter()
        .filter(|(key, _)| !key.contains("Embedding") && !key.starts_with("Database"))
        .collect();
    let name = ChatStack::new(&v0).create(moto().await).await.unwrap();
    let ran = program.run(&["init", "--stack", &name]).expect(0);
    assert!(ran.stderr.contains("is version 0 of Bedrock Chat"), "{}", ran.stderr);
    let text = std::fs::read_to_string(program.folder().join("vecferry.toml")).unwrap();
    assert!(
        text.contains("\nbucket = \"documents\"") && !text.contains("\ntarget_secret"),
        "{text}"
    );

    let none = program.run(&["init", "--stack", "NoSuchStack", "--force"]).expect(2);
    assert!(none.stderr.contains("there is no stack NoSuchStack in us-east-1"), "{}", none.stderr);
}

#[tokio::test]
async fn outputs_that_say_nothing_are_missing_and_none_breaks_a_line() {
    let (_ecs, program) = rig().await;
    let odd = [
        ("ConversationTableName", " "),
        ("DatabaseConversationTableName0B1C2D3E", "Conversations\n"),
        ("DocumentBucketName", "docu\nerror: ments"),
        ("EmbeddingTaskDefinitionName05274A2B", "other\nerror: 9"),
        ("EmbeddingClusterName79B87DC5", " "),
        ("PrivateSubnetId1", " "),
    ];
    let value = |key: &str| odd.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let outputs: Vec<(&str, &str)> =
        V1.iter().map(|(key, told)| (*key, value(key).unwrap_or(*told))).collect();
    let name = ChatStack::new(&outputs).create(moto().await).await.unwrap();
    let ran = program.run(&["init", "--stack", &name]).expect(0);
    for said in [
        "missing: the bucket of documents: output DocumentBucketName of stack",
        "missing: the ECS cluster: output EmbeddingClusterName79B87DC5 of stack",
        "missing: another private subnet: output PrivateSubnetId1 of stack",
        "unusable: output ConversationTableName of stack",
    ] {
        assert!(ran.stderr.contains(said), "{said} is not in\n{}", ran.stderr);
    }
    assert!(!ran.stderr.lines().any(|line| line.starts_with("error: ")), "{}", ran.stderr);
    let text = std::fs::read_to_string(program.folder().join("vecferry.toml")).unwrap();
    let in_force: Vec<&str> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let secret = format!("target_secret = \"{SECRET}\"");
    let expected =
        [secret.as_str(), "[bots]", "table = \"Conversations\"", "[aws]", "region = \"us-east-1\""];
    assert_eq!(in_force, expected);
}

#[test]
fn an_empty_name_is_no_stack() {
    for name in ["", " "] {
        let program = Program::new();
        let ran = program.run(&["init", "--stack", name]).expect(2);
        assert!(ran.stderr.contains("error: --stack is empty"), "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: give the name of the stack"), "{}", ran.stderr);
        assert!(!program.folder().join("vecferry.toml").exists());
    }
}
