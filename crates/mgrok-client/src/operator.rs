//! What an operator asks for at the admin port and only the program can do.

use mgrok_admin::{
    AdminRequests, Answer, Method, ProgramLink, Query, Refusal, ReloadQuery, Routes,
};
use mgrok_config::Strictness;

/// Where requests go to the program.
#[derive(Clone, Debug)]
pub(crate) struct Operator(ProgramLink);

impl Operator {
    pub(crate) fn new() -> (Self, AdminRequests) {
        let (program, requests) = ProgramLink::new();
        (Self(program), requests)
    }

    /// Adds what can be asked for to `routes`.
    pub(crate) fn add_to(self, routes: Routes) -> Routes {
        let (reload, stop) = (self.0.clone(), self.0.clone());
        self.0
            .add_to(routes)
            .with(
                Method::GET,
                "/api/reload",
                async move |Query(query): Query<ReloadQuery>| {
                    // frp: unknown keys are passed over unless it says otherwise
                    let strictness = query.strictness().unwrap_or(Strictness::Lenient);
                    reload.reload(Some(strictness)).await?;
                    Ok::<_, Refusal>(Answer::empty())
                },
            )
            .with(Method::POST, "/api/stop", async move || {
                stop.stop()?;
                Ok::<_, Refusal>(Answer::empty())
            })
    }
}
