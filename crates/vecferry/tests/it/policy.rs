//! IAM policies, printed where nothing is allowed yet: no cluster, no credentials, no network.

use serde_json::Value;

use crate::program::Program;

fn offline() -> Program {
    let program = Program::new();
    // Whoever asked AWS, or the metadata service of an instance, would fail or hang here.
    ["AWS_ENDPOINT_URL", "AWS_EC2_METADATA_SERVICE_ENDPOINT"]
        .into_iter()
        .fold(program, |program, name| program.set(name, "http://127.0.0.1:1"))
        .set("AWS_REGION", "")
        .set("AWS_DEFAULT_REGION", "")
}

fn statement<'a>(policy: &'a Value, sid: &str) -> &'a Value {
    let mut all = policy["Statement"].as_array().unwrap().iter();
    all.find(|one| one["Sid"] == sid).unwrap_or_else(|| panic!("no {sid} in {policy}"))
}

#[test]
fn a_policy_is_printed_without_settings_and_says_what_to_fill_in() {
    let ran = offline().run(&["check", "--print-policy", "reembed", "--runner", "ecs"]).expect(0);
    let policy = ran.json();
    assert_eq!(policy["Version"], "2012-10-17");
    let bots = &statement(&policy, "ListBots")["Resource"];
    assert_eq!(bots[0], "arn:aws:dynamodb:REGION:ACCOUNT:table/TABLE");
    assert_eq!(bots[1], "arn:aws:dynamodb:REGION:ACCOUNT:table/TABLE/index/LastBotUsedIndex");
    for word in ["REGION", "ACCOUNT", "TABLE", "BUCKET", "CLUSTER", "DEFINITION", "TASKROLES"] {
        let line = format!("not known: {word} stands for");
        assert!(ran.stderr.contains(&line), "{word}:\n{}", ran.stderr);
    }
    assert!(ran.stderr.contains("StartTasks: one task is started per bot"), "{}", ran.stderr);
}

#[test]
fn a_policy_names_what_the_settings_name() {
    let program = offline();
    program.write(
        "vecferry.toml",
        "source = 'snapshot'\n[aws]\nregion = 'eu-west-1'\n[bots]\ntable = 'Chat'\n[documents]\nbucket = 'docs'\n\
         [embedding]\nregion = 'us-east-1'\n[tasks]\nrunner = 'ecs'\ncluster = 'chat'\n\
         task_definition = 'arn:aws:ecs:eu-west-1:123456789012:task-definition/embedding:4'\n",
    );
    let delta = program.run(&["check", "--print-policy", "delta", "-q"]).expect(0);
    let policy = delta.json();
    let own = "arn:aws:rds:eu-west-1:123456789012:cluster:vecferry-*";
    assert_eq!(statement(&policy, "ManageOwnCluster")["Resource"], own);
    assert_eq!(
        statement(&policy, "StartTasks")["Resource"],
        "arn:aws:ecs:eu-west-1:123456789012:task-definition/embedding:*"
    );
    assert!(!delta.stderr.contains("TABLE"), "{}", delta.stderr);

    let worker = program.run(&["--json", "check", "--print-policy", "worker"]).expect(0).json();
    assert_eq!(worker["version"], 1);
    let model = "arn:aws:bedrock:us-east-1::foundation-model/cohere.embed-multilingual-v3";
    assert_eq!(statement(&worker["policy"], "EmbedTexts")["Resource"], model);
    assert_eq!(worker["unknown"][0]["word"], "SECRET", "{}", worker["unknown"]);
}

#[test]
fn a_restore_is_limited_to_the_targets_cluster_by_its_host() {
    let program = offline();
    let settings = "source = 'snapshot'\n\
                    target = 'postgres://u@new.cluster-x.eu-west-1.rds.amazonaws.com/kb'\n\
                    [aws]\nregion = 'eu-west-1'\n";
    program.write("vecferry.toml", settings);
    let cluster = "arn:aws:rds:eu-west-1:ACCOUNT:cluster:new";
    for purpose in ["delta", "restore"] {
        let policy = program.run(&["check", "--print-policy", purpose, "-q"]).expect(0).json();
        let note = statement(&policy, "NoteOnTarget");
        assert_eq!(note["Resource"], cluster, "{purpose}");
        assert_eq!(
            note["Condition"]["ForAllValues:StringLike"]["aws:TagKeys"],
            "vecferry:restore/*"
        );
        assert!(!policy.to_string().contains("RaiseTargetCapacity"), "{purpose}");
        assert!(!policy.to_string().contains(":cluster:*"), "{purpose}");
    }
    program.write("vecferry.toml", &format!("{settings}[restore]\nraise_target_capacity = 4\n"));
    let policy = program.run(&["check", "--print-policy", "delta", "-q"]).expect(0).json();
    let raise = statement(&policy, "RaiseTargetCapacity");
    assert_eq!(
        (raise["Resource"].as_str(), raise["Action"].as_str()),
        (Some(cluster), Some("rds:ModifyDBCluster"))
    );
}
