//! The same for `follow`: a pair that can be followed, spoilt in one way at a time.

use super::*;
use crate::policy::Method;

fn replication() -> Replication {
    Replication {
        max_slots: 10,
        slots: vec![],
        max_senders: 10,
        senders: vec![],
        max_apply_workers: 4,
        apply_workers: vec![],
        max_workers: 8,
        workers: vec!["logical replication launcher".into()],
        max_origins: 10,
        origins: vec![],
        may_replicate: true,
        may_subscribe: true,
        rds: false,
        kept_wal: Some(1 << 40),
        decoding_memory: 64 << 20,
        senders_time_out: true,
        idle_slot_timeout: None,
        open_transactions: vec![],
        prepared: vec![],
        owners: vec![],
        firing: vec![],
    }
}

fn way(answer: Answer) -> Option<Way> {
    Some(Way { address: "db.example:5432".into(), local: false, answer })
}

fn refused(message: &str) -> Option<Way> {
    way(Answer::Refused { sqlstate: "08006".into(), message: message.into() })
}

fn followed() -> Facts {
    let mut facts = healthy();
    facts.policy.method = Some(Method::Follow);
    source(&mut facts).replication = Some(replication());
    target(&mut facts).replication = Some(replication());
    facts.source_from_target = way(Answer::Reached);
    facts.target_from_source = way(Answer::Reached);
    facts
}

fn sends(facts: &mut Facts) -> &mut Replication {
    source(facts).replication.as_mut().unwrap()
}

fn receives(facts: &mut Facts) -> &mut Replication {
    target(facts).replication.as_mut().unwrap()
}

fn findings(spoil: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = followed();
    spoil(&mut facts);
    let found = judge(&facts).findings.into_iter();
    found.filter(|finding| finding.check != "disk space").collect()
}

/// Asserts that exactly one thing is found, and returns its remedy.
#[track_caller]
fn one(severity: Severity, check: &str, words: &str, spoil: impl FnOnce(&mut Facts)) -> String {
    let found = findings(spoil);
    let [finding] = found.as_slice() else { panic!("{check}: {found:#?}") };
    assert_eq!((finding.severity, finding.check.as_str()), (severity, check), "{}", finding.what);
    assert!(finding.what.contains(words), "{:?} does not say {words:?}", finding.what);
    finding.remedy.clone()
}

#[test]
fn a_pair_that_can_be_followed_is_silent_and_copy_asks_for_none_of_it() {
    assert_eq!(findings(|_| {}), vec![]);
    let report = judge(&followed());
    assert_eq!(report.checked.len(), CHECKS.len() + replication::CHECKS.len());
    let mut names = report.checked;
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CHECKS.len() + replication::CHECKS.len());
    let copy = findings(|facts| {
        facts.policy.method = Some(Method::Copy);
        source(facts).inventory.server.wal_level = "minimal".into();
        receives(facts).may_subscribe = false;
    });
    assert_eq!(copy, vec![]);
}

#[test]
fn wal_level_and_standbys_block_with_the_services_own_name_of_the_setting() {
    let wal = |facts: &mut Facts| source(facts).inventory.server.wal_level = "replica".into();
    let remedy = one(Blocker, "logical replication", "wal_level is replica", wal);
    assert_eq!(remedy, "ALTER SYSTEM SET wal_level = logical, then restart the server");
    let remedy = one(Blocker, "logical replication", "wal_level is replica", |facts| {
        wal(facts);
        sends(facts).rds = true;
    });
    assert!(remedy.contains("rds.logical_replication = 1"), "{remedy}");
    one(Blocker, "source is the writer", "standby", |facts| {
        source(facts).inventory.server.in_recovery = true;
    });
    one(Warning, "way back", "on the target, wal_level is replica", |facts| {
        target(facts).inventory.server.wal_level = "replica".into();
    });
}

#[test]
fn slots_and_senders_that_run_out_are_counted_with_their_users() {
    let check = "replication slots";
    let remedy = one(Blocker, check, "(max_replication_slots is 1, in use by debezium)", |facts| {
        (sends(facts).max_slots, sends(facts).slots) = (1, vec!["debezium".into()]);
    });
    assert!(remedy.contains("max_replication_slots = 5"), "{remedy}");
    one(Warning, check, "one replication slot is free", |facts| sends(facts).max_slots = 1);
    one(Blocker, check, "no WAL sender is free", |facts| {
        (sends(facts).max_senders, sends(facts).senders) = (1, vec!["standby".into()]);
    });
    one(Warning, "way back", "no replication slot is free", |facts| receives(facts).max_slots = 0);
}

