//! `migrate --method delta`: shows what changed since the source was taken, asks once, copies, and embeds anew what
//! changed. What is durable when says [`vecferry_core::delta`].
//!
//! Every run compares before it asks, and once more when a copy has come in between: hours may have passed, and bots
//! are edited meanwhile. What differs then is said, and the limit of the cost holds for it too; it is not asked again,
//! because nobody may be there any more.

mod look;
mod show;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use vecferry_core::bot::BotKey;
use vecferry_core::delta::{Recorded, Terms, recorded, settle};
use vecferry_core::migration::{RunOptions, migrate};
use vecferry_core::phase::{Phase, Route};
use vecferry_core::plan::Models;
use vecferry_core::policy::{Clusters, Method, Policy};
use vecferry_core::reembed::registry::Listing;
use vecferry_core::reembed::select::Selection;
use vecferry_core::reembed::store::{MigrationStore, PostgresStore};
use vecferry_core::report::{Event, Reporter};
use vecferry_core::{Error as CoreError, Side};

use super::migrate::{destroyed, how_to_go_on, may_begin, measure, render};
use super::reembed::{Ready, Shop, embed, proven, resolve};
use crate::cli::{Migrate, Reembed};
use crate::confirm;
use crate::error::{Error, Exit, Mistake};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::ui::Ui;
use crate::units::{counted, size};
pub(in crate::commands) use look::Look;
use look::Seen;
pub(super) use look::bytes_to_copy;

/// One run of a delta.
struct Run<'a> {
    args: &'a Migrate,
    /// The id of the cluster that was restored for it.
    id: Option<String>,
    clusters: Clusters,
    policy: Policy,
    terms: Terms,
    shop: Shop,
    store: Arc<PostgresStore>,
    ui: &'a Ui,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Migrate,
    settings: &Settings,
    id: Option<String>,
    ui: &Ui,
) -> Result<Exit, Error> {
    refuse_unfit(args, settings)?;
    let clusters = settings.clusters().await?;
    let earlier = match args.restart {
        true => None,
        false => recorded(&clusters.target).await?,
    };
    if let Some(done) = earlier.as_ref().filter(|earlier| earlier.phase == Phase::Done) {
        let id = &done.id;
        ui.say(&format!("delta {id} is complete; nothing to do (--restart begins again)"));
        return Ok(Exit::Done);
    }
    let policy =
        Policy { method: Some(Method::Delta), ..settings.policy(&args.selection, &args.work) };
    let terms = terms(args, settings, earlier.as_ref()).await?;
    let flags = &args.reembed;
    let resolved = resolve(flags, settings).await?;
    let shop = Shop::open(resolved, flags, settings, Side::Source).await?;
    let store = Arc::new(PostgresStore::of_delta(clusters.target.clone()));
    Run { args, id, clusters, policy, terms, shop, store, ui }.go(earlier).await
}

/// What does not fit a delta, said before anything is read.
pub(super) fn refuse_unfit(args: &Migrate, settings: &Settings) -> Result<(), Error> {
    let mistake = |what: &str, hint: &str| Err(Mistake::new(what, hint).into());
    if settings.state(&args.reembed.store).is_some() {
        let what =
            "a delta keeps its state on the target, which it copies to: --state does not fit it";
        return mistake(what, "leave --state (`state` in the file) out");
    }
    if !args.reembed.selection.bots.is_empty() {
        let what = "a delta decides about every bot: --bots does not fit it";
        return mistake(what, "embed single bots afterwards: --method reembed --bots");
    }
    if let Some(what) = mixed_models(&args.reembed, settings)? {
        return mistake(&what, MIXED_MODELS);
    }
    if settings.knowledge().bot.is_none() {
        let what = "a delta needs the column that names the bot, and [knowledge] has none";
        return mistake(what, "choose --method copy or reembed");
    }
    Ok(())
}

/// What to do about [`mixed_models`].
pub(super) const MIXED_MODELS: &str = "choose --method reembed, which embeds everything anew; if that model made the \
                                       source's vectors, say so with --source-model";

/// Whether the bots that stay would have vectors of another model than those that are embedded anew, in words.
pub(super) fn mixed_models(flags: &Reembed, settings: &Settings) -> Result<Option<String>, Error> {
    let model = settings.model(&flags.embedding, None)?;
    let models = Models { source: model.source_model, target: model.id };
    Ok((!models.are_one()).then(|| {
        format!(
            "copied vectors would be of {} and new ones of {}: a search cannot compare them",
            models.source, models.target
        )
    }))
}

