//! What is found from what AWS told, refused and kept to itself.

use vecferry_core::Side;
use vecferry_core::policy::Method;
use vecferry_core::preflight::{Report, Severity};

use super::Look;
use super::facts::{Aurora, Cluster, Facts, ModelSays, Snapshot, Tested, Verdict};
use super::judge::judge;
use crate::permission::{Named, Scope};

const HOST: &str = "chat.cluster-x.eu-west-1.rds.amazonaws.com";

/// A caller that may do everything, and nothing else known.
fn facts(method: Method) -> Facts {
    let scope = Scope {
        region: Some("eu-west-1".into()),
        model: Named::Is("cohere.embed-v4:0".into()),
        ..Scope::default()
    };
    let look = Look { method, scope, source_host: None, target_host: None, index_bytes: None };
    Facts {
        look,
        caller: Ok("arn:aws:sts::1:assumed-role/Ops/me".into()),
        operator: vec![tested("ecs:RunTask", Verdict::Allowed)],
        worker: vec![],
        clusters: vec![],
        snapshots: None,
        model: None,
        model_quotas: None,
    }
}

fn tested(action: &'static str, verdict: Verdict) -> Tested {
    let (sid, why) = ("StartTasks", "one task is started per bot");
    Tested { sid, action, resource: format!("arn/{action}"), why, optional: false, verdict }
}

fn aurora(side: Side, found: Aurora) -> Cluster {
    let found = Ok(Some(found));
    Cluster { side, host: HOST.into(), found, logical_replication: None }
}

fn healthy() -> Aurora {
    Aurora {
        id: "chat".into(),
        engine: "aurora-postgresql".into(),
        version: "16.4".into(),
        parameter_group: "default.aurora-postgresql16".into(),
        status: "available".into(),
        encrypted: true,
        capacity: Some((0.5, 5.0)),
        is_reader: false,
    }
}

/// What was found but for notes.
fn bad(report: &Report) -> Vec<(Severity, &str)> {
    let bad = report.findings.iter().filter(|finding| finding.severity != Severity::Note);
    bad.map(|finding| (finding.severity, finding.check.as_str())).collect()
}

fn said(report: &Report) -> String {
    let line = |finding: &vecferry_core::preflight::Finding| {
        format!("{} → {}\n", finding.what, finding.remedy)
    };
    report.findings.iter().map(line).collect()
}

#[test]
fn who_calls_is_said_and_nobody_blocks() {
    let report = judge(&facts(Method::Copy));
    assert_eq!(bad(&report), []);
    let what =
        "AWS knows the caller as arn:aws:sts::1:assumed-role/Ops/me, in account 1 and eu-west-1";
    assert_eq!(report.findings[0].what, what);
    assert_eq!(report.checked, ["AWS identity", "AWS permissions"]);
    let nobody =
        Facts { caller: Err("ExpiredToken".into()), operator: vec![], ..facts(Method::Copy) };
    let report = judge(&nobody);
    assert_eq!(bad(&report), [(Severity::Blocker, "AWS identity")]);
    assert!(said(&report).contains("ExpiredToken"));
    assert_eq!(report.checked, ["AWS identity"], "no permission was looked at");
}

#[test]
fn a_denied_permission_blocks_with_action_resource_reason_and_remedy() {
    let denied = || Verdict::Denied("no policy allows it".into());
    let mut facts = facts(Method::Reembed);
    facts.operator = vec![tested("ecs:RunTask", denied()), tested("ecs:StopTask", denied())];
    let report = judge(&facts);
    assert_eq!(bad(&report), [(Severity::Blocker, "AWS permissions")], "one for a statement");
    let expected = "the caller may not ecs:RunTask, ecs:StopTask on arn/ecs:RunTask, arn/ecs:StopTask: no policy \
                    allows it; one task is started per bot → vecferry check --print-policy reembed prints a policy \
                    that allows it";
    assert!(said(&report).contains(expected), "{}", said(&report));

    facts.operator = vec![Tested { optional: true, ..tested("rds:DescribeDBClusters", denied()) }];
    let report = judge(&facts);
    assert_eq!(bad(&report), [], "only checks need it");
    assert_eq!(report.could_not_run[0].check, "AWS permissions: rds:DescribeDBClusters");
    assert_eq!(report.could_not_run[0].why, "no policy allows it");
}

