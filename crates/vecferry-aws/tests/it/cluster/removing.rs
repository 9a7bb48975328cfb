//! What was made is removed, exactly that, and from wherever it was interrupted.

use tokio_util::sync::CancellationToken;
use vecferry_aws::cluster::{Holding, Kind, Progress, Wishes, holdings, remove};
use vecferry_testkit::rds::{Fault, RdsCluster, Stall};

use super::{Place, patience};

async fn list(place: &Place) -> Vec<Holding> {
    holdings(&place.account, &place.target, None).await.unwrap()
}

async fn remove_all(place: &Place) -> vecferry_core::Result<()> {
    let found = list(place).await;
    let (report, cancel) = (|_: &Progress| {}, CancellationToken::new());
    let both = (&report as _, &cancel);
    remove(&place.account, &place.target, &found, patience(), both).await
}

/// A place with everything that a restore can leave, and with what must not be touched.
async fn full() -> Place {
    let place = Place::new().await;
    place.rds.add_cluster(RdsCluster::new("live"));
    let mut bystander = RdsCluster::new("vecferry-00000000-000000000000");
    bystander.tags.insert("vecferry:migration".into(), "m".into());
    bystander.tags.insert("vecferry:target".into(), "elsewhere.example:5432/postgres".into());
    place.rds.add_cluster(bystander);
    let wishes = Wishes {
        raise_target: Some(4.0),
        source_cluster: Some("live".into()),
        take_snapshot: true,
        ..Wishes::default()
    };
    place.restore(&wishes).await.0.unwrap();
    place
}

async fn assert_clean(place: &Place, when: &str) {
    assert_eq!(place.made().await, (0, 0, 0), "{when}");
    assert_eq!(list(place).await, [], "{when}");
    let ids: Vec<String> = place.rds.clusters().into_iter().map(|one| one.id).collect();
    assert_eq!(ids, ["live", &place.name, "vecferry-00000000-000000000000"], "{when}");
    let target = place.rds.cluster(&place.name).unwrap();
    assert_eq!((target.capacity, target.tags.len()), (Some((0.5, 5.0)), 0), "{when}");
    let snapshots: Vec<String> = place.rds.snapshots().into_iter().map(|one| one.id).collect();
    assert_eq!(snapshots, ["early", "stack-final-1x2y"], "{when}");
}

#[tokio::test]
async fn everything_with_the_tag_of_the_target_goes_and_nothing_else() {
    let place = full().await;
    let kinds: Vec<Kind> = list(&place).await.into_iter().map(|one| one.kind).collect();
    let expected = [
        Kind::Instance,
        Kind::Cluster,
        Kind::Capacity,
        Kind::Secret,
        Kind::Snapshot,
        Kind::Reservation,
    ];
    assert_eq!(kinds, expected);
    remove_all(&place).await.unwrap();
    assert_clean(&place, "at once").await;
    let calls = place.rds.calls();
    let position = |name: &str| calls.iter().position(|call| call.operation == name).unwrap();
    assert!(position("DeleteDBInstance") < position("DeleteDBCluster"));
    let deleted = &calls[position("DeleteDBCluster")].parameters;
    assert_eq!(deleted["SkipFinalSnapshot"], "true");
    remove_all(&place).await.unwrap();
}