/// Whether this time of the source is in the future, in words.
pub(in crate::commands) fn yet_to_come(taken_at: Timestamp) -> Option<String> {
    (taken_at > Timestamp::now())
        .then(|| format!("the source cannot be as it was at {taken_at}: that is yet to come"))
}

/// The recorded terms, which nobody may contradict; of a delta that begins now, those of the settings.
async fn terms(
    args: &Migrate,
    settings: &Settings,
    earlier: Option<&Recorded>,
) -> Result<Terms, Error> {
    let taken_at = settings.source_time(&args.delta).await?;
    let web = settings.web(&args.delta);
    let Some(earlier) = earlier else {
        let Some(taken_at) = taken_at else {
            let what =
                "it is not known when the source was as it is, and so not what changed since";
            let hint = "pass --source-time, like 2026-03-01T12:00:00Z: the time of the snapshot, or an earlier one";
            return Err(Mistake::new(what, hint).into());
        };
        if let Some(what) = yet_to_come(taken_at) {
            let hint = "pass --source-time in UTC with a Z, or with its own offset, like 2026-03-01T12:00:00+09:00";
            return Err(Mistake::new(what, hint).into());
        }
        return Ok(Terms { taken_at, web: web.unwrap_or_default() });
    };
    let recorded = earlier.terms;
    let now =
        Terms { taken_at: taken_at.unwrap_or(recorded.taken_at), web: web.unwrap_or(recorded.web) };
    // Recorded in microseconds.
    if now.taken_at.as_microsecond() == recorded.taken_at.as_microsecond()
        && now.web == recorded.web
    {
        return Ok(recorded);
    }
    let said = |terms: Terms| format!("source time {} and web {}", terms.taken_at, terms.web);
    Err(Mistake::new(
        format!(
            "delta {} was begun with {}, and now it is {}",
            earlier.id,
            said(recorded),
            said(now)
        ),
        "leave --source-time and --web as they were, or begin again with --restart",
    )
    .into())
}

