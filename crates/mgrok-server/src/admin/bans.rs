//! Who is banned, and letting those in again.

use mgrok_admin::{Answer, Caller, Column, ListQuery, Method, Path, Refusal, Routes};
use mgrok_metrics::Label as _;
use serde::Serialize;

use super::context::{AdminContext, unix};
use super::filters::{Pairs, Params};
use crate::bans::{BanInfo, Scope};
use crate::policy::CurrentPolicy;

pub(super) fn add(routes: Routes, context: &AdminContext) -> Routes {
    let policy = context.policy.clone();
    let list = async move |list: ListQuery, pairs: Pairs| bans(&policy, &list, &Params::new(pairs));
    let policy = context.policy.clone();
    let lift = async move |caller: Caller, Path(id): Path<String>| {
        let number = id.parse().ok();
        match number.and_then(|id| policy.bans().lift(id, &caller.to_string())) {
            Some(_) => Answer::data(&Lifted { lifted: 1 }),
            None => Err(Refusal::not_found(format!("ban {id} not found"))),
        }
    };
    routes
        .with(Method::GET, "/api/v2/bans", list)
        .with(Method::DELETE, "/api/v2/bans/{id}", lift)
}

#[derive(Serialize)]
struct BanRow {
    id: u64,
    source: String,
    scope: &'static str,
    /// Empty if it is not of one.
    proxy: String,
    guess: &'static str,
    failures: u32,
    since: i64,
    until: i64,
}

/// What a list of them can be sorted by.
const COLUMNS: &[Column<BanRow>] = &[
    ("source", |a, b| a.source.cmp(&b.source)),
    ("proxy", |a, b| a.proxy.cmp(&b.proxy)),
    ("failures", |a, b| a.failures.cmp(&b.failures)),
    ("since", |a, b| a.since.cmp(&b.since)),
    ("until", |a, b| a.until.cmp(&b.until)),
];

#[derive(Serialize)]
struct Lifted {
    lifted: usize,
}

/// The latest first. None while nobody is to be banned.
fn bans(policy: &CurrentPolicy, list: &ListQuery, params: &Params) -> Result<Answer, Refusal> {
    let search = params.search();
    let mut found: Vec<_> = match policy.now().config.bans {
        Some(_) => policy.bans().list().iter().map(BanRow::new).collect(),
        None => Vec::new(),
    };
    found.retain(|it| search.finds([it.source.as_str(), it.proxy.as_str(), it.scope]));
    list.sort(&mut found, COLUMNS)?;
    Answer::data(&list.page_of(found))
}

impl BanRow {
    fn new(ban: &BanInfo) -> Self {
        let (scope, proxy) = match &ban.scope {
            Scope::Logins => ("logins", String::new()),
            Scope::Proxy(name) => ("proxy", name.as_ref().to_owned()),
        };
        Self {
            id: ban.id,
            source: ban.source.to_string(),
            scope,
            proxy,
            guess: ban.guess.as_str(),
            failures: ban.failures,
            since: unix(ban.since),
            until: unix(ban.until),
        }
    }
}
