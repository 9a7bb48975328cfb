//! `restore`: a temporary cluster from a snapshot, offered with its price before anything is made. `migrate` does the
//! same when its source is a snapshot and none stands.

mod candidates;
mod offer;
mod progress;
pub(super) mod removal;
pub(super) mod standing;

use std::time::{Duration, Instant};

use serde::Serialize;
use vecferry_aws::Account;
use vecferry_aws::cluster::{
    Origin, Proposal, Survey, TargetName, Temporary, Undecided, Wishes, candidates, propose,
    restore, survey,
};
use vecferry_core::error::on_one_line;
use vecferry_core::pg::{Dsn, Session};
use vecferry_core::{Class, Side};

use crate::cli::{Method, Migrate, PriceFile, Restore, TargetAt, TemporaryCluster};
use crate::confirm;
use crate::error::{Error, Exit};
use crate::interrupt::Interrupt;
use crate::settings::Settings;
use crate::ui::Ui;
use offer::Offer;

/// RDS sets a password some seconds after it says so.
const LOGIN_WITHIN: Duration = Duration::from_secs(60);

/// What a restore is asked for with.
struct Order<'a> {
    wishes: Wishes,
    temporary: &'a TemporaryCluster,
    at: &'a TargetAt,
    /// USD for a day.
    max_cost: Option<f64>,
    prices: &'a PriceFile,
    dry_run: bool,
    yes: bool,
}

/// The last line for programs.
#[derive(Serialize)]
struct Restored<'a> {
    version: u32,
    event: &'static str,
    /// Whether this machine reaches it.
    reachable: bool,
    #[serde(flatten)]
    temporary: &'a Temporary,
}

/// Runs the command.
pub(crate) async fn run(args: &Restore, settings: &Settings, ui: &Ui) -> Result<Exit, Error> {
    let mut wishes = settings.wishes(&args.temporary).await?;
    wishes.snapshot = args.snapshot.clone().or(wishes.snapshot);
    if args.list {
        let (_, survey) = look(settings).await?;
        candidates::show(&candidates(&survey), ui)?;
        return Ok(Exit::Done);
    }
    let order = Order {
        wishes,
        temporary: &args.temporary,
        at: &args.at,
        max_cost: args.max_cost,
        prices: &args.prices,
        dry_run: args.dry_run,
        yes: args.yes,
    };
    let Some((temporary, account)) = carry_out(order, settings, ui).await? else {
        return Ok(Exit::Done);
    };
    let reachable = reach(&temporary.dsn(&account).await?, ui).await;
    if ui.json {
        let event = "restored";
        ui.data_json(&Restored { version: 1, event, reachable, temporary: &temporary })?;
        return Ok(Exit::Done);
    }
    let mut lines = vec![format!(
        "{} is ready at {}:{}, restored from {}",
        temporary.cluster, temporary.host, temporary.port, temporary.snapshot
    )];
    if settings.snapshot().is_none() {
        lines.push(
            "write source = \"snapshot\" into vecferry.toml, or pass --source snapshot".into(),
        );
    }
    lines.push(
        "next: vecferry migrate --method delta (or copy); `vecferry cleanup` removes it".into(),
    );
    ui.data(&lines.join("\n"))?;
    Ok(Exit::Done)
}

/// What a migration finds before it begins.
pub(super) enum Ready {
    /// Its source is no snapshot.
    NoSnapshot,
    /// The temporary cluster stands.
    Stands(Temporary),
    /// What would be made was shown, and nothing more was asked for.
    Shown,
}

/// Makes sure that a source which is a snapshot stands as a cluster; asks as `restore` does.
pub(super) async fn before_migrating(
    args: &Migrate,
    method: Option<Method>,
    settings: &Settings,
    ui: &Ui,
) -> Result<Ready, Error> {
    if settings.snapshot().is_none() {
        return Ok(Ready::NoSnapshot);
    }
    match method {
        Some(Method::Follow) => {
            return Err(Error::Usage {
                what: "--method follow needs a source in use, and a snapshot never changes".into(),
                hint: Some("use --method delta or copy".into()),
            });
        }
        // Its source is asked for unchanged chunks only: not worth a cluster that nobody asked for.
        Some(Method::Reembed) => return Ok(Ready::NoSnapshot),
        _ => {}
    }
    if let Some(temporary) = settings.temporary().await?
        && temporary.ready
    {
        return Ok(Ready::Stands(temporary));
    }
    let order = Order {
        wishes: settings.wishes(&args.temporary).await?,
        temporary: &args.temporary,
        at: &args.at,
        max_cost: args.reembed.max_cost,
        prices: &args.reembed.prices,
        dry_run: args.reembed.dry_run,
        yes: args.yes.yes,
    };
    let made = carry_out(order, settings, ui).await?;
    let Some((temporary, account)) = made else { return Ok(Ready::Shown) };
    reach(&temporary.dsn(&account).await?, ui).await;
    Ok(Ready::Stands(temporary))
}

