//! From what a stack tells to settings, and to what the operator is told besides. Pure.

use vecferry_aws::stack::{Deployed, Found, Generation, Item};

use crate::settings::{Known, Value};

/// Settings that the stack tells, each with the output it came from.
pub(super) fn settings(deployed: &Deployed, profile: Option<&str>) -> Vec<Known> {
    let told = &deployed.discovery;
    let mut known = Vec::new();
    let mut set = |table, key, value: Value, from: &str| {
        known.push(Known { table, key, value, from: from.to_owned() });
    };
    let text = |found: &Found| Value::Text(found.value.clone());
    if let Some(found) = told.value(Item::DatabaseSecret)
        && told.generation == Generation::V1
    {
        set(None, "target_secret", text(found), &found.from);
    }
    if let Some(found) = told.value(Item::BotTable) {
        set(Some("bots"), "table", text(found), &found.from);
    }
    if let Some(region) = &deployed.region {
        let from = format!("the ARN of stack {}", deployed.name);
        set(Some("aws"), "region", Value::Text(region.clone()), &from);
    }
    if let Some(profile) = profile {
        set(Some("aws"), "profile", Value::Text(profile.to_owned()), "--profile");
    }
    if let Some(found) = told.value(Item::ModelRegion) {
        set(Some("embedding"), "region", text(found), &found.from);
    }
    if let Some(found) = told.value(Item::Bucket) {
        set(Some("documents"), "bucket", text(found), &found.from);
    }
    known.extend(tasks(deployed));
    known
}

/// `[tasks]`: whole or not at all, for half of it cannot be used.
fn tasks(deployed: &Deployed) -> Vec<Known> {
    let value = |item| deployed.discovery.value(item);
    let subnets: Vec<&Found> =
        [Item::Subnet0, Item::Subnet1].into_iter().filter_map(value).collect();
    let (Some(cluster), Some(definition), false) =
        (value(Item::Cluster), value(Item::TaskDefinition), subnets.is_empty())
    else {
        return vec![];
    };
    let known =
        |key, value, from: &str| Known { table: Some("tasks"), key, value, from: from.to_owned() };
    let text = |text: &str| Value::Text(text.to_owned());
    let froms: Vec<&str> = subnets.iter().map(|found| found.from.as_str()).collect();
    let list = subnets.iter().map(|found| found.value.clone()).collect();
    let mut all = vec![
        known("runner", text("ecs"), &cluster.from),
        known("cluster", text(&cluster.value), &cluster.from),
        known("task_definition", text(&definition.value), &definition.from),
        known("subnets", Value::List(list), &froms.join(" and ")),
    ];
    if let Some(container) = &deployed.container {
        all.push(known("container", text(container), "the task definition"));
    }
    if let Some(group) = value(Item::SecurityGroup) {
        all.push(known("security_groups", Value::List(vec![group.value.clone()]), &group.from));
    }
    all
}

/// What the stack does not tell, tells twice, or tells that nobody knows; and what it is.
pub(super) fn remarks(deployed: &Deployed) -> Vec<String> {
    let (told, name) = (&deployed.discovery, &deployed.name);
    let mut all = deployed.notes.clone();
    match told.generation {
        Generation::V1 => {}
        Generation::V0 => all.push(format!(
            "stack {name} is version 0 of Bedrock Chat: its cluster is the one that version 1 replaces. Take a \
             snapshot of it, deploy version 1, and run this again with --force; until then only what both have is set"
        )),
        Generation::V2 => all.push(format!(
            "stack {name} is version 2 or newer of Bedrock Chat, which has no pgvector database: there is nothing to \
             migrate to"
        )),
        Generation::Other => all.push(format!(
            "stack {name} is not Bedrock Chat's: name the stack that `cdk deploy` calls BedrockChatStack"
        )),
    }
    all.extend(told.missing.iter().map(|missing| format!("missing: {missing}")));
    all.extend(told.doubled.iter().map(|doubled| format!("doubled: {doubled}; none was taken")));
    all.extend(told.unusable.iter().map(|one| format!("unusable: {one}")));
    all.extend(told.unknown.iter().map(|output| {
        format!(
            "unknown: output {} of stack {} is not one of Bedrock Chat's",
            output.key, output.stack
        )
    }));
    if !(told.missing.is_empty() && told.doubled.is_empty() && told.unknown.is_empty()) {
        all.push(format!(
            "look at CloudFormation > Stacks > {name} > Outputs, and set by hand what is not set"
        ));
    }
    all
}

