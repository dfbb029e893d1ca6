//! The lifecycle report: one row a figure, with its target and whether it is reached.

use crate::report::align;

/// One measurement.
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) lines: Vec<Line>,
}

/// One figure of both servers.
pub(crate) struct Line {
    what: String,
    fpm: String,
    cornac: String,
    target: String,
    reached: Option<bool>,
}

impl Line {
    /// A figure without a target.
    pub(crate) fn new(what: impl Into<String>, fpm: impl Into<String>, cornac: impl Into<String>) -> Line {
        let (what, fpm, cornac) = (what.into(), fpm.into(), cornac.into());
        Line { what, fpm, cornac, target: String::new(), reached: None }
    }

    /// With cornac's target.
    pub(crate) fn target(self, target: impl Into<String>, reached: bool) -> Line {
        Line { target: target.into(), reached: Some(reached), ..self }
    }
}

/// All sections as one table, which is Markdown too.
pub(crate) fn table(sections: &[Section]) -> String {
    let mut rows = vec![["", "", "php-fpm", "cornac", "target", "reached"].map(str::to_owned)];
    for section in sections {
        for (index, line) in section.lines.iter().enumerate() {
            let title = if index == 0 { section.title.clone() } else { String::new() };
            let or_dash = |text: &str| if text.is_empty() { "–".to_owned() } else { text.to_owned() };
            let reached = match line.reached {
                None => "",
                Some(true) => "yes",
                Some(false) => "NO",
            };
            let row = [
                &title,
                &line.what,
                &or_dash(&line.fpm),
                &or_dash(&line.cornac),
                &or_dash(&line.target),
                reached,
            ];
            rows.push(row.map(|cell| cell.replace(['\r', '\n', '|'], " ")));
        }
    }
    align(&rows)
}

/// How many targets are missed.
pub(crate) fn missed(sections: &[Section]) -> usize {
    sections.iter().flat_map(|section| &section.lines).filter(|line| line.reached == Some(false)).count()
}

/// Three significant digits, or what it means to have none.
pub(crate) fn milliseconds(value: f64) -> String {
    match value {
        none if none.is_nan() => "never".to_owned(),
        long if long >= 10_000.0 => format!("{:.1} s", long / 1e3),
        long if long >= 100.0 => format!("{long:.0} ms"),
        medium if medium >= 10.0 => format!("{medium:.1} ms"),
        short => format!("{short:.2} ms"),
    }
}

/// `1.2 ms → 1.5 ms, ×1.25`.
pub(crate) fn change(before: f64, after: f64) -> String {
    let ratio = after / before;
    let ratio = if ratio.is_nan() { String::new() } else { format!(", ×{ratio:.2}") };
    format!("{} → {}{ratio}", milliseconds(before), milliseconds(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_say_whether_they_are_reached() {
        let sections = [Section {
            title: "spike".into(),
            lines: vec![
                Line::new("median", "500 ms", "2.00 ms").target("≤ 20 ms", true),
                Line::new("max", "", "30 ms").target("≤ 20 ms", false),
                Line::new("rounds", "20", "20"),
            ],
        }];
        let expected = "\
|       |        | php-fpm |  cornac |  target | reached |
| ----- | ------ | ------: | ------: | ------: | ------: |
| spike | median |  500 ms | 2.00 ms | ≤ 20 ms |     yes |
|       | max    |       – |   30 ms | ≤ 20 ms |      NO |
|       | rounds |      20 |      20 |       – |         |
";
        assert_eq!(table(&sections), expected);
        assert_eq!(missed(&sections), 1);
    }

    #[test]
    fn times_have_three_digits() {
        for (value, expected) in [
            (0.1234, "0.12 ms"),
            (12.34, "12.3 ms"),
            (1234.5, "1234 ms"),
            (12_345.0, "12.3 s"),
            (f64::NAN, "never"),
        ] {
            assert_eq!(milliseconds(value), expected);
        }
        assert_eq!(change(1.0, 1.5), "1.00 ms → 1.50 ms, ×1.50");
    }
}
