//! The routes for the store: its proxies and visitors, one by one.

use mgrok_admin::{
    Answer, Caller, HeaderMap, JsonBody, Method, Path, Query, Refusal, Routes, StatusCode, is_true,
};
use mgrok_config::{StoreError, StoredEntry, StoredKind};
use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::info;

use crate::store::{StoreAction, StoreChange, StoreFailure, StoreHandle, version};
use crate::version::Condition;

/// The query of a change.
#[derive(Debug, Deserialize)]
struct Changing {
    #[serde(default)]
    check: Option<String>,
}

impl Changing {
    fn only_check(&self) -> bool {
        self.check.as_deref().is_some_and(is_true)
    }
}

/// Adds what can be asked of `store` to `routes`.
pub(super) fn add_to(routes: Routes, store: &StoreHandle) -> Routes {
    let routes = add_kind(
        routes,
        store,
        StoredKind::Proxy,
        "/api/store/proxies",
        "/api/store/proxies/{name}",
    );
    add_kind(
        routes,
        store,
        StoredKind::Visitor,
        "/api/store/visitors",
        "/api/store/visitors/{name}",
    )
}

fn add_kind(
    routes: Routes,
    store: &StoreHandle,
    kind: StoredKind,
    all: &'static str,
    one: &'static str,
) -> Routes {
    let stored = Stored {
        store: store.clone(),
        kind,
    };
    let (list, get, create, update, delete) = (
        stored.clone(),
        stored.clone(),
        stored.clone(),
        stored.clone(),
        stored,
    );
    routes
        .with(Method::GET, all, async move || list.list())
        .with(
            Method::POST,
            all,
            async move |Query(query): Query<Changing>,
                        caller: Caller,
                        JsonBody(definition): JsonBody<Value>| {
                create
                    .create(query.only_check(), &caller, &definition)
                    .await
            },
        )
        .with(Method::GET, one, async move |Path(name): Path<String>| {
            get.get(&name)
        })
        .with(
            Method::PUT,
            one,
            async move |Path(name): Path<String>,
                        Query(query): Query<Changing>,
                        caller: Caller,
                        headers: HeaderMap,
                        JsonBody(definition): JsonBody<Value>| {
                let condition = Condition::of(&headers);
                let only_check = query.only_check();
                update
                    .update(&name, condition, only_check, &caller, &definition)
                    .await
            },
        )
        .with(
            Method::DELETE,
            one,
            async move |Path(name): Path<String>, caller: Caller, headers: HeaderMap| {
                delete.delete(name, Condition::of(&headers), &caller).await
            },
        )
}

/// The entries of one kind.
#[derive(Clone, Debug)]
struct Stored {
    store: StoreHandle,
    kind: StoredKind,
}

impl Stored {
    fn list(&self) -> Result<Answer, Refusal> {
        let store = self
            .store
            .now()
            .ok_or(StoreFailure::Disabled)
            .map_err(refusal)?;
        let entries = store.entries(self.kind);
        let definitions: Vec<_> = entries.map(|it| it.definition(self.kind)).collect();
        let key = match self.kind {
            StoredKind::Proxy => "proxies",
            StoredKind::Visitor => "visitors",
        };
        let mut lists = Map::new();
        lists.insert(key.to_owned(), definitions.into());
        Answer::json(&lists)
    }

    fn get(&self, name: &str) -> Result<Answer, Refusal> {
        let store = self
            .store
            .now()
            .ok_or(StoreFailure::Disabled)
            .map_err(refusal)?;
        match store.entry(self.kind, name) {
            Some(entry) => self.tell(entry),
            None => {
                let (kind, name) = (self.kind, name.to_owned());
                let absent = StoreError::Absent { kind, name };
                Err(Refusal::not_found(absent.to_string()))
            }
        }
    }

    async fn create(
        &self,
        only_check: bool,
        caller: &Caller,
        definition: &Value,
    ) -> Result<Answer, Refusal> {
        let entry = self.entry(definition)?;
        let name = entry.name().to_owned();
        let action = StoreAction::Create(entry);
        self.change(
            action,
            Condition::default(),
            only_check,
            caller,
            "created",
            &name,
        )
        .await
    }

    async fn update(
        &self,
        name: &str,
        condition: Condition,
        only_check: bool,
        caller: &Caller,
        definition: &Value,
    ) -> Result<Answer, Refusal> {
        let entry = self.entry(definition)?;
        if entry.name() != name {
            // frp: these words
            let why = format!("{} name in URL must match name in body", self.kind);
            return Err(Refusal::bad_request(why));
        }
        let action = StoreAction::Update(entry);
        self.change(action, condition, only_check, caller, "updated", name)
            .await
    }

    async fn delete(
        &self,
        name: String,
        condition: Condition,
        caller: &Caller,
    ) -> Result<Answer, Refusal> {
        let action = StoreAction::Delete(name.clone());
        self.change(action, condition, false, caller, "deleted", &name)
            .await
    }

    fn entry(&self, definition: &Value) -> Result<StoredEntry, Refusal> {
        StoredEntry::from_definition(self.kind, definition).map_err(Refusal::bad_request)
    }

    async fn change(
        &self,
        action: StoreAction,
        condition: Condition,
        only_check: bool,
        caller: &Caller,
        done: &str,
        name: &str,
    ) -> Result<Answer, Refusal> {
        let kind = self.kind;
        let change = StoreChange {
            kind,
            action,
            condition,
            only_check,
        };
        let entry = self.store.change(change).await.map_err(refusal)?;
        if !only_check {
            // frp: these words, up to the comma (client/config_manager.go)
            info!(source = %caller.from, "store: {done} {kind} {name:?}, by {caller}");
        }
        match entry {
            Some(entry) => self.tell(&entry),
            None => Ok(Answer::empty()),
        }
    }

    fn tell(&self, entry: &StoredEntry) -> Result<Answer, Refusal> {
        let answer = Answer::json(&entry.definition(self.kind))?;
        Ok(version(self.kind, entry).add_to(answer))
    }
}

// frp: these statuses and words
fn refusal(failure: StoreFailure) -> Refusal {
    let status = match &failure {
        StoreFailure::Disabled => StatusCode::NOT_FOUND,
        StoreFailure::Refused(error) => {
            let (status, class) = match error {
                StoreError::Exists { .. } => (StatusCode::CONFLICT, "conflict"),
                StoreError::Full => (StatusCode::CONFLICT, "conflict"),
                StoreError::Absent { .. } => (StatusCode::NOT_FOUND, "not found"),
                StoreError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid argument"),
            };
            return Refusal::new(status, format!("{class}: {error}"));
        }
        StoreFailure::Changed(changed) => return (*changed).into(),
        StoreFailure::Broken(_) | StoreFailure::NotWritten(_) | StoreFailure::NotApplied(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        StoreFailure::Busy | StoreFailure::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refusal::new(status, failure.to_string())
}
