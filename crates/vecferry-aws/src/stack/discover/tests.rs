//! Outputs as each release's `cdk/lib/bedrock-chat-stack.ts` and its constructs declare them; values and hashes are
//! made up.

use super::*;

/// Of the stack itself, v0.4.5 to v1.4.0.
const STACK: [(&str, &str); 17] = [
    ("DocumentBucketName", "documents-1"),
    ("FrontendURL", "https://d1.cloudfront.net"),
    ("PublishedApiWebAclArn", "arn:aws:wafv2:us-east-1:1:regional/webacl/x"),
    ("VpcId", "vpc-1"),
    ("AvailabilityZone0", "us-east-1a"),
    ("AvailabilityZone1", "us-east-1b"),
    ("PublicSubnetId0", "subnet-public-0"),
    ("PublicSubnetId1", "subnet-public-1"),
    ("PrivateSubnetId0", "subnet-0"),
    ("PrivateSubnetId1", "subnet-1"),
    ("DbConfigSecretArn", "arn:aws:secretsmanager:us-east-1:1:secret:Db-AbCdEf"),
    ("DbConfigHostname", "chat.cluster-x.us-east-1.rds.amazonaws.com"),
    ("DbConfigPort", "5432"),
    ("ConversationTableName", "Chat-Conversations"),
    ("TableAccessRoleArn", "arn:aws:iam::1:role/TableAccess"),
    ("DbSecurityGroupId", "sg-db"),
    ("LargeMessageBucketName", "large-1"),
];

/// Of constructs in every release.
const CONSTRUCTS: [(&str, &str); 9] = [
    ("BackendApiBackendApiUrl4A0A7879", "https://api"),
    ("AuthUserPoolIdC0605E59", "us-east-1_x"),
    ("AuthUserPoolClientId8216BF9A", "client"),
    ("AuthApprovedRedirectURI4B1A3D2C", "https://redirect"),
    ("FrontendCognitoDomain0F1E2D3C", "domain"),
    ("UsageAnalysisUsageAnalysisWorkgroup8C9D0E1F", "workgroup"),
    ("UsageAnalysisUsageAnalysisOutputLocation1A2B3C4D", "s3://x"),
    ("WebAclForPublishedApiWebAclArn5E6F7A8B", "arn:aws:wafv2:x"),
    ("WebSocketWebSocketEndpointF298FA8F", "wss://x"),
];

/// Of `constructs/embedding.ts` and `constructs/database.ts` from v1.0.0 to v1.4.0.
const V1: [(&str, &str); 4] = [
    ("EmbeddingClusterName79B87DC5", "BedrockChatStack-EmbeddingCluster-x"),
    ("EmbeddingTaskDefinitionName05274A2B", "BedrockChatStackEmbeddingTaskDefinition:7"),
    ("EmbeddingTaskSecurityGroupIdA17B96D2", "sg-task"),
    ("DatabaseConversationTableName1E2F3A4B", "Chat-Conversations"),
];

fn outputs(groups: &[&[(&str, &str)]]) -> Vec<Output> {
    let output = |(key, value): &(&str, &str)| Output {
        stack: "BedrockChatStack".into(),
        key: (*key).into(),
        value: (*value).into(),
    };
    groups.iter().flat_map(|group| group.iter().map(output)).collect()
}