/// Looks, decides, offers, asks, does. `None` when it was only to be shown.
async fn carry_out(
    mut order: Order<'_>,
    settings: &Settings,
    ui: &Ui,
) -> Result<Option<(Temporary, Account)>, Error> {
    let (account, survey) = look(settings).await?;
    let proposal = decide(&survey, &mut order, ui)?;
    let target = settings.target().await?;
    let database = settings.source_database(order.temporary, &target);
    let prices = settings.prices(order.prices)?;
    let all = candidates(&survey);
    let chosen = match &proposal.origin {
        Origin::Snapshot(snapshot) => all.iter().find(|one| one.snapshot.arn == snapshot.arn),
        Origin::Cluster { .. } | Origin::Standing { .. } => None,
    };
    let offer = Offer { proposal: &proposal, chosen, database: &database, prices: &prices };
    offer.show(&account, ui)?;
    offer.within(order.max_cost)?;
    if order.dry_run {
        return Ok(None);
    }
    confirm::spend(ui, order.yes, &offer.what())?;
    let interrupt = Interrupt::listen(ui)?;
    let told = progress::Told::new(ui);
    let report = |progress: &_| told.show(progress);
    let patience = settings.patience(order.at);
    let both = (&report as _, &interrupt.token);
    let made = restore(&account, &proposal, &database, patience, both).await;
    made.map(|temporary| Some((temporary, account))).map_err(|error| match error {
        vecferry_core::Error::Interrupted => Error::Interrupted {
            how_to_go_on: "run the same command again: it goes on where it stopped; \
                           `vecferry cleanup` removes what was made"
                .into(),
        },
        error => error.into(),
    })
}

async fn look(settings: &Settings) -> Result<(Account, Survey), Error> {
    let target = settings.target().await?;
    let account = settings.account().await;
    let name = TargetName::from(&target);
    let survey = survey(&account, &name, settings.target_cluster()).await?;
    Ok((account, survey))
}

/// What is proposed. What is ambiguous is shown; a cluster that is still there is asked about.
fn decide(survey: &Survey, order: &mut Order<'_>, ui: &Ui) -> Result<Proposal, Error> {
    let id = uuid::Uuid::now_v7().to_string();
    let undecided = match propose(survey, &order.wishes, &id) {
        Ok(proposal) => return Ok(proposal),
        Err(undecided) => undecided,
    };
    match &undecided {
        Undecided::Several(_) | Undecided::None { .. } | Undecided::NoSuchSnapshot(_) => {
            let all = candidates(survey);
            if !all.is_empty() {
                ui.insist(&candidates::render(&all));
            }
        }
        Undecided::StillThere(cluster) if !order.yes => {
            let what =
                format!("take a snapshot of {cluster}, which is still there, and restore it");
            if confirm::is_possible() {
                confirm::spend(ui, false, &what)?;
                order.wishes.take_snapshot = true;
                return propose(survey, &order.wishes, &id).map_err(core);
            }
        }
        _ => {}
    }
    Err(core(undecided))
}

fn core(undecided: Undecided) -> Error {
    vecferry_core::Error::from(undecided).into()
}

/// Whether this machine can log in. A password takes a moment to be the server's.
async fn reach(source: &Dsn, ui: &Ui) -> bool {
    let begun = Instant::now();
    loop {
        let error = match Session::open(source, Side::Source, "see whether it can be reached").await
        {
            Ok(_) => return true,
            Err(error) => error,
        };
        let passing = error.sqlstate() == Some("28P01") || error.class() == Class::Transient;
        if !passing || begun.elapsed() > LOGIN_WITHIN {
            let why = on_one_line(&error);
            ui.say(&format!("this machine cannot use the temporary cluster (yet): {why}"));
            return false;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
