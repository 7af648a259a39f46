//! Lists that can be long: which page of one is asked for, and in which order.

use std::cmp::Ordering;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Serialize;

use crate::answer::Refusal;
use crate::extract::Query;

/// The rows of a page if nobody says how many.
const SIZE: i64 = 50;
/// The most rows of a page.
const MAX_SIZE: i64 = 200;

/// How a list is asked for, as in `?page=2&pageSize=100&sort=-received`: handlers take it from the request. What makes no sense is a
/// 400.
#[derive(Clone, Debug)]
pub struct ListQuery {
    page: i64,
    page_size: i64,
    sort: Option<Sort>,
}

#[derive(Clone, Debug)]
struct Sort {
    column: String,
    is_descending: bool,
}

/// A column that a list can be sorted by: its name, and how two rows compare in it.
pub type Column<T> = (&'static str, fn(&T, &T) -> Ordering);

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// How many rows there are on all pages.
    pub total: usize,
    /// Which page this is, from 1.
    pub page: i64,
    /// How many rows a page has.
    pub page_size: i64,
    /// The rows.
    pub items: Vec<T>,
}

impl<S: Sync> FromRequestParts<S> for ListQuery {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_uri(&parts.uri)?;
        Self::from_pairs(&pairs)
    }
}

impl ListQuery {
    // frp: these words, the first of several values, and an empty one is none (pkg/util/http)
    fn from_pairs(pairs: &[(String, String)]) -> Result<Self, Refusal> {
        let value = |name: &str| {
            let found = pairs.iter().find(|(key, _)| key == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        let positive = |name: &str, default| match value(name) {
            "" => Ok(default),
            text => match text.parse() {
                Ok(number) if number > 0 => Ok(number),
                Ok(_) | Err(_) => Err(Refusal::bad_request(format!(
                    "{name} must be a positive integer"
                ))),
            },
        };
        let page: i64 = positive("page", 1)?;
        let page_size = positive("pageSize", SIZE)?;
        if page_size > MAX_SIZE {
            let text = format!("pageSize must be between 1 and {MAX_SIZE}");
            return Err(Refusal::bad_request(text));
        }
        if page > i64::MAX / page_size {
            return Err(Refusal::bad_request("page is too large"));
        }
        let sort = match value("sort") {
            "" => None,
            text => Some(Sort {
                column: text.strip_prefix('-').unwrap_or(text).to_owned(),
                is_descending: text.starts_with('-'),
            }),
        };
        Ok(Self {
            page,
            page_size,
            sort,
        })
    }

    /// Sorts `rows` by the one of `columns` that is asked for; rows that are equal in it stay in their order, and so do all if none is.
    ///
    /// # Errors
    /// A 400 if there is no such column.
    pub fn sort<T>(&self, rows: &mut [T], columns: &[Column<T>]) -> Result<(), Refusal> {
        let Some(Sort {
            column,
            is_descending,
        }) = &self.sort
        else {
            return Ok(());
        };
        let found = columns.iter().find(|(name, _)| name == column);
        let Some((_, compare)) = found else {
            let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
            return Err(Refusal::bad_request(format!(
                "sort must be one of {}, or one of them after a -",
                names.join(", ")
            )));
        };
        match is_descending {
            true => rows.sort_by(|a, b| compare(b, a)),
            false => rows.sort_by(compare),
        }
        Ok(())
    }

    /// The page of `all` that is asked for; empty beyond the last.
    pub fn page_of<T>(&self, all: Vec<T>) -> Page<T> {
        let total = all.len();
        // It was checked that this is a number; if it is too large for this machine, so are all rows before it.
        let before = usize::try_from((self.page - 1) * self.page_size).unwrap_or(usize::MAX);
        let size = usize::try_from(self.page_size).unwrap_or(usize::MAX);
        Page {
            total,
            page: self.page,
            page_size: self.page_size,
            items: all.into_iter().skip(before).take(size).collect(),
        }
    }
}

impl<T> Page<T> {
    /// The same page with each row as `show` makes it.
    pub fn map<U>(self, show: impl FnMut(T) -> U) -> Page<U> {
        Page {
            total: self.total,
            page: self.page,
            page_size: self.page_size,
            items: self.items.into_iter().map(show).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(query: &str) -> Result<ListQuery, String> {
        let uri = format!("/?{query}").parse().unwrap();
        let Query(pairs) = Query::<Vec<(String, String)>>::from_uri(&uri).unwrap();
        ListQuery::from_pairs(&pairs).map_err(|it| it.message)
    }

    #[test]
    fn pages_are_as_frp_cuts_them() {
        let check = |text: &str, expect: Result<(i64, i64, Vec<usize>), &str>| {
            let page = query(text).map(|it| it.page_of((0..5).collect()));
            let page = page.map(|it| {
                assert_eq!(it.total, 5);
                (it.page, it.page_size, it.items)
            });
            assert_eq!(page, expect.map_err(str::to_owned), "{text}");
        };
        check("", Ok((1, 50, vec![0, 1, 2, 3, 4])));
        check("page=&pageSize=", Ok((1, 50, vec![0, 1, 2, 3, 4])));
        check("page=2&pageSize=2&page=3", Ok((2, 2, vec![2, 3])));
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
    fn rows_are_sorted_by_the_column_that_is_asked_for() {
        let columns: [Column<(u8, char)>; 2] = [
            ("number", |a, b| a.0.cmp(&b.0)),
            ("letter", |a, b| a.1.cmp(&b.1)),
        ];
        let sorted = |text: &str| {
            let mut rows = vec![(2, 'b'), (10, 'a'), (1, 'b')];
            let sorted = query(text).unwrap().sort(&mut rows, &columns);
            sorted.map(|()| rows).map_err(|it| it.message)
        };
        assert_eq!(sorted("").unwrap(), [(2, 'b'), (10, 'a'), (1, 'b')]);
        let up = [(1, 'b'), (2, 'b'), (10, 'a')];
        assert_eq!(sorted("sort=number").unwrap(), up);
        let down = [(10, 'a'), (2, 'b'), (1, 'b')];
        assert_eq!(sorted("sort=-number").unwrap(), down);
        // Those that are equal stay in their order, whichever way.
        let by_letter = [(10, 'a'), (2, 'b'), (1, 'b')];
        assert_eq!(sorted("sort=letter").unwrap(), by_letter);
        let by_letter = [(2, 'b'), (1, 'b'), (10, 'a')];
        assert_eq!(sorted("sort=-letter").unwrap(), by_letter);
        let refused = "sort must be one of number, letter, or one of them after a -";
        assert_eq!(sorted("sort=Number").unwrap_err(), refused);
        assert_eq!(sorted("sort=-").unwrap_err(), refused);
    }
}
