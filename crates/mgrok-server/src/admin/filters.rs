//! What lists are filtered by. The texts are frp's.

use mgrok_admin::{Query, Refusal};

/// The pairs of a query, in their order.
pub(super) type Pairs = Query<Vec<(String, String)>>;

/// The variables of a query.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn new(Query(pairs): Pairs) -> Self {
        Self(pairs)
    }

    /// The first value of `name`, if there is one, which may be empty.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The first value of `name`; empty if there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// Whether `value` is what `name` asks for, if it asks.
    pub(super) fn lets(&self, name: &str, value: &str) -> bool {
        let wanted = self.get(name);
        wanted.is_empty() || wanted == value
    }

    /// The same where an empty value is one that is asked for.
    pub(super) fn lets_also_empty(&self, name: &str, value: &str) -> bool {
        self.find(name).is_none_or(|wanted| wanted == value)
    }

    /// The text that is looked for.
    pub(super) fn search(&self) -> Search {
        Search(self.get("q").to_lowercase())
    }

    /// Whether those that are online are asked for, or the others; `None`: all.
    pub(super) fn online(&self) -> Result<Option<bool>, Refusal> {
        match self.get("status").to_ascii_lowercase().as_str() {
            "" | "all" => Ok(None),
            "online" => Ok(Some(true)),
            "offline" => Ok(Some(false)),
            _ => Err(Refusal::bad_request(
                "status must be one of all, online, offline",
            )),
        }
    }
}

/// A text that is looked for, whatever its case.
#[derive(Debug)]
pub(super) struct Search(String);

impl Search {
    /// Whether one of `texts` has it.
    pub(super) fn finds<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.0);
        self.0.is_empty() || texts.into_iter().any(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned();
        Params(pairs.collect())
    }

    #[test]
    fn filters() {
        let params = params("status=OnLine&user=&clientID=a&clientID=b&q=LAP");
        assert_eq!(params.online().unwrap(), Some(true));
        assert!(params.lets_also_empty("user", "") && !params.lets_also_empty("user", "ann"));
        assert!(params.lets("user", "ann"));
        assert!(params.lets("clientID", "a") && !params.lets("clientID", "b"));
        assert!(params.search().finds(["x", "laptop"]));
        assert!(!params.search().finds(["x", "desk"]));
        assert!(self::params("status=x").online().is_err());
    }
}
