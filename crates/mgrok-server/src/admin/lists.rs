//! What lists are asked for with: filters, and pages of what is long. The texts are frp's.

use mgrok_admin::{Query, Refusal};
use serde::Serialize;

/// How many entries a page has.
const PAGE_SIZE: i64 = 50;
/// How many it may have.
const MAX_PAGE_SIZE: i64 = 200;

/// The pairs of a query, in their order.
pub(super) type Pairs = Query<Vec<(String, String)>>;

/// The variables of a query.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

/// Which page is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    number: i64,
    size: i64,
}

/// A page of a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Paged<T> {
    /// Of all pages.
    total: usize,
    page: i64,
    page_size: i64,
    items: Vec<T>,
}

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

    pub(super) fn page(&self) -> Result<Page, Refusal> {
        let number = self.positive("page", 1)?;
        let size = self.positive("pageSize", PAGE_SIZE)?;
        if size > MAX_PAGE_SIZE {
            let text = format!("pageSize must be between 1 and {MAX_PAGE_SIZE}");
            return Err(Refusal::bad_request(text));
        }
        if number > i64::MAX / size {
            return Err(Refusal::bad_request("page is too large"));
        }
        Ok(Page { number, size })
    }

    fn positive(&self, name: &str, default: i64) -> Result<i64, Refusal> {
        match self.get(name) {
            "" => Ok(default),
            text => match text.parse() {
                Ok(number) if number > 0 => Ok(number),
                _ => Err(Refusal::bad_request(format!(
                    "{name} must be a positive integer"
                ))),
            },
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

impl Page {
    /// The page of `items`, each as `show` makes it.
    pub(super) fn of<T, U>(self, items: Vec<T>, show: impl FnMut(T) -> U) -> Paged<U> {
        let total = items.len();
        // It was checked that this is a number; if it is too large for this machine, so are all items before it.
        let before = usize::try_from((self.number - 1) * self.size).unwrap_or(usize::MAX);
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let items = items.into_iter().skip(before).take(size);
        Paged {
            total,
            page: self.number,
            page_size: self.size,
            items: items.map(show).collect(),
        }
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
    fn pages_are_as_frp_cuts_them() {
        let check = |query: &str, expect: Result<(i64, i64, Vec<usize>), &str>| {
            let page = params(query).page();
            let page = page.map(|it| it.of((0..5).collect(), |it: usize| it));
            let page = page.map(|it| {
                assert_eq!(it.total, 5);
                (it.page, it.page_size, it.items)
            });
            let page = page.map_err(|it| it.message);
            assert_eq!(page, expect.map_err(str::to_owned), "{query}");
        };
        check("", Ok((1, 50, vec![0, 1, 2, 3, 4])));
        check("page=2&pageSize=2", Ok((2, 2, vec![2, 3])));
        check("page=3&pageSize=2", Ok((3, 2, vec![4])));
        check("page=4&pageSize=2", Ok((4, 2, vec![])));
        check(
            "page=9223372036854775807&pageSize=1",
            Ok((i64::MAX, 1, vec![])),
        );
        for bad in ["0", "-1", "x", "1.5", "9223372036854775808"] {
            check(
                &format!("page={bad}"),
                Err("page must be a positive integer"),
            );
        }
        check("pageSize=x", Err("pageSize must be a positive integer"));
        check("pageSize=201", Err("pageSize must be between 1 and 200"));
        check(
            "page=9223372036854775807&pageSize=2",
            Err("page is too large"),
        );
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
