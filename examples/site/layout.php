<?php
// The frame of every page: head, navigation, foot, and the escaping they all use. Prints nothing by itself.
declare(strict_types=1);

/** Text as HTML. Everything a page prints that it did not write itself goes through here. */
function e(mixed $text): string
{
    return htmlspecialchars((string) $text, ENT_QUOTES | ENT_SUBSTITUTE | ENT_HTML5, 'UTF-8');
}

function bytes(int|float $count): string
{
    foreach (['B', 'KiB', 'MiB', 'GiB'] as $unit) {
        if ($count < 1024 || $unit === 'GiB') {
            return ($unit === 'B' ? (string) $count : number_format($count, 1)) . ' ' . $unit;
        }
        $count /= 1024;
    }
}

/** An ini size such as "16M" in bytes. */
function ini_bytes(string $name): int
{
    $value = trim((string) ini_get($name));
    $factor = ['k' => 1 << 10, 'm' => 1 << 20, 'g' => 1 << 30][strtolower(substr($value, -1))] ?? 1;
    return (int) $value * $factor;
}

function page_head(string $title, string $lead): void
{
    $links = ['/' => 'Home', '/engine.php' => 'Engine', '/upload.php' => 'Upload', '/stream.php' => 'Stream'];
    $here = $_SERVER['SCRIPT_NAME'] === '/index.php' ? '/' : $_SERVER['SCRIPT_NAME'];
    echo "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
        '<title>', e($title), " · cornac</title>\n<link rel=\"icon\" href=\"data:,\">\n",
        "<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n<body>\n<header>\n<nav>\n<a class=\"brand\" href=\"/\">cornac</a>\n";
    foreach ($links as $path => $label) {
        echo '<a href="', $path, '"', $path === $here ? ' aria-current="page"' : '', '>', $label, "</a>\n";
    }
    echo "</nav>\n<h1>", e($title), "</h1>\n<p class=\"lead\">", e($lead), "</p>\n</header>\n<main>\n";
}

function page_foot(): void
{
    $took = (microtime(true) - $_SERVER['REQUEST_TIME_FLOAT']) * 1000;
    echo "</main>\n<footer>PHP ", e(PHP_VERSION), ' · ', e(PHP_SAPI), ' · worker ', getmypid(), ' · ',
        number_format($took, 1), " ms</footer>\n</body>\n</html>\n";
}

/** A titled table of names and values; both are escaped, a list becomes one line per entry. */
function table(string $title, array $rows): void
{
    echo "<section>\n<h2>", e($title), "</h2>\n<table>\n";
    foreach ($rows as $name => $value) {
        $lines = array_map(e(...), is_array($value) ? $value : [$value]);
        echo '<tr><th scope="row">', e($name), '</th><td>', implode('<br>', $lines), "</td></tr>\n";
    }
    echo "</table>\n</section>\n";
}
