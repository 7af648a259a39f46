//! The client's store, as the admin port sees it: what is in it, and a way to have it changed.
//!
//! The task that owns what the client is to have (`reload`) changes it, one change after the other; its end of the channel is
//! [`StoreChanges`].

use std::sync::Arc;

use mgrok_config::{Mistakes, Store, StoreError, StoredEntry, StoredKind};
use tokio::sync::{mpsc, oneshot, watch};

use crate::version::{Changed, Condition, Version};

/// Changes that may wait for their turn.
const MAX_QUEUED: usize = 32;

/// Why the store was not changed. It is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreFailure {
    /// The configuration names none.
    #[error("store API is disabled: name a file in `store.path` to switch it on")]
    Disabled,
    /// The change makes no sense.
    #[error(transparent)]
    Refused(#[from] StoreError),
    /// Somebody else has changed the entry.
    #[error(transparent)]
    Changed(#[from] Changed),
    /// Somebody has changed the file by hand, and made it wrong.
    #[error(
        "the store's file was changed by hand and is wrong; nothing is written until it is mended: {0}"
    )]
    Broken(#[from] Mistakes),
    /// The file cannot be written.
    // frp: the first words
    #[error("failed to persist: {0}")]
    NotWritten(String),
    /// What the store would say cannot be had.
    // frp: the first words
    #[error("apply config failed: failed to apply config: {0}")]
    NotApplied(String),
    /// Too many changes wait.
    #[error("too many changes of the store wait; try again")]
    Busy,
    /// The client stops, or does not run yet.
    #[error("the client stops")]
    Stopping,
}

/// A change of the store.
#[derive(Debug)]
pub(crate) struct StoreChange {
    pub(crate) kind: StoredKind,
    pub(crate) action: StoreAction,
    /// Which version of the entry is to be changed.
    pub(crate) condition: Condition,
    /// Only finds out whether it could be done.
    pub(crate) only_check: bool,
}

/// What is to become of an entry.
#[derive(Debug)]
pub(crate) enum StoreAction {
    Create(StoredEntry),
    Update(StoredEntry),
    /// The entry of this name.
    Delete(String),
}

/// A change that is asked for.
#[derive(Debug)]
pub(crate) struct StoreRequest {
    pub(crate) change: StoreChange,
    /// Where to say how it went: the entry as it is then, unless it is no more.
    pub(crate) answer: oneshot::Sender<Result<Option<StoredEntry>, StoreFailure>>,
}

/// The store as the admin port sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct StoreHandle {
    current: watch::Receiver<Option<Arc<Store>>>,
    requests: mpsc::Sender<StoreRequest>,
}

/// The owner's end.
#[derive(Debug)]
pub(crate) struct StoreChanges {
    pub(crate) current: watch::Sender<Option<Arc<Store>>>,
    pub(crate) requests: mpsc::Receiver<StoreRequest>,
}

impl StoreChanges {
    /// Begins with `store`, which has been loaded.
    pub(crate) fn new(store: Option<Store>) -> (StoreHandle, Self) {
        let current = watch::Sender::new(store.map(Arc::new));
        let (sender, requests) = mpsc::channel(MAX_QUEUED);
        let handle = StoreHandle {
            current: current.subscribe(),
            requests: sender,
        };
        (handle, Self { current, requests })
    }
}

impl StoreHandle {
    /// What is in it now; `None` if there is no store.
    pub(crate) fn now(&self) -> Option<Arc<Store>> {
        self.current.borrow().clone()
    }

    /// Has it changed, and waits for that. Returns the entry as it is then, unless it is no more. Dropping the future does not undo a change.
    pub(crate) async fn change(
        &self,
        change: StoreChange,
    ) -> Result<Option<StoredEntry>, StoreFailure> {
        let (answer, answered) = oneshot::channel();
        let request = StoreRequest { change, answer };
        self.requests
            .try_send(request)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => StoreFailure::Busy,
                mpsc::error::TrySendError::Closed(_) => StoreFailure::Stopping,
            })?;
        answered.await.unwrap_or(Err(StoreFailure::Stopping))
    }
}

impl StoreChange {
    /// What `store` becomes, and the entry in it, unless it is no more. What somebody has written into the file by hand is not lost. Blocks.
    pub(crate) fn apply(self, store: &Store) -> Result<(Store, Option<StoredEntry>), StoreFailure> {
        let read;
        let store = match store.path().exists() {
            true => {
                read = store.read_again()?;
                &read
            }
            false => store,
        };
        let kind = self.kind;
        let name = match &self.action {
            StoreAction::Create(entry) | StoreAction::Update(entry) => entry.name().to_owned(),
            StoreAction::Delete(name) => name.clone(),
        };
        let before = store.entry(kind, &name);
        // What is not there is told as such.
        if before.is_some() || matches!(self.action, StoreAction::Create(_)) {
            let version = before.map(|it| version(kind, it));
            self.condition.check(version.as_ref())?;
        }
        let next = match self.action {
            StoreAction::Create(entry) => store.with(kind, entry, false)?,
            StoreAction::Update(entry) => store.with(kind, entry, true)?,
            StoreAction::Delete(name) => store.without(kind, &name)?,
        };
        let entry = next.entry(kind, &name).cloned();
        Ok((next, entry))
    }
}

/// The version of an entry.
pub(crate) fn version(kind: StoredKind, entry: &StoredEntry) -> Version {
    Version::of(entry.definition(kind).to_string().as_bytes())
}
