//! Which AWS permissions vecferry needs, for what, and why: the one list from which `vecferry check` tests what the
//! caller may do, from which `--print-policy` prints IAM policies, and from which the policies in `deploy/` are made.
//!
//! Pure. Whoever calls a new AWS action adds it in [`parts`] with its reason; nothing else is to be changed. Actions,
//! resource types and condition keys are those of the Service Authorization Reference
//! (<https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>).
//!
//! Within a statement every action takes every resource: what is printed can then be simulated pair by pair.
//! `sts:GetCallerIdentity` is on no list: it needs no permission and cannot be denied.

mod parts;
mod scope;
#[cfg(test)]
mod tests;

use serde::{Serialize, Serializer};
use vecferry_core::policy::Method;

pub use scope::{Named, Scope, Unknown};

/// What a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The operator, for everything that a migration by this method takes: `check`, `plan`, `bots`, `migrate`, and
    /// `restore` and `cutover` where the scope says that they are part of it.
    Method(Method),
    /// The task role of a worker.
    Worker,
    /// The operator, for `bots` alone.
    Bots,
    /// The operator, for `init --stack` alone.
    Init,
    /// The operator, for `restore` and the `cleanup` of what it made.
    Restore,
    /// The operator, for a `cutover` and `rollback` that rewrite the application's secret.
    Cutover,
}

/// Some actions on some resources, and why they are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Letters and digits only, as IAM wants it; unique within a policy.
    pub sid: &'static str,
    /// Actions, `service:Name`.
    pub actions: Vec<&'static str>,
    /// ARNs, with `*` and `?`; every action takes each of them.
    pub resources: Vec<String>,
    /// What must hold besides.
    pub conditions: Vec<Condition>,
    /// What the actions are for: one sentence.
    pub why: &'static str,
    /// Whether only checks need it, which say what they could not find out without.
    pub optional: bool,
}

/// A condition of a statement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// IAM's operator, `StringEquals`.
    pub operator: &'static str,
    /// The context key.
    pub key: &'static str,
    /// The values of which one must fit; at least one.
    pub values: Vec<String>,
}

/// Everything that is needed for the purpose. Pure.
pub fn statements(purpose: Purpose, scope: &Scope) -> Vec<Statement> {
    let mut statements = match purpose {
        Purpose::Method(method) => of_method(method, scope),
        Purpose::Worker => parts::worker(scope),
        Purpose::Bots => parts::read_bots(scope),
        Purpose::Init => parts::init(scope),
        Purpose::Restore => parts::restore(scope),
        Purpose::Cutover => parts::switch(scope),
    };
    // Parts overlap, as in the worker of this process and the operator who starts it.
    let mut seen = std::collections::HashSet::new();
    statements.retain(|statement| {
        let empty = statement.resources.is_empty() || statement.actions.is_empty();
        !empty && seen.insert(statement.sid)
    });
    statements
}

fn of_method(method: Method, scope: &Scope) -> Vec<Statement> {
    let mut all = parts::check(method, scope);
    all.extend(parts::read_secrets(scope));
    if scope.snapshot {
        all.extend(parts::restore(scope));
    }
    if matches!(method, Method::Reembed | Method::Delta) {
        all.extend(parts::read_bots(scope));
        all.extend(parts::record_bots(scope));
        all.extend(parts::see_documents(scope));
        match scope.cluster {
            // Workers run in this process, as the operator.
            Named::Unused => all.extend(parts::embed(scope)),
            _ => all.extend(parts::tasks(scope)),
        }
    }
    if scope.switch_secret != Named::Unused {
        all.extend(parts::switch(scope));
    }
    all
}

/// An IAM policy document.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    /// Version of the policy language.
    version: &'static str,
    statement: Vec<Rendered>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Rendered {
    sid: &'static str,
    effect: &'static str,
    action: OneOrMore<&'static str>,
    resource: OneOrMore<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "conditions")]
    condition: Vec<Condition>,
}

/// IAM takes one without a list, and a policy is short of room.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> From<Vec<T>> for OneOrMore<T> {
    fn from(mut all: Vec<T>) -> OneOrMore<T> {
        match (all.pop(), all.is_empty()) {
            (Some(one), true) => OneOrMore::One(one),
            (last, _) => {
                all.extend(last);
                OneOrMore::More(all)
            }
        }
    }
}

impl Policy {
    /// Most characters of a managed policy, white space not counted
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
    pub const LONGEST: usize = 6144;

    /// Its characters as IAM counts them.
    ///
    /// # Errors
    /// Never for what [`policy`] makes: all its keys are texts.
    pub fn characters(&self) -> serde_json::Result<usize> {
        Ok(serde_json::to_string(self)?.chars().count())
    }
}

/// The statements as IAM takes them.
pub fn policy(statements: &[Statement]) -> Policy {
    let statement = statements.iter().map(|statement| Rendered {
        sid: statement.sid,
        effect: "Allow",
        action: statement.actions.clone().into(),
        resource: statement.resources.clone().into(),
        condition: statement.conditions.clone(),
    });
    Policy { version: "2012-10-17", statement: statement.collect() }
}

/// `{operator: {key: value}}`. No statement has two conditions of one operator and key.
fn conditions<S: Serializer>(conditions: &[Condition], to: S) -> Result<S::Ok, S::Error> {
    use std::collections::BTreeMap;
    let mut grouped: BTreeMap<&str, BTreeMap<&str, OneOrMore<String>>> = BTreeMap::new();
    for Condition { operator, key, values } in conditions {
        grouped.entry(operator).or_default().insert(key, values.clone().into());
    }
    grouped.serialize(to)
}
