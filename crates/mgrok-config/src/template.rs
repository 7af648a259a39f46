//! Go's `text/template`, as far as configuration files use it.
//!
//! frp renders a file ahead of reading it, with the process's environment as `.Envs`. The rendered text keeps a map to the template
//! it came from, so that a mistake is told with the line of the file that somebody can open. Whatever the template says, the output,
//! the work and the depth are bounded.
//!
//! Not by the crate gtmpl: it hands out a text without saying where in the template each piece came from, which is what mistakes
//! need, bounds neither work nor output, and has no `break` and no assignment to variables.

mod evaluator;
mod functions;
mod lexer;
mod parser;
mod printf;
mod value;

use std::collections::BTreeMap;

/// The longest text that a template may become: as long as a file may be.
const MAX_OUTPUT: usize = 16 * 1024 * 1024;

/// Why a text cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateError {
    /// The offset in the template.
    pub(crate) at: usize,
    pub(crate) why: String,
}

impl TemplateError {
    fn new(at: usize, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { at, why }
    }
}

/// A template that was rendered.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    pub(crate) origins: Origins,
    /// Variables of the environment that were not there where they were printed, with their place in the template.
    pub(crate) missing: Vec<(usize, String)>,
}

/// Where each piece of a rendered text came from.
#[derive(Debug, Default)]
pub(crate) struct Origins(Vec<Piece>);

#[derive(Debug)]
struct Piece {
    /// The offset in the rendered text where the piece begins.
    rendered: usize,
    /// The offset in the template.
    template: usize,
    /// Whether it was copied byte by byte, rather than computed.
    copied: bool,
}

impl Origins {
    /// The offset in the template of what stands at `at` in the rendered text.
    pub(crate) fn find(&self, at: usize) -> usize {
        let after = self.0.partition_point(|piece| piece.rendered <= at);
        match after.checked_sub(1).and_then(|index| self.0.get(index)) {
            Some(piece) if piece.copied => piece.template + (at - piece.rendered),
            Some(piece) => piece.template,
            None => at,
        }
    }

    fn push(&mut self, rendered: usize, template: usize, copied: bool) {
        self.0.push(Piece {
            rendered,
            template,
            copied,
        });
    }
}

/// Whether a text has to be rendered.
pub(crate) fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// Renders a text with these variables of the environment.
pub(crate) fn render(
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Result<Rendered, TemplateError> {
    let template = parser::parse(text)?;
    evaluator::evaluate(&template, variables)
}

#[cfg(test)]
mod tests;
