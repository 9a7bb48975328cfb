//! Policies that IAM takes, with what each purpose needs and nothing besides.

use super::*;

fn known() -> Scope {
    let is = |text: &str| Named::Is(text.to_owned());
    Scope {
        region: Some("eu-west-1".into()),
        account: Some("123456789012".into()),
        caller: Some("arn:aws:iam::123456789012:role/ops/Operator".into()),
        stack: Some("BedrockChatStack".into()),
        table: is("Conversations"),
        table_role: Named::Unused,
        bucket: is("documents"),
        cluster: is("chat"),
        task_definition: is("embedding:7"),
        task_roles: vec!["arn:aws:iam::123456789012:role/Task".into()],
        model: is("cohere.embed-multilingual-v3"),
        model_region: Some("us-east-1".into()),
        source_secret: Named::Unused,
        target_secret: is("arn:aws:secretsmanager:eu-west-1:123456789012:secret:Db-AbCdEf"),
        switch_secret: is("app/db"),
        snapshot: true,
        encryption_key: is("1234"),
    }
}

const PURPOSES: [Purpose; 9] = [
    Purpose::Method(Method::Copy),
    Purpose::Method(Method::Follow),
    Purpose::Method(Method::Reembed),
    Purpose::Method(Method::Delta),
    Purpose::Worker,
    Purpose::Bots,
    Purpose::Init,
    Purpose::Restore,
    Purpose::Cutover,
];

fn sids(purpose: Purpose, scope: &Scope) -> Vec<&'static str> {
    statements(purpose, scope).iter().map(|statement| statement.sid).collect()
}

fn resources<'a>(statements: &'a [Statement], sid: &str) -> Vec<&'a str> {
    let found = statements.iter().find(|statement| statement.sid == sid).unwrap();
    found.resources.iter().map(String::as_str).collect()
}

#[test]
fn every_policy_is_one_that_iam_takes() {
    for scope in [known(), Scope::default()] {
        for purpose in PURPOSES {
            let statements = statements(purpose, &scope);
            assert!(!statements.is_empty(), "{purpose:?}");
            for statement in &statements {
                let sid = statement.sid;
                assert!(sid.chars().all(|c| c.is_ascii_alphanumeric()), "{sid}");
                assert!(!statement.why.is_empty() && !statement.why.ends_with('.'), "{sid}");
                assert!(statement.actions.is_sorted(), "{sid}: actions in order");
                for resource in &statement.resources {
                    let parts = resource.splitn(6, ':').count();
                    assert!(resource == "*" || parts == 6, "{sid}: {resource}");
                }
            }
            let mut unique: Vec<_> = statements.iter().map(|statement| statement.sid).collect();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), statements.len(), "{purpose:?}: a Sid twice");
            let text = serde_json::to_string(&policy(&statements)).unwrap();
            // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: a managed policy's 6 144
            // characters, white space aside.
            assert!(text.len() <= 6144, "{purpose:?}: {} characters", text.len());
        }
    }
}

#[test]
fn a_policy_of_the_known_names_nothing_unknown_and_one_of_nothing_names_all() {
    for purpose in PURPOSES {
        let unknown = Unknown::of(&statements(purpose, &known()));
        assert_eq!(unknown, vec![], "{purpose:?}");
    }
    let scope = Scope { snapshot: true, ..Scope::default() };
    let mut words: Vec<_> = PURPOSES
        .iter()
        .flat_map(|purpose| Unknown::of(&statements(*purpose, &scope)))
        .map(|unknown| unknown.word)
        .collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), 13, "{words:?}");
}

#[test]
fn what_a_migration_does_not_use_is_not_asked_for() {
    let bare = Scope {
        table: Named::Unused,
        bucket: Named::Unused,
        cluster: Named::Unused,
        model: Named::Unused,
        source_secret: Named::Unused,
        target_secret: Named::Unused,
        switch_secret: Named::Unused,
        snapshot: false,
        ..known()
    };
    let checks = ["SimulateOwnPermissions", "SeeDatabases", "SeeQuotas"];
    for method in [Method::Copy, Method::Follow, Method::Reembed] {
        assert_eq!(sids(Purpose::Method(method), &bare), checks, "{method}");
    }
    let examined = statements(Purpose::Method(Method::Copy), &bare);
    let caller = ["arn:aws:iam::123456789012:role/ops/Operator"];
    assert_eq!(resources(&examined, "SimulateOwnPermissions"), caller, "no task has a role");
}

#[test]
fn each_method_asks_for_its_own() {
    let scope = Scope { snapshot: false, switch_secret: Named::Unused, ..known() };
    let copy = sids(Purpose::Method(Method::Copy), &scope);
    assert_eq!(
        copy,
        ["SimulateOwnPermissions", "SeeDatabases", "SeeQuotas", "ReadDatabaseSecrets"]
    );
    let reembed = sids(Purpose::Method(Method::Reembed), &scope);
    for sid in ["ListBots", "RecordBots", "ReadDocuments", "StartTasks", "PassTaskRoles"] {
        assert!(reembed.contains(&sid) && !copy.contains(&sid), "{sid}");
    }
    assert!(!reembed.contains(&"EmbedTexts"), "tasks embed, not the operator");
    assert!(!reembed.contains(&"RestoreSnapshot"));
    let delta = sids(Purpose::Method(Method::Delta), &known());
    assert!(delta.contains(&"RestoreSnapshot") && delta.contains(&"SwitchSecret"));
    let local = Scope { cluster: Named::Unused, ..scope };
    let here = sids(Purpose::Method(Method::Reembed), &local);
    assert!(here.contains(&"EmbedTexts") && !here.contains(&"StartTasks"), "{here:?}");
}

