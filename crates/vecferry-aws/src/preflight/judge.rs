//! What the facts mean for a migration. Pure.

use std::collections::BTreeMap;

use vecferry_core::index::memory::AURORA_SHARE;
use vecferry_core::preflight::{Finding, NotRun, Report, Severity, human_bytes};

use super::facts::{Aurora, Cluster, Facts, ModelSays, Tested, Verdict};

/// Memory of an Aurora capacity unit, about
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.how-it-works.html>).
const UNIT: f64 = 2.0 * 1024.0 * 1024.0 * 1024.0;

/// First versions of Aurora PostgreSQL whose pgvector is 0.5 or later, which brought HNSW
/// (<https://aws.amazon.com/about-aws/whats-new/2023/10/amazon-aurora-postgresql-pgvector-v0-5-0-hnsw-indexing/>).
const FIRST_WITH_HNSW: [(u32, u32); 4] = [(12, 16), (13, 12), (14, 9), (15, 4)];

/// Resources that a finding names before it counts the rest.
const SHOWN: usize = 2;

/// A judgement: adds what it finds, what it checked, what it could not.
type Check = fn(&Facts, &mut Report);

const CHECKS: [Check; 9] =
    [identity, operator, worker, endpoints, engines, replication, capacity, snapshots, model];

/// Runs every judgement over the facts.
pub(super) fn judge(facts: &Facts) -> Report {
    let mut report =
        Report { version: 1, findings: vec![], checked: vec![], could_not_run: vec![] };
    for check in CHECKS {
        check(facts, &mut report);
    }
    report.findings.sort_by_key(|finding| finding.severity);
    report
}

fn find(
    report: &mut Report,
    severity: Severity,
    check: &str,
    (what, remedy): (String, impl Into<String>),
) {
    let (check, remedy) = (check.to_owned(), remedy.into());
    report.findings.push(Finding { severity, check, side: None, what, remedy });
}

fn ran(report: &mut Report, check: &str) {
    report.checked.push(check.to_owned());
}

fn left_out(report: &mut Report, check: impl Into<String>, why: impl Into<String>) {
    report.could_not_run.push(NotRun { check: check.into(), why: why.into() });
}

fn identity(facts: &Facts, report: &mut Report) {
    const NAME: &str = "AWS identity";
    ran(report, NAME);
    let region = facts.look.scope.region.as_deref().unwrap_or("an unknown region");
    match &facts.caller {
        Ok(arn) => {
            let account = arn.split(':').nth(4).unwrap_or_default();
            let what = format!("AWS knows the caller as {arn}, in account {account} and {region}");
            find(report, Severity::Note, NAME, (what, ""));
        }
        Err(said) => {
            let what = format!("AWS does not know the caller: {said}");
            let remedy = "credentials are those of the AWS CLI: try `aws sts get-caller-identity`, or pass --profile";
            find(report, Severity::Blocker, NAME, (what, remedy));
        }
    }
}

fn operator(facts: &Facts, report: &mut Report) {
    let method = facts.look.method.as_str();
    permissions(report, "AWS permissions", (&facts.operator, method, "the caller"));
}

fn worker(facts: &Facts, report: &mut Report) {
    if !facts.worker.is_empty() {
        permissions(report, "task role", (&facts.worker, "worker", "the tasks' role"));
    }
}

/// One finding per statement with a denial; what was not tested by its action.
fn permissions(report: &mut Report, name: &str, (tested, policy, whose): (&[Tested], &str, &str)) {
    if tested.is_empty() {
        return;
    }
    ran(report, name);
    let mut denied: BTreeMap<&str, Vec<(&Tested, &str)>> = BTreeMap::new();
    let mut untested: BTreeMap<(&str, &str), ()> = BTreeMap::new();
    for one in tested {
        match &one.verdict {
            Verdict::Allowed => {}
            Verdict::Denied(how) if one.optional => {
                left_out(report, format!("{name}: {}", one.action), how);
            }
            Verdict::Denied(how) => denied.entry(one.sid).or_default().push((one, how)),
            Verdict::Untested(why) => {
                untested.insert((one.action, why), ());
            }
        }
    }
    for pairs in denied.values() {
        let Some((first, how)) = pairs.first() else { continue };
        let what = format!(
            "{whose} may not {} on {}: {how}; {}",
            names(pairs.iter().map(|(one, _)| one.action)),
            names(pairs.iter().map(|(one, _)| one.resource.as_str())),
            first.why,
        );
        let remedy =
            format!("vecferry check --print-policy {policy} prints a policy that allows it");
        find(report, Severity::Blocker, name, (what, remedy));
    }
    for (action, why) in untested.into_keys() {
        left_out(report, format!("{name}: {action}"), why);
    }
}

