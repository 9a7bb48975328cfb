//! `cutover` and `rollback`: asks for consent, lets core cross, and says what happened and what is to be done next.

use vecferry_core::cutover::decide::{Decision, Reason};
use vecferry_core::cutover::step::{Direction, Step};
use vecferry_core::cutover::{End, Options, Outcome, cross, decide};
use vecferry_core::policy::{Clusters, Method, Policy};
use vecferry_core::status::{CrossingStatus, status};

use crate::cli::{Crossing, Cutover, Follow, Proof, Rollback, Work};
use crate::confirm;
use crate::error::{Error, Exit};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::ui::{Colour, Ui, table};

/// Runs `cutover`.
pub(crate) async fn cutover(args: &Cutover, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    let mut options = options(Direction::Cutover, &args.crossing, settings).await?;
    options.way_back = !args.no_way_back;
    options.max_lag = args.max_lag.unwrap_or(options.max_lag);
    run(&args.crossing, &options, settings, ui).await
}

/// Runs `rollback`.
pub(crate) async fn rollback(args: &Rollback, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    let mut options = options(Direction::Rollback, &args.crossing, settings).await?;
    options.max_lag = args.max_lag.unwrap_or(options.max_lag);
    run(&args.crossing, &options, settings, ui).await
}

async fn options(
    direction: Direction,
    args: &Crossing,
    settings: &Settings,
) -> Result<Options, Error> {
    let default = Options::new(direction);
    Ok(Options {
        full: args.verify == Some(Proof::Full),
        switch: settings.switch(args).await?,
        fence: args.fence,
        switch_timeout: args.switch_timeout.unwrap_or(default.switch_timeout),
        fence_timeout: args.fence_timeout.unwrap_or(default.fence_timeout),
        fence_tries: args.fence_tries.unwrap_or(default.fence_tries),
        drain_timeout: args.drain_timeout.unwrap_or(default.drain_timeout),
        sequence_margin: args.sequence_margin.unwrap_or(default.sequence_margin),
        ..default
    })
}

async fn run(
    args: &Crossing,
    options: &Options,
    settings: &Settings,
    ui: &Ui,
) -> Result<Exit, Error> {
    let clusters = settings.clusters().await?;
    let work = Work { jobs: args.jobs, ..Work::default() };
    let mut policy = settings.policy(&args.selection, &work);
    let target_from_source = args.target_from_source.clone();
    let follow = Follow { target_from_source, ..Follow::default() };
    policy.follow = settings.follow(&follow, &clusters)?;
    if args.dry_run {
        let decision = decide(&clusters, &policy, options).await?;
        return show_decision(&decision, ui);
    }
    if !args.yes.yes && !may_begin(&clusters, &policy, options, ui).await? {
        return Ok(Exit::No);
    }
    let interrupt = Interrupt::listen(ui)?;
    let progress = Progress::of_result(ui);
    let outcome = cross(&clusters, &policy, options, &progress, &interrupt.token).await;
    progress.finish();
    let outcome = match outcome {
        Err(vecferry_core::Error::Interrupted) => {
            return Err(interrupted(options.direction, &clusters).await);
        }
        outcome => outcome?,
    };
    if ui.json {
        ui.data_json(&outcome)?;
    } else {
        ui.data(&render(&outcome, options, &clusters, ui))?;
    }
    Ok(if outcome.done { Exit::Done } else { Exit::No })
}

/// What an interruption has left, as the record tells; where it cannot be read, nothing is promised.
async fn interrupted(direction: Direction, clusters: &Clusters) -> Error {
    let found = status(&clusters.target).await.ok().flatten();
    let crossings = found.map(|status| status.crossings);
    let undone = |one: &CrossingStatus| one.step == Step::Undone;
    let how_to_go_on = match crossings {
        Some(crossings) if crossings.iter().all(undone) => {
            format!(
                "nothing was switched, and no write is refused; `vecferry {direction}` begins again"
            )
        }
        _ => format!(
            "`vecferry status` shows how far it is and which cluster refuses writes; `vecferry {direction}` goes on"
        ),
    };
    Error::Interrupted { how_to_go_on }
}

