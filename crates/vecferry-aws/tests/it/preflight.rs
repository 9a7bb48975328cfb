//! What AWS has to say before a migration, asked over the wire: IAM's simulation of the testkit's own, the rest of moto.

use vecferry_aws::Account;
use vecferry_aws::permission::{Named, Scope};
use vecferry_aws::preflight::{Look, check};
use vecferry_core::policy::Method;
use vecferry_core::preflight::{Report, Severity};
use vecferry_testkit::bedrock::{Behaviour, StandIn};
use vecferry_testkit::chat::{ChatBucket, ChatTable};
use vecferry_testkit::ecs::{Ecs, EcsOptions, Program};
use vecferry_testkit::iam::{Iam, Rules};
use vecferry_testkit::{MOTO_REGION, moto};

use crate::rig::account_apart;

const ROLE: &str = "arn:aws:iam::123456789012:role/team/Ops";

struct Rig {
    iam: Iam,
    ecs: Ecs,
    model: StandIn,
    account: Account,
    look: Look,
}

/// A stack whose caller these rules are for.
async fn rig(rules: Rules) -> Rig {
    let iam = Iam::start(rules).unwrap();
    let ecs = Ecs::start(EcsOptions::new(Program::process(["true"]))).unwrap();
    let model = StandIn::start(Behaviour::default()).unwrap();
    let (table, bucket) = (
        ChatTable::create(moto().await).await.unwrap(),
        ChatBucket::create(moto().await).await.unwrap(),
    );
    let services = [
        ("iam", iam.url()),
        ("sts", iam.url()),
        ("ecs", ecs.url()),
        ("service-quotas", ecs.url()),
        ("bedrock-runtime", model.url()),
    ];
    let services: Vec<(&str, &str)> =
        services.iter().map(|(name, url)| (*name, url.as_str())).collect();
    let account = account_apart(moto().await.endpoint(), &services).await;
    let is = |text: &str| Named::Is(text.to_owned());
    let scope = Scope {
        region: Some(MOTO_REGION.into()),
        table: is(table.name()),
        bucket: is(bucket.name()),
        cluster: is("chat"),
        task_definition: is("embedding:1"),
        model: is("cohere.embed-multilingual-v3"),
        source_secret: Named::Unused,
        target_secret: Named::Unused,
        switch_secret: Named::Unused,
        table_role: Named::Unused,
        encryption_key: Named::Unused,
        ..Scope::default()
    };
    let look = Look {
        method: Method::Reembed,
        scope,
        source_host: None,
        target_host: None,
        index_bytes: None,
    };
    Rig { iam, ecs, model, account, look }
}

fn blockers(report: &Report) -> Vec<&str> {
    let blocking = report.findings.iter().filter(|one| one.severity == Severity::Blocker);
    blocking.map(|one| one.what.as_str()).collect()
}

fn left_out<'a>(report: &'a Report, check: &str) -> &'a str {
    let found = report.could_not_run.iter().find(|one| one.check == check);
    &found.unwrap_or_else(|| panic!("{check} is not in {:?}", report.could_not_run)).why
}

#[tokio::test]
async fn a_caller_that_may_everything_is_simulated_by_its_roles_whole_arn() {
    // Pages of two, and two throttles on the way.
    let rules = Rules { page: 2, throttles: 2, ..Rules::of_role(ROLE) };
    let rig = rig(rules).await;
    let report = check(&rig.account, rig.look.clone()).await;
    assert_eq!(blockers(&report), Vec::<&str>::new());
    let simulated = rig.iam.simulated();
    assert!(
        !simulated.is_empty() && simulated.iter().all(|one| one.principal == ROLE),
        "{simulated:?}"
    );
    let passing = simulated.iter().find(|one| one.actions == ["iam:PassRole"]);
    // The double's task definition names no role, so nobody could say which would be passed.
    assert!(passing.is_none());
    assert!(left_out(&report, "AWS permissions: iam:PassRole").contains("the task role"));
    let start = simulated.iter().find(|one| one.actions == ["ecs:RunTask"]).unwrap();
    assert_eq!(start.context["ecs:cluster"], "arn:aws:ecs:us-east-1:123456789012:cluster/chat");
    assert_eq!(rig.ecs.launched().len(), 0, "nothing was tried");
    assert_eq!(rig.model.seen().answered, 0, "nothing was embedded");
}

#[tokio::test]
async fn a_denied_action_blocks_and_one_that_only_checks_need_does_not() {
    let rules = Rules::of_role(ROLE).denying("ecs:RunTask").denying("rds:*");
    let rig = rig(rules).await;
    let report = check(&rig.account, rig.look.clone()).await;
    let said = blockers(&report);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains(
        "may not ecs:RunTask on arn:aws:ecs:us-east-1:123456789012:task-definition/embedding:*"
    ));
    assert!(said[0].contains("a policy denies it; one task is started per bot"), "{}", said[0]);
    assert_eq!(left_out(&report, "AWS permissions: rds:DescribeDBClusters"), "a policy denies it");
}

