//! docs/directives.md: every directive with type, default, range, version and example.

use config::{Directive, Kind, Scope};

use super::{directives, since};

const HEAD: &str = "<!-- Generated: cargo run -q -- docs directives > docs/directives.md -->

# Directives

All directives of php-fpm's configuration files as cornac reads them, and cornac's own. What a file may hold besides is in
[How files are read](#how-files-are-read); where cornac behaves otherwise is in [COMPATIBILITY.md](../COMPATIBILITY.md).

`cornac check FILE` says whether a file can be used, and with the line where not; `cornac check --dump FILE` shows every
directive with its value.
";

const READING: &str = "## How files are read

- A line is a section (`[global]` or `[name of a pool]`), `directive = value`, a comment that starts with `;`, or empty. A
  value cannot go on in the next line.
- What stands before the first section belongs to `[global]`. A pool's section may be opened again, in another file too; names
  of pools and directives may be written in upper or lower case (but `include` and names with brackets).
- A directive given twice counts as given last. With brackets all of them count; of two with the same key, the first.
- `include = PATTERN` reads the matching files where it stands, in alphabetical order. A relative pattern is relative to the
  prefix (`-p`, else the one PHP was built for). What follows an include belongs to the last section of the included file.
- `$pool` in a text is replaced by the pool's name.
- `${NAME}` is replaced by the variable of the master's environment; `${NAME:-text}` by the text if there is no such
  variable (as in PHP 8.3).
- Text with blanks at its ends, or with `; = [ ] { } ( ) | & ^ ~ ! \"` in it, needs double quotes, and in these `\\\"` for a quote.
  Outside of quotes `yes`, `on`, `true` and `no`, `off`, `false`, `none` are the two booleans, and constants such as
  `E_ALL & ~E_NOTICE` are computed.

| type | what it is |
|---|---|
| text | anything |
| path | relative ones get a prefix: the pool's `prefix`, else that of `-p`, else the one PHP was built for (`pid` and `error_log`: its folder for state, `/var`) |
| number | digits, with a minus in front where that makes sense |
| time | a number of seconds, or with `s`, `m`, `h`, `d` behind it seconds, minutes, hours, days |
| yes or no | `yes`, `no` and the other words of that kind, `1`, `0` |
| word | one of those listed, in upper or lower case |
| list | `name[] = value`, any number of times |
| map | `name[key] = value`, any number of times |

cornac's own directives stand in the same sections, but php-fpm refuses a file that has them. A file that both shall read
keeps them apart: cornac reads `/etc/cornac/overlay.conf` (`--overlay` names another one) after the configuration, with the
same sections.
";

/// The whole page.
pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    let parts = [
        ("Global directives", Scope::Global, false),
        ("Pool directives", Scope::Pool, false),
        ("cornac's own global directives", Scope::Global, true),
        ("cornac's own pool directives", Scope::Pool, true),
    ];
    for (title, scope, own) in parts {
        page += &format!("\n**{title}**: ");
        let names: Vec<String> = directives(scope, own).map(link).collect();
        page += &format!("{}\n", names.join(" · "));
    }
    page += &format!("\n{READING}");
    for (title, scope, own) in parts {
        page += &format!("\n## {title}\n");
        directives(scope, own).for_each(|row| page += &entry(row));
    }
    page
}

fn entry(row: &Directive) -> String {
    let Directive { doc, default, range, example, .. } = row;
    let kind = row.kind().word();
    let (default, range) = (cell(default, row.kind()), range.replace('|', "\\|"));
    format!(
        "\n### `{}`{}\n\n{doc}\n\n| type | default | allowed | since |\n|---|---|---|---|\n\
         | {kind} | {default} | {range} | {} |\n\n```ini\n{example}\n```\n",
        row.spelling(),
        anchor(row),
        since(row),
    )
}

/// Values that would not survive as text.
fn cell(default: &str, kind: Kind) -> String {
    let is_value = kind != Kind::Map && default.contains(['%', '.', '_', '/']) && !default.contains(", ");
    if is_value { format!("`{default}`") } else { default.to_owned() }
}

/// Names that both scopes have need an anchor of their own.
fn anchor(row: &Directive) -> String {
    format!(" <a id=\"{}\"></a>", id(row))
}

fn id(row: &Directive) -> String {
    let scope = if row.scope == Scope::Global { "global" } else { "pool" };
    format!("{scope}-{}", row.name)
}

fn link(row: &Directive) -> String {
    format!("[`{}`](#{})", row.spelling(), id(row))
}
