//! A process that dies at any call, before or after AWS has carried it out, and another one that goes on.

use vecferry_aws::cluster::{Progress, Wishes, propose, restore, survey};
use vecferry_testkit::rds::{RdsCluster, Stall};

use super::{Place, id, patience};

/// Runs until the call of this number is held, then dies; `false` when it ended before.
async fn die_at(place: &Place, wishes: &Wishes, number: usize, stall: Stall) -> bool {
    place.rds.stall_at(number, stall);
    let (report, cancel) = (|_: &Progress| {}, tokio_util::sync::CancellationToken::new());
    let run = async {
        let survey = survey(&place.account, &place.target, None).await.unwrap();
        let proposal = propose(&survey, wishes, &id()).unwrap();
        let both = (&report as _, &cancel);
        restore(&place.account, &proposal, "postgres", patience(), both).await.unwrap();
    };
    let died = tokio::select! {
        () = run => false,
        () = place.rds.stalled() => true,
    };
    place.rds.go_on();
    died
}

/// Dies at every call in turn, each time in a place of its own; then goes on and must find all of it once.
async fn die_everywhere(stall: Stall, wishes: &Wishes) {
    let mut number = 1;
    loop {
        let place = Place::new().await;
        place.rds.add_cluster(RdsCluster::new("live"));
        let died = die_at(&place, wishes, number, stall).await;
        let call = place.rds.calls().last().map(|call| call.operation.clone());
        let when = format!("died {stall:?} call {number}, {call:?}");
        let temporary = place.restore(wishes).await.0.unwrap();
        assert_eq!(place.made().await, (1, 1, 1), "{when}");
        let taken = place.rds.snapshots().iter().filter(|one| one.cluster == "live").count();
        assert_eq!(taken, usize::from(wishes.take_snapshot), "{when}");
        assert!(place.find().await.unwrap().ready, "{when}");
        // The secret's password is the cluster's.
        let client = aws_sdk_secretsmanager::Client::new(place.account.config());
        let secret = client.get_secret_value().secret_id(&temporary.secret).send().await.unwrap();
        let password = place.rds.cluster(&temporary.cluster).unwrap().password.unwrap();
        assert!(secret.secret_string().unwrap().contains(&password), "{when}");
        let target = place.rds.cluster(&place.name).unwrap();
        assert_eq!(target.tags["vecferry:capacity"], "0.5-5", "{when}");
        assert_eq!(target.capacity, Some((4.0, 5.0)), "{when}");
        if !died {
            assert!(number > 20, "only {number} calls: something was not tried");
            return;
        }
        number += 1;
    }
}

#[tokio::test]
async fn a_run_killed_before_any_call_is_gone_on_with() {
    let wishes = Wishes { raise_target: Some(4.0), ..Wishes::default() };
    die_everywhere(Stall::Before, &wishes).await;
}

#[tokio::test]
async fn a_run_killed_after_any_call_is_gone_on_with() {
    let wishes = Wishes {
        raise_target: Some(4.0),
        source_cluster: Some("live".into()),
        take_snapshot: true,
        ..Wishes::default()
    };
    die_everywhere(Stall::After, &wishes).await;
}
