//! The entries of a store, which mean what they would mean in the file.

use std::collections::BTreeSet;

use super::entries::Start;
use super::proxies::proxies;
use super::visitors::visitors;
use crate::proxy::ProxyConfig;
use crate::section::Section;
use crate::store::StoreContext;
use crate::visitor::VisitorConfig;

/// Reads the proxies and visitors of a store that will be used, beside `others`, which were read before.
pub(crate) fn stored(
    mut root: Section<'_>,
    context: &StoreContext,
    others: (&[ProxyConfig], &[VisitorConfig]),
) -> (Vec<ProxyConfig>, Vec<VisitorConfig>) {
    let mut start = Start::of(&context.start);
    let proxies = proxies(&mut root, &mut start, &context.auth, others.0);
    let web_server = context.web_server.as_ref();
    let none = BTreeSet::new();
    let visitors = visitors(&mut root, &mut start, web_server, others.1, &none);
    (proxies, visitors)
}
