//! What the account can take, and whether the settings fit what is there.

use vecferry_aws::{Capacity, EcsTasks};
use vecferry_core::reembed::task::{LaunchFailure, TaskRunner};
use vecferry_testkit::ecs::{Definition, Ecs, EcsOptions};

use super::{account, done, endless, launch, runner, settings, start};

#[tokio::test]
async fn the_quota_says_how_many_tasks_fit_and_holds() {
    let mut options = EcsOptions::new(endless());
    options.vcpus = Some(7.0);
    let ecs = Ecs::start(options).unwrap();
    let runner = runner(&ecs);
    let limits = runner.limits().await.unwrap();
    // 2 vCPUs each, as Bedrock Chat's tasks have.
    assert_eq!(limits.in_flight, Some(3));
    assert_eq!(limits.launches_per_second, Some(20.0));
    for number in 0..3 {
        runner.launch(&launch(number)).await.unwrap();
    }
    let failure = runner.launch(&launch(3)).await.unwrap_err();
    assert!(matches!(failure, LaunchFailure::NoCapacity(_)), "{failure:?}");
}

#[tokio::test]
async fn a_quota_that_may_not_be_read_limits_nothing() {
    let ecs = start(done());
    assert_eq!(runner(&ecs).limits().await.unwrap().in_flight, None);
}

#[tokio::test]
async fn instances_of_ones_own_have_no_quota() {
    let mut options = EcsOptions::new(done());
    options.vcpus = Some(7.0);
    let ecs = Ecs::start(options).unwrap();
    for (capacity, expected) in [
        (Capacity::FargateSpot, Some(3)),
        (Capacity::Ec2, None),
        (Capacity::Provider("p".into()), None),
    ] {
        let mut settings = settings();
        settings.capacity = capacity.clone();
        let limits = EcsTasks::new(&account(&ecs), settings).limits().await.unwrap();
        assert_eq!(limits.in_flight, expected, "{capacity:?}");
    }
}

#[tokio::test]
async fn settings_are_checked_against_what_is_there_without_starting_anything() {
    let ecs = start(done());
    ecs.register(Definition::bedrock_chat("embedding", 2));
    let checked = |change: fn(&mut vecferry_aws::EcsSettings)| {
        let mut settings = settings();
        change(&mut settings);
        let runner = EcsTasks::new(&account(&ecs), settings);
        async move { runner.check().await.map_err(|error| error.to_string()) }
    };
    let ready = checked(|settings| settings.task_definition = "embedding".into()).await.unwrap();
    assert_eq!((ready.definition.as_str(), ready.vcpus), ("embedding:2", Some(2.0)));
    let wrong = checked(|settings| settings.cluster = "other".into()).await.unwrap_err();
    assert_eq!(wrong, "ECS cluster other in us-east-1 is not there");
    let wrong = checked(|settings| settings.container = "worker".into()).await.unwrap_err();
    assert!(wrong.contains("no container worker"), "{wrong}");
    let wrong = checked(|settings| settings.task_definition = "x:1".into()).await.unwrap_err();
    assert!(wrong.contains("cannot read task definition x:1"), "{wrong}");
    ecs.set_cluster_active(false);
    let wrong = checked(|_| {}).await.unwrap_err();
    assert_eq!(wrong, "ECS cluster chat in us-east-1 is inactive");
    assert!(ecs.tasks().is_empty());
}

#[tokio::test]
async fn the_runner_says_what_it_is() {
    let ecs = start(done());
    assert_eq!(runner(&ecs).describe(), "ECS cluster chat in us-east-1");
}