/// Whoever is asked has seen what is known.
async fn may_begin(
    clusters: &Clusters,
    policy: &Policy,
    options: &Options,
    ui: &Ui,
) -> Result<bool, Error> {
    let decision = decide(clusters, policy, options).await?;
    if !decision.go {
        show_decision(&decision, ui)?;
        return Ok(false);
    }
    if !decision.reasons.is_empty() {
        ui.insist(&reasons(&decision.reasons, ui));
    }
    let direction = options.direction;
    let (sender, receiver) = (direction.sender(), direction.receiver());
    let what = match decision.refuses_writes {
        true => format!(
            "refuse writes to database {} on the {sender} and move the application to the {receiver}",
            clusters.at(sender).database
        ),
        false => format!(
            "move the application to database {} on the {receiver}",
            clusters.at(receiver).database
        ),
    };
    confirm::destroy(ui, false, &clusters.target, &what)?;
    Ok(true)
}

fn show_decision(decision: &Decision, ui: &Ui) -> Result<Exit, Error> {
    if ui.json {
        ui.data_json(decision)?;
    } else {
        let mut blocks = Vec::new();
        if !decision.reasons.is_empty() {
            blocks.push(reasons(&decision.reasons, ui));
        }
        blocks.push(match decision.go {
            true => format!(
                "{}: {} can be done now",
                ui.coloured(Colour::Green, "go"),
                decision.direction
            ),
            false => format!("{}: no {} now", ui.coloured(Colour::Red, "no"), decision.direction),
        });
        ui.data(&blocks.join("\n\n"))?;
    }
    Ok(if decision.go { Exit::Done } else { Exit::No })
}

fn reasons(reasons: &[Reason], ui: &Ui) -> String {
    let line = |reason: &Reason| {
        let label = match reason.blocks {
            true => ui.coloured(Colour::Red, "blocker"),
            false => ui.coloured(Colour::Yellow, "note"),
        };
        match reason.remedy.as_str() {
            "" => format!("{label}  {}", reason.what),
            remedy => format!("{label}  {}\n  → {remedy}", reason.what),
        }
    };
    reasons.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn render(outcome: &Outcome, options: &Options, clusters: &Clusters, ui: &Ui) -> String {
    let mut blocks = Vec::new();
    if !outcome.steps.is_empty() {
        let row = |step: &vecferry_core::cutover::StepSeconds| {
            vec![step.name.replace('_', " "), milliseconds(step.seconds)]
        };
        blocks.push(table(&["step", "took"], &[1], outcome.steps.iter().map(row).collect()));
    }
    let told = outcome.decision.reasons.iter().chain(&outcome.stopped).cloned();
    let told: Vec<Reason> = told.collect();
    if !told.is_empty() {
        blocks.push(reasons(&told, ui));
    }
    blocks.push(conclusion(outcome, options, clusters, ui));
    blocks.join("\n\n")
}

fn conclusion(outcome: &Outcome, options: &Options, clusters: &Clusters, ui: &Ui) -> String {
    let direction = outcome.direction;
    let (sender, receiver) = (direction.sender(), direction.receiver());
    let no = ui.coloured(Colour::Red, "no");
    match outcome.end {
        End::Refused => format!("{no}: nothing was changed"),
        End::Undone => format!("{no}: nothing was switched; the {sender} takes writes as before"),
        End::Unknown if !outcome.decision.refuses_writes => {
            format!("{no}: the {sender} takes writes; see the remedy above")
        }
        End::Unknown => format!("{no}: the {sender} still refuses writes; see the remedy above"),
        End::Done if !outcome.switched => {
            "nothing was switched; the source takes writes again".into()
        }
        End::Done => {
            let downtime = match outcome.downtime_seconds {
                Some(seconds) => format!("writes were refused for {}", milliseconds(seconds)),
                None => "no writes were refused".to_owned(),
            };
            let still = match outcome.downtime_seconds {
                Some(_) => format!("; the {sender} refuses them still"),
                None => String::new(),
            };
            let mut lines = vec![match outcome.switched_by_command {
                true => format!("the application is on the {receiver}; {downtime}"),
                false => format!(
                    "{downtime}{still}\npoint the application at the {receiver} now: {}",
                    clusters.at(receiver)
                ),
            }];
            lines.push(next(outcome, options).into());
            lines.join("\n")
        }
    }
}

fn next(outcome: &Outcome, options: &Options) -> &'static str {
    if outcome.method.is_some_and(|method| method != Method::Follow) {
        return match outcome.direction {
            Direction::Cutover => {
                "next: vecferry cleanup ends the migration; until then vecferry rollback points the application back, without rows"
            }
            Direction::Rollback => {
                "next: vecferry cutover can be made again; vecferry cleanup ends the migration"
            }
        };
    }
    match (outcome.direction, outcome.way_back && options.way_back) {
        (Direction::Cutover, true) => {
            "next: vecferry rollback goes back with all that is written until then; vecferry cleanup ends the migration"
        }
        (Direction::Cutover, false) => {
            "next: vecferry cleanup ends the migration; there is no way back"
        }
        (Direction::Rollback, _) => {
            "next: vecferry cleanup, before another migration; the target keeps its rows and refuses writes until then"
        }
    }
}