/// `a, b and 3 more`, each once.
fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = names.collect();
    all.sort_unstable();
    all.dedup();
    let more = all.len().saturating_sub(SHOWN);
    let shown = all[..all.len().min(SHOWN)].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// Adds a finding about the cluster's side.
fn at(
    report: &mut Report,
    cluster: &Cluster,
    severity: Severity,
    name: &str,
    said: (String, String),
) {
    find(report, severity, name, said);
    if let Some(finding) = report.findings.last_mut() {
        finding.side = Some(cluster.side);
    }
}

/// Clusters that are known.
fn known(facts: &Facts) -> impl Iterator<Item = (&Cluster, &Aurora)> {
    facts.clusters.iter().filter_map(|one| Some((one, one.found.as_ref().ok()?.as_ref()?)))
}

fn endpoints(facts: &Facts, report: &mut Report) {
    const NAME: &str = "cluster endpoint";
    if !facts.clusters.is_empty() {
        ran(report, NAME);
    }
    for cluster in &facts.clusters {
        let found = cluster.found.as_ref().ok().and_then(Option::as_ref);
        if cluster.host.contains(".cluster-ro-") || found.is_some_and(|one| one.is_reader) {
            let what = format!("{} is the endpoint of the cluster's readers", cluster.host);
            let remedy =
                "give the cluster endpoint, the same name with .cluster- in place of .cluster-ro-";
            at(report, cluster, Severity::Blocker, NAME, (what, remedy.to_owned()));
        }
    }
}

fn engines(facts: &Facts, report: &mut Report) {
    const NAME: &str = "Aurora cluster";
    if !facts.clusters.is_empty() {
        ran(report, NAME);
    }
    for cluster in &facts.clusters {
        let found = match &cluster.found {
            Err(why) => {
                left_out(report, format!("{NAME} of the {}", cluster.side), why);
                continue;
            }
            Ok(None) => {
                let what =
                    format!("no Aurora cluster of this account has the endpoint {}", cluster.host);
                let remedy = "its engine, parameters and capacity are not known; a cluster of another account, or a \
                              plain RDS instance, is no fault";
                at(report, cluster, Severity::Note, NAME, (what, remedy.to_owned()));
                continue;
            }
            Ok(Some(found)) => found,
        };
        at(report, cluster, Severity::Note, NAME, (described(found), String::new()));
        if found.status != "available" {
            let what = format!("cluster {} is {}", found.id, found.status);
            let remedy = "wait until it is available, or start it";
            at(report, cluster, Severity::Warning, NAME, (what, remedy.to_owned()));
        }
        if has_old_pgvector(&found.version) {
            let what = format!(
                "cluster {} is {} {}, whose pgvector is older than 0.5: it has no HNSW",
                found.id, found.engine, found.version
            );
            let remedy = "IVFFlat works there; for HNSW take 15.4, 14.9, 13.12, 12.16 or later";
            at(report, cluster, Severity::Warning, NAME, (what, remedy.to_owned()));
        }
    }
}

fn described(found: &Aurora) -> String {
    let encrypted = if found.encrypted { "encrypted" } else { "not encrypted" };
    let capacity = match found.capacity {
        Some((least, most)) => format!(", {least} to {most} capacity units"),
        None => String::new(),
    };
    format!(
        "cluster {} is {} {}, parameter group {}, {encrypted}{capacity}",
        found.id, found.engine, found.version, found.parameter_group
    )
}

fn has_old_pgvector(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (parts.next(), parts.next()) else { return false };
    FIRST_WITH_HNSW.iter().any(|(known, first)| *known == major && minor < *first)
}

fn replication(facts: &Facts, report: &mut Report) {
    const NAME: &str = "rds.logical_replication";
    for (cluster, found) in known(facts) {
        match &cluster.logical_replication {
            None => {}
            Some(Err(why)) => left_out(report, NAME, why),
            Some(Ok(value)) => {
                ran(report, NAME);
                if value.as_deref() == Some("1") {
                    continue;
                }
                let group = &found.parameter_group;
                let what = format!("rds.logical_replication is not 1 in parameter group {group}");
                let first = match group.starts_with("default.") {
                    true => {
                        "make a cluster parameter group of your own (the default one cannot be changed), "
                    }
                    false => "",
                };
                let remedy = format!(
                    "{first}set it to 1 there and reboot the writer, which interrupts the application"
                );
                at(report, cluster, Severity::Blocker, NAME, (what, remedy));
            }
        }
    }
}

