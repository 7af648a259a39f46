//! Who a client is, as lines of the log say it.

use std::fmt;
use std::net::SocketAddr;

use mgrok_proto::RunId;

use crate::excerpt::Excerpt;

/// A client. Of its run id this has only the beginning.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    user: String,
    client_id: String,
    run_id: String,
    pub(crate) from: SocketAddr,
}

impl Who {
    /// The client of this user and with this name of its own, whose session is `run_id`.
    pub(crate) fn new(user: &str, client_id: &str, run_id: &RunId, from: SocketAddr) -> Self {
        Self {
            user: Excerpt(user).to_string(),
            client_id: Excerpt(client_id).to_string(),
            run_id: run_id.head().to_owned(),
            from,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            client_id,
            run_id,
            from,
        } = self;
        write!(
            f,
            "user [{user}] client id [{client_id}] run id [{run_id}] address [{from}]"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_who_it_is_and_only_the_head_of_the_run_id() {
        let run_id = RunId::from("0123456789abcdef");
        let who = Who::new("ann", "laptop", &run_id, "192.0.2.1:7".parse().unwrap());
        assert_eq!(
            who.to_string(),
            "user [ann] client id [laptop] run id [01234567] address [192.0.2.1:7]"
        );
    }
}
