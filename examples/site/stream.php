<?php
// A page in pieces: each is flushed through PHP, FastCGI and nginx as soon as it is ready, and a browser shows it
// at once. Stops as soon as nobody reads any more.
declare(strict_types=1);
require __DIR__ . '/layout.php';

const PIECES = 20;
const PAUSE_MS = 300;

header('X-Accel-Buffering: no'); // nginx passes each piece on instead of collecting the page
while (ob_get_level() > 0) {
    ob_end_flush();
}

$started = hrtime(true);
page_head('Stream', sprintf('%d pieces, one every %d ms. The bar needs no script: each piece brings its own.', PIECES, PAUSE_MS));
echo "<ol class=\"pieces\">\n";
flush();

for ($piece = 1; $piece <= PIECES; $piece++) {
    usleep(PAUSE_MS * 1000);
    $ms = intdiv(hrtime(true) - $started, 1_000_000);
    $digest = hash('sha256', "$piece $ms");
    // later bars are painted over earlier ones
    printf("<li><progress max=\"%d\" value=\"%d\">%d of %1\$d</progress><b>%3\$d</b><span>%d ms</span><code>%s</code></li>\n",
        PIECES, $piece, $piece, $ms, chunk_split($digest, 16, ' '));
    flush();
}

echo "</ol>\n<p class=\"notice\">All ", PIECES, ' pieces after ', intdiv(hrtime(true) - $started, 1_000_000),
    " ms. <a href=\"/stream.php\">Again</a></p>\n";
page_foot();
