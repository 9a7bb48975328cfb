//! `check` where AWS takes part: what the caller may not do is found before anything is done.

use vecferry_testkit::ecs::Faults;
use vecferry_testkit::iam::{Iam, Rules};

use crate::program::Program;
use crate::stack::Stack;

const ROLE: &str = "arn:aws:iam::123456789012:role/Ops";

/// The program as this role, whose permissions are these.
fn program(stack: &Stack, iam: &Iam) -> Program {
    stack.program().set("AWS_ENDPOINT_URL_IAM", &iam.url()).set("AWS_ENDPOINT_URL_STS", &iam.url())
}

#[tokio::test]
async fn a_permission_that_is_missing_is_found_with_the_policy_that_grants_it() {
    let stack = Stack::start(Faults::default()).await;
    let iam = Iam::start(Rules::of_role(ROLE)).unwrap();
    let check = ["check", "--method", "reembed", "--json"];
    let fine = program(&stack, &iam).run(&check).expect(0).json();
    let checked = fine["checked"].to_string();
    for name in ["AWS identity", "AWS permissions", "embedding model in Bedrock", "knowledge table"]
    {
        assert!(checked.contains(name), "{name} is not in {checked}");
    }

    iam.set(Rules::of_role(ROLE).denying("ecs:RunTask"));
    let shown = program(&stack, &iam).run(&check[..3]).expect(1).stdout;
    for words in
        ["ecs:RunTask", "one task is started per", "check --print-policy reembed", "blocker"]
    {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    assert_eq!(stack.ecs.launched().len(), 0, "nothing was tried");

    iam.set(Rules { simulation: false, reading: false, ..Rules::of_role(ROLE) });
    let unsaid = program(&stack, &iam).run(&check).expect(0).json();
    let left = unsaid["could_not_run"].to_string();
    assert!(left.contains("AWS permissions: ecs:RunTask"), "{left}");
}

#[tokio::test]
async fn what_cannot_be_spoken_to_is_a_finding_beside_the_others() {
    let stack = Stack::start(Faults::default()).await;
    let iam = Iam::start(Rules::of_role(ROLE)).unwrap();
    stack.ecs.set_cluster_active(false);
    let program = program(&stack, &iam).set("VECFERRY_BOT_TABLE", "NoSuchTable");
    let found = program.run(&["check", "--method", "reembed", "--json"]).expect(1).json();
    let findings = found["findings"].as_array().unwrap();
    let blocking: Vec<&str> = findings
        .iter()
        .filter(|one| one["severity"] == "blocker")
        .map(|one| one["check"].as_str().unwrap())
        .collect();
    assert_eq!(blocking, ["registry", "ECS cluster and task definition"], "{findings:?}");
}
