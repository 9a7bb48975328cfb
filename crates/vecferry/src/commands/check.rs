//! `check`: shows every finding of the preflight with its remedy.

mod aws;

use std::collections::BTreeMap;

use vecferry_core::policy::{Method, Policy};
use vecferry_core::preflight::{Finding, NotRun, Report, Severity, examine};

use crate::cli::{self, Check, Reembed};
use crate::error::{Error, Exit};
use crate::interrupt::Interrupt;
use crate::settings::Settings;
use crate::ui::{Colour, Ui, table};
use crate::units::counted;

/// Runs the command.
pub(crate) async fn run(args: &Check, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    if let Some(wanted) = args.print_policy {
        return super::policy::print(wanted, &args.reembed, settings, ui);
    }
    if args.method == Some(cli::Method::Reembed) {
        return of_reembed(args, settings, ui).await;
    }
    let method = args.method.map_or(Method::Copy, Into::into);
    if settings.awaits_restore().await? {
        return before_restore(method, args, settings, ui).await;
    }
    let clusters = settings.clusters().await?;
    let policy = Policy {
        method: Some(method),
        follow: settings.follow(&args.follow, &clusters)?,
        ..settings.policy(&args.selection, &args.work)
    };
    let interrupt = Interrupt::listen(ui)?;
    let examined = examine(&clusters, &policy, &interrupt.token).await?;
    let mut report = examined.report;
    if method == Method::Delta {
        report.add(super::reembed::check(&args.reembed, settings).await?);
        report.findings.extend(mixed_models(&args.reembed, settings)?);
    }
    let question = aws::Question {
        method,
        flags: &args.reembed,
        hosts: [Some(clusters.source.host.clone()), Some(clusters.target.host.clone())],
        index_bytes: examined.index_bytes,
    };
    if let Some(more) = aws::check(question, settings, &interrupt.token).await? {
        report.add(more);
    }
    show(&report, "vecferry plan", ui)
}

/// What can be told while the source is a snapshot that nobody has restored yet: all but the source, before anything
/// is paid for.
async fn before_restore(
    method: Method,
    args: &Check,
    settings: &Settings,
    ui: &Ui,
) -> Result<Exit, Error> {
    let interrupt = Interrupt::listen(ui)?;
    let mut report = match method {
        Method::Delta => super::reembed::check_without_source(&args.reembed, settings).await?,
        _ => Report { version: 1, findings: vec![], checked: vec![], could_not_run: vec![] },
    };
    if method == Method::Delta {
        report.findings.extend(mixed_models(&args.reembed, settings)?);
    }
    report.could_not_run.push(NotRun {
        check: "source, and both clusters beside each other".into(),
        why: "the snapshot is not restored yet (vecferry restore; migrate checks again after it)"
            .into(),
    });
    let question = aws::Question {
        method,
        flags: &args.reembed,
        hosts: [None, settings.target_if_named().await?.map(|dsn| dsn.host)],
        index_bytes: None,
    };
    if let Some(more) = aws::check(question, settings, &interrupt.token).await? {
        report.add(more);
    }
    show(&report, "vecferry plan, then vecferry restore or migrate", ui)
}

/// That a delta would leave vectors of two models on the target.
fn mixed_models(flags: &Reembed, settings: &Settings) -> Result<Option<Finding>, Error> {
    let what = super::delta::mixed_models(flags, settings)?;
    Ok(what.map(|what| Finding {
        severity: Severity::Blocker,
        check: "embedding model".into(),
        side: None,
        what,
        remedy: super::delta::MIXED_MODELS.into(),
    }))
}

/// The checks of a re-embedding: the knowledge table, and whether registry, model and runner can be spoken to.
async fn of_reembed(args: &Check, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    let interrupt = Interrupt::listen(ui)?;
    let mut report = super::reembed::check(&args.reembed, settings).await?;
    let question = aws::Question {
        method: Method::Reembed,
        flags: &args.reembed,
        hosts: [
            settings.source_if_named().await?.map(|dsn| dsn.host),
            settings.target_if_named().await?.map(|dsn| dsn.host),
        ],
        index_bytes: None,
    };
    if let Some(more) = aws::check(question, settings, &interrupt.token).await? {
        report.add(more);
    }
    show(&report, "vecferry migrate --method reembed --dry-run", ui)
}