#[test]
fn workers_and_origins_that_run_out_are_counted_on_the_target() {
    let check = "apply workers";
    one(Blocker, check, "no logical replication worker", |facts| {
        receives(facts).max_apply_workers = 0;
    });
    one(Warning, check, "one background worker is free", |facts| receives(facts).max_workers = 2);
    one(Blocker, check, "max_active_replication_origins is 0", |facts| {
        receives(facts).max_origins = 0;
    });
    one(Warning, "way back", "on the source, no replication origin", |facts| {
        sends(facts).max_origins = 0;
    });
}

#[test]
fn a_table_without_identity_blocks_with_the_statement_unless_it_may_be_set() {
    let keyless = |facts: &mut Facts| {
        let table = items(facts);
        (table.key, table.has_primary_key) = (vec![], false);
        table.indexes.clear();
    };
    let check = "replica identity";
    let remedy = one(Blocker, check, "public.items (it has no primary key)", keyless);
    assert!(remedy.starts_with("ALTER TABLE \"public\".\"items\" REPLICA IDENTITY FULL; or let"));
    one(Note, check, "set on the source before the copy", |facts| {
        keyless(facts);
        facts.policy.follow.set_replica_identity = true;
    });
    one(Warning, check, "reads the whole table", |facts| {
        keyless(facts);
        items(facts).replica_identity = 'f';
        items(facts).table_bytes = 1 << 30;
    });
    let whole = |facts: &mut Facts| {
        items(facts).replica_identity = 'f';
        items(facts).columns[3].generated = Some("stored".into());
    };
    one(Warning, "way back", "PostgreSQL 18 refuses updates", whole);
    let young = findings(|facts| {
        whole(facts);
        source(facts).inventory.server = sample::server(18);
    });
    assert_eq!((young[0].severity, young[0].check.as_str()), (Blocker, check), "{young:#?}");
}

#[test]
fn missing_rights_come_with_the_grant() {
    let check = "replication privileges";
    let weak = |facts: &mut Facts| sends(facts).may_replicate = false;
    let remedy = one(Blocker, check, "may not replicate", weak);
    assert_eq!(remedy, "ALTER ROLE \"postgres\" REPLICATION");
    let remedy = one(Blocker, check, "may not replicate", |facts| {
        weak(facts);
        sends(facts).rds = true;
    });
    assert_eq!(remedy, "GRANT rds_replication TO \"postgres\"");
    let owner = |may_become, may_fence| TableOwner {
        table: QualifiedName::new("public", "items"),
        owner: "app".into(),
        may_become,
        may_fence,
    };
    let remedy = one(Blocker, check, "only their owner may publish: public.items", |facts| {
        items(facts).privileges.retain(|held| held != "OWNER");
        sends(facts).owners.push(owner(false, false));
    });
    assert!(remedy.starts_with("GRANT \"app\" TO \"postgres\"; or ALTER TABLE"), "{remedy}");
    let remedy = one(Blocker, check, "by which a cutover refuses writes: ", |facts| {
        sends(facts).owners.push(owner(true, false));
    });
    assert_eq!(remedy, "GRANT TRIGGER, UPDATE ON \"public\".\"items\" TO \"postgres\"");
    one(Blocker, check, "may not create a publication", |facts| {
        source(facts).inventory.server.can_create = false;
    });
    let check = "subscription privileges";
    let remedy = one(Blocker, check, "may not create subscriptions", |facts| {
        receives(facts).may_subscribe = false;
    });
    assert_eq!(remedy, "GRANT pg_create_subscription TO \"postgres\"");
    let remedy = one(Blocker, check, "may not become: public.items", |facts| {
        receives(facts).owners.push(owner(false, true));
    });
    assert_eq!(remedy, "GRANT \"app\" TO \"postgres\" WITH SET TRUE");
    one(Warning, "way back", "may not create subscriptions", |facts| {
        sends(facts).may_subscribe = false;
    });
}