/// `412 ms`, `1.85 s`: a downtime is worth more digits than a copy.
fn milliseconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        seconds if seconds < 60.0 => format!("{seconds:.2} s"),
        seconds => crate::units::duration(seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vecferry_core::cutover::StepSeconds;
    use vecferry_core::pg::Dsn;

    fn outcome(end: End, downtime: Option<f64>) -> Outcome {
        let direction = Direction::Cutover;
        Outcome {
            version: 1,
            migration: Some("0198".into()),
            method: Some(Method::Follow),
            direction,
            done: end == End::Done,
            end,
            switched: downtime.is_some(),
            switched_by_command: false,
            way_back: true,
            downtime_seconds: downtime,
            steps: vec![StepSeconds { name: "way_back".into(), seconds: 0.0123 }],
            decision: Decision {
                version: 1,
                direction,
                go: true,
                refuses_writes: true,
                reasons: Vec::new(),
            },
            stopped: None,
        }
    }

    fn shown(outcome: &Outcome) -> String {
        let dsn: Dsn = "postgresql://u:hunter2@h/db".parse().unwrap();
        let clusters = Clusters { source: dsn.clone(), target: dsn };
        let ui = Ui::new(&crate::cli::Output::default());
        render(outcome, &Options::new(Direction::Cutover), &clusters, &ui)
    }

    #[test]
    fn the_operator_reads_the_downtime_and_what_is_left_to_do() {
        let text = shown(&outcome(End::Done, Some(0.412)));
        for words in
            ["way back", "12 ms", "refused for 412 ms", "point the application", "h:5432/db"]
        {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
        let by_command = Outcome { switched_by_command: true, ..outcome(End::Done, Some(2.0)) };
        assert!(!shown(&by_command).contains("point the application"));
    }

    #[test]
    fn a_no_says_who_takes_writes() {
        let stopped = Some(Reason::no("rows differ", "look"));
        let text = shown(&Outcome { stopped, ..outcome(End::Undone, None) });
        assert!(text.contains("rows differ\n  → look"), "{text}");
        assert!(text.contains("the source takes writes as before"), "{text}");
        assert!(shown(&outcome(End::Unknown, None)).contains("still refuses"));
        assert!(shown(&outcome(End::Done, None)).contains("takes writes again"));
    }
}