#[test]
fn what_could_not_be_tested_is_listed_once_per_action() {
    let mut facts = facts(Method::Reembed);
    let untested = || Verdict::Untested("it was not simulated".into());
    facts.operator = vec![tested("ecs:RunTask", untested()), tested("ecs:RunTask", untested())];
    let report = judge(&facts);
    assert_eq!(report.could_not_run.len(), 1);
    assert_eq!(report.could_not_run[0].check, "AWS permissions: ecs:RunTask");
    assert_eq!(bad(&report), []);
}

#[test]
fn the_task_role_is_judged_apart() {
    let mut facts = facts(Method::Reembed);
    facts.worker = vec![tested("s3:GetObject", Verdict::Denied("a policy denies it".into()))];
    let report = judge(&facts);
    assert_eq!(bad(&report), [(Severity::Blocker, "task role")]);
    assert!(said(&report).contains("the tasks' role may not s3:GetObject"));
    assert!(said(&report).contains("--print-policy worker"));
}

#[test]
fn a_cluster_is_described_and_what_is_wrong_with_it_is_said() {
    let mut facts = facts(Method::Copy);
    facts.clusters = vec![aurora(Side::Target, healthy())];
    let report = judge(&facts);
    assert_eq!(bad(&report), []);
    let described = "cluster chat is aurora-postgresql 16.4, parameter group default.aurora-postgresql16, encrypted, \
                     0.5 to 5 capacity units";
    assert!(said(&report).contains(described), "{}", said(&report));
    assert_eq!(report.findings.iter().filter(|one| one.side == Some(Side::Target)).count(), 1);

    let old = Aurora { version: "15.3".into(), status: "stopped".into(), ..healthy() };
    facts.clusters = vec![aurora(Side::Source, old)];
    let report = judge(&facts);
    assert_eq!(bad(&report), [(Severity::Warning, "Aurora cluster"); 2]);
    assert!(said(&report).contains("is stopped") && said(&report).contains("no HNSW"));

    for (version, is_old) in [
        ("15.4", false),
        ("14.8", true),
        ("13.12", false),
        ("16.1", false),
        ("11.9", false),
        ("x", false),
    ] {
        let one = Aurora { version: version.into(), ..healthy() };
        facts.clusters = vec![aurora(Side::Target, one)];
        assert_eq!(!bad(&judge(&facts)).is_empty(), is_old, "{version}");
    }
}

#[test]
fn a_readers_endpoint_blocks_whether_or_not_the_cluster_is_known() {
    let mut facts = facts(Method::Copy);
    let reader = Aurora { is_reader: true, ..healthy() };
    facts.clusters = vec![aurora(Side::Source, reader)];
    assert_eq!(bad(&judge(&facts)), [(Severity::Blocker, "cluster endpoint")]);
    let host = HOST.replace(".cluster-", ".cluster-ro-");
    let unknown = Cluster { host, found: Err("denied".into()), ..aurora(Side::Target, healthy()) };
    facts.clusters = vec![unknown];
    let report = judge(&facts);
    assert_eq!(bad(&report), [(Severity::Blocker, "cluster endpoint")]);
    assert_eq!(report.could_not_run[0].check, "Aurora cluster of the target");
}

#[test]
fn a_cluster_that_is_not_the_accounts_is_no_fault() {
    let mut facts = facts(Method::Copy);
    facts.clusters = vec![Cluster { found: Ok(None), ..aurora(Side::Source, healthy()) }];
    let report = judge(&facts);
    assert_eq!(bad(&report), []);
    assert!(said(&report).contains("no Aurora cluster of this account has the endpoint"));
}