/// Shows the report; `next` is the command that follows when nothing blocks.
fn show(report: &Report, next: &str, ui: &Ui) -> Result<Exit, Error> {
    match ui.json {
        true => ui.data_json(report)?,
        false => ui.data(&render_before(report, next, ui))?,
    }
    Ok(if report.blocks() { Exit::No } else { Exit::Done })
}

/// The findings as a table, and the answer below it.
pub(crate) fn render(report: &Report, ui: &Ui) -> String {
    render_before(report, "vecferry plan", ui)
}

/// The same where another command than `plan` comes next.
fn render_before(report: &Report, next: &str, ui: &Ui) -> String {
    let mut blocks = Vec::new();
    if !report.findings.is_empty() {
        let rows = report.findings.iter().map(|finding| row(finding, ui)).collect();
        blocks.push(table(&["", "where", "check", "finding and remedy"], &[], rows));
    }
    blocks.extend(left_out(report));
    blocks.push(conclusion(report, next, ui));
    blocks.join("\n\n")
}

fn row(finding: &Finding, ui: &Ui) -> Vec<String> {
    let severity = match finding.severity {
        Severity::Blocker => ui.coloured(Colour::Red, "blocker"),
        Severity::Warning => ui.coloured(Colour::Yellow, "warning"),
        Severity::Note => "note".into(),
    };
    let place = finding.side.map_or("both".into(), |side| side.to_string());
    let text = if finding.remedy.is_empty() {
        finding.what.clone()
    } else {
        format!("{}\n→ {}", finding.what, finding.remedy)
    };
    vec![severity, place, finding.check.clone(), text]
}

/// The checks that could not run, by reason: one unreachable side is the reason of many.
fn left_out(report: &Report) -> Option<String> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for left in &report.could_not_run {
        reasons.entry(&left.why).or_default().push(&left.check);
    }
    let rows: Vec<_> =
        reasons.into_iter().map(|(why, checks)| vec![why.into(), in_words(&checks)]).collect();
    (!rows.is_empty()).then(|| table(&["not checked, as", "checks"], &[], rows))
}

/// Names of checks, one after the other. What several say before their colon is said once.
fn in_words(checks: &[&str]) -> String {
    let mut text = String::new();
    let mut last = None;
    for check in checks {
        let (kind, rest) = check.split_once(": ").map_or((None, *check), |it| (Some(it.0), it.1));
        let repeated = kind.is_some() && kind == last;
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(if repeated { rest } else { check });
        last = kind;
    }
    text
}

fn conclusion(report: &Report, next: &str, ui: &Ui) -> String {
    let amount = |severity| {
        report.findings.iter().filter(|finding| finding.severity == severity).count() as u64
    };
    let (blockers, warnings) = (amount(Severity::Blocker), amount(Severity::Warning));
    let amounts = format!(
        "{}: {}, {}, {}",
        counted(report.checked.len() as u64, "check"),
        counted(blockers, "blocker"),
        counted(warnings, "warning"),
        counted(amount(Severity::Note), "note"),
    );
    let (colour, answer) = match (blockers, warnings) {
        (0, 0) => (Colour::Green, "nothing is in the way"),
        (0, _) => (Colour::Yellow, "nothing blocks; read the warnings first"),
        _ => (Colour::Red, "the migration must not start like this"),
    };
    let next = if blockers > 0 { "vecferry check, again" } else { next };
    format!("{amounts}\n{}\nnext: {next}", ui.coloured(colour, answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Output;
    use vecferry_core::Side;

    #[test]
    fn checks_of_one_kind_name_it_once() {
        let checks = ["source", "rights: a", "rights: b", "task role: a", "rights: c"];
        assert_eq!(in_words(&checks), "source, rights: a, b, task role: a, rights: c");
        assert_eq!(in_words(&[]), "");
    }

    #[test]
    fn a_finding_stands_with_its_remedy_and_the_answer_last() {
        let finding = Finding {
            severity: Severity::Blocker,
            check: "rows on the target".into(),
            side: Some(Side::Target),
            what: "public.items holds 3 rows".into(),
            remedy: "pass --existing keep or replace".into(),
        };
        let report = Report {
            version: 1,
            findings: vec![finding],
            checked: vec!["rows on the target".into()],
            could_not_run: vec![],
        };
        let text = render(&report, &Ui::new(&Output::default()));
        assert!(text.contains("→ pass --existing"), "{text}");
        assert!(text.contains("1 check: 1 blocker, 0 warnings, 0 notes\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}
