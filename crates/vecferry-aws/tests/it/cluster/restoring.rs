//! One run, with what AWS does to it.

use vecferry_aws::cluster::{Capacity, Origin, Progress, Wishes};
use vecferry_core::{Class, Error};
use vecferry_testkit::rds::{Fault, RdsCluster};

use super::Place;

#[tokio::test]
async fn the_final_snapshot_becomes_a_cluster_beside_the_target() {
    let place = Place::new().await;
    // Every list has more than one page.
    place.rds.set_page(1);
    let wishes = Wishes { key: Some("alias/aws/rds".into()), ..Wishes::default() };
    let (outcome, told) = place.restore(&wishes).await;
    let temporary = outcome.unwrap();
    assert!(temporary.ready && temporary.snapshot.ends_with(":stack-final-1x2y"));
    assert_eq!(temporary.snapshot_time, "2026-11-19T08:30:00Z".parse().ok());

    let made = place.rds.cluster(&temporary.cluster).unwrap();
    assert_eq!((made.subnet_group.as_str(), made.version.as_str()), ("private", "15.3"));
    assert_eq!(made.security_groups, [format!("sg-{}", place.name)]);
    assert_eq!((made.protected, made.retention), (false, 1));
    assert_eq!((made.capacity, made.key.as_deref()), (Some((2.0, 16.0)), Some("alias/aws/rds")));
    assert_eq!(made.tags["vecferry:migration"], temporary.migration);
    assert_eq!(made.tags["vecferry:snapshot-time"], "2026-11-19T08:30:00Z");
    assert_eq!(made.password.as_ref().map(String::len), Some(32));
    let instances = place.rds.instances();
    let instance = instances.iter().find(|one| one.cluster == made.id).unwrap();
    assert_eq!((instance.class.as_str(), instance.public), ("db.serverless", false));
    let mut tags = made.tags.clone();
    assert!(tags.remove("vecferry:ready").is_some(), "written last");
    assert_eq!(instance.tags, tags);
    assert_eq!(place.made().await, (1, 1, 1));

    let dsn = temporary.dsn(&place.account).await.unwrap();
    assert_eq!((dsn.host.clone(), dsn.port), made.endpoint());
    assert_eq!((dsn.user.as_str(), dsn.database.as_str()), ("postgres", "postgres"));
    assert!(dsn.has_password());
    assert_eq!(place.find().await.unwrap(), temporary);

    let states: Vec<String> = told
        .iter()
        .filter_map(|one| match one {
            Progress::Waiting { what, status, .. } => Some(format!("{what} {status}")),
            _ => None,
        })
        .collect();
    for state in ["cluster creating", "cluster backing-up", "instance creating"] {
        assert!(states.iter().any(|told| told == state), "{state} is not among {states:?}");
    }
    let password = made.password.unwrap();
    assert!(!format!("{told:?}{temporary:?}{dsn:?}").contains(&password));
}

#[tokio::test]
async fn a_second_run_finds_everything_done() {
    let place = Place::new().await;
    let first = place.restore(&Wishes::default()).await.0.unwrap();
    let before = place.rds.cluster(&first.cluster).unwrap().password;
    assert!(matches!(place.propose(&Wishes::default()).await.origin, Origin::Standing { .. }));
    let second = place.restore(&Wishes::default()).await.0.unwrap();
    assert_eq!(first, second);
    assert_eq!(place.rds.cluster(&first.cluster).unwrap().password, before);
    for operation in ["RestoreDBClusterFromSnapshot", "CreateDBInstance", "CreateSecret"] {
        assert_eq!(place.rds.count(operation), 1, "{operation}");
    }
}

#[tokio::test]
async fn a_cluster_that_is_there_is_snapshotted_once_and_restored_from_that() {
    let place = Place::new().await;
    place.rds.add_cluster(RdsCluster::new("live"));
    let wishes =
        Wishes { source_cluster: Some("live".into()), take_snapshot: true, ..Wishes::default() };
    place.rds.next("CreateDBClusterSnapshot", [Fault::Late(2)]);
    let temporary = place.restore(&wishes).await.0.unwrap();
    let taken: Vec<_> =
        place.rds.snapshots().into_iter().filter(|one| one.cluster == "live").collect();
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!((&taken[0].arn(), &taken[0].id), (&temporary.snapshot, &temporary.cluster));
    assert_eq!(taken[0].tags["vecferry:migration"], temporary.migration);
    assert_eq!(temporary.snapshot_time, taken[0].time.parse().ok());
}

