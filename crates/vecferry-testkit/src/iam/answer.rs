//! Forms in and XML out, as the API references of IAM and STS show them
//! (<https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>).

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::{Rule, Rules, Simulated};

/// A form's fields.
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    pub(super) fn parse(body: &str) -> Form {
        let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
        Form(pairs.map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    /// A field; an absent one is empty.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// `name.member.1`, `name.member.2`, …
    fn list(&self, name: &str) -> Vec<String> {
        (1..).map_while(|at| self.0.get(&format!("{name}.member.{at}"))).cloned().collect()
    }

    pub(super) fn simulated(&self) -> Simulated {
        let entry = |at: usize, part: &str| {
            self.0.get(&format!("ContextEntries.member.{at}.{part}")).cloned()
        };
        let context = (1..).map_while(|at| {
            Some((entry(at, "ContextKeyName")?, entry(at, "ContextKeyValues.member.1")?))
        });
        Simulated {
            principal: self.get("PolicySourceArn").to_owned(),
            actions: self.list("ActionNames"),
            resources: match self.list("ResourceArns") {
                all if all.is_empty() => vec!["*".to_owned()],
                some => some,
            },
            context: context.collect(),
        }
    }
}

/// Undoes percent and plus signs.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        match (bytes[at], hex.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (b'+', _) => {
                out.push(b' ');
                at += 1;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

pub(super) fn refused(status: u16, code: &str, message: &str) -> Response {
    let message = escaped(message);
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
         <RequestId>double</RequestId></ErrorResponse>"
    );
    (StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), body).into_response()
}

fn denied(rules: &Rules, action: &str, resource: &str) -> Response {
    let message = format!(
        "User: {} is not authorized to perform: {action} on resource: {resource}",
        rules.caller
    );
    refused(403, "AccessDenied", &message)
}

fn done(action: &str, result: &str) -> Response {
    let body = format!(
        "<{action}Response><{action}Result>{result}</{action}Result><ResponseMetadata><RequestId>double</RequestId>\
         </ResponseMetadata></{action}Response>"
    );
    ([("content-type", "text/xml")], body).into_response()
}

pub(super) fn caller(rules: &Rules) -> Response {
    let account = rules.caller.split(':').nth(4).unwrap_or_default();
    let arn = escaped(&rules.caller);
    let result = format!("<Arn>{arn}</Arn><UserId>AIDA</UserId><Account>{account}</Account>");
    done("GetCallerIdentity", &result)
}

pub(super) fn role(rules: &Rules, name: &str) -> Response {
    if !rules.reading {
        return denied(rules, "iam:GetRole", &format!("role {name}"));
    }
    let end = format!("/{name}");
    match rules.principals.iter().find(|arn| arn.contains(":role/") && arn.ends_with(&end)) {
        Some(arn) => {
            let (arn, name) = (escaped(arn), escaped(name));
            let result = format!(
                "<Role><Path>/</Path><RoleName>{name}</RoleName><RoleId>AROA</RoleId><Arn>{arn}</Arn>\
                 <CreateDate>2024-01-01T00:00:00Z</CreateDate></Role>"
            );
            done("GetRole", &result)
        }
        None => {
            refused(404, "NoSuchEntity", &format!("The role with name {name} cannot be found."))
        }
    }
}

pub(super) fn simulation(rules: &Rules, asked: &Simulated, marker: &str) -> Response {
    let principal = &asked.principal;
    if !rules.simulation {
        return denied(rules, "iam:SimulatePrincipalPolicy", principal);
    }
    if !rules.principals.contains(principal) {
        return refused(404, "NoSuchEntity", &format!("{principal} cannot be found."));
    }
    let pairs: Vec<(&String, &String)> = asked
        .actions
        .iter()
        .flat_map(|action| asked.resources.iter().map(move |resource| (action, resource)))
        .collect();
    let from = marker.parse().unwrap_or(0usize).min(pairs.len());
    let to = (from + rules.page).min(pairs.len());
    let members: String = pairs[from..to]
        .iter()
        .map(|pair| member(pair, decision(rules, principal, *pair)))
        .collect();
    let more = match to < pairs.len() {
        true => format!("<IsTruncated>true</IsTruncated><Marker>{to}</Marker>"),
        false => "<IsTruncated>false</IsTruncated>".to_owned(),
    };
    let result = format!("<EvaluationResults>{members}</EvaluationResults>{more}");
    done("SimulatePrincipalPolicy", &result)
}

fn member((action, resource): &(&String, &String), decision: &str) -> String {
    let (action, resource) = (escaped(action), escaped(resource));
    format!(
        "<member><EvalActionName>{action}</EvalActionName><EvalResourceName>{resource}</EvalResourceName>\
         <EvalDecision>{decision}</EvalDecision></member>"
    )
}

fn decision(
    rules: &Rules,
    principal: &str,
    (action, resource): (&String, &String),
) -> &'static str {
    let fits = |rule: &Rule| matches(&rule.0, action) && matches(&rule.1, resource);
    let own = rules.deny_of.get(principal).map(Vec::as_slice).unwrap_or_default();
    if rules.deny.iter().chain(own).any(fits) {
        "explicitDeny"
    } else if rules.allow.iter().any(fits) {
        "allowed"
    } else {
        "implicitDeny"
    }
}

/// Whether a pattern with `*` fits the whole text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            rest.is_empty()
                || text
                    .char_indices()
                    .map(|(at, _)| at)
                    .chain([text.len()])
                    .any(|at| matches(rest, &text[at..]))
        }),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_the_sdk_writes_it() {
        let form = Form::parse(
            "Action=SimulatePrincipalPolicy&ActionNames.member.1=ecs%3ARunTask&ActionNames.member.2=a%3Ab\
             &ContextEntries.member.1.ContextKeyName=iam%3APassedToService\
             &ContextEntries.member.1.ContextKeyValues.member.1=ecs-tasks.amazonaws.com",
        );
        let asked = form.simulated();
        assert_eq!((asked.actions.len(), asked.actions[0].as_str()), (2, "ecs:RunTask"));
        assert_eq!(asked.resources, ["*"]);
        assert_eq!(asked.context["iam:PassedToService"], "ecs-tasks.amazonaws.com");
        assert_eq!(decoded("a+b%2Fc%"), "a b/c%");
    }

    #[test]
    fn a_denial_wins_over_what_is_allowed() {
        let rules = Rules::of_role("arn:aws:iam::1:role/ops").denying("ecs:*");
        let decide = |action: &str| decision(&rules, "x", (&action.into(), &"arn".into()));
        assert_eq!((decide("ecs:RunTask"), decide("s3:GetObject")), ("explicitDeny", "allowed"));
        let none = Rules { allow: vec![("s3:*".into(), "arn:b*x".into())], ..rules };
        assert_eq!(decision(&none, "x", (&"s3:Get".into(), &"arn:b/1/x".into())), "allowed");
        assert_eq!(decision(&none, "x", (&"s3:Get".into(), &"arn:b/1/y".into())), "implicitDeny");
    }
}
