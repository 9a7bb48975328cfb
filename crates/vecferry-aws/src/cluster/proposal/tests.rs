//! Which snapshot is proposed, and when nobody can tell.

use super::super::survey::tests::{cluster, snapshot, survey};
use super::*;

const NEW: &str = "0198c3f1-7000-7abc-8def-1a2b3c4d5e6f";
const EARLIER: &str = "0198aaaa-7000-7abc-8def-bbbbbbbbbbbb";

fn tags(id: &str, snapshot: &str) -> BTreeMap<String, String> {
    [
        (names::MIGRATION, id),
        (names::TARGET, "target.rds:5432/kb"),
        (names::SNAPSHOT, snapshot),
        (names::SNAPSHOT_TIME, "2026-02-01T00:00:00Z"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn propose_with(survey: &Survey, change: impl FnOnce(&mut Wishes)) -> Result<Proposal, Undecided> {
    let mut wishes = Wishes::default();
    change(&mut wishes);
    propose(survey, &wishes, NEW)
}

/// The guide's case: the stack's old cluster is gone, two of its snapshots are left.
fn replaced() -> Survey {
    let mut survey = survey();
    survey.snapshots = vec![
        snapshot("first", "chat", "2026-01-01T00:00:00Z"),
        snapshot("final", "chat", "2026-02-01T00:00:00Z"),
    ];
    survey
}

fn chosen(proposal: &Proposal) -> &str {
    match &proposal.origin {
        Origin::Snapshot(snapshot) => &snapshot.id,
        other => panic!("no snapshot: {other:?}"),
    }
}

#[test]
fn the_newest_snapshot_of_the_one_cluster_that_is_gone_is_proposed() {
    let proposal = propose_with(&replaced(), |_| {}).unwrap();
    assert_eq!((chosen(&proposal), proposal.migration.as_str()), ("final", NEW));
    assert_eq!(proposal.cluster, "vecferry-0198c3f1-1a2b3c4d5e6f");
    assert_eq!(proposal.engine_version, "15.3");
    assert_eq!((proposal.class.as_str(), proposal.gib), ("db.serverless", Some(10)));
    assert_eq!(proposal.subnet_group, "private");
    assert_eq!(proposal.security_groups, ["sg-target"], "never the VPC's default group");
    assert_eq!((proposal.key, proposal.target_capacity), (None, None));
}

#[test]
fn a_snapshot_that_is_named_wins_and_must_be_one() {
    let survey = replaced();
    let first = |wishes: &mut Wishes| wishes.snapshot = Some("first".into());
    assert_eq!(chosen(&propose_with(&survey, first).unwrap()), "first");
    let arn = survey.snapshots[0].arn.clone();
    let by_arn = propose_with(&survey, |wishes| wishes.snapshot = Some(arn)).unwrap();
    assert_eq!(chosen(&by_arn), "first");
    let none = propose_with(&survey, |wishes| wishes.snapshot = Some("nope".into()));
    assert_eq!(none, Err(Undecided::NoSuchSnapshot("nope".into())));
    let mut failed = survey;
    failed.snapshots[0].status = "failed".into();
    assert!(matches!(propose_with(&failed, first), Err(Undecided::Unusable { .. })));
}

#[test]
fn snapshots_of_several_clusters_are_asked_about() {
    let mut survey = replaced();
    survey.snapshots.push(snapshot("x", "other", "2026-03-01T00:00:00Z"));
    let several = propose_with(&survey, |_| {});
    assert_eq!(several, Err(Undecided::Several(vec!["chat".into(), "other".into()])));
    let of = |name: &'static str| {
        move |wishes: &mut Wishes| wishes.source_cluster = Some(name.to_owned())
    };
    assert_eq!(chosen(&propose_with(&survey, of("chat")).unwrap()), "final");
    let none = propose_with(&survey, of("elsewhere"));
    assert_eq!(none, Err(Undecided::None { others: 3 }));
    // In another VPC it is no candidate for this target, unless it is named.
    survey.snapshots[2].vpc = "vpc-2".into();
    assert_eq!(chosen(&propose_with(&survey, |_| {}).unwrap()), "final");
}

#[test]
fn a_cluster_that_is_still_there_is_snapshotted_first_or_asked_about() {
    let mut survey = replaced();
    survey.clusters.push(cluster("chat"));
    let by_address = |wishes: &mut Wishes| wishes.source_address = Some(("chat.rds".into(), 5432));
    let still_there = propose_with(&survey, by_address);
    assert_eq!(still_there, Err(Undecided::StillThere("chat".into())));
    let taken = propose_with(&survey, |wishes| {
        wishes.source_cluster = Some("chat".into());
        wishes.take_snapshot = true;
    });
    let taken = taken.unwrap();
    let Origin::Cluster { cluster, snapshot, .. } = &taken.origin else { panic!("{taken:?}") };
    assert_eq!((cluster.as_str(), snapshot.as_str()), ("chat", taken.cluster.as_str()));
    let nothing = propose_with(&survey, |wishes| wishes.take_snapshot = true);
    assert_eq!(nothing, Err(Undecided::NothingToTake));
    let target = propose_with(&survey, |wishes| wishes.source_cluster = Some("target".into()));
    assert_eq!(target, Err(Undecided::IsTarget("target".into())));
}

#[test]
fn what_was_begun_is_gone_on_with_under_its_id() {
    let mut survey = replaced();
    survey.cluster.tags.insert("vecferry:restore/kb".into(), EARLIER.into());
    let reserved = propose_with(&survey, |_| {}).unwrap();
    assert_eq!((reserved.migration.as_str(), chosen(&reserved)), (EARLIER, "final"));
    let mut other = survey.clone();
    other.target.database = "other".into();
    assert_eq!(propose_with(&other, |_| {}).unwrap().migration, NEW, "another database's");

    let mut temporary = cluster("vecferry-0198aaaa-bbbbbbbbbbbb");
    temporary.tags = tags(EARLIER, &survey.snapshots[0].arn);
    survey.clusters.push(temporary.clone());
    let standing = propose_with(&survey, |_| {}).unwrap();
    assert_eq!(
        (standing.migration.as_str(), standing.cluster.as_str()),
        (EARLIER, "vecferry-0198aaaa-bbbbbbbbbbbb")
    );
    assert!(matches!(standing.origin, Origin::Standing { time: Some(_), .. }), "{standing:?}");
    let same = propose_with(&survey, |wishes| wishes.snapshot = Some("first".into()));
    assert!(same.is_ok(), "{same:?}");
    let another = propose_with(&survey, |wishes| wishes.snapshot = Some("final".into()));
    assert!(matches!(another, Err(Undecided::Another(_))), "{another:?}");

    temporary.id = "vecferry-second".into();
    survey.clusters.push(temporary);
    assert!(matches!(propose_with(&survey, |_| {}), Err(Undecided::Crowd(_))));
}

#[test]
fn a_snapshot_that_was_taken_for_this_is_used_while_its_cluster_is_there() {
    let mut survey = replaced();
    survey.clusters.push(cluster("chat"));
    survey.snapshots[1].tags = tags(EARLIER, "");
    survey.snapshots[1].status = "creating".into();
    survey.cluster.tags.insert("vecferry:restore/kb".into(), EARLIER.into());
    let proposal = propose_with(&survey, |wishes| {
        wishes.source_cluster = Some("chat".into());
        wishes.take_snapshot = true;
    });
    let proposal = proposal.unwrap();
    assert_eq!((chosen(&proposal), proposal.migration.as_str()), ("final", EARLIER));
}

#[test]
fn wishes_for_the_cluster_are_kept_to() {
    let proposal = propose_with(&replaced(), |wishes| {
        wishes.security_groups = vec!["sg-own".into()];
        wishes.key = Some("alias/aws/rds".into());
        wishes.engine_version = Some("15.10".into());
        wishes.instance_class = Some("db.r6g.large".into());
        wishes.raise_target = Some(8.0);
    });
    let proposal = proposal.unwrap();
    assert_eq!(proposal.security_groups, ["sg-own"]);
    assert_eq!(proposal.key.as_deref(), Some("alias/aws/rds"));
    assert_eq!((proposal.engine_version.as_str(), proposal.capacity), ("15.10", None));
    assert_eq!(proposal.target_capacity, Some(Capacity { least: 8.0, most: 8.0 }));
    let enough = propose_with(&replaced(), |wishes| wishes.raise_target = Some(0.5)).unwrap();
    assert_eq!(enough.target_capacity, None, "it has as much already");
}

#[test]
fn what_cannot_be_made_is_refused() {
    let mut multi_az = replaced();
    multi_az.snapshots.iter_mut().for_each(|one| one.engine = "postgres".into());
    assert_eq!(propose_with(&multi_az, |_| {}), Err(Undecided::NeedsClass));
    for (least, most) in [(4.0, 2.0), (0.3, 2.0), (1.0, 300.0), (0.0, 0.5), (-1.0, 4.0)] {
        let odd = propose_with(&replaced(), |wishes| wishes.capacity = Capacity { least, most });
        assert_eq!(odd, Err(Undecided::Capacity(Capacity { least, most })));
    }
    let mut provisioned = replaced();
    provisioned.cluster.capacity = None;
    let raised = propose_with(&provisioned, |wishes| wishes.raise_target = Some(2.0));
    assert_eq!(raised, Err(Undecided::NotServerless("target".into())));
}

/// `chat` is there with a snapshot that was kept from an earlier migration; so is `other`.
fn kept_from_earlier() -> Survey {
    let mut survey = replaced();
    survey.clusters.extend([cluster("chat"), cluster("other")]);
    survey.snapshots[1].tags = tags(EARLIER, "");
    survey
}

#[test]
fn a_snapshot_of_an_earlier_migration_overrides_nothing() {
    let of = |name: &str, take: bool| {
        let name = name.to_owned();
        move |wishes: &mut Wishes| {
            wishes.source_cluster = Some(name);
            wishes.take_snapshot = take;
        }
    };
    let mut survey = kept_from_earlier();
    for reserved in [None, Some("0198bbbb-7000-7abc-8def-cccccccccccc")] {
        if let Some(id) = reserved {
            survey.cluster.tags.insert("vecferry:restore/kb".into(), id.into());
        }
        for name in ["chat", "other"] {
            let taken = propose_with(&survey, of(name, true)).unwrap();
            assert_eq!(taken.migration, reserved.unwrap_or(NEW));
            let Origin::Cluster { cluster, .. } = &taken.origin else { panic!("{taken:?}") };
            assert_eq!(cluster, name);
            let there = propose_with(&survey, of(name, false));
            assert_eq!(there, Err(Undecided::StillThere(name.into())));
        }
        let unlikely = propose_with(&survey, |_| {});
        assert_eq!(unlikely, Err(Undecided::None { others: 2 }));
    }
    // Taken for this very migration, it is still not the one of another cluster.
    survey.cluster.tags.insert("vecferry:restore/kb".into(), EARLIER.into());
    assert_eq!(chosen(&propose_with(&survey, of("chat", true)).unwrap()), "final");
    let another = propose_with(&survey, of("other", true));
    assert_eq!(another, Err(Undecided::TakenOfAnother("chat".into())));
    assert_eq!(
        propose_with(&survey, of("other", false)),
        Err(Undecided::StillThere("other".into()))
    );
}

#[test]
fn a_standing_cluster_of_another_source_is_refused() {
    let mut survey = replaced();
    let arn = survey.snapshots[0].arn.clone();
    let mut temporary = cluster("vecferry-0198aaaa-bbbbbbbbbbbb");
    temporary.tags = tags(EARLIER, &arn);
    survey.clusters.extend([temporary, cluster("live")]);
    let asked = |survey: &Survey, name: &str| {
        propose_with(survey, |wishes| wishes.source_cluster = Some(name.to_owned())).map(drop)
    };
    let by_its_snapshot = |survey: &Survey| {
        assert_eq!(asked(survey, "chat"), Ok(()));
        assert_eq!(asked(survey, "arn:aws:rds:us-east-1:1:cluster:chat"), Ok(()));
        for other in ["live", "elsewhere"] {
            assert_eq!(asked(survey, other), Err(Undecided::Another(arn.clone())), "{other}");
        }
    };
    by_its_snapshot(&survey);
    // The snapshot is gone; what the cluster was restored from is still on it.
    survey.snapshots.clear();
    survey.clusters[1].tags.insert(names::SOURCE_CLUSTER.into(), "chat".into());
    by_its_snapshot(&survey);
    let live = |wishes: &mut Wishes| wishes.source_address = Some(("live.rds".into(), 5432));
    assert_eq!(propose_with(&survey, live).map(drop), Err(Undecided::Another(arn.clone())));
}
