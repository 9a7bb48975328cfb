//! Two targets that are reached through the same tunnel, one after the other: their address is one, their things are not.

use tokio_util::sync::CancellationToken;
use vecferry_aws::cluster::{
    Kind, Origin, Progress, Proposal, TargetName, Temporary, Wishes, find, holdings, propose,
    remove, restore, survey,
};
use vecferry_core::Error;
use vecferry_testkit::Moto;
use vecferry_testkit::rds::RdsCluster;

use super::{Place, id, patience};

/// A place whose target is the end of a tunnel, and the names of two clusters it may lead to.
async fn place() -> (Place, String, String) {
    let mut place = Place::new().await;
    let prod = Moto::unique("prod");
    place.rds.add_cluster(RdsCluster::new(&prod));
    // No two tests have one database: moto's secrets are everybody's.
    let database = place.name.clone();
    place.target = TargetName { host: "127.0.0.1".into(), port: 6102, database };
    let dev = place.name.clone();
    (place, dev, prod)
}

async fn proposed(place: &Place, cluster: &str) -> Proposal {
    let survey = survey(&place.account, &place.target, Some(cluster)).await.unwrap();
    propose(&survey, &Wishes::default(), &id()).unwrap()
}

async fn restored(place: &Place, cluster: &str) -> Temporary {
    let proposal = proposed(place, cluster).await;
    let (report, cancel) = (|_: &Progress| {}, CancellationToken::new());
    let both = (&report as _, &cancel);
    restore(&place.account, &proposal, "postgres", patience(), both).await.unwrap()
}

async fn kinds(place: &Place, cluster: &str) -> Vec<(Kind, bool)> {
    let found = holdings(&place.account, &place.target, Some(cluster)).await.unwrap();
    found.into_iter().map(|one| (one.kind, one.kept)).collect()
}

#[tokio::test]
async fn each_cluster_behind_one_address_gets_and_keeps_its_own() {
    let (place, dev, prod) = place().await;
    let first = restored(&place, &dev).await;
    let of = async |cluster| find(&place.account, &place.target, cluster).await;
    assert_eq!(of(Some(&dev)).await.unwrap(), Some(first.clone()));
    assert_eq!(of(Some(&prod)).await.unwrap(), None);
    assert_eq!(kinds(&place, &prod).await, []);
    let proposal = proposed(&place, &prod).await;
    assert!(matches!(proposal.origin, Origin::Snapshot(_)), "{:?}", proposal.origin);
    assert!(matches!(proposed(&place, &dev).await.origin, Origin::Standing { .. }));

    let second = restored(&place, &prod).await;
    assert_ne!((&second.cluster, &second.migration), (&first.cluster, &first.migration));
    let note = format!("vecferry:restore/{}", place.target.database);
    for (cluster, temporary) in [(&dev, &first), (&prod, &second)] {
        assert_eq!(place.rds.cluster(cluster).unwrap().tags[&note], temporary.migration);
    }

    let found = holdings(&place.account, &place.target, Some(&prod)).await.unwrap();
    let (report, cancel) = (|_: &Progress| {}, CancellationToken::new());
    let both = (&report as _, &cancel);
    remove(&place.account, &place.target, &found, patience(), both).await.unwrap();
    assert!(place.rds.cluster(&second.cluster).is_none());
    assert_eq!(of(Some(&dev)).await.unwrap(), Some(first), "the other's is untouched");
}

#[tokio::test]
async fn which_cluster_is_behind_an_address_is_asked_and_not_guessed() {
    let (place, dev, _) = place().await;
    let made = restored(&place, &dev).await;
    for identifier in [None, Some("nowhere")] {
        let error = find(&place.account, &place.target, identifier).await.unwrap_err();
        assert!(matches!(error, Error::Configuration { .. }), "{error:?}");
        assert!(error.to_string().contains(&made.cluster), "{error}");
        assert!(error.hint().unwrap().contains("--target-cluster"), "{error:?}");
        let found = holdings(&place.account, &place.target, identifier).await.unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().all(|one| one.kept && one.effect.contains("--target-cluster")));
    }
}

#[tokio::test]
async fn what_was_made_before_clusters_were_tagged_is_found_by_the_note() {
    let (place, dev, prod) = place().await;
    let made = restored(&place, &dev).await;
    let mut cluster = place.rds.cluster(&made.cluster).unwrap();
    cluster.tags.remove("vecferry:target-cluster").unwrap();
    place.rds.replace_cluster(cluster);
    assert!(find(&place.account, &place.target, Some(&dev)).await.unwrap().is_some());
    assert_eq!(find(&place.account, &place.target, Some(&prod)).await.unwrap(), None);
    assert!(matches!(proposed(&place, &dev).await.origin, Origin::Standing { .. }));
    assert!(matches!(proposed(&place, &prod).await.origin, Origin::Snapshot(_)));
}
