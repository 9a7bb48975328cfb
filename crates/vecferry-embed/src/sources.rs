//! All document sources of a worker as one, so that the worker asks once and need not know which of them reads what.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use vecferry_core::bot::{Bot, DocumentAddress};

use crate::document::{Document, DocumentSource, Fetched, Found, Lost, Reason};

/// Several sources; the first that takes an address reads it.
#[derive(Clone, Default)]
pub struct Sources {
    sources: Vec<Arc<dyn DocumentSource>>,
}

impl Sources {
    /// These sources, in the order in which they are asked.
    pub fn new(sources: Vec<Arc<dyn DocumentSource>>) -> Sources {
        Sources { sources }
    }

    /// The source for an address. None is a matter of configuration (no bucket, no account), so the reason says that
    /// we may not, not that there is no document.
    fn of(&self, address: &DocumentAddress) -> Result<&dyn DocumentSource, Lost> {
        let source = self.sources.iter().find(|source| source.takes(address));
        source.map(AsRef::as_ref).ok_or_else(|| {
            let kind = address.kind();
            Lost::new(
                Reason::Refused,
                format!("no source for addresses of the kind {kind} is configured"),
            )
        })
    }
}

#[async_trait]
impl DocumentSource for Sources {
    fn takes(&self, address: &DocumentAddress) -> bool {
        self.sources.iter().any(|source| source.takes(address))
    }

    async fn find(&self, bot: &Bot, address: &DocumentAddress) -> Result<Found, Lost> {
        self.of(address)?.find(bot, address).await
    }

    async fn look(
        &self,
        bot: &Bot,
        addresses: &[DocumentAddress],
    ) -> Vec<(DocumentAddress, Result<Found, Lost>)> {
        let mut looked: Vec<Option<Result<Found, Lost>>> = vec![None; addresses.len()];
        let first = |address: &DocumentAddress| {
            self.sources.iter().position(|source| source.takes(address))
        };
        for (at, source) in self.sources.iter().enumerate() {
            let mine = |place: &usize| first(&addresses[*place]) == Some(at);
            let places: Vec<usize> = (0..addresses.len()).filter(mine).collect();
            let asked: Vec<DocumentAddress> =
                places.iter().map(|place| addresses[*place].clone()).collect();
            if asked.is_empty() {
                continue;
            }
            for (place, (_, found)) in places.into_iter().zip(source.look(bot, &asked).await) {
                looked[place] = Some(found);
            }
        }
        let none = |address| self.of(address).map(|_| Found::default());
        let each = addresses.iter().zip(looked);
        each.map(|(address, found)| (address.clone(), found.unwrap_or_else(|| none(address))))
            .collect()
    }

    async fn fetch(&self, document: &Document, folder: &Path) -> Result<Fetched, Lost> {
        self.of(&document.address)?.fetch(document, folder).await
    }
}

#[cfg(test)]
mod tests {
    use vecferry_core::bot::{BotKey, Splitting};

    use super::*;

    /// Reads one kind of address and says who it is.
    struct Only(&'static str);

    #[async_trait]
    impl DocumentSource for Only {
        fn takes(&self, address: &DocumentAddress) -> bool {
            address.kind() == self.0
        }

        async fn find(&self, _: &Bot, address: &DocumentAddress) -> Result<Found, Lost> {
            Ok(Found { documents: Vec::new(), lost: vec![(address.to_string(), self.lost())] })
        }

        async fn fetch(&self, _: &Document, _: &Path) -> Result<Fetched, Lost> {
            Err(self.lost())
        }
    }

    impl Only {
        fn lost(&self) -> Lost {
            Lost::new(Reason::NoText, self.0)
        }
    }

    #[tokio::test]
    async fn an_address_goes_to_the_source_that_takes_it_and_to_none_if_none_does() {
        let sources = Sources::new(vec![Arc::new(Only("page")), Arc::new(Only("s3"))]);
        let bot = Bot {
            key: BotKey { owner: "o".into(), id: "b".into() },
            title: String::new(),
            documents: Vec::new(),
            splitting: Splitting::default(),
            sync: None,
        };
        let object = DocumentAddress::S3("s3://bucket/key".into());
        let found = sources.find(&bot, &object).await.unwrap();
        assert_eq!(found.lost[0].1.detail, "s3");
        let file = DocumentAddress::File("a.pdf".into());
        assert!(sources.takes(&object) && !sources.takes(&file));
        let page = DocumentAddress::Page("https://e.com".into());
        let asked = [object.clone(), file.clone(), page];
        let looked = sources.look(&bot, &asked).await;
        let said: Vec<String> = looked
            .into_iter()
            .map(|(address, found)| match found {
                Ok(found) => format!("{} {}", address.kind(), found.lost[0].1.detail),
                Err(lost) => format!("{} {}", address.kind(), lost.reason),
            })
            .collect();
        assert_eq!(said, ["s3 s3", "file refused", "page page"]);
        let refused = sources.find(&bot, &file).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Refused);
        assert_eq!(refused.detail, "no source for addresses of the kind file is configured");
        let document = Document {
            address: object,
            source: "s3://bucket/key".into(),
            bytes: None,
            version: None,
            modified: None,
        };
        assert_eq!(sources.fetch(&document, Path::new("/")).await.unwrap_err().detail, "s3");
    }
}
