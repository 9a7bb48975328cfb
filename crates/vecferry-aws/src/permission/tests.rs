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
        snapshot_id: Named::Unknown,
        target_cluster: is("chat"),
        raise_target: true,
        source_cluster: is("old-chat"),
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
            let characters = policy(&statements).characters().unwrap();
            assert!(characters <= Policy::LONGEST, "{purpose:?}: {characters} characters");
        }
    }
}

#[test]
fn a_policy_of_the_known_names_nothing_unknown_and_one_of_nothing_names_all() {
    for purpose in PURPOSES {
        let unknown = Unknown::of(&statements(purpose, &known()));
        assert_eq!(unknown, vec![], "{purpose:?}");
    }
    let scope = Scope { snapshot: true, raise_target: true, ..Scope::default() };
    let mut words: Vec<_> = PURPOSES
        .iter()
        .flat_map(|purpose| Unknown::of(&statements(*purpose, &scope)))
        .map(|unknown| unknown.word)
        .collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), 15, "{words:?}");
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

/// What a restore may do to things that are there, by itself or through a tag that it may set.
const CHANGES: [&str; 8] = [
    "rds:AddTagsToResource",
    "rds:CreateDBClusterSnapshot",
    "rds:CreateDBInstance",
    "rds:DeleteDBCluster",
    "rds:DeleteDBClusterSnapshot",
    "rds:DeleteDBInstance",
    "rds:ModifyDBCluster",
    "rds:RemoveTagsFromResource",
];

fn rds(rest: &str) -> String {
    format!("arn:aws:rds:eu-west-1:123456789012:{rest}")
}

#[test]
fn no_cluster_but_the_named_ones_and_its_own_can_be_tagged_or_changed() {
    for purpose in [Purpose::Restore, Purpose::Method(Method::Delta)] {
        let mut clusters = Vec::new();
        for statement in statements(purpose, &known()) {
            let changing = statement.actions.iter().filter(|action| CHANGES.contains(action));
            for action in changing {
                let of_clusters = statement.resources.iter().filter(|arn| {
                    assert_ne!(*arn, "*", "{action}");
                    arn.contains(":cluster:") || arn.contains(":db:")
                });
                clusters.extend(of_clusters.map(|arn| (*action, arn.clone())));
            }
        }
        clusters.retain(|(_, arn)| !arn.contains(":vecferry-"));
        let (target, source) = (rds("cluster:chat"), rds("cluster:old-chat"));
        let expected = [
            ("rds:CreateDBClusterSnapshot", source),
            ("rds:AddTagsToResource", target.clone()),
            ("rds:RemoveTagsFromResource", target.clone()),
            ("rds:ModifyDBCluster", target),
        ];
        assert_eq!(clusters, expected, "{purpose:?}");
    }
}

#[test]
fn what_restore_deletes_or_changes_of_its_own_carries_the_migrations_tag() {
    for statement in statements(Purpose::Restore, &known()) {
        let (there, asked) =
            ("aws:ResourceTag/vecferry:migration", "aws:RequestTag/vecferry:migration");
        let has = |start: &str| statement.actions.iter().any(|action| action.contains(start));
        let expected = match statement.sid {
            "NoteOnTarget" => vec!["aws:TagKeys"],
            "RaiseTargetCapacity" | "SeeOwnSecret" => vec![],
            _ if has(":Delete") || has(":Modify") || has(":GetSecretValue") => vec![there],
            _ if has(":Create") && !has("Grant") || has(":Restore") || has(":Add") => vec![asked],
            _ => continue,
        };
        let keys: Vec<_> = statement.conditions.iter().map(|one| one.key).collect();
        assert_eq!(keys, expected, "{}", statement.sid);
    }
}

#[test]
fn the_targets_cluster_may_be_changed_only_where_its_capacity_is_to_be_raised() {
    let raising = statements(Purpose::Restore, &known());
    assert_eq!(resources(&raising, "RaiseTargetCapacity"), [rds("cluster:chat")]);
    let keys = |statements: &[Statement]| {
        let note = statements.iter().find(|one| one.sid == "NoteOnTarget").unwrap();
        note.conditions[0].values.clone()
    };
    assert_eq!(keys(&raising), ["vecferry:capacity", "vecferry:restore/*"]);
    let plain = statements(Purpose::Restore, &Scope { raise_target: false, ..known() });
    assert!(!plain.iter().any(|one| one.sid == "RaiseTargetCapacity"));
    assert_eq!(keys(&plain), ["vecferry:restore/*"]);

    let unnamed = Scope { target_cluster: Named::Unknown, ..known() };
    let unnamed = statements(Purpose::Restore, &unnamed);
    assert_eq!(resources(&unnamed, "NoteOnTarget"), [rds("cluster:TARGETDB")]);
    assert_eq!(Unknown::of(&unnamed)[0].word, "TARGETDB");
}

#[test]
fn a_snapshot_is_taken_of_the_named_cluster_and_restored_from_the_named_one() {
    let taken = statements(Purpose::Restore, &known());
    let own = rds("cluster-snapshot:vecferry-*");
    assert_eq!(resources(&taken, "TakeSnapshot"), [rds("cluster:old-chat"), own]);
    assert!(resources(&taken, "RestoreSnapshot").contains(&rds("cluster-snapshot:*").as_str()));
    let gone = Scope {
        source_cluster: Named::Unused,
        snapshot_id: Named::Is("rds:final".into()),
        ..known()
    };
    let gone = statements(Purpose::Restore, &gone);
    assert!(!gone.iter().any(|one| one.sid == "TakeSnapshot"));
    let one = rds("cluster-snapshot:rds:final");
    assert_eq!(resources(&gone, "RestoreSnapshot")[1], one);
}

#[test]
fn databases_are_seen_by_one_statement_and_their_parameters_for_a_follow_alone() {
    let actions = |method, snapshot| {
        let scope = Scope { snapshot, ..known() };
        let all = statements(Purpose::Method(method), &scope);
        let of = |sid: &str| all.iter().find(|one| one.sid == sid).map(|one| one.actions.len());
        (of("SeeDatabases"), of("FindSnapshots"))
    };
    assert_eq!(actions(Method::Follow, false), (Some(4), None));
    assert_eq!(actions(Method::Copy, false), (Some(3), None));
    assert_eq!(actions(Method::Delta, true), (None, Some(5)));
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
