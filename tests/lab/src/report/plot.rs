//! Plots as SVG: bars in groups, and lines over time.

use std::fmt::Write as _;

/// Colours of peers, told apart by those too who see no red or green.
const COLOURS: [&str; 8] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8a8a", "#444444",
];

const WIDTH: f64 = 900.0;

/// Where names of groups end, and where the longest bar does.
const LEFT: f64 = 250.0;
const RIGHT: f64 = 810.0;

/// Ahead of the first group: title and legend.
const TOP: f64 = 64.0;

const BAR: f64 = 13.0;
const GAP: f64 = 12.0;

/// The height of a plot of lines without title and axis.
const HEIGHT: f64 = 300.0;

/// Bars that belong together.
#[derive(Debug)]
pub struct Group {
    /// What is written beside it.
    pub name: String,
    /// Those who have a value.
    pub bars: Vec<Bar>,
}

/// One bar, with a mark from the least to the most.
#[derive(Debug)]
pub struct Bar {
    /// Whose it is: the index of a name.
    pub peer: usize,
    /// Its length.
    pub value: f64,
    /// The start of the mark.
    pub least: f64,
    /// The end of the mark.
    pub most: f64,
    /// Digits after the point of the number beside it.
    pub digits: usize,
}

/// One line.
#[derive(Debug)]
pub struct Line {
    /// Whose it is: the index of a name.
    pub peer: usize,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Bars that go to the right, all from zero and to one scale.
pub fn bars(title: &str, names: &[&str], groups: &[Group]) -> String {
    let rows: usize = groups.iter().map(|group| group.bars.len()).sum();
    let height = TOP + rows as f64 * BAR + groups.len() as f64 * GAP + GAP;
    let mut svg = head(title, names, height);
    let bars = groups.iter().flat_map(|group| &group.bars);
    let longest = bars.map(|bar| bar.most).fold(0.0, f64::max);
    let x = |value: f64| LEFT + scaled(value, longest) * (RIGHT - LEFT);
    let mut y = TOP;
    for group in groups {
        let middle = y + group.bars.len() as f64 * BAR / 2.0 + 4.0;
        text(&mut svg, LEFT - 8.0, middle, "end", &group.name);
        for bar in &group.bars {
            let colour = COLOURS[bar.peer % COLOURS.len()];
            let _ = writeln!(
                svg,
                r#"<rect x="{LEFT}" y="{:.1}" width="{:.1}" height="{:.1}" fill="{colour}"/>"#,
                y + 1.0,
                x(bar.value) - LEFT,
                BAR - 2.0
            );
            let at = y + BAR / 2.0;
            line(&mut svg, (x(bar.least), at), (x(bar.most), at), "#222");
            let number = format!("{:.*}", bar.digits, bar.value);
            text(&mut svg, x(bar.most) + 5.0, at + 4.0, "start", &number);
            y += BAR;
        }
        y += GAP;
    }
    line(&mut svg, (LEFT, TOP - 4.0), (LEFT, y), "#222");
    svg + "</svg>\n"
}

/// Lines from zero up, over `across`.
pub fn lines(title: &str, names: &[&str], across: &str, all: &[Line]) -> String {
    let bottom = TOP + HEIGHT;
    let mut svg = head(title, names, bottom + 40.0);
    let points = || all.iter().flat_map(|line| &line.points);
    let highest = nice(points().map(|point| point.1).fold(0.0, f64::max));
    let last = points().map(|point| point.0).fold(0.0, f64::max);
    let left = 60.0;
    let x = |value: f64| left + scaled(value, last) * (RIGHT - left);
    let y = |value: f64| bottom - scaled(value, highest) * HEIGHT;
    for tick in 0..=4 {
        let value = highest * f64::from(tick) / 4.0;
        line(&mut svg, (left, y(value)), (RIGHT, y(value)), "#ddd");
        text(&mut svg, left - 6.0, y(value) + 4.0, "end", &number(value));
        let second = last * f64::from(tick) / 4.0;
        let seconds = format!("{second:.1}");
        text(&mut svg, x(second), bottom + 16.0, "middle", &seconds);
    }
    text(
        &mut svg,
        (left + RIGHT) / 2.0,
        bottom + 34.0,
        "middle",
        across,
    );
    for line in all {
        let mut path = String::new();
        for (at, value) in &line.points {
            let _ = write!(path, "{:.1},{:.1} ", x(*at), y(*value));
        }
        let colour = COLOURS[line.peer % COLOURS.len()];
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="1.5"/>"#,
            path.trim_end()
        );
    }
    svg + "</svg>\n"
}