#[tokio::test]
async fn late_answers_lost_answers_and_throttles_make_nothing_twice() {
    let place = Place::new().await;
    place.rds.next("RestoreDBClusterFromSnapshot", [Fault::Unanswered, Fault::Late(0)]);
    place.rds.next("CreateDBInstance", [Fault::Late(3)]);
    place.rds.next("CreateSecret", [Fault::ServerError]);
    place.rds.next("ModifyDBCluster", [Fault::Unanswered]);
    // More throttles than the SDK repeats by itself.
    place.rds.next(
        "DescribeDBInstances",
        [Fault::None, Fault::Throttle, Fault::Throttle, Fault::Throttle],
    );
    let (outcome, told) = place.restore(&Wishes::default()).await;
    let temporary = outcome.unwrap();
    assert_eq!(place.made().await, (1, 1, 1));
    let again =
        |one: &Progress| matches!(one, Progress::Again { error } if error.contains("Throttling"));
    assert!(told.iter().any(again), "{told:?}");
    // The password in the secret is the one that was set last.
    let client = aws_sdk_secretsmanager::Client::new(place.account.config());
    let secret = client.get_secret_value().secret_id(&temporary.secret).send().await.unwrap();
    let password = place.rds.cluster(&temporary.cluster).unwrap().password.unwrap();
    assert!(secret.secret_string().unwrap().contains(&password));
}

#[tokio::test]
async fn a_new_cluster_that_nobody_has_heard_of_yet_is_not_made_again() {
    let place = Place::new().await;
    place.rds.next("RestoreDBClusterFromSnapshot", [Fault::Late(4)]);
    place.restore(&Wishes::default()).await.0.unwrap();
    assert_eq!(place.made().await, (1, 1, 1));
}

#[tokio::test]
async fn states_without_a_way_out_end_the_run_with_their_name() {
    for (operation, state) in
        [("RestoreDBClusterFromSnapshot", "failed"), ("CreateDBInstance", "incompatible-network")]
    {
        let place = Place::new().await;
        place.rds.next(operation, [Fault::EndsIn(state.into())]);
        let error = place.restore(&Wishes::default()).await.0.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains(state), "{error}");
        assert!(error.hint().unwrap().contains("vecferry cleanup"));
    }
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_the_operators_and_the_run_goes_on_after_it() {
    let place = Place::new().await;
    place.rds.next("CreateDBInstance", [Fault::quota("InstanceQuotaExceeded")]);
    let error = place.restore(&Wishes::default()).await.0.unwrap_err();
    assert_eq!(error.class(), Class::Operator);
    assert!(error.hint().unwrap().contains("Service Quotas"), "{error:?}");
    assert_eq!(place.made().await, (1, 0, 0));
    assert!(!place.find().await.unwrap().ready);
    place.restore(&Wishes::default()).await.0.unwrap();
    assert_eq!(place.made().await, (1, 1, 1));
}

#[tokio::test]
async fn a_limit_that_has_passed_says_so_and_loses_nothing() {
    let place = Place::new().await;
    let proposal = place.propose(&Wishes::default()).await;
    let (report, cancel) = (|_: &Progress| {}, tokio_util::sync::CancellationToken::new());
    let patience =
        vecferry_aws::cluster::Patience { limit: std::time::Duration::ZERO, ..super::patience() };
    let both = (&report as _, &cancel);
    let outcome =
        vecferry_aws::cluster::restore(&place.account, &proposal, "postgres", patience, both).await;
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("not done after 0 minutes"), "{error}");
    assert!(error.hint().unwrap().contains("--wait"));
    place.restore(&Wishes::default()).await.0.unwrap();
    assert_eq!(place.made().await, (1, 1, 1));
}

