//! Every reason for and against embedding a bot anew.

use super::*;
use crate::bot::{Splitting, SyncRecord, SyncStatus};
use crate::delta::WebPolicy;
use crate::reembed::registry::OddItem;

const TAKEN: &str = "2026-03-01T12:00:00.4Z";
const BEFORE: &str = "2026-03-01T11:59:59Z";
const AFTER: &str = "2026-03-01T12:00:01Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn terms(web: WebPolicy) -> Terms {
    Terms { taken_at: at(TAKEN), web }
}

fn key(id: &str) -> BotKey {
    BotKey { owner: "ann".into(), id: id.into() }
}

fn bot(id: &str, documents: &[DocumentAddress]) -> Bot {
    Bot {
        key: key(id),
        title: format!("title of {id}"),
        documents: documents.to_vec(),
        splitting: Splitting::default(),
        sync: None,
    }
}

fn file(name: &str) -> DocumentAddress {
    DocumentAddress::File(name.into())
}

fn s3(address: &str) -> DocumentAddress {
    DocumentAddress::S3(address.into())
}

fn page(url: &str) -> DocumentAddress {
    DocumentAddress::Page(url.into())
}

fn video(id: &str) -> DocumentAddress {
    DocumentAddress::Video(id.into())
}

fn sitemap() -> DocumentAddress {
    DocumentAddress::Sitemap("https://a/sitemap.xml".into())
}

/// Where the rows of a file say that it is.
fn uploaded(name: &str) -> String {
    format!("s3://bucket/ann/b/documents/{name}")
}

fn object(source: &str, modified: &str) -> Object {
    Object { source: source.into(), modified: Some(at(modified)), bytes: Some(100) }
}

fn found(objects: &[(&str, &str)]) -> Looked {
    Looked::Found(objects.iter().map(|(source, modified)| object(source, modified)).collect())
}

/// One bot, `b`, with these documents and what the store says of them, and these rows; one row a source.
struct Case {
    bot: Bot,
    objects: HashMap<DocumentAddress, Looked>,
    held: HeldBot,
    web: WebPolicy,
}

fn case(documents: &[DocumentAddress], sources: &[&str]) -> Case {
    let sources = sources.iter().map(|source| (Some((*source).to_owned()), 1)).collect();
    Case {
        bot: bot("b", documents),
        objects: HashMap::new(),
        held: HeldBot { sources, newer: false },
        web: WebPolicy::Keep,
    }
}

impl Case {
    fn looked(mut self, address: DocumentAddress, looked: Looked) -> Case {
        self.objects.insert(address, looked);
        self
    }

    /// An uploaded file, written then.
    fn stored(self, name: &str, modified: &str) -> Case {
        let source = uploaded(name);
        self.looked(file(name), found(&[(&source, modified)]))
    }

    fn sync(mut self, status: SyncStatus) -> Case {
        self.bot.sync = Some(SyncRecord { status, reason: String::new(), exec_id: String::new() });
        self
    }

    fn compared(&self) -> Delta {
        let listing = Listing { bots: vec![self.bot.clone()], ..Listing::default() };
        let mut held = HeldRows::default();
        if !self.held.sources.is_empty() {
            held.bots.insert("b".into(), self.held.clone());
        }
        let objects = Objects::from([(self.bot.key.clone(), self.objects.clone())]);
        compare(&listing, &held, &objects, &terms(self.web))
    }

    fn reasons(&self) -> Vec<Reason> {
        let delta = self.compared();
        assert_eq!(delta.keep.len() + delta.reembed.len(), 1);
        delta.reembed.into_iter().flat_map(|chosen| chosen.reasons).collect()
    }

    fn kept(&self) -> Kept {
        let delta = self.compared();
        let [kept] = &delta.keep[..] else { panic!("{delta:?}") };
        kept.clone()
    }
}

