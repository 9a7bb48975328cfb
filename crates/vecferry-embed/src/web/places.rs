//! How many requests may be under way: few per origin, so that no site suffers from us, and a bound for all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use crate::document::{Lost, Reason};

/// Origins remembered before those that nobody visits are forgotten.
const ORIGINS: usize = 1024;

/// The places there are.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    per_origin: usize,
    origins: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A place held; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _of_origin: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(per_origin: usize, at_once: usize) -> Places {
        let all = Arc::new(Semaphore::new(at_once.max(1)));
        Places { all, per_origin: per_origin.max(1), origins: Mutex::default() }
    }

    /// Waits for a place at the URL's origin, then for one of all: whoever waits for a busy site keeps nobody else
    /// from another.
    pub(crate) async fn enter(&self, url: &Url) -> Result<Place, Lost> {
        let origin = self.origin(&url.origin().ascii_serialization());
        // Nobody closes these semaphores; were one closed, the document would be lost and not waited for.
        let closed = |_| Lost::new(Reason::Unreachable, "the worker is ending");
        let of_origin = origin.acquire_owned().await.map_err(closed)?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.map_err(closed)?;
        Ok(Place { _of_origin: of_origin, _of_all: of_all })
    }

    fn origin(&self, origin: &str) -> Arc<Semaphore> {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        if origins.len() >= ORIGINS {
            // Held by the map alone: no visitor has it or waits for it.
            origins.retain(|_, places| Arc::strong_count(places) > 1);
        }
        let fresh = || Arc::new(Semaphore::new(self.per_origin));
        Arc::clone(origins.entry(origin.to_owned()).or_insert_with(fresh))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn an_origin_has_its_own_places_and_all_together_have_theirs() {
        let places = Places::new(2, 3);
        let (one, other) = (Url::parse("http://a/x").unwrap(), Url::parse("http://b/").unwrap());
        let enter = |url: &Url| places.enter(url).now_or_never().map(Result::unwrap);
        let (first, second) = (enter(&one), enter(&one));
        assert!(first.is_some() && second.is_some());
        assert!(enter(&one).is_none());
        let third = enter(&other);
        assert!(third.is_some());
        assert!(enter(&other).is_none(), "three are under way");
        drop(first);
        assert!(enter(&other).is_some());
    }

    #[test]
    fn origins_without_visitors_are_forgotten_when_there_are_many() {
        let places = Places::new(1, 1);
        let kept = places.origin("kept");
        for number in 0..3 * ORIGINS {
            places.origin(&number.to_string());
        }
        assert!(places.origins.lock().unwrap().len() <= ORIGINS + 1);
        assert!(Arc::ptr_eq(&kept, &places.origin("kept")));
    }
}