#[tokio::test]
async fn a_removal_killed_at_any_call_is_gone_on_with() {
    for stall in [Stall::Before, Stall::After] {
        for number in 1.. {
            let place = full().await;
            place.rds.stall_at(number, stall);
            let died = tokio::select! {
                outcome = remove_all(&place) => { outcome.unwrap(); false }
                () = place.rds.stalled() => true,
            };
            place.rds.go_on();
            remove_all(&place).await.unwrap();
            assert_clean(&place, &format!("died {stall:?} call {number}")).await;
            if !died {
                assert!(number > 15, "only {number} calls: something was not tried");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_restore_that_failed_half_way_is_removed_too() {
    let place = Place::new().await;
    place.rds.next("RestoreDBClusterFromSnapshot", [Fault::EndsIn("failed".into())]);
    place.restore(&Wishes::default()).await.0.unwrap_err();
    place.rds.next("DeleteDBCluster", [Fault::Throttle, Fault::Unanswered]);
    remove_all(&place).await.unwrap();
    assert_eq!(list(&place).await, []);
    // And a new one can begin.
    place.restore(&Wishes::default()).await.0.unwrap();
}

#[tokio::test]
async fn a_protected_cluster_is_refused_with_the_services_words() {
    let place = Place::new().await;
    let temporary = place.restore(&Wishes::default()).await.0.unwrap();
    let mut cluster = place.rds.cluster(&temporary.cluster).unwrap();
    cluster.protected = true;
    place.rds.replace_cluster(cluster);
    let error = remove_all(&place).await.unwrap_err();
    let said = vecferry_core::error::on_one_line(&error);
    assert!(said.contains("deletion protection"), "{said}");
}

#[tokio::test]
async fn a_snapshot_stays_when_its_cluster_is_on_its_way_out() {
    let place = full().await;
    let found = list(&place).await;
    assert!(found.iter().any(|one| one.kind == Kind::Snapshot && !one.kept), "{found:?}");
    // Somebody deletes the source between the list and the removal.
    let mut live = place.rds.cluster("live").unwrap();
    live.status = "deleting".into();
    place.rds.replace_cluster(live);
    let told = std::sync::Mutex::new(Vec::new());
    let report = |progress: &Progress| told.lock().unwrap().push(format!("{progress:?}"));
    let cancel = CancellationToken::new();
    let both = (&report as _, &cancel);
    remove(&place.account, &place.target, &found, patience(), both).await.unwrap();
    assert_eq!(place.rds.count("DeleteDBClusterSnapshot"), 0);
    let kept = list(&place).await;
    let [kept] = &kept[..] else { panic!("{kept:?}") };
    assert!(kept.kind == Kind::Snapshot && kept.kept, "{kept:?}");
    assert!(kept.effect.contains("live is deleting"), "{}", kept.effect);
    assert!(told.into_inner().unwrap().iter().any(|one| one.contains("keep the snapshot")));
}

/// The target's capacity, and what its tag says that it was.
fn capacity(place: &Place) -> (Option<(f64, f64)>, Option<String>) {
    let target = place.rds.cluster(&place.name).unwrap();
    (target.capacity, target.tags.get("vecferry:capacity").cloned())
}

const RAISED: (f64, f64) = (4.0, 5.0);

/// A place with two databases of the target's cluster, for both of which capacity was raised.
async fn of_two_databases() -> Place {
    let mut place = Place::new().await;
    for (database, acus) in [("postgres", 2.0), ("kb2", RAISED.0)] {
        place.target.database = database.into();
        let wishes = Wishes { raise_target: Some(acus), ..Wishes::default() };
        place.restore(&wishes).await.0.unwrap();
    }
    place
}

#[tokio::test]
async fn capacity_that_was_raised_for_two_databases_is_set_back_with_the_last_of_them() {
    for order in [["postgres", "kb2"], ["kb2", "postgres"]] {
        let mut place = of_two_databases().await;
        let before = Some("0.5-5".to_owned());
        assert_eq!(capacity(&place), (Some(RAISED), before.clone()));

        place.target.database = order[0].into();
        let found = list(&place).await;
        let kept: Vec<&Holding> = found.iter().filter(|one| one.kept).collect();
        let [kept] = kept[..] else { panic!("{kept:?}") };
        assert_eq!(kept.kind, Kind::Capacity);
        let note = format!("vecferry:restore/{} stands", order[1]);
        assert!(kept.effect.contains(&note), "{}", kept.effect);
        remove_all(&place).await.unwrap();
        assert_eq!(capacity(&place), (Some(RAISED), before), "{order:?}");
        assert_eq!(place.made().await, (1, 1, 1), "the other one's");

        place.target.database = order[1].into();
        remove_all(&place).await.unwrap();
        assert_eq!(capacity(&place), (Some((0.5, 5.0)), None), "{order:?}");
        assert_eq!(place.made().await, (0, 0, 0));
        assert_eq!(place.rds.cluster(&place.name).unwrap().tags.len(), 0);
    }
}

#[tokio::test]
async fn capacity_stays_when_another_databases_restore_begins_after_the_list() {
    let place = Place::new().await;
    let wishes = Wishes { raise_target: Some(RAISED.0), ..Wishes::default() };
    place.restore(&wishes).await.0.unwrap();
    let found = list(&place).await;
    assert!(found.iter().any(|one| one.kind == Kind::Capacity && !one.kept), "{found:?}");
    let mut target = place.rds.cluster(&place.name).unwrap();
    target.tags.insert("vecferry:restore/kb2".into(), "m".into());
    place.rds.replace_cluster(target);
    let told = std::sync::Mutex::new(Vec::new());
    let report = |progress: &Progress| told.lock().unwrap().push(format!("{progress:?}"));
    let cancel = CancellationToken::new();
    let both = (&report as _, &cancel);
    remove(&place.account, &place.target, &found, patience(), both).await.unwrap();
    assert_eq!(capacity(&place), (Some(RAISED), Some("0.5-5".into())));
    assert_eq!(place.made().await, (0, 0, 0));
    assert!(told.into_inner().unwrap().iter().any(|one| one.contains("keep the capacity")));
}