#[tokio::test]
async fn where_nothing_may_be_simulated_harmless_reads_tell_what_they_can() {
    let rules = Rules { simulation: false, reading: false, ..Rules::of_role(ROLE) };
    let mut rig = rig(rules).await;
    let report = check(&rig.account, rig.look.clone()).await;
    assert_eq!(blockers(&report), Vec::<&str>::new());
    let why = left_out(&report, "AWS permissions: ecs:RunTask");
    assert!(why.contains("iam:SimulatePrincipalPolicy"), "{why}");
    let untested = |action: &str| {
        let name = format!("AWS permissions: {action}");
        report.could_not_run.iter().any(|one| one.check == name)
    };
    for tried in ["dynamodb:Scan", "dynamodb:DescribeTable", "s3:ListBucket", "ecs:ListTasks"] {
        assert!(!untested(tried), "{tried}");
    }
    for left in ["dynamodb:UpdateItem", "ecs:StopTask", "s3:GetObject"] {
        assert!(untested(left), "{left}");
    }
    assert_eq!(rig.iam.simulated(), []);
    assert_eq!(rig.ecs.launched().len(), 0);

    // A table that is not there was looked for, so that was allowed; who says so is the registry's own check.
    rig.look.scope.table = Named::Is("NoSuchTable".into());
    assert_eq!(blockers(&check(&rig.account, rig.look).await), Vec::<&str>::new());
}

/// What is looked at for a delta from a snapshot to the cluster `chat`.
fn of_snapshot(look: Look) -> Look {
    let scope =
        Scope { snapshot: true, raise_target: true, source_cluster: Named::Unused, ..look.scope };
    let target_host = Some("chat.cluster-abc.us-east-1.rds.amazonaws.com".to_owned());
    Look { method: Method::Delta, scope, target_host, ..look }
}

#[tokio::test]
async fn what_a_restore_needs_is_asked_about_the_targets_own_cluster() {
    let rig = rig(Rules::of_role(ROLE)).await;
    let report = check(&rig.account, of_snapshot(rig.look)).await;
    assert_eq!(blockers(&report), Vec::<&str>::new());
    let simulated = rig.iam.simulated();
    let about = |action: &str| {
        let asked = simulated.iter().filter(|one| one.actions.iter().any(|one| one == action));
        let names = asked.flat_map(|one| &one.resources).map(|arn| arn.rsplit(':').next().unwrap());
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        names
    };
    assert_eq!(about("rds:RemoveTagsFromResource"), ["chat"]);
    assert_eq!(about("rds:ModifyDBCluster"), ["chat", "vecferry-vecferry-check"]);
    assert_eq!(about("rds:CreateDBClusterSnapshot"), Vec::<&str>::new(), "the source is gone");
    let note =
        simulated.iter().find(|one| one.actions.contains(&"rds:RemoveTagsFromResource".into()));
    assert_eq!(note.unwrap().context["aws:TagKeys"], "vecferry:capacity");
}

#[tokio::test]
async fn harmless_reads_tell_of_the_secrets_that_a_restore_looks_for() {
    let rules = Rules { simulation: false, reading: false, ..Rules::of_role(ROLE) };
    let rig = rig(rules).await;
    let report = check(&rig.account, of_snapshot(rig.look)).await;
    assert_eq!(blockers(&report), Vec::<&str>::new());
    let untested = |action: &str| {
        let name = format!("AWS permissions: {action}");
        report.could_not_run.iter().any(|one| one.check == name)
    };
    for tried in ["secretsmanager:ListSecrets", "secretsmanager:DescribeSecret"] {
        assert!(!untested(tried), "{tried}");
    }
    for left in ["secretsmanager:CreateSecret", "rds:ModifyDBCluster", "rds:AddTagsToResource"] {
        assert!(untested(left), "{left}");
    }
}

#[tokio::test]
async fn a_model_that_is_not_enabled_blocks_and_its_quota_is_asked_for() {
    let rig = rig(Rules::of_role(ROLE)).await;
    let id = "cohere.embed-multilingual-v3";
    rig.model.behave(Behaviour { disabled: vec![id.into()], ..Behaviour::default() });
    let report = check(&rig.account, rig.look.clone()).await;
    let said = blockers(&report);
    assert!(
        said.len() == 1 && said[0].contains("no access to cohere.embed-multilingual-v3"),
        "{said:?}"
    );
    assert!(left_out(&report, "Bedrock quotas").contains("Service Quotas do not tell"));
    rig.ecs.set_vcpus(Some(8.0));
    let report = check(&rig.account, rig.look).await;
    assert_eq!(left_out(&report, "Bedrock quotas"), format!("no quota is called after {id}"));
}

#[tokio::test]
async fn a_cluster_is_found_by_its_endpoint_and_so_are_snapshots() {
    let rig = rig(Rules::of_role(ROLE)).await;
    let rds = aws_sdk_rds::Client::new(rig.account.config());
    let name = vecferry_testkit::Moto::unique("chat");
    let made = rds
        .create_db_cluster()
        .db_cluster_identifier(&name)
        .engine("aurora-postgresql")
        .engine_version("15.3")
        .master_username("postgres")
        .master_user_password("not asked for")
        .send()
        .await
        .unwrap();
    let host = made.db_cluster().unwrap().endpoint().unwrap().to_owned();
    let snapshot = rds.create_db_cluster_snapshot().db_cluster_identifier(&name);
    snapshot.db_cluster_snapshot_identifier(format!("{name}-final")).send().await.unwrap();

    let look = Look { method: Method::Delta, target_host: Some(host.clone()), ..rig.look };
    let report = check(&rig.account, look).await;
    let said: Vec<&str> = report.findings.iter().map(|one| one.what.as_str()).collect();
    let has = |text: &str| said.iter().any(|line| line.contains(text));
    assert!(has(&format!("cluster {name} is aurora-postgresql 15.3")), "{host}: {said:?}");
    assert!(has("it has no HNSW"), "{said:?}");
    assert!(has(&format!("snapshot {name}-final of cluster {name}")), "{said:?}");
}