/// `constructs/embedding.ts` of v1; `database.secretArn` and the bucket are those of the outputs.
fn environment() -> BTreeMap<String, String> {
    [
        ("BEDROCK_REGION", "us-west-2"),
        ("DB_SECRETS_ARN", "arn:aws:secretsmanager:us-east-1:1:secret:Db-AbCdEf"),
        ("ACCOUNT", "1"),
        ("REGION", "us-east-1"),
        ("TABLE_NAME", "Chat-Conversations"),
        ("TABLE_ACCESS_ROLE_ARN", "arn:aws:iam::1:role/TableAccess"),
        ("DOCUMENT_BUCKET", "documents-1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn items(missing: &[Missing]) -> Vec<Item> {
    missing.iter().map(|one| one.item).collect()
}

#[test]
fn every_item_is_somewhere_and_every_name_means_one_thing() {
    for (at, place) in PLACES.iter().enumerate() {
        assert_eq!(place.item as usize, at, "in the order of the items");
        assert_eq!(place.item.to_string(), place.what);
        assert!(!place.outputs.is_empty() || place.variable.is_some());
    }
    let all: Vec<&str> =
        PLACES.iter().flat_map(|place| place.outputs).chain(&OTHERS).copied().collect();
    for name in &all {
        assert_eq!(all.iter().filter(|other| *other == name).count(), 1, "{name}");
    }
}

#[test]
fn a_v1_stack_tells_everything_with_the_environment_of_its_task() {
    // v1.0.0, v1.2.x and v1.4.0 declare the same.
    let outputs = outputs(&[&STACK, &CONSTRUCTS, &V1]);
    let told = discover(&outputs, &environment());
    assert_eq!(told.generation, Generation::V1);
    assert_eq!((told.missing, told.doubled, told.unknown), (vec![], vec![], vec![]));
    let value = |item| told.found.iter().find(|one| one.item == item).unwrap().value.as_str();
    assert_eq!(value(Item::Cluster), "BedrockChatStack-EmbeddingCluster-x");
    assert_eq!(value(Item::TaskDefinition), "BedrockChatStackEmbeddingTaskDefinition:7");
    assert_eq!((value(Item::Subnet0), value(Item::Subnet1)), ("subnet-0", "subnet-1"));
    assert_eq!((value(Item::BotTable), value(Item::Bucket)), ("Chat-Conversations", "documents-1"));
    assert_eq!(value(Item::ModelRegion), "us-west-2");
    let from: Vec<&str> = told.found.iter().map(|one| one.from.as_str()).collect();
    assert!(from.contains(&"output EmbeddingClusterName79B87DC5 of stack BedrockChatStack"));
    assert!(from.contains(&"BEDROCK_REGION of the task's container"), "{from:?}");
}

#[test]
fn without_the_environment_only_what_it_alone_tells_is_missing() {
    let told = discover(&outputs(&[&STACK, &CONSTRUCTS, &V1]), &BTreeMap::new());
    assert_eq!(items(&told.missing), [Item::ModelRegion]);
    assert_eq!(
        told.missing[0].to_string(),
        "the region of Bedrock: the task's container has no variable BEDROCK_REGION"
    );
}

#[test]
fn other_hashes_and_none_mean_the_same() {
    for hash in ["", "0", "DEADBEEF", "abc123"] {
        let key = format!("EmbeddingClusterName{hash}");
        assert_eq!(meaning(&key), Meaning::Item(Item::Cluster), "{key}");
    }
    assert_eq!(meaning("PrivateSubnetId0"), Meaning::Item(Item::Subnet0));
    assert_eq!(meaning("DatabaseConversationTableNameX"), Meaning::Item(Item::BotTable));
    assert_eq!(meaning("ExportsOutputRefVpc1"), Meaning::Nothing);
    for strange in ["MyEmbeddingClusterName", "EmbeddingClusterName-x", "EmbeddingCluster", ""] {
        assert_eq!(meaning(strange), Meaning::Unknown, "{strange}");
    }
}

#[test]
fn a_late_v0_stack_lacks_the_tasks() {
    // v0.4.5 to v0.4.10.
    let told = discover(&outputs(&[&STACK, &CONSTRUCTS]), &BTreeMap::new());
    assert_eq!(told.generation, Generation::V0);
    assert_eq!(
        items(&told.missing),
        [Item::Cluster, Item::TaskDefinition, Item::SecurityGroup, Item::ModelRegion]
    );
    assert_eq!(told.found.len(), 8);
    assert_eq!(
        told.missing[0].to_string(),
        "the ECS cluster: no output begins with EmbeddingClusterName"
    );
}

#[test]
fn an_early_v0_stack_tells_its_bucket_alone() {
    // v0.4.0 to v0.4.4.
    let told = discover(&outputs(&[&STACK[..2], &CONSTRUCTS]), &BTreeMap::new());
    assert_eq!(told.generation, Generation::V0);
    assert_eq!(told.found.iter().map(|one| one.item).collect::<Vec<_>>(), [Item::Bucket]);
}

#[test]
fn a_v2_stack_and_somebody_elses_are_told_apart() {
    // v2.0.0: no database, no embedding tasks.
    let v2 = [V1[3], STACK[0], STACK[1], STACK[13], STACK[14]];
    let told = discover(&outputs(&[&v2, &CONSTRUCTS]), &BTreeMap::new());
    assert_eq!(told.generation, Generation::V2);
    let other = discover(&outputs(&[&[("LoadBalancer", "x")]]), &BTreeMap::new());
    assert_eq!(other.generation, Generation::Other);
    assert_eq!((other.found.len(), other.unknown.len()), (0, 1));
    let empty = discover(&[], &BTreeMap::new());
    assert_eq!((empty.generation, empty.missing.len()), (Generation::Other, PLACES.len()));
}

#[test]
fn what_is_told_twice_alike_is_known_and_what_is_told_differently_is_not() {
    let mut differing = outputs(&[&STACK, &CONSTRUCTS, &V1]);
    differing.extend(outputs(&[&[("EmbeddingClusterName00000001", "another")]]));
    let mut environment = environment();
    environment.insert("DOCUMENT_BUCKET".into(), "documents-2".into());
    let told = discover(&differing, &environment);
    let doubled: Vec<Item> = told.doubled.iter().map(|one| one.item).collect();
    assert_eq!(doubled, [Item::Bucket, Item::Cluster]);
    assert_eq!(
        told.doubled[0].to_string(),
        "the bucket of documents is told 2 ways: documents-1 (output DocumentBucketName of stack \
         BedrockChatStack), documents-2 (DOCUMENT_BUCKET of the task's container)"
    );
    assert!(told.value(Item::Cluster).is_none() && told.missing.is_empty());
    assert!(told.value(Item::BotTable).is_some(), "two outputs and a variable agree");
}

#[test]
fn an_output_that_no_release_has_is_named() {
    let mut strange = outputs(&[&STACK, &CONSTRUCTS, &V1]);
    strange.extend(outputs(&[&[("EmbeddingQueueUrl12345678", "https://sqs")]]));
    let told = discover(&strange, &environment());
    assert_eq!(told.unknown, strange[strange.len() - 1..]);
}

#[test]
fn an_empty_variable_tells_nothing() {
    let environment = BTreeMap::from([("BEDROCK_REGION".to_owned(), String::new())]);
    assert!(discover(&[], &environment).found.is_empty());
}

#[test]
fn an_output_without_a_usable_value_tells_nothing_and_is_named() {
    for (value, why) in [
        ("", "is empty"),
        (" ", "is empty"),
        ("\n\t", "is empty"),
        ("docu\nments", "holds control characters"),
        ("a\u{1b}[31mb", "holds control characters"),
    ] {
        let told = discover(&outputs(&[&[("DocumentBucketName", value)]]), &BTreeMap::new());
        assert_eq!(told.value(Item::Bucket), None, "{value:?}");
        let missing = told.missing.iter().find(|one| one.item == Item::Bucket).unwrap();
        let said = format!(
            "the bucket of documents: output DocumentBucketName of stack BedrockChatStack {why}"
        );
        assert_eq!(missing.to_string(), said, "{value:?}");
        assert_eq!(told.unusable, vec![], "it is among the missing");
    }
}

#[test]
fn a_value_that_is_told_elsewhere_wins_over_one_that_is_of_no_use() {
    let environment = BTreeMap::from([
        ("DOCUMENT_BUCKET".to_owned(), "documents".to_owned()),
        ("TABLE_NAME".to_owned(), "a\nb".to_owned()),
        ("DB_PORT".to_owned(), " ".to_owned()),
    ]);
    let told = discover(&outputs(&[&[("DocumentBucketName", " ")]]), &environment);
    assert_eq!(told.value(Item::Bucket).unwrap().value, "documents");
    let said: Vec<String> = told.unusable.iter().map(Unusable::to_string).collect();
    assert_eq!(said, ["output DocumentBucketName of stack BedrockChatStack is empty"]);
    let missing = |item| told.missing.iter().find(|one| one.item == item).unwrap().to_string();
    let table = "the table of bots: TABLE_NAME of the task's container holds control characters";
    assert_eq!(missing(Item::BotTable), table);
    assert!(
        missing(Item::DatabasePort).contains("has no variable DB_PORT"),
        "an empty one is unset"
    );
}

#[test]
fn white_space_around_a_value_is_none_of_it() {
    let two = [("ConversationTableName", " Chat\n"), ("DatabaseConversationTableName1", "Chat")];
    let told = discover(&outputs(&[&two]), &BTreeMap::new());
    assert_eq!(told.value(Item::BotTable).unwrap().value, "Chat");
    assert_eq!((told.doubled, told.unusable), (vec![], vec![]));
}
