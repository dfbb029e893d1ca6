<?php
declare(strict_types=1);
require __DIR__ . '/layout.php';

page_head('It runs', 'This page came through nginx and FastCGI from a worker of the pool below.');
?>
<div class="cards">
<a class="card" href="/engine.php"><h2>Engine</h2><p>PHP’s version, opcache at work, ini files, this worker, and every variable that came with the request.</p></a>
<a class="card" href="/upload.php"><h2>Upload</h2><p>Send a file and a few words, and see what PHP received: sizes, checksums, errors, limits.</p></a>
<a class="card" href="/stream.php"><h2>Stream</h2><p>A long page in twenty pieces, each flushed as it is ready: watch it arrive.</p></a>
</div>
<?php
page_foot();
