//! The keys of one issuer as they are now, and how they are asked for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use mgrok_config::HttpUrl;
use mgrok_net::resolver::Resolver;
use tokio::time::{Instant, timeout};

use crate::discovery::{Discovery, DiscoveryError};
use crate::fetch::{FetchError, Fetcher, TIMEOUT, Trust};
use crate::jwk::{KeySet, KeySetError};
use crate::jws::Algorithm;
use crate::once::Once;

/// How many times in a row tokens that are signed with unknown keys may have the issuer asked, and after which time they may once more.
/// Whoever can reach the server can send such tokens.
const MAX_REQUESTS: u32 = 4;
const REQUEST_EVERY: Duration = Duration::from_secs(15);

/// Why the keys of an issuer are not known.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// Its discovery document cannot be used.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// It cannot be asked where its keys are.
    #[error("cannot get its discovery document")]
    FetchDiscovery(#[source] FetchError),
    /// It cannot be asked for its keys.
    #[error("cannot get its keys from {0}")]
    FetchKeys(String, #[source] FetchError),
    /// Its keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeySetError),
    /// It is too slow.
    #[error("it did not tell its keys within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// The keys that an issuer signs with.
#[derive(Debug)]
pub(crate) struct IssuerKeys {
    pub(crate) keys: KeySet,
    pub(crate) algorithms: Vec<Algorithm>,
    /// What time it was at the issuer when it told them.
    pub(crate) date: Option<SystemTime>,
}

/// One issuer.
#[derive(Debug)]
pub(crate) struct Issuer {
    url: HttpUrl,
    fetcher: Fetcher,
    current: Mutex<Current>,
    once: Once<Result<(), Arc<IssuerError>>>,
}

#[derive(Debug)]
struct Current {
    keys: Option<Arc<IssuerKeys>>,
    /// Why the latest attempt to learn them failed, if it did.
    failure: Option<Arc<IssuerError>>,
    requests: Allowance,
}

impl Issuer {
    pub(crate) fn new(url: HttpUrl) -> Self {
        Self {
            url,
            fetcher: Fetcher::new(Trust::System, None, Resolver::default()),
            current: Mutex::new(Current {
                keys: None,
                failure: None,
                requests: Allowance::new(Instant::now()),
            }),
            once: Once::new(),
        }
    }

    /// The keys that are known, or why there are none.
    pub(crate) fn keys(&self) -> Result<Arc<IssuerKeys>, Option<Arc<IssuerError>>> {
        let current = self.current();
        current.keys.clone().ok_or_else(|| current.failure.clone())
    }

    /// Asks the issuer for its keys, or waits for what it is asked already, unless strangers have had it asked too often.
    pub(crate) async fn ask_for_stranger(self: &Arc<Self>) {
        let may = || self.current().requests.take(Instant::now());
        // What comes of it is in `keys`.
        let _ = self.once.run_if(may, || self.clone().ask_now()).await;
    }

    /// Asks the issuer for its keys. The last ones go on counting if it does not tell any.
    pub(crate) async fn ask(self: &Arc<Self>) -> Result<(), Arc<IssuerError>> {
        let asked = self.once.run(|| self.clone().ask_now());
        asked
            .await
            .unwrap_or_else(|| Err(Arc::new(IssuerError::Timeout)))
    }

    async fn ask_now(self: Arc<Self>) -> Result<(), Arc<IssuerError>> {
        let asked = timeout(TIMEOUT, self.fetch()).await;
        let asked = asked.unwrap_or(Err(IssuerError::Timeout));
        let mut current = self.current();
        match asked {
            Ok(keys) => {
                current.keys = Some(Arc::new(keys));
                current.failure = None;
                Ok(())
            }
            Err(error) => {
                let error = Arc::new(error);
                current.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    async fn fetch(&self) -> Result<IssuerKeys, IssuerError> {
        let document = Discovery::url(&self.url).map_err(DiscoveryError::Keys)?;
        let document = self.fetcher.get(&document).await;
        let document = document.map_err(IssuerError::FetchDiscovery)?;
        let discovery = Discovery::parse(&document.body, &self.url)?;
        let answer = self.fetcher.get(&discovery.keys).await;
        let answer =
            answer.map_err(|error| IssuerError::FetchKeys(discovery.keys.to_string(), error))?;
        Ok(IssuerKeys {
            keys: KeySet::parse(&answer.body)?,
            algorithms: discovery.algorithms,
            date: answer.date.or(document.date),
        })
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often something may be done: a few times at once, and then every now and again.
#[derive(Debug)]
struct Allowance {
    left: u32,
    /// When the next one is due.
    next_at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            left: MAX_REQUESTS,
            next_at: now + REQUEST_EVERY,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        while self.left < MAX_REQUESTS && self.next_at <= now {
            self.left += 1;
            self.next_at += REQUEST_EVERY;
        }
        if self.left == 0 {
            return false;
        }
        if self.left == MAX_REQUESTS {
            self.next_at = now + REQUEST_EVERY;
        }
        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_may_have_the_issuer_asked_a_few_times() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let later = start + Duration::from_secs(3600);
        for _ in 0..MAX_REQUESTS {
            assert!(allowance.take(later));
        }
        assert!(!allowance.take(later + REQUEST_EVERY - Duration::from_millis(1)));
        assert!(allowance.take(later + REQUEST_EVERY));
        assert!(!allowance.take(later + REQUEST_EVERY));
    }
}