fn capacity(facts: &Facts, report: &mut Report) {
    const NAME: &str = "serverless capacity";
    let target = known(facts).find(|(one, _)| one.side == vecferry_core::Side::Target);
    let Some((cluster, found)) = target else { return };
    let (Some((_, most)), Some(wanted)) = (found.capacity, facts.look.index_bytes) else { return };
    ran(report, NAME);
    let units = units_for(wanted);
    if units > most {
        let what = format!(
            "the largest index build wants {} of memory, and of at most {most} capacity units about {} is left for it",
            human_bytes(wanted),
            human_bytes(bytes(most * UNIT * AURORA_SHARE)),
        );
        let remedy = format!(
            "raise the maximum capacity to {units} for the migration, or accept a slower build of the index"
        );
        at(report, cluster, Severity::Warning, NAME, (what, remedy));
    }
}

/// Capacity units, in steps of a half, with which a build of so many bytes stays in memory.
#[allow(clippy::cast_precision_loss, reason = "half a unit is a gibibyte")]
fn units_for(wanted: u64) -> f64 {
    (wanted as f64 / (UNIT * AURORA_SHARE) * 2.0).ceil() / 2.0
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size to be shown")]
fn bytes(size: f64) -> u64 {
    size as u64
}

fn snapshots(facts: &Facts, report: &mut Report) {
    const NAME: &str = "snapshots";
    match &facts.snapshots {
        None => {}
        Some(Err(why)) => left_out(report, NAME, why),
        Some(Ok(found)) if found.is_empty() => {
            ran(report, NAME);
            let what =
                "there is no snapshot of an Aurora PostgreSQL cluster in this account and region";
            let severity = match facts.look.scope.snapshot {
                true => Severity::Blocker,
                false => Severity::Note,
            };
            let remedy =
                "look into other regions and accounts, or migrate by reembed, which needs none";
            find(report, severity, NAME, (what.to_owned(), remedy));
        }
        Some(Ok(found)) => {
            ran(report, NAME);
            for one in found {
                let encrypted = if one.encrypted { "encrypted" } else { "not encrypted" };
                let what = format!(
                    "snapshot {} of cluster {}, taken {}, {} {encrypted}",
                    one.id, one.cluster, one.taken, one.version
                );
                find(report, Severity::Note, NAME, (what, "source = \"snapshot\" restores one"));
            }
        }
    }
}

fn model(facts: &Facts, report: &mut Report) {
    const NAME: &str = "embedding model in Bedrock";
    let id = facts.look.scope.model.known().unwrap_or_default();
    let scope = &facts.look.scope;
    let region = scope.model_region.as_deref().or(scope.region.as_deref()).unwrap_or("this region");
    let mut blocks = |what: String, remedy: &str| {
        ran(report, NAME);
        find(report, Severity::Blocker, NAME, (what, remedy));
    };
    match &facts.model {
        None => return,
        Some(ModelSays::Ready) => ran(report, NAME),
        Some(ModelSays::NotEnabled(said)) => blocks(
            format!("the account has no access to {id} in {region}: {said}"),
            "enable it in the console, Bedrock > Model access, in that region",
        ),
        Some(ModelSays::NotOffered(said)) => blocks(
            format!("{id} is not there in {region}: {said}"),
            "name the region that has it: --model-region, or `region` of [embedding]",
        ),
        Some(ModelSays::ProfileOnly(said)) => blocks(
            format!("{id} is not called by its own id in {region}: {said}"),
            "name an inference profile for it, such as us.cohere.embed-v4:0: --model",
        ),
        Some(ModelSays::NotOurs) => {
            left_out(
                report,
                NAME,
                "the caller may not call the model itself; tasks may all the same",
            );
        }
        Some(ModelSays::Unclear(said)) => left_out(report, NAME, said),
    }
    quotas(facts, report, id);
}

fn quotas(facts: &Facts, report: &mut Report, id: &str) {
    const NAME: &str = "Bedrock quotas";
    match &facts.model_quotas {
        None => {}
        Some(Err(why)) => left_out(report, NAME, why),
        Some(Ok(quotas)) if quotas.is_empty() => {
            left_out(report, NAME, format!("no quota is called after {id}"));
        }
        Some(Ok(quotas)) => {
            ran(report, NAME);
            for (name, value) in quotas {
                let remedy = "all tasks and the application share it; --requests-per-minute and --tokens-per-minute \
                              leave room";
                find(report, Severity::Note, NAME, (format!("{name}: {value}"), remedy));
            }
        }
    }
}