/// What comes next.
pub(super) fn next(deployed: &Deployed) -> &'static str {
    match deployed.discovery.generation {
        Generation::V1 => "fill in source, or source = \"snapshot\", then run `vecferry check`",
        _ => "fill in source and target when the new cluster is there, then run `vecferry check`",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use vecferry_aws::stack::{Output, discover};

    use super::*;

    fn deployed(outputs: &[(&str, &str)]) -> Deployed {
        let outputs: Vec<Output> = outputs
            .iter()
            .map(|(key, value)| Output {
                stack: "S".into(),
                key: (*key).into(),
                value: (*value).into(),
            })
            .collect();
        Deployed {
            name: "S".into(),
            region: Some("eu-west-1".into()),
            container: None,
            discovery: discover(&outputs, &BTreeMap::new()),
            notes: vec![],
        }
    }

    fn keys(known: &[Known]) -> Vec<(&str, &str)> {
        known.iter().map(|one| (one.table.unwrap_or(""), one.key)).collect()
    }

    #[test]
    fn tasks_are_set_whole_or_not_at_all() {
        let cluster = ("EmbeddingClusterName1", "c");
        let definition = ("EmbeddingTaskDefinitionName1", "t:1");
        let half = deployed(&[cluster, definition]);
        assert_eq!(keys(&settings(&half, None)), [("aws", "region")]);
        let whole = deployed(&[cluster, definition, ("PrivateSubnetId0", "s")]);
        let known = settings(&whole, None);
        assert_eq!(
            keys(&known)[1..],
            [
                ("tasks", "runner"),
                ("tasks", "cluster"),
                ("tasks", "task_definition"),
                ("tasks", "subnets")
            ]
        );
        assert_eq!(known[4].value, Value::List(vec!["s".into()]));
    }

    #[test]
    fn the_cluster_of_a_version_0_is_no_target() {
        let secret = ("DbConfigSecretArn", "arn");
        let known = settings(&deployed(&[secret, ("DocumentBucketName", "b")]), Some("ops"));
        assert_eq!(keys(&known), [("aws", "region"), ("aws", "profile"), ("documents", "bucket")]);
        let said = remarks(&deployed(&[secret])).join("\n");
        assert!(said.contains("version 0") && said.contains("deploy version 1"), "{said}");
        let new = deployed(&[secret, ("EmbeddingClusterName1", "c")]);
        assert_eq!(keys(&settings(&new, None))[0], ("", "target_secret"));
    }

    #[test]
    fn what_has_no_usable_value_is_not_set_and_said_on_one_line_each() {
        let blank = deployed(&[
            ("ConversationTableName", "Chat"),
            ("DatabaseConversationTableName1", ""),
            ("DbConfigSecretArn", ""),
            ("DocumentBucketName", "docu\nments"),
            ("EmbeddingClusterName1", " "),
            ("EmbeddingTaskDefinitionName1", "t:1"),
            ("PrivateSubnetId0", "s"),
        ]);
        assert_eq!(keys(&settings(&blank, None)), [("bots", "table"), ("aws", "region")]);
        let said = remarks(&blank);
        for line in [
            "missing: the bucket of documents: output DocumentBucketName of stack S holds control characters",
            "missing: the ECS cluster: output EmbeddingClusterName1 of stack S is empty",
            "missing: the database's secret: output DbConfigSecretArn of stack S is empty",
            "unusable: output DatabaseConversationTableName1 of stack S is empty",
        ] {
            assert!(said.iter().any(|one| one == line), "{line} is not in {said:?}");
        }
        assert!(said.iter().all(|line| !line.contains(char::is_control)), "{said:?}");
    }

    #[test]
    fn what_is_odd_is_said_with_where_to_look() {
        let odd = deployed(&[
            ("EmbeddingClusterName1", "a"),
            ("EmbeddingClusterName2", "b"),
            ("EmbeddingOther", "c"),
        ]);
        let said = remarks(&odd);
        let has = |start: &str| said.iter().any(|line| line.starts_with(start));
        assert!(has("missing: the table of bots") && has("doubled: the ECS cluster"), "{said:?}");
        assert!(has("unknown: output EmbeddingOther") && has("look at CloudFormation"), "{said:?}");
        assert!(said.iter().any(|line| line.contains("not Bedrock Chat's")), "{said:?}");
    }
}
