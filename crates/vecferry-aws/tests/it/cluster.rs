//! A temporary cluster: made, interrupted at every call, removed; against a double whose states move on.

mod killed;
mod removing;
mod restoring;
mod same_from_moto;
mod tunnel;

use std::sync::Mutex;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vecferry_aws::Account;
use vecferry_aws::cluster::{
    Patience, Progress, Proposal, Survey, TargetName, Temporary, Wishes, find, propose, restore,
    survey,
};
use vecferry_core::Result;
use vecferry_testkit::rds::{Rds, RdsCluster, RdsSnapshot};
use vecferry_testkit::{Moto, moto};

use crate::rig::account;

/// An account in which a stack's cluster was replaced: the target is there, of the old cluster two snapshots are left.
struct Place {
    rds: Rds,
    account: Account,
    target: TargetName,
    /// Identifier of the target's cluster; its own, because all places share moto's secrets.
    name: String,
}

impl Place {
    async fn new() -> Place {
        let moto = moto().await;
        let rds = Rds::start(moto).unwrap();
        let name = Moto::unique("target");
        let target = RdsCluster::new(&name);
        let (host, port) = target.endpoint();
        rds.add_cluster(target);
        let gone = RdsCluster::new("chat");
        rds.add_snapshot(RdsSnapshot::of(&gone, "early", "2026-11-01T00:00:00Z"));
        rds.add_snapshot(RdsSnapshot::of(&gone, "stack-final-1x2y", "2026-11-19T08:30:00Z"));
        let account = account(&rds.url()).await;
        Place { rds, account, target: TargetName { host, port, database: "postgres".into() }, name }
    }

    async fn survey(&self) -> Survey {
        survey(&self.account, &self.target, None).await.unwrap()
    }

    async fn propose(&self, wishes: &Wishes) -> Proposal {
        propose(&self.survey().await, wishes, &id()).unwrap()
    }

    /// Looks, decides and does, as the program does it. What is told is handed back.
    async fn restore(&self, wishes: &Wishes) -> (Result<Temporary>, Vec<Progress>) {
        let proposal = self.propose(wishes).await;
        let told = Mutex::new(Vec::new());
        let report = |progress: &Progress| told.lock().unwrap().push(progress.clone());
        let cancel = CancellationToken::new();
        let outcome =
            restore(&self.account, &proposal, "postgres", patience(), (&report, &cancel)).await;
        (outcome, told.into_inner().unwrap())
    }

    async fn find(&self) -> Option<Temporary> {
        find(&self.account, &self.target, None).await.unwrap()
    }

    /// Clusters, instances and secrets with our tags for this target.
    async fn made(&self) -> (usize, usize, usize) {
        let ours = |tags: &std::collections::BTreeMap<String, String>| {
            tags.get("vecferry:target").is_some_and(|target| target.contains(&self.name))
        };
        let clusters = self.rds.clusters().iter().filter(|one| ours(&one.tags)).count();
        let instances = self.rds.instances().iter().filter(|one| ours(&one.tags)).count();
        (clusters, instances, self.secrets().await)
    }

    async fn secrets(&self) -> usize {
        let client = aws_sdk_secretsmanager::Client::new(self.account.config());
        let mut pages = client.list_secrets().into_paginator().send();
        let mut found = 0;
        while let Some(page) = pages.next().await {
            let page = page.unwrap();
            let ours = page.secret_list().iter().filter(|secret| {
                secret.tags().iter().any(|tag| {
                    tag.key() == Some("vecferry:target")
                        && tag.value().is_some_and(|value| value.contains(&self.name))
                })
            });
            found += ours.count();
        }
        found
    }
}

/// Looks follow each other at once; the limit only ends a test that hangs.
fn patience() -> Patience {
    Patience { limit: Duration::from_secs(120), poll: Duration::from_millis(2) }
}

/// A new migration's id.
fn id() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("{process:08x}-7000-7abc-8def-{number:012x}")
}
