//! Pages of lists that can be long.

use serde::{Deserialize, Serialize};

/// The most rows of a page.
const MAX_SIZE: usize = 200;
/// The rows of a page if nobody says how many.
const SIZE: usize = 50;

/// Which page of a list is asked for, as in `?page=2&pageSize=100`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PageQuery {
    page: usize,
    page_size: usize,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// How many rows there are on all pages.
    pub total: usize,
    /// Which page this is, from 1.
    pub page: usize,
    /// How many rows a page has.
    pub page_size: usize,
    /// The rows.
    pub items: Vec<T>,
}

impl PageQuery {
    /// The page of `all` that is asked for; empty beyond the last. What makes no sense stands for the nearest that does.
    pub fn of<T>(&self, all: impl IntoIterator<Item = T>) -> Page<T> {
        let page = self.page.max(1);
        let page_size = match self.page_size {
            0 => SIZE,
            size => size.min(MAX_SIZE),
        };
        let first = (page - 1).saturating_mul(page_size);
        let mut total = 0;
        let mut items = Vec::new();
        for item in all {
            if total >= first && items.len() < page_size {
                items.push(item);
            }
            total += 1;
        }
        Page {
            total,
            page,
            page_size,
            items,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(page: usize, page_size: usize) -> (Vec<usize>, usize) {
        let query = PageQuery { page, page_size };
        let page = query.of(0..500);
        assert_eq!(page.total, 500);
        (page.items, page.page_size)
    }

    #[test]
    fn pages_follow_each_other() {
        assert_eq!(page(0, 0), ((0..50).collect(), 50));
        assert_eq!(page(1, 2), (vec![0, 1], 2));
        assert_eq!(page(2, 2), (vec![2, 3], 2));
        assert_eq!(page(3, 1000), ((400..500).collect(), 200));
        assert_eq!(page(4, 200), (vec![], 200));
        assert_eq!(page(usize::MAX, 200), (vec![], 200));
    }
}
