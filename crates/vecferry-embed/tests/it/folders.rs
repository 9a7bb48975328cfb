//! A folder of the worker's own machine, through the one door that workers use.

use std::sync::Arc;

use vecferry_core::bot::DocumentAddress;
use vecferry_embed::document::{DocumentSource, Reason};
use vecferry_embed::folder::Folder;
use vecferry_embed::sources::Sources;
use vecferry_embed::web::Web;

use crate::web::{bot, read, settings};

#[tokio::test]
async fn files_of_a_folder_are_found_and_fetched_beside_the_web() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("sub")).unwrap();
    std::fs::write(root.path().join("sub/one.md"), "# One").unwrap();
    std::fs::write(root.path().join("two.txt"), "two").unwrap();
    let web = Web::new(settings()).unwrap();
    let sources = Sources::new(vec![Arc::new(Folder::default()), Arc::new(web)]);
    let address = DocumentAddress::Folder(root.path().to_owned());
    let found = sources.find(&bot(), &address).await.unwrap();
    let names: Vec<&str> = found
        .documents
        .iter()
        .map(|document| document.source.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names, ["one.md", "two.txt"]);
    let work = tempfile::tempdir().unwrap();
    let fetched = sources.fetch(&found.documents[0], work.path()).await.unwrap();
    assert_eq!(read(&fetched), b"# One");
    assert_eq!(fetched.name.as_deref(), Some("one.md"));
    std::fs::remove_file(root.path().join("two.txt")).unwrap();
    let lost = sources.fetch(&found.documents[1], work.path()).await.unwrap_err();
    assert_eq!(lost.reason, Reason::Missing);
}