/// Title and legend.
fn head(title: &str, names: &[&str], height: f64) -> String {
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#fff"/>
<text x="10" y="20" font-size="15" font-weight="bold">{}</text>
"##,
        escaped(title)
    );
    for (index, name) in names.iter().enumerate() {
        let x = 10.0 + index as f64 * 110.0;
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(
            svg,
            r#"<rect x="{x}" y="34" width="10" height="10" fill="{colour}"/>"#
        );
        text(&mut svg, x + 15.0, 43.0, "start", name);
    }
    svg
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let content = escaped(content);
    let _ = writeln!(
        svg,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{content}</text>"#
    );
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{colour}"/>"#,
        from.0, from.1, to.0, to.1
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Where a value is between zero and the end of a scale: 0 to 1, also for what is no number.
fn scaled(value: f64, end: f64) -> f64 {
    let share = value / end;
    if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    }
}

/// The end of a scale for values up to this: 1, 2, 4 or 8 times a power of ten, so that its fourths are short.
fn nice(most: f64) -> f64 {
    if most.is_nan() || most <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(most.log10().floor());
    let steps = [1.0, 2.0, 4.0, 8.0, 10.0];
    let fits = steps.iter().find(|step| *step * power >= most);
    fits.unwrap_or(&10.0) * power
}

fn number(value: f64) -> String {
    if value == 0.0 || value >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(peer: usize, value: f64) -> Bar {
        Bar {
            peer,
            value,
            least: value,
            most: value,
            digits: 1,
        }
    }

    #[test]
    fn the_longest_bar_takes_all_the_width_and_half_of_it_half() {
        let group = Group {
            name: "a < b".to_owned(),
            bars: vec![bar(0, 10.0), bar(1, 5.0)],
        };
        let svg = bars("Title", &["x", "y"], &[group]);
        assert!(svg.contains(r#"width="560.0""#), "{svg}");
        assert!(svg.contains(r#"width="280.0""#), "{svg}");
        assert!(svg.contains("a &lt; b"), "{svg}");
    }

    #[test]
    fn nothing_and_no_numbers_are_plotted_without_leaving_the_plot() {
        assert!(!bars("Title", &["x"], &[]).contains("NaN"));
        let group = Group {
            name: String::new(),
            bars: vec![bar(0, f64::NAN), bar(0, f64::INFINITY), bar(0, 0.0)],
        };
        for element in bars("Title", &["x"], &[group]).lines() {
            let shape = element.split(" stroke=").next().unwrap();
            assert!(
                !shape.starts_with("<rect") || !shape.contains("inf") && !shape.contains("NaN"),
                "{element}"
            );
        }
        assert!(lines("Title", &["x"], "s", &[]).ends_with("</svg>\n"));
    }

    #[test]
    fn a_scale_ends_at_a_short_number_that_holds_all() {
        for (most, end) in [
            (0.0, 1.0),
            (0.7, 0.8),
            (3.0, 4.0),
            (81.0, 100.0),
            (10.0, 10.0),
        ] {
            assert!((nice(most) - end).abs() < 1e-9, "{most}: {}", nice(most));
        }
    }

    #[test]
    fn a_line_goes_from_the_left_to_the_right() {
        let line = Line {
            peer: 0,
            points: vec![(0.0, 0.0), (10.0, 4.0)],
        };
        let svg = lines("Title", &["x"], "seconds", &[line]);
        assert!(svg.contains(r#"points="60.0,364.0 810.0,64.0""#), "{svg}");
    }
}
