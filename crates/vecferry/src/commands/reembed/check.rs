//! What `check` finds before a re-embedding: whether registry, model, knowledge table and runner can be spoken to, and
//! are fit for it. What cannot be is a finding, so that one round of corrections is enough.

use vecferry_aws::Access;
use vecferry_core::error::on_one_line;
use vecferry_core::preflight::{Finding, NotRun, Report, Severity};
use vecferry_core::reembed::precheck;
use vecferry_core::reembed::registry::{Listing, OddItem};
use vecferry_core::reembed::task::TaskRunner;
use vecferry_core::{Error as CoreError, Side};

use super::shop::{Resolved, resolve, resolve_with};
use crate::cli::Reembed;
use crate::error::Error;
use crate::services::Services;
use crate::settings::{EcsAt, RunnerAt, Settings};

/// Runs the checks.
///
/// # Errors
/// Settings that cannot be used.
pub(crate) async fn check(flags: &Reembed, settings: &Settings) -> Result<Report, Error> {
    look(resolve(flags, settings).await?, settings).await
}

/// Runs them where the source is not there yet.
///
/// # Errors
/// Settings that cannot be used.
pub(crate) async fn check_without_source(
    flags: &Reembed,
    settings: &Settings,
) -> Result<Report, Error> {
    look(resolve_with(flags, settings, None).await?, settings).await
}

async fn look(resolved: Resolved, settings: &Settings) -> Result<Report, Error> {
    let services = Services::new(settings.aws().clone());
    let mut report =
        Report { version: 1, findings: vec![], checked: vec![], could_not_run: vec![] };
    let registry = services.registry(&resolved.registry).await?;
    ran(&mut report, "registry");
    match registry.list().await {
        Ok(listing) => {
            report.findings.extend(listing.odd.iter().map(odd));
            bucket(&mut report, &resolved, &services, &listing).await;
        }
        Err(error) => report.findings.push(failed("registry", &error)),
    }
    table(&mut report, &resolved, &services).await?;
    if let RunnerAt::Ecs(at) = &resolved.tasks.at {
        tasks(&mut report, at, &services).await;
    }
    report.findings.sort_by_key(|finding| finding.severity);
    Ok(report)
}

/// The bucket of uploaded files, where one is named.
async fn bucket(report: &mut Report, resolved: &Resolved, services: &Services, listing: &Listing) {
    const NAME: &str = "document bucket";
    if resolved.documents.bucket.is_none() {
        return;
    }
    ran(report, NAME);
    match services.check_bucket(&resolved.documents, &listing.bots).await {
        Ok(Access::Granted) => {}
        Ok(Access::Denied(error)) => {
            let mut finding = failed(NAME, &error);
            if resolved.tasks.at != RunnerAt::Local {
                finding.severity = Severity::Warning;
                finding.remedy =
                    "the tasks' role must read it; from here, sizes stay unknown to the estimate, and a delta cannot be \
                     compared"
                        .into();
            }
            report.findings.push(finding);
        }
        Err(error) => report.findings.push(failed(NAME, &error)),
    }
}

/// The model, and whether the knowledge table takes its vectors.
async fn table(report: &mut Report, resolved: &Resolved, services: &Services) -> Result<(), Error> {
    const NAME: &str = "knowledge table";
    ran(report, "embedding model");
    let dimensions = match resolved.embedder(services, Side::Target).await {
        Ok(embedder) => embedder.model().dimensions,
        Err(Error::Core(error)) if error.side().is_some() => {
            ran(report, NAME);
            report.findings.push(failed(NAME, &error));
            return Ok(());
        }
        // Of the settings: nothing else is of use before they are mended.
        Err(error) => return Err(error),
    };
    if let Some(target) = &resolved.target {
        ran(report, NAME);
        match precheck(target, &resolved.knowledge, dimensions).await {
            Ok(findings) => report.findings.extend(findings),
            Err(error) => report.findings.push(failed(NAME, &error)),
        }
    }
    Ok(())
}

/// Whether tasks could be started, and how many at the same time.
async fn tasks(report: &mut Report, at: &EcsAt, services: &Services) {
    const NAME: &str = "ECS cluster and task definition";
    const QUOTA: &str = "Fargate quota";
    let runner = services.ecs(at).await;
    ran(report, NAME);
    let ready = match runner.check().await {
        Ok(ready) => ready,
        Err(error) => return report.findings.push(failed(NAME, &error)),
    };
    match runner.limits().await {
        Ok(limits) => match limits.in_flight {
            Some(tasks) => {
                ran(report, QUOTA);
                report.findings.push(quota(QUOTA, tasks, ready.vcpus));
            }
            None => {
                left_out(report, QUOTA, "the account's quota, or the size of a task, is not known")
            }
        },
        Err(error) => left_out(report, QUOTA, &on_one_line(&error)),
    }
}

/// What the account's quota lets run, its other tasks aside.
fn quota(name: &str, tasks: usize, vcpus: Option<f64>) -> Finding {
    let size = vcpus.map_or(String::new(), |vcpus| format!(" of {vcpus} vCPU"));
    let (severity, remedy) = match tasks {
        0 => (
            Severity::Blocker,
            "ask for a higher quota: Service Quotas, AWS Fargate, On-Demand vCPU",
        ),
        _ => (Severity::Note, "other tasks of the account count too; --in-flight limits ours"),
    };
    Finding {
        severity,
        check: name.into(),
        side: None,
        what: format!("the account's vCPU quota holds {tasks} tasks{size} at the same time"),
        remedy: remedy.into(),
    }
}

fn odd(item: &OddItem) -> Finding {
    Finding {
        severity: Severity::Blocker,
        check: "registry".into(),
        side: None,
        what: format!("{} is not understood: {}", item.key, item.why),
        remedy: "mend the item, or pass --skip-odd to migrate".into(),
    }
}

fn failed(check: &str, error: &CoreError) -> Finding {
    Finding {
        severity: Severity::Blocker,
        check: check.into(),
        side: error.side(),
        what: on_one_line(error),
        remedy: error.hint().unwrap_or_default(),
    }
}

fn ran(report: &mut Report, check: &str) {
    report.checked.push(check.to_owned());
}

fn left_out(report: &mut Report, check: &str, why: &str) {
    report.could_not_run.push(NotRun { check: check.to_owned(), why: why.to_owned() });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_that_holds_no_task_blocks() {
        let none = quota("q", 0, Some(2.0));
        assert_eq!(none.severity, Severity::Blocker);
        assert_eq!(none.what, "the account's vCPU quota holds 0 tasks of 2 vCPU at the same time");
        assert_eq!(quota("q", 3, None).severity, Severity::Note);
    }
}