#[test]
fn a_follow_needs_logical_replication_of_the_source() {
    let mut facts = facts(Method::Follow);
    let with =
        |value| Cluster { logical_replication: Some(value), ..aurora(Side::Source, healthy()) };
    facts.clusters = vec![with(Ok(Some("1".into())))];
    assert_eq!(bad(&judge(&facts)), []);
    for value in [Ok(Some("0".to_owned())), Ok(None)] {
        facts.clusters = vec![with(value)];
        let report = judge(&facts);
        assert_eq!(bad(&report), [(Severity::Blocker, "rds.logical_replication")]);
        assert!(said(&report).contains("make a cluster parameter group of your own"));
    }
    facts.clusters = vec![with(Err("denied".into()))];
    assert_eq!(judge(&facts).could_not_run[0].check, "rds.logical_replication");
}

#[test]
fn too_little_capacity_is_told_with_the_number_to_raise_it_to() {
    let mut facts = facts(Method::Copy);
    facts.clusters = vec![aurora(Side::Target, healthy())];
    // A tenth of 5 units of 2 GiB is 1 GiB.
    for (wanted, warned) in [(None, false), (Some(1 << 30), false), (Some((1 << 30) + 1), true)] {
        facts.look.index_bytes = wanted;
        assert_eq!(!bad(&judge(&facts)).is_empty(), warned, "{wanted:?}");
    }
    facts.look.index_bytes = Some(4 << 30);
    assert!(said(&judge(&facts)).contains("raise the maximum capacity to 20 for the migration"));
    facts.clusters = vec![aurora(Side::Source, healthy())];
    assert_eq!(bad(&judge(&facts)), [], "nothing is built on the source");
    facts.clusters = vec![aurora(Side::Target, Aurora { capacity: None, ..healthy() })];
    assert_eq!(bad(&judge(&facts)), [], "an instance of a fixed size");
}

#[test]
fn snapshots_are_shown_and_missed_where_one_is_the_source() {
    let mut facts = facts(Method::Delta);
    let taken = "2026-10-01T10:00:00Z".to_owned();
    facts.snapshots = Some(Ok(vec![Snapshot {
        taken,
        id: "final".into(),
        cluster: "chat".into(),
        version: "15.3".into(),
        encrypted: false,
    }]));
    let shown = said(&judge(&facts));
    assert!(shown.contains(
        "snapshot final of cluster chat, taken 2026-10-01T10:00:00Z, 15.3 not encrypted"
    ));
    facts.snapshots = Some(Ok(vec![]));
    assert_eq!(bad(&judge(&facts)), []);
    facts.look.scope.snapshot = true;
    assert_eq!(bad(&judge(&facts)), [(Severity::Blocker, "snapshots")]);
    facts.snapshots = Some(Err("denied".into()));
    let report = judge(&facts);
    assert_eq!((bad(&report), report.could_not_run[0].check.as_str()), (vec![], "snapshots"));
}

#[test]
fn a_model_that_cannot_be_called_blocks() {
    let mut facts = facts(Method::Reembed);
    for says in [
        ModelSays::NotEnabled("x".into()),
        ModelSays::NotOffered("x".into()),
        ModelSays::ProfileOnly("x".into()),
    ] {
        facts.model = Some(says);
        assert_eq!(bad(&judge(&facts)), [(Severity::Blocker, "embedding model in Bedrock")]);
    }
    for says in [ModelSays::NotOurs, ModelSays::Unclear("x".into())] {
        facts.model = Some(says);
        let report = judge(&facts);
        assert_eq!((bad(&report).len(), report.could_not_run.len()), (0, 1));
    }
    facts.model = Some(ModelSays::Ready);
    facts.model_quotas = Some(Ok(vec![("requests per minute for it".into(), 2000.0)]));
    let report = judge(&facts);
    assert!(report.checked.iter().any(|name| name == "embedding model in Bedrock"));
    assert!(said(&report).contains("requests per minute for it: 2000"));
    for (quotas, why) in [
        (Ok(vec![]), "no quota is called after cohere.embed-v4:0"),
        (Err("denied".to_owned()), "denied"),
    ] {
        facts.model_quotas = Some(quotas);
        assert_eq!(judge(&facts).could_not_run[0].why, why);
    }
}