#[tokio::test]
async fn an_interrupted_run_begins_nothing_more() {
    let place = Place::new().await;
    let proposal = place.propose(&Wishes::default()).await;
    let cancel = tokio_util::sync::CancellationToken::new();
    let stop = cancel.clone();
    let report = move |progress: &Progress| {
        if matches!(progress, Progress::Waiting { .. }) {
            stop.cancel();
        }
    };
    let both = (&report as _, &cancel);
    let outcome = vecferry_aws::cluster::restore(
        &place.account,
        &proposal,
        "postgres",
        super::patience(),
        both,
    )
    .await;
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
    assert_eq!(place.made().await, (1, 0, 0));
}

#[tokio::test]
async fn the_targets_capacity_is_raised_once_its_old_values_are_noted() {
    let place = Place::new().await;
    let wishes = Wishes { raise_target: Some(4.0), ..Wishes::default() };
    place.restore(&wishes).await.0.unwrap();
    let target = place.rds.cluster(&place.name).unwrap();
    assert_eq!(target.capacity, Some((4.0, 5.0)));
    assert_eq!(target.tags["vecferry:capacity"], "0.5-5");
    // Raised higher later: what is noted is from before the first time.
    let wishes = Wishes { raise_target: Some(8.0), ..Wishes::default() };
    place.restore(&wishes).await.0.unwrap();
    let target = place.rds.cluster(&place.name).unwrap();
    assert_eq!(
        (target.capacity, target.tags["vecferry:capacity"].as_str()),
        (Some((8.0, 8.0)), "0.5-5")
    );
    let capacity: Capacity = target.tags["vecferry:capacity"].parse().unwrap();
    assert_eq!(capacity, Capacity { least: 0.5, most: 5.0 });
}

#[tokio::test]
async fn a_cluster_of_the_same_name_without_our_tags_is_left_alone() {
    let place = Place::new().await;
    let proposal = place.propose(&Wishes::default()).await;
    place.rds.add_cluster(RdsCluster::new(&proposal.cluster));
    let (report, cancel) = (|_: &Progress| {}, tokio_util::sync::CancellationToken::new());
    let both = (&report as _, &cancel);
    let outcome = vecferry_aws::cluster::restore(
        &place.account,
        &proposal,
        "postgres",
        super::patience(),
        both,
    )
    .await;
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("does not carry the tags"), "{error}");
    assert_eq!(place.rds.count("ModifyDBCluster"), 0);
}

/// The password in the secret of this name.
async fn kept(place: &Place, secret: &str) -> String {
    let client = aws_sdk_secretsmanager::Client::new(place.account.config());
    let secret = client.get_secret_value().secret_id(secret).send().await.unwrap();
    let text: serde_json::Value = serde_json::from_str(secret.secret_string().unwrap()).unwrap();
    text["password"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn two_runs_at_once_leave_the_password_that_the_secret_holds() {
    for _ in 0..4 {
        let place = Place::new().await;
        let proposal = place.propose(&Wishes::default()).await;
        let (report, cancel) = (|_: &Progress| {}, tokio_util::sync::CancellationToken::new());
        let both = (&report as _, &cancel);
        let run = || {
            let patience = super::patience();
            vecferry_aws::cluster::restore(&place.account, &proposal, "postgres", patience, both)
        };
        let (one, other) = tokio::join!(run(), run());
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!((&one, place.made().await), (&other, (1, 1, 1)));
        let password = place.rds.cluster(&one.cluster).unwrap().password.unwrap();
        assert_eq!(kept(&place, &one.secret).await, password);
        assert_eq!(place.find().await, Some(one));
    }
}

#[tokio::test]
async fn a_secret_that_says_something_else_is_no_proof_that_the_cluster_can_be_used() {
    let place = Place::new().await;
    let made = place.restore(&Wishes::default()).await.0.unwrap();
    // As somebody else leaves it, or a run of a version before the note.
    let client = aws_sdk_secretsmanager::Client::new(place.account.config());
    let text =
        r#"{"username": "postgres", "password": "another-one-of-32-characters", "dbname": "d"}"#;
    client.put_secret_value().secret_id(&made.secret).secret_string(text).send().await.unwrap();
    assert!(!place.find().await.unwrap().ready);
    place.restore(&Wishes::default()).await.0.unwrap();
    let cluster = place.rds.cluster(&made.cluster).unwrap();
    assert_eq!(cluster.password.as_deref(), Some("another-one-of-32-characters"));
    assert!(place.find().await.unwrap().ready);
}
