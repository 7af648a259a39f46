//! Medians and ratios.

use crate::product::Product;

/// One measured value.
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) value: f64,
    /// Digits after the point.
    pub(crate) digits: usize,
}

impl Figure {
    pub(crate) fn new(what: &'static str, value: f64, digits: usize) -> Self {
        Self {
            what,
            value,
            digits,
        }
    }
}

/// All that was measured.
pub(crate) struct Report {
    products: Vec<Product>,
    rows: Vec<Row>,
    printed: usize,
}

struct Row {
    title: String,
    what: &'static str,
    digits: usize,
    /// For each product the value of each round.
    values: Vec<Vec<f64>>,
}

impl Report {
    pub(crate) fn new(products: &[Product]) -> Self {
        Self {
            products: products.to_vec(),
            rows: Vec::new(),
            printed: 0,
        }
    }

    /// Notes one round of one product.
    pub(crate) fn add(&mut self, title: &str, who: usize, figures: Vec<Figure>) {
        for Figure {
            what,
            value,
            digits,
        } in figures
        {
            let known = self
                .rows
                .iter()
                .position(|row| row.title == title && row.what == what);
            let at = known.unwrap_or_else(|| {
                self.rows.push(Row {
                    title: title.to_owned(),
                    what,
                    digits,
                    values: vec![Vec::new(); self.products.len()],
                });
                self.rows.len() - 1
            });
            self.rows[at].values[who].push(value);
        }
    }

    /// Prints the rows that were not printed yet.
    pub(crate) fn print_last(&mut self) {
        self.print_rows(self.printed);
        self.printed = self.rows.len();
    }

    /// Prints everything.
    pub(crate) fn print(&self) {
        println!("\n# All of it\n");
        self.print_rows(0);
    }

    fn print_rows(&self, from: usize) {
        let mut head = String::from("| workload | figure |");
        for product in &self.products {
            head += &format!(" {} |", product.name());
        }
        for product in &self.products[1..] {
            head += &format!(" {}/{} |", self.products[0].name(), product.name());
        }
        let columns = head.matches('|').count() - 1;
        println!("{head}\n|{}", "---|".repeat(columns));
        for row in &self.rows[from..] {
            println!("{}", row.line());
        }
        println!();
    }
}

impl Row {
    fn line(&self) -> String {
        let mut line = format!("| {} | {} |", self.title, self.what);
        let medians: Vec<Option<f64>> = self.values.iter().map(|all| median(all)).collect();
        for median in &medians {
            line += &match median {
                Some(value) => format!(" {value:.*} |", self.digits),
                None => " – |".to_owned(),
            };
        }
        for other in &medians[1..] {
            line += &match (medians[0], other) {
                (Some(ours), Some(theirs)) if *theirs != 0.0 => format!(" {:.2} |", ours / theirs),
                _ => " – |".to_owned(),
            };
        }
        line
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}