fn documents(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_bot_of_which_nothing_changed_keeps_its_rows() {
    let names = ["a.pdf", "b c.txt"];
    let addresses = names.map(file);
    let sources = names.map(uploaded);
    let case = case(&addresses, &sources.each_ref().map(String::as_str))
        .stored("a.pdf", BEFORE)
        .stored("b c.txt", BEFORE);
    assert_eq!(case.reasons(), []);
    let kept = case.kept();
    assert_eq!((kept.rows, kept.web, kept.missing.len()), (2, 0, 0));
}

#[test]
fn documents_added_changed_and_gone_are_told_apart_and_all_named() {
    let case = case(
        &[file("same"), file("added"), file("changed")],
        &[&uploaded("same"), &uploaded("changed"), &uploaded("gone")],
    )
    .stored("same", BEFORE)
    .stored("added", AFTER)
    .stored("changed", AFTER);
    assert_eq!(
        case.reasons(),
        [
            Reason::Added { documents: documents(&["added"]) },
            Reason::Changed { documents: documents(&["changed"]) },
            Reason::Gone { documents: vec![uploaded("gone")], rows: 1 },
        ]
    );
}

#[test]
fn a_document_without_rows_was_added_whenever_its_object_was_written() {
    let case =
        case(&[file("a"), file("b")], &[&uploaded("a")]).stored("a", BEFORE).stored("b", BEFORE);
    assert_eq!(case.reasons(), [Reason::Added { documents: documents(&["b"]) }]);
}

#[test]
fn an_object_counts_as_changed_from_the_very_second_of_the_source_on() {
    for (modified, changed) in [
        ("2026-03-01T11:59:59Z", false),
        ("2026-03-01T11:59:59.999Z", false),
        // S3 tells whole seconds: this may have been half a second after the snapshot.
        ("2026-03-01T12:00:00Z", true),
        ("2026-03-01T12:00:00.4Z", true),
        ("2026-03-01T12:00:01Z", true),
        ("2027-01-01T00:00:00Z", true),
    ] {
        let reasons = case(&[file("a")], &[&uploaded("a")]).stored("a", modified).reasons();
        let expected = Reason::Changed { documents: documents(&["a"]) };
        assert_eq!(reasons == [expected], changed, "{modified}");
        assert_eq!(reasons.is_empty(), !changed, "{modified}");
    }
}

#[test]
fn an_object_of_an_unknown_time_may_have_changed() {
    let source = uploaded("a");
    let looked =
        Looked::Found(vec![Object { source: source.clone(), modified: None, bytes: None }]);
    let case = case(&[file("a")], &[&source]).looked(file("a"), looked);
    let why = "when it was written is not known".to_owned();
    assert_eq!(case.reasons(), [Reason::Unread { documents: documents(&["a"]), why }]);
}

#[test]
fn a_missing_object_alone_keeps_the_rows_that_are_left_of_it_and_is_listed() {
    let case = case(&[file("a"), file("lost")], &[&uploaded("a"), &uploaded("lost")])
        .stored("a", BEFORE)
        .looked(file("lost"), Looked::Missing);
    assert_eq!(case.reasons(), []);
    assert_eq!(case.kept().missing, ["lost"]);
    // It never had rows, and nothing can be embedded of it now.
    let never = self::case(&[file("a"), file("lost")], &[&uploaded("a")])
        .stored("a", BEFORE)
        .looked(file("lost"), Looked::Missing);
    assert_eq!((never.reasons().len(), never.kept().missing), (0, documents(&["lost"])));
}

#[test]
fn a_missing_object_beside_a_change_is_named_with_the_chosen_bot() {
    let delta = case(&[file("a"), file("lost")], &[&uploaded("a"), &uploaded("lost")])
        .stored("a", AFTER)
        .looked(file("lost"), Looked::Missing)
        .compared();
    let [chosen] = &delta.reembed[..] else { panic!("{delta:?}") };
    assert_eq!(chosen.reasons, [Reason::Changed { documents: documents(&["a"]) }]);
    assert_eq!((&chosen.missing, chosen.rows), (&documents(&["lost"]), 2));
}

#[test]
fn what_cannot_be_read_may_have_changed_and_its_rows_are_not_taken_for_gone() {
    let prefix = "s3://other/docs/";
    let case = case(
        &[file("a"), s3(prefix), s3("s3://other/one.md")],
        &[&uploaded("a"), "s3://other/docs/x", "s3://other/docs/y", "s3://other/one.md"],
    )
    .looked(file("a"), Looked::Unread("AccessDenied".into()))
    .looked(s3(prefix), Looked::Unread("later".into()));
    let named = documents(&["a", prefix, "s3://other/one.md"]);
    let why = "AccessDenied".to_owned();
    assert_eq!(case.reasons(), [Reason::Unread { documents: named, why }]);
}

#[test]
fn a_prefix_is_compared_object_by_object() {
    let prefix = "s3://k/docs/";
    let sources = ["s3://k/docs/same", "s3://k/docs/changed", "s3://k/docs/deep/gone"];
    let objects = [
        ("s3://k/docs/same", BEFORE),
        ("s3://k/docs/changed", AFTER),
        ("s3://k/docs/deep/added", AFTER),
    ];
    let case = case(&[s3(prefix)], &sources).looked(s3(prefix), found(&objects));
    assert_eq!(
        case.reasons(),
        [
            Reason::Added { documents: documents(&["s3://k/docs/deep/added"]) },
            Reason::Changed { documents: documents(&["s3://k/docs/changed"]) },
            Reason::Gone { documents: documents(&["s3://k/docs/deep/gone"]), rows: 1 },
        ]
    );
    let emptied = self::case(&[s3(prefix)], &sources).looked(s3(prefix), Looked::Missing);
    assert_eq!(emptied.kept().missing, [prefix]);
}

#[test]
fn a_folder_is_compared_like_a_prefix() {
    let folder = DocumentAddress::Folder("docs".into());
    let objects = [("docs/a.md", BEFORE), ("docs/b.md", AFTER)];
    let case = case(std::slice::from_ref(&folder), &["docs/a.md", "docs/b.md", "docs2/c.md"])
        .looked(folder.clone(), found(&objects));
    assert_eq!(
        case.reasons(),
        [
            Reason::Changed { documents: documents(&["docs/b.md"]) },
            Reason::Gone { documents: documents(&["docs2/c.md"]), rows: 1 },
        ]
    );
    let missing = self::case(std::slice::from_ref(&folder), &["docs/a.md", "docs2/c.md"])
        .looked(folder, Looked::Missing);
    let gone = Reason::Gone { documents: documents(&["docs2/c.md"]), rows: 1 };
    assert_eq!(missing.reasons(), [gone], "a folder's name is not a prefix of another's");
}

#[test]
fn the_spelling_of_a_name_makes_no_other_document_of_it() {
    for (name, source) in [
        ("caf\u{e9}.pdf", "s3://k/ann/b/documents/cafe\u{301}.pdf"),
        ("cafe\u{301}.pdf", "s3://k/ann/b/documents/caf%C3%A9.pdf"),
        ("東京 1.txt", "s3://k/ann/b/documents/%E6%9D%B1%E4%BA%AC%201.txt"),
        ("two words+.txt", "s3://another-bucket/ann/b/documents/two words+.txt"),
        ("name.txt", "name.txt"),
    ] {
        for (modified, changed) in [(BEFORE, 0), (AFTER, 1)] {
            let reasons = case(&[file(name)], &[source]).stored(name, modified).reasons();
            let changes = reasons.iter().filter(|reason| reason.name() == "changed").count();
            assert_eq!((reasons.len(), changes), (changed, changed), "{name} {source}");
        }
        let missing = case(&[file(name)], &[source]).looked(file(name), Looked::Missing);
        assert_eq!(missing.reasons(), [], "{name} {source}");
    }
    let object = "s3://k/x/cafe\u{301}.pdf";
    let prefix = case(&[s3("s3://k/x/")], &["s3://k/x/caf\u{e9}.pdf"])
        .looked(s3("s3://k/x/"), found(&[(object, BEFORE)]));
    assert_eq!(prefix.reasons(), []);
}

#[test]
fn two_documents_whose_names_differ_in_spelling_only_stay_two() {
    let case = case(&[file("a b.txt"), file("a%20b.txt")], &[&uploaded("a b.txt")])
        .stored("a b.txt", BEFORE)
        .stored("a%20b.txt", AFTER);
    assert_eq!(case.reasons(), [Reason::Added { documents: documents(&["a%20b.txt"]) }]);
}

#[test]
fn the_web_is_kept_or_embedded_anew_as_the_policy_says_and_always_counted() {
    let id = "dQw4w9WgXcQ";
    let addresses = [page("https://a/x"), video(id), sitemap(), file("a")];
    let sources = ["https://a/x/", id, "https://a/1", "https://b/2", &uploaded("a")];
    let mut case = case(&addresses, &sources).stored("a", BEFORE);
    assert_eq!(case.reasons(), []);
    assert_eq!(case.kept().web, 3);
    case.web = WebPolicy::Reembed;
    assert_eq!(case.reasons(), [Reason::Web { documents: 3 }]);
    let mut without = self::case(&[file("a")], &[&uploaded("a")]).stored("a", BEFORE);
    without.web = WebPolicy::Reembed;
    assert_eq!(without.reasons(), [], "a bot without a web address");
}

#[test]
fn whether_a_web_address_has_rows_is_compared_whatever_the_policy() {
    let added = case(&[page("https://a/x"), page("https://a/y")], &["https://a/x"]);
    assert_eq!(added.reasons(), [Reason::Added { documents: documents(&["https://a/y"]) }]);
    let gone = case(&[page("https://a/x")], &["https://a/x", "https://a/y"]);
    let named = documents(&["https://a/y"]);
    assert_eq!(gone.reasons(), [Reason::Gone { documents: named, rows: 1 }]);
    let no_pages = case(&[page("https://a/x"), sitemap()], &["https://a/x"]);
    let named = documents(&["https://a/sitemap.xml"]);
    assert_eq!(no_pages.reasons(), [Reason::Added { documents: named }]);
    let other = DocumentAddress::Sitemap("https://b/sitemap.xml".into());
    let two = case(&[sitemap(), other], &["https://a/1"]);
    assert_eq!((two.reasons().len(), two.kept().web), (0, 2), "which page is whose is not known");
    let files = case(&[sitemap()], &["https://a/1", "s3://k/1"]);
    assert_eq!(files.reasons().len(), 1, "a sitemap explains no object");
}

#[test]
fn a_new_bot_is_new_and_nothing_else() {
    let case = case(&[file("a"), page("https://a/x")], &[]).stored("a", AFTER);
    assert_eq!(case.reasons(), [Reason::New]);
    let nothing = self::case(&[file("a")], &[]).looked(file("a"), Looked::Missing);
    assert_eq!(nothing.reasons(), [], "there is nothing to embed");
    assert_eq!(nothing.kept().missing, ["a"]);
}

#[test]
fn the_applications_own_failure_is_a_reason_and_its_success_is_none() {
    for (status, name) in [
        (SyncStatus::Succeeded, None),
        (SyncStatus::Failed, Some("sync_failed")),
        (SyncStatus::Running, Some("sync_unfinished")),
        (SyncStatus::Queued, Some("sync_unfinished")),
    ] {
        let case = case(&[page("https://a")], &["https://a"]).sync(status);
        let reasons = case.reasons();
        assert_eq!(reasons.first().map(Reason::name), name, "{status}");
    }
}

#[test]
fn rows_that_the_application_wrote_after_the_snapshot_are_not_measured_by_it() {
    let mut case = case(&[file("a"), file("b"), page("https://a")], &[&uploaded("a"), "https://a"])
        .stored("a", AFTER)
        .stored("b", AFTER);
    (case.held.newer, case.web) = (true, WebPolicy::Reembed);
    assert_eq!(case.reasons(), [Reason::Added { documents: documents(&["b"]) }]);
}

#[test]
fn rows_without_a_source_are_gone() {
    let mut case = case(&[file("a")], &[&uploaded("a")]).stored("a", BEFORE);
    case.held.sources.insert(None, 4);
    let documents = documents(&["(no source)"]);
    assert_eq!(case.reasons(), [Reason::Gone { documents, rows: 4 }]);
}

fn held(ids: &[&str]) -> HeldRows {
    let mut held = HeldRows::default();
    for id in ids {
        held.add(Some(id), Some("https://a".into()), 2);
    }
    held
}

#[test]
fn rows_of_bots_that_are_not_embedded_are_removed_kept_or_left_open() {
    let listing = Listing {
        bots: vec![bot("here", &[page("https://a")])],
        knowledge_base: vec![key("bedrock"), key("bedrock without rows")],
        without_documents: vec![key("bare"), key("bare without rows")],
        aliases: 3,
        odd: vec![OddItem { key: "PK=u SK=u#BOT#odd".into(), why: "no Title".into() }],
    };
    let mut held = held(&["here", "bedrock", "bare", "odd", "deleted"]);
    held.add(None, None, 7);
    let delta = compare(&listing, &held, &Objects::new(), &terms(WebPolicy::Keep));
    let removal = |bot: &str, why| Removal { bot: bot.into(), rows: 2, why };
    assert_eq!(delta.remove, [removal("bare", Why::NoDocuments), removal("deleted", Why::Deleted)]);
    let item = "PK=u SK=u#BOT#odd".to_owned();
    assert_eq!(delta.undecided, [Undecided { bot: "odd".into(), rows: 2, item }]);
    assert_eq!((delta.knowledge_base, delta.rows_without_bot), (1, 7));
    assert_eq!((delta.keep.len(), delta.reembed.len()), (1, 0));
    assert!(delta.refuse_stranger(&held, "r").is_ok());
}

#[test]
fn a_registry_that_knows_none_of_the_bots_is_another_applications() {
    let held = held(&["a", "b"]);
    let listing = Listing { bots: vec![bot("c", &[page("https://a")])], ..Listing::default() };
    let delta = compare(&listing, &held, &Objects::new(), &terms(WebPolicy::Keep));
    let error = delta.refuse_stranger(&held, "table T").unwrap_err();
    assert_eq!(error.to_string(), "none of the 2 bots that have rows on the source is in table T");
    let none = HeldRows::default();
    let delta = compare(&listing, &none, &Objects::new(), &terms(WebPolicy::Keep));
    assert!(delta.refuse_stranger(&none, "table T").is_ok(), "a source without any bot");
    assert_eq!(delta.reembed.len(), 1);
}

#[test]
fn an_event_counts_and_names_no_document() {
    let case = case(&[file("secret name"), file("b")], &[&uploaded("gone")])
        .stored("secret name", AFTER)
        .looked(file("b"), Looked::Missing)
        .sync(SyncStatus::Failed);
    let compared = case.compared().compared();
    let reasons = [("added", 1), ("gone", 1), ("sync_failed", 1)];
    assert_eq!(compared.reasons, BTreeMap::from(reasons));
    assert_eq!(compared.bots[0].reasons, BTreeMap::from(reasons));
    assert_eq!((compared.bots[0].missing, compared.reembed), (1, 1));
    let shown = serde_json::to_string(&compared).unwrap();
    assert!(!shown.contains("secret") && !shown.contains("s3://"), "{shown}");
}

#[test]
fn what_the_rows_do_not_tell_of_is_measured_by_the_store() {
    let names = ["kept.txt", "changed.txt"];
    let sources = [uploaded(names[0]), uploaded(names[1]), uploaded("gone.txt")];
    let documents = [file(names[0]), file(names[1]), file("new.pdf"), page("https://a/new")];
    let case = case(&documents, &sources.each_ref().map(String::as_str))
        .stored("kept.txt", BEFORE)
        .stored("changed.txt", AFTER)
        .stored("new.pdf", BEFORE);
    let delta = case.compared();
    let fresh = delta.fresh()[&key("b")];
    let expected =
        Fresh { rows: 3, stale_rows: 2, file_chars: 100 + 15, pages: 1, ..Fresh::default() };
    assert_eq!(fresh, expected);
}