#[test]
fn tasks_are_started_in_one_cluster_with_their_own_roles() {
    let statements = statements(Purpose::Method(Method::Reembed), &known());
    let arn = |rest: &str| format!("arn:aws:ecs:eu-west-1:123456789012:{rest}");
    assert_eq!(resources(&statements, "StartTasks"), [arn("task-definition/embedding:*")]);
    assert_eq!(resources(&statements, "FollowTasks"), [arn("task/chat/*")]);
    let text = serde_json::to_value(policy(&statements)).unwrap();
    let statement = |sid: &str| {
        let all = text["Statement"].as_array().unwrap().iter();
        all.clone().find(|one| one["Sid"] == sid).unwrap().clone()
    };
    let cluster = arn("cluster/chat");
    assert_eq!(statement("StartTasks")["Condition"]["ArnEquals"]["ecs:cluster"], cluster);
    let passed = &statement("PassTaskRoles")["Condition"]["StringEquals"]["iam:PassedToService"];
    assert_eq!(passed, "ecs-tasks.amazonaws.com");
    assert!(statement("SeeCluster").get("Condition").is_none());
    // However the task definition is called, all its revisions are meant.
    for name in ["embedding", "embedding:12", &arn("task-definition/embedding:3")] {
        let scope = Scope { task_definition: Named::Is(name.to_owned()), ..known() };
        assert_eq!(scope.task_definitions().unwrap(), arn("task-definition/embedding:*"), "{name}");
    }
}

#[test]
fn restore_changes_and_deletes_only_what_carries_its_tag() {
    for statement in statements(Purpose::Restore, &known()) {
        let writes =
            |action: &&&str| action.starts_with("rds:Delete") || action.starts_with("rds:Modify");
        if statement.actions.iter().any(|action| writes(&action)) {
            let keys: Vec<_> = statement.conditions.iter().map(|one| one.key).collect();
            if statement.sid == "RaiseTargetCapacity" {
                // The target's own cluster, which says by its tag what it was before.
                assert_eq!(keys, ["aws:ResourceTag/vecferry:capacity"]);
                assert_eq!(statement.actions, ["rds:ModifyDBCluster"]);
                continue;
            }
            assert_eq!(keys, ["aws:ResourceTag/vecferry:migration"], "{}", statement.sid);
            assert!(
                statement.resources.iter().all(|arn| arn.contains(":vecferry-")),
                "{:?}",
                statement.resources
            );
        }
    }
}

#[test]
fn a_worker_reaches_the_table_by_itself_or_through_the_applications_role() {
    let own = sids(Purpose::Worker, &known());
    assert!(own.contains(&"RecordBots") && !own.contains(&"AssumeTableRole"), "{own:?}");
    let role = "arn:aws:iam::123456789012:role/TableAccess";
    let scope = Scope { table_role: Named::Is(role.to_owned()), ..known() };
    let through = statements(Purpose::Worker, &scope);
    assert_eq!(resources(&through, "AssumeTableRole"), [role]);
    assert!(!through.iter().any(|statement| statement.sid == "RecordBots"));
}

#[test]
fn a_model_behind_a_profile_needs_the_profile_and_the_model_everywhere() {
    let models = |id: &str| Scope { model: Named::Is(id.to_owned()), ..known() }.models();
    assert_eq!(
        models("cohere.embed-multilingual-v3"),
        ["arn:aws:bedrock:us-east-1::foundation-model/cohere.embed-multilingual-v3"]
    );
    let everywhere = "arn:aws:bedrock:*::foundation-model/cohere.embed-v4:0";
    let profile = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.cohere.embed-v4:0";
    assert_eq!(models("us.cohere.embed-v4:0"), [profile, everywhere]);
    assert_eq!(models(profile), [profile, everywhere]);
}

#[test]
fn the_partition_follows_the_region() {
    for (region, table, domain) in [
        ("eu-west-1", "arn:aws:dynamodb:eu-west-1:", "rds.eu-west-1.amazonaws.com"),
        ("cn-north-1", "arn:aws-cn:dynamodb:cn-north-1:", "rds.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "arn:aws-us-gov:dynamodb:", "rds.us-gov-west-1.amazonaws.com"),
    ] {
        let scope = Scope { region: Some(region.into()), ..known() };
        assert!(scope.table().unwrap().starts_with(table), "{region}");
        assert_eq!(scope.domain("rds"), domain);
    }
}

#[test]
fn a_secret_by_name_has_six_characters_more_in_its_arn() {
    let switch = statements(Purpose::Cutover, &known());
    let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app/db-??????";
    assert_eq!(resources(&switch, "SwitchSecret"), [arn]);
}
