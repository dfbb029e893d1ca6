//! The pages of documentation that follow from tables: options, exit codes, directives. `cornac docs PAGE` prints them;
//! the copies below docs/ are what packages and readers take, and a test keeps them so.

mod man;
mod reference;

use std::io::Write;

use config::{Directive, Scope};
use master::exit_code;

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum Page {
    /// The man page, docs/man/cornac.8.
    Man,
    /// The reference of directives, docs/directives.md.
    Directives,
}

impl Page {
    fn text(self) -> String {
        match self {
            Page::Man => man::page(),
            Page::Directives => reference::page(),
        }
    }
}

/// Prints a page; returns the exit code.
pub(crate) fn print(page: Page) -> u8 {
    match std::io::stdout().write_all(page.text().as_bytes()) {
        Ok(()) => exit_code::OK,
        Err(_) => exit_code::SOFTWARE,
    }
}

/// php-fpm's directives of a scope, or cornac's own.
fn directives(scope: Scope, own: bool) -> impl Iterator<Item = &'static Directive> {
    config::directives().filter(move |row| row.scope == scope && row.own == own)
}

/// `PHP 5.3.3`, or the version of cornac for its own.
fn since(row: &Directive) -> String {
    format!("{} {}", if row.own { "cornac" } else { "PHP" }, row.since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_pages_are_what_the_tables_say() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        for (page, word, file) in
            [(Page::Man, "man", "man/cornac.8"), (Page::Directives, "directives", "directives.md")]
        {
            let committed = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            assert!(committed == page.text(), "run: cargo run -q -- docs {word} > docs/{file}");
        }
    }

    /// Where groff is installed.
    #[test]
    fn the_man_page_is_without_warnings() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man/cornac.8");
        let groff =
            std::process::Command::new("groff").args(["-man", "-ww", "-z", "-Tutf8"]).arg(page).output();
        let Ok(output) = groff else { return };
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
    }

    #[test]
    fn every_directive_and_option_is_on_its_page() {
        let (man, reference) = (man::page(), reference::page());
        for row in config::directives() {
            let heading = format!("### `{}`", row.spelling());
            assert!(reference.contains(&heading), "{heading}");
            assert!(man.contains(&format!(".B {}\n", row.spelling())), "{}", row.name);
        }
        for switch in &crate::fpm::parse::SWITCHES {
            assert!(man.contains(&switch.long.replace('-', "\\-")), "{}", switch.long);
        }
    }
}
