//! What a client keeps of the requests of an `http` proxy.

/// The headers whose values are not kept unless a file says otherwise.
const REDACTED: [&str; 5] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
    "x-api-key",
];

/// The `inspect` section of an `http` proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspect {
    /// How many requests are kept with their answers, the latest; at least one.
    pub requests: usize,
    /// How many bytes are kept of each body.
    pub body_limit: usize,
    /// The headers whose values are not kept, in lower case.
    pub redact: Vec<String>,
}

impl Inspect {
    /// The most requests that are kept of one proxy.
    pub const MAX_REQUESTS: usize = 10_000;

    /// The most bytes that are kept of a body.
    pub const MAX_BODY: u64 = 16 << 20;

    /// So many requests, and of each what is kept by default.
    pub fn new(requests: usize) -> Self {
        Self {
            requests,
            body_limit: 64 << 10,
            redact: REDACTED.map(str::to_owned).to_vec(),
        }
    }
}
