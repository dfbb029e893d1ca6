//! The comparison as text: an aligned table that is Markdown too, under the facts one needs to judge it.

use crate::comparison::{Figure, Outcome};
use crate::machine;
use crate::options::Options;
use crate::server::{Server, WORKERS};
use crate::settings::Settings;

/// The whole report.
pub(crate) fn report(
    servers: &[Server; 2],
    settings: &Settings,
    options: &Options,
    others: f64,
    outcomes: &[Outcome],
) -> String {
    let [one, other] = servers;
    let facts = [
        ("date", today()),
        (
            "machine",
            format!("{}, {} cores, Linux {}", machine::processor(), machine::cores(), machine::kernel()),
        ),
        (one.name, one.version.clone()),
        (other.name, other.version.clone()),
        ("PHP", php(settings)),
        (
            "pools",
            format!(
                "static, {WORKERS} workers, unix socket, no access log; same php.ini, user and command line"
            ),
        ),
        ("other processes", others_in_words(others)),
        (
            "traffic",
            format!(
                "{} connections, {} requests per load, server and round; {} rounds, interleaved; every answer checked",
                options.connections, options.requests, options.rounds
            ),
        ),
    ];
    let facts: String = facts.iter().map(|(name, value)| format!("- {name}: {value}\n")).collect();
    let title = format!("# {} and {}, side by side", other.name, one.name);
    format!("{title}\n\n{facts}\n{}\n{LEGEND}", table(one.name, other.name, outcomes))
}

const LEGEND: &str = "Medians over the rounds. CPU time is the scheduler's account of the whole process tree, master \
included. Half of the rounds: the ratio within one round lay between these.\n";

/// CPU time stands a busy machine; throughput and latency do not.
pub(crate) fn others_in_words(share: f64) -> String {
    let percent = share * 100.0;
    let judgement = if percent < 5.0 { "" } else { ": not quiet, do not trust throughput and latency" };
    format!("{percent:.0} % of the machine meanwhile{judgement}")
}

pub(crate) fn php(settings: &Settings) -> String {
    let value = |name: &str| settings.value(name).unwrap_or("?").replace("\\/", "/");
    format!(
        "{}, {}, opcache {}, JIT {}",
        value("PHP version"),
        value("php.ini"),
        value("opcache"),
        value("JIT")
    )
}

/// Today's date in local time.
pub(crate) fn today() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%d").to_string()
}

fn table(one: &str, other: &str, outcomes: &[Outcome]) -> String {
    let heading = ["load", "", one, other, &format!("{other} ÷ {one}"), "half of rounds"].map(str::to_owned);
    let mut rows = vec![heading];
    for outcome in outcomes {
        match &outcome.figures {
            Ok(figures) => rows.extend(figures.iter().map(|figure| row(outcome.load, figure))),
            Err(why) => {
                let why = why.replace(['\r', '\n', '|'], " ");
                rows.push([outcome.load, "no figure", &why, "", "", ""].map(str::to_owned));
            }
        }
    }
    align(&rows)
}

fn row(load: &str, figure: &Figure) -> [String; 6] {
    let [one, other] = figure.medians.map(number);
    let (low, high) = figure.spread;
    let range = if low == high { String::new() } else { format!("{low:.2}–{high:.2}") };
    [load.to_owned(), figure.what.to_owned(), one, other, format!("{:.2}", figure.ratio), range]
}

/// Three significant digits are what such a measurement carries.
fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// Columns of equal width, the first two to the left.
pub(crate) fn align(rows: &[[String; 6]]) -> String {
    let width = |text: &str| text.chars().count();
    // A sentence that takes the place of a figure must not widen its column.
    let counts = |row: &[String; 6], column: usize| column < 2 || !row[4].is_empty();
    let widest = |column| rows.iter().filter(|row| counts(row, column)).map(|row| width(&row[column])).max();
    let widths: Vec<usize> = (0..6).map(|column| widest(column).unwrap_or(0).max(4)).collect();
    let line = |cells: &[String; 6]| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule = |column: usize| match column {
        0 | 1 => "-".repeat(widths[column]),
        _ => format!("{}:", "-".repeat(widths[column] - 1)),
    };
    let rule = line(&[0, 1, 2, 3, 4, 5].map(rule));
    rows.iter()
        .enumerate()
        .map(|(index, row)| if index == 0 { line(row) + &rule } else { line(row) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::figure;

    #[test]
    fn tables_are_aligned() {
        let outcomes = [
            Outcome { load: "hello", figures: Ok(vec![figure("CPU µs/request", &[30.0], &[21.0])]) },
            Outcome { load: "wrong", figures: Err("cornac: wrong\r\nbody".into()) },
        ];
        let expected = "\
| load  |                | php-fpm | cornac | cornac ÷ php-fpm | half of rounds |
| ----- | -------------- | ------: | -----: | ---------------: | -------------: |
| hello | CPU µs/request |    30.0 |   21.0 |             0.70 |                |
| wrong | no figure      | cornac: wrong  body |        |                  |                |
";
        assert_eq!(table("php-fpm", "cornac", &outcomes), expected);
    }
}