impl Run<'_> {
    async fn go(mut self, earlier: Option<Recorded>) -> Result<Exit, Error> {
        let embedding = earlier.as_ref().is_some_and(|earlier| earlier.phase == Phase::Embedding);
        if let Some(run) = self.store.newest().await?.filter(|_| embedding) {
            self.shop.recorded().refuse_others(&run.settings, &self.store.describe())?;
        }
        let seen = self.look(earlier.as_ref()).await?;
        self.tell(&seen, if embedding { Phase::Embedding } else { Phase::Schema }, None)?;
        let (chosen, proven) = self.chosen(&seen, earlier.is_some()).await?;
        let ready = self.offer(&seen, (&chosen, proven), true).await?;
        let dry_run = self.args.reembed.dry_run;
        if !dry_run {
            self.ask(&seen, &chosen, embedding).await?;
        }
        let interrupt = Interrupt::listen(self.ui)?;
        if embedding && !dry_run {
            return self.finish(&seen, (chosen, ready), earlier, &interrupt).await;
        }
        let begins = earlier.is_none();
        if begins
            && !self.args.no_check
            && !may_begin(&self.clusters, &self.policy, &interrupt, self.ui).await?
        {
            return Ok(Exit::No);
        }
        if dry_run {
            return Ok(Exit::Done);
        }
        self.copy(begins, &interrupt).await?;
        let earlier = recorded(&self.clusters.target).await?;
        let again = self.look(earlier.as_ref()).await?;
        self.tell(&again, Phase::Embedding, Some(&seen))?;
        let (chosen, proven) = self.chosen(&again, true).await?;
        let ready = self.offer(&again, (&chosen, proven), false).await?;
        self.finish(&again, (chosen, ready), earlier, &interrupt).await
    }

    /// Bots to embed that no earlier run has proven, and how many it has.
    async fn chosen(&self, seen: &Seen, continued: bool) -> Result<(Listing, u64), Error> {
        let proven = match continued {
            true => proven(self.store.as_ref(), &self.shop.recorded()).await?,
            false => HashSet::new(),
        };
        let bots = seen.delta.chosen().filter(|bot| !proven.contains(&bot.key)).cloned();
        let listing = Listing { bots: bots.collect(), ..Listing::default() };
        let proven = seen.delta.chosen().filter(|bot| proven.contains(&bot.key)).count();
        if proven > 0 {
            let bots = counted(proven as u64, "bot");
            self.ui.insist(&format!(
                "{bots} embedded by an earlier run are left as they are; what was written to their documents since is not \
                 looked at (afterwards: vecferry migrate --method reembed --bots …)"
            ));
        }
        Ok((listing, proven as u64))
    }

    /// Shows what embedding the chosen bots takes, and refuses what may cost more than is allowed.
    async fn offer(
        &self,
        seen: &Seen,
        (chosen, proven): (&Listing, u64),
        show: bool,
    ) -> Result<Option<Ready>, Error> {
        if chosen.bots.is_empty() {
            return Ok(None);
        }
        let ready = self.shop.ready(chosen, &seen.delta.fresh(), self.ui).await?;
        let offer = self.shop.offer(&ready, chosen, self.store.describe(), proven);
        if show {
            offer.show(self.ui)?;
        }
        offer.within(self.args.reembed.max_cost)?;
        Ok(Some(ready))
    }

    /// The one question.
    async fn ask(&self, seen: &Seen, chosen: &Listing, embedding: bool) -> Result<(), Error> {
        if self.args.yes.yes {
            return Ok(());
        }
        let mut does = match embedding {
            true => Vec::new(),
            false => destroyed(self.args, &self.clusters, &self.policy).await?,
        };
        if !embedding {
            let bytes = bytes_to_copy(&self.clusters.source, &self.policy).await?;
            does.push(format!("copy {}", size(bytes)));
        }
        if !chosen.bots.is_empty() {
            let bots = counted(chosen.bots.len() as u64, "bot");
            does.push(format!("embed {bots} anew"));
        }
        let removed = seen.delta.remove.len() as u64;
        if removed > 0 {
            does.push(format!("leave the target without the rows of {}", counted(removed, "bot")));
        }
        if does.is_empty() {
            return Ok(());
        }
        confirm::destroy(self.ui, false, &self.clusters.target, &does.join(", "))
    }

    /// The phases of a copy; those that are done already take no time.
    async fn copy(&mut self, begins: bool, interrupt: &Interrupt) -> Result<(), Error> {
        let estimates = match begins && !self.args.no_estimate {
            true => {
                // Its first phases are a copy's.
                let policy = Policy { method: Some(Method::Copy), ..self.policy.clone() };
                measure(&self.clusters, &policy, interrupt, self.ui).await?.estimates
            }
            false => Vec::new(),
        };
        let restart = self.args.restart;
        let options = RunOptions {
            restart,
            detach: false,
            estimates,
            id: self.id.clone(),
            terms: Some(self.terms),
        };
        let progress = Progress::of_events(self.ui);
        let (clusters, policy) = (&self.clusters, &self.policy);
        let outcome = migrate(clusters, policy, options, &progress, &interrupt.token).await;
        progress.finish();
        match outcome {
            Ok(summary) if self.ui.json => {
                tracing::debug!(migration = summary.migration, "the copy is complete");
                Ok(())
            }
            Ok(summary) => self.ui.data(&render(&summary, &[])),
            Err(CoreError::Interrupted) => {
                Err(Error::Interrupted { how_to_go_on: how_to_go_on(progress.parts(), restart) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Records what is done with the bots, removes rows of those that are gone, and embeds the others.
    async fn finish(
        &self,
        seen: &Seen,
        (chosen, ready): (Listing, Option<Ready>),
        earlier: Option<Recorded>,
        interrupt: &Interrupt,
    ) -> Result<Exit, Error> {
        let Some(Recorded { id, .. }) = earlier else {
            return Err(CoreError::Bug { what: "the delta's record is gone".into() }.into());
        };
        let begun = Instant::now();
        let steps = Route::Delta.phases().len() - 1;
        let progress = Progress::of_events(self.ui);
        progress.event(&Event::PhaseStarted { phase: Phase::Embedding, step: steps, steps });
        let settings = self.shop.recorded();
        let rows_removed = settle(&self.clusters.target, &id, &settings, &seen.delta).await?;
        progress.event(&Event::DeltaSettled { migration: id.clone(), rows_removed });
        progress.finish();
        let Some(ready) = ready else {
            // Nobody is left to be embedded.
            let seconds = begun.elapsed().as_secs_f64();
            self.store.end(&id, seconds, None).await?;
            if !self.ui.json {
                self.ui.data(&format!("migration {id}: done\nnext: vecferry verify"))?;
            }
            return Ok(Exit::Done);
        };
        let keys: Vec<BotKey> = chosen.bots.into_iter().map(|bot| bot.key).collect();
        let order = self.shop.order(ready, self.store.clone(), Selection::exactly(keys), false)?;
        embed(order, interrupt, self.ui).await
    }
}
