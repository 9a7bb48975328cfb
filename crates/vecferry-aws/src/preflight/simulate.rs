//! Permissions, asked of IAM instead of tried (`SimulatePrincipalPolicy`): identity policies, permission boundaries and
//! the organization's limits are all taken into account, policies of resources are not
//! (<https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>).

use std::collections::HashMap;

use aws_sdk_iam::Client;
use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, EvaluationResult};

use super::facts::{Tested, Verdict};
use crate::failure::said;
use crate::permission::{Condition, Statement, Unknown};

/// What stands for `*` in a resource, a tag's value and the like.
pub(super) const SAMPLE: &str = "vecferry-check";

/// Tests every pair of every statement.
///
/// # Errors
/// Why IAM does not simulate for this caller.
pub(super) async fn simulate(
    iam: &Client,
    principal: &str,
    statements: &[Statement],
) -> Result<Vec<Tested>, String> {
    let mut all = Vec::new();
    for statement in statements {
        all.extend(match unknown(statement) {
            Some(why) => tested(statement, |_, _| Verdict::Untested(why.clone())),
            None => {
                let answers = ask(iam, principal, statement).await?;
                tested(statement, |action, resource| verdict(&answers, action, resource))
            }
        });
    }
    Ok(all)
}

/// Every pair of the statement with its verdict.
pub(super) fn tested(
    statement: &Statement,
    verdict: impl Fn(&str, &str) -> Verdict,
) -> Vec<Tested> {
    let pairs = statement
        .actions
        .iter()
        .flat_map(|action| statement.resources.iter().map(move |resource| (*action, resource)));
    pairs
        .map(|(action, resource)| Tested {
            sid: statement.sid,
            action,
            resource: resource.clone(),
            why: statement.why,
            optional: statement.optional,
            verdict: verdict(action, resource),
        })
        .collect()
}

/// Why a statement cannot be tested: something that it names is not known.
pub(super) fn unknown(statement: &Statement) -> Option<String> {
    let unknown = Unknown::of(std::slice::from_ref(statement));
    unknown.first().map(|unknown| format!("not known is {}", unknown.what))
}

type Answers = HashMap<(String, String), Verdict>;

async fn ask(iam: &Client, principal: &str, statement: &Statement) -> Result<Answers, String> {
    let actions = statement.actions.iter().map(|action| (*action).to_owned()).collect();
    let resources = statement.resources.iter().map(|resource| sample(resource)).collect();
    let mut pages = iam
        .simulate_principal_policy()
        .policy_source_arn(principal)
        .set_action_names(Some(actions))
        .set_resource_arns(Some(resources))
        .set_context_entries(Some(statement.conditions.iter().map(entry).collect()))
        .into_paginator()
        .send();
    let mut answers = Answers::new();
    while let Some(page) = pages.next().await {
        let page =
            page.map_err(|error| format!("IAM does not simulate {principal}: {}", said(&error)))?;
        for result in page.evaluation_results() {
            let resource = result.eval_resource_name().unwrap_or("*").to_owned();
            answers.insert((result.eval_action_name().to_owned(), resource), decided(result));
        }
    }
    Ok(answers)
}

fn verdict(answers: &Answers, action: &str, resource: &str) -> Verdict {
    let answer = answers.get(&(action.to_owned(), sample(resource)));
    answer.cloned().unwrap_or_else(|| Verdict::Untested("IAM gave no answer about it".to_owned()))
}

/// A resource that the pattern means.
fn sample(resource: &str) -> String {
    match resource {
        "*" => resource.to_owned(),
        _ => resource.replace("??????", "AbCdEf").replace('*', SAMPLE),
    }
}

/// What a statement's own condition asks for is given, as it will be then.
fn entry(condition: &Condition) -> ContextEntry {
    let kind = match condition.values[..] {
        [_] => ContextKeyTypeEnum::String,
        _ => ContextKeyTypeEnum::StringList,
    };
    let values = condition.values.iter().map(|value| value.replace('*', SAMPLE)).collect();
    ContextEntry::builder()
        .context_key_name(condition.key)
        .context_key_type(kind)
        .set_context_key_values(Some(values))
        .build()
}

fn decided(result: &EvaluationResult) -> Verdict {
    let decision = result.eval_decision().as_str();
    if decision == "allowed" {
        return Verdict::Allowed;
    }
    if result.organizations_decision_detail().is_some_and(|one| !one.allowed_by_organizations()) {
        return Verdict::Denied("a policy of the organization denies it".to_owned());
    }
    let boundary = result.permissions_boundary_decision_detail();
    if boundary.is_some_and(|one| !one.allowed_by_permissions_boundary()) {
        return Verdict::Denied("the permissions boundary does not allow it".to_owned());
    }
    match (decision, result.missing_context_values()) {
        ("explicitDeny", []) => Verdict::Denied("a policy denies it".to_owned()),
        (_, []) => Verdict::Denied("no policy allows it".to_owned()),
        // What the policies ask for is not known before the call: where from it comes, at what time.
        (_, keys) => Verdict::Untested(format!("it depends on {}", keys.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_iam::types::builders::EvaluationResultBuilder;
    use aws_sdk_iam::types::{
        OrganizationsDecisionDetail, PermissionsBoundaryDecisionDetail,
        PolicyEvaluationDecisionType as Decision,
    };

    use super::*;

    #[test]
    fn a_denial_says_who_denies() {
        let result =
            |decision| EvaluationResult::builder().eval_action_name("a").eval_decision(decision);
        let of = |result: EvaluationResultBuilder| decided(&result.build().unwrap());
        let denied = |why: &str| Verdict::Denied(why.to_owned());
        assert_eq!(of(result(Decision::Allowed)), Verdict::Allowed);
        assert_eq!(of(result(Decision::ImplicitDeny)), denied("no policy allows it"));
        assert_eq!(of(result(Decision::ExplicitDeny)), denied("a policy denies it"));
        let organization =
            OrganizationsDecisionDetail::builder().allowed_by_organizations(false).build();
        assert_eq!(
            of(result(Decision::ImplicitDeny).organizations_decision_detail(organization)),
            denied("a policy of the organization denies it")
        );
        let boundary = PermissionsBoundaryDecisionDetail::builder()
            .allowed_by_permissions_boundary(false)
            .build();
        assert_eq!(
            of(result(Decision::ImplicitDeny).permissions_boundary_decision_detail(boundary)),
            denied("the permissions boundary does not allow it")
        );
        assert_eq!(
            of(result(Decision::ImplicitDeny).missing_context_values("aws:SourceIp")),
            Verdict::Untested("it depends on aws:SourceIp".to_owned())
        );
    }

    #[test]
    fn a_pattern_is_simulated_by_something_that_it_means() {
        assert_eq!(sample("*"), "*");
        assert_eq!(sample("arn:aws:s3:::b/*"), "arn:aws:s3:::b/vecferry-check");
        assert_eq!(sample("arn:x:secret:db-??????"), "arn:x:secret:db-AbCdEf");
    }
}
