//! How much is shown of the requests to a web service, and where.

use clap::{Args, ValueEnum};
use mgrok_config::Settings;

/// What is looked at of the requests to a web service.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct ViewArguments {
    /// Show the latest requests with their answers on a page of this host at this port, to be searched, repeated and saved
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    inspect: Option<u16>,

    /// Show more of each request and its answer than a line
    #[arg(long, value_enum, value_name = "WHAT", requires = "local")]
    pub(super) show: Option<Show>,
}

/// What is shown of a request and its answer besides its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Show {
    /// Headers
    Headers,
    /// Headers, and the beginning of bodies that are text
    Bodies,
}

/// How many requests are kept with their answers.
const KEPT_REQUESTS: u16 = 100;

impl ViewArguments {
    /// Adds what the client has to do for it.
    pub(super) fn add_to(self, settings: &mut Settings) {
        let origin = match self.inspect {
            Some(port) => {
                settings.set("webServer.port", port, "--inspect");
                "--inspect"
            }
            None => "--show",
        };
        if self.inspect.is_some() || self.show.is_some() {
            settings.set("proxies[0].inspect.requests", KEPT_REQUESTS, origin);
        }
    }
}