#[test]
fn a_server_that_cannot_reach_the_other_says_where_it_tried_and_what_helps() {
    let check = "target reaches source";
    let remedy = |message: &str| {
        one(Blocker, check, "at db.example:5432: ", |facts| {
            facts.source_from_target = refused(message);
        })
    };
    assert!(remedy("no pg_hba.conf entry for host \"10.0.0.2\"").contains("host \"kb\""));
    assert!(remedy("password authentication failed").contains("VECFERRY_SOURCE_PASSWORD"));
    assert!(remedy("permission denied to start WAL sender").starts_with("ALTER ROLE"));
    assert!(
        remedy("number of requested standby connections exceeds max_wal_senders")
            .contains("max_wal_senders = 14")
    );
    assert!(remedy("root certificate file \"x\" does not exist").contains("sslmode=require"));
    assert!(remedy("Connection refused").contains("to port 5432 (security group"));
    one(Blocker, check, "no answer within 10 s", |facts| {
        facts.source_from_target = way(Answer::Silence { seconds: 10 });
    });
    one(
        Warning,
        "way back",
        "the source's server cannot reach the target at db.example",
        |facts| {
            facts.target_from_source = refused("Connection refused");
        },
    );
    let local = |facts: &mut Facts, answer| {
        let address = "127.0.0.1:5432".into();
        facts.source_from_target = Some(Way { address, local: true, answer });
    };
    one(Warning, check, "something answered there", |facts| local(facts, Answer::Reached));
    one(Blocker, check, "the target's own machine", |facts| {
        local(facts, Answer::Silence { seconds: 10 });
    });
    let same_machine = findings(|facts| {
        local(facts, Answer::Reached);
        facts.target.host = "localhost".into();
        let here = Some("127.0.0.1:5433".to_owned());
        target(facts).extra.identity.address = here.clone();
        target(facts).second.as_mut().unwrap().address = here;
    });
    assert_eq!(same_machine, vec![]);
}

#[test]
fn what_is_not_followed_is_said() {
    let check = "what is not followed";
    let remedy = one(Blocker, check, "unlogged tables", |facts| items(facts).unlogged = true);
    assert!(remedy.starts_with("ALTER TABLE \"public\".\"items\" SET LOGGED; or"), "{remedy}");
    one(Blocker, check, "--existing keep", |facts| facts.policy.existing = Existing::Keep);
    one(Warning, check, "materialized views", |facts| {
        source(facts).inventory.views.push(View {
            name: QualifiedName::new("public", "mv"),
            materialized: true,
            populated: true,
        });
    });
    one(Warning, check, "3 large objects", |facts| source(facts).inventory.large_objects = 3);
    one(Note, check, "1 sequence", |facts| {
        source(facts).inventory.sequences.push(QualifiedName::new("public", "s"));
    });
    let trigger =
        || FiringTrigger { table: QualifiedName::new("public", "items"), trigger: "audit".into() };
    let check = "triggers during apply";
    one(Warning, check, "a second time", |facts| sends(facts).firing.push(trigger()));
    one(Warning, check, "on the target, so it fires", |facts| {
        prepared(facts);
        receives(facts).firing.push(trigger());
    });
}

#[test]
fn what_ends_or_fills_a_slot_is_found_before_there_is_one() {
    let check = "kept write-ahead log";
    one(Warning, check, "fills the source's disk", |facts| sends(facts).kept_wal = None);
    let remedy = one(Warning, check, "max_slot_wal_keep_size is 1.0 MiB", |facts| {
        sends(facts).kept_wal = Some(1 << 20);
    });
    assert!(remedy.contains("pg_reload_conf"), "{remedy}");
    let check = "slots that end";
    one(Warning, check, "idle_replication_slot_timeout is 1h", |facts| {
        sends(facts).idle_slot_timeout = Some("1h".into());
    });
    one(Note, check, "wal_sender_timeout is 0", |facts| sends(facts).senders_time_out = false);
    one(Note, check, "logical_decoding_work_mem", |facts| sends(facts).decoding_memory = 1 << 20);
    let open = |seconds| OpenTransaction { pid: 77, name: "app".into(), seconds };
    let check = "open transactions";
    let remedy = one(Warning, check, "process 77 (app, for 60 s)", |facts| {
        sends(facts).open_transactions = vec![open(Some(60.2)), open(Some(0.1)), open(None)];
    });
    assert!(remedy.contains("pg_terminate_backend(77)"), "{remedy}");
    let remedy = one(Warning, check, "prepared transactions: \"it's\"", |facts| {
        sends(facts).prepared = vec![Prepared { name: "it's".into(), seconds: 5.0 }];
    });
    assert!(remedy.contains("ROLLBACK PREPARED 'it''s'"), "{remedy}");
}

#[test]
fn what_older_servers_do_not_know_is_said() {
    let of = |from, to| {
        let found = findings(|facts| {
            source(facts).inventory.server = sample::server(from);
            target(facts).inventory.server = sample::server(to);
        });
        let check = |finding: &Finding| finding.check == "subscription options";
        found.into_iter().filter(check).map(|finding| finding.severity).collect::<Vec<_>>()
    };
    assert_eq!(of(16, 18), []);
    assert_eq!(of(15, 18), [Note]);
    assert_eq!(of(14, 14), [Warning, Note]);
    let down = findings(|facts| target(facts).inventory.server = sample::server(14));
    let version = down.iter().find(|finding| finding.check == "server versions").unwrap();
    assert!(version.remedy.contains("applied by an older server as well"), "{version:?}");
}
