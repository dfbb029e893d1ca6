<?php
// Shows what arrived of an upload, then lets PHP remove it: nothing is kept.
declare(strict_types=1);
require __DIR__ . '/layout.php';

const UPLOAD_ERRORS = [
    UPLOAD_ERR_OK => 'complete',
    UPLOAD_ERR_INI_SIZE => 'larger than upload_max_filesize',
    UPLOAD_ERR_FORM_SIZE => 'larger than the form allows',
    UPLOAD_ERR_PARTIAL => 'only a part arrived',
    UPLOAD_ERR_NO_FILE => 'no file was chosen',
    UPLOAD_ERR_NO_TMP_DIR => 'PHP has no folder for uploads',
    UPLOAD_ERR_CANT_WRITE => 'PHP could not write the file',
    UPLOAD_ERR_EXTENSION => 'an extension stopped it',
];

/** $_FILES of a field with [] in its name, one entry per file instead of one per property. */
function files(string $field): array
{
    $files = [];
    foreach ($_FILES[$field] ?? [] as $property => $values) {
        foreach ((array) $values as $index => $value) {
            $files[$index][$property] = $value;
        }
    }
    return $files;
}

function show_file(array $file): void
{
    $rows = ['result' => UPLOAD_ERRORS[$file['error']] ?? "error {$file['error']}"];
    if ($file['error'] === UPLOAD_ERR_OK && is_uploaded_file($file['tmp_name'])) {
        $rows += [
            'size' => bytes($file['size']) . " ({$file['size']} bytes)",
            'type, says the browser' => $file['type'],
            'sha256' => hash_file('sha256', $file['tmp_name']),
            'first bytes' => trim(chunk_split(bin2hex((string) file_get_contents($file['tmp_name'], false, null, 0, 32)), 2, ' ')),
            'was kept in' => $file['tmp_name'],
        ];
        $rows['removed'] = unlink($file['tmp_name']) ? 'yes' : 'by PHP at the end of the request';
    }
    table($file['name'] === '' ? 'File' : 'File: ' . $file['name'], $rows);
}

page_head('Upload', 'Choose files, see what PHP received. They are removed as soon as this page is made.');

if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $length = (int) ($_SERVER['CONTENT_LENGTH'] ?? 0);
    if (!$_POST && !$_FILES && $length > ini_bytes('post_max_size')) {
        echo '<p class="notice">The request had ', e(bytes($length)), ', more than post_max_size (',
            e(ini_get('post_max_size')), "): PHP passes none of it on.</p>\n";
    }
    array_map(show_file(...), files('files'));

    $fields = array_map(fn ($value) => is_array($value) ? print_r($value, true) : $value, $_POST);
    table('$_POST', $fields ?: ['fields' => 'none']);
    table('Request', [
        'Content-Type' => $_SERVER['CONTENT_TYPE'] ?? '',
        'Content-Length' => $length . ' bytes',
        'read after' => number_format((microtime(true) - $_SERVER['REQUEST_TIME_FLOAT']) * 1000, 1) . ' ms',
    ]);
}
?>
<section>
<h2>Send something</h2>
<form method="post" enctype="multipart/form-data" action="/upload.php">
<label for="note">A few words</label>
<input type="text" id="note" name="note" value="&lt;b&gt;not bold&lt;/b&gt; &amp; Ünïcödé">
<label for="files">Files</label>
<input type="file" id="files" name="files[]" multiple>
<button type="submit">Upload</button>
</form>
</section>
<?php
table('Limits', [
    'upload_max_filesize' => ini_get('upload_max_filesize') . ' a file',
    'post_max_size' => ini_get('post_max_size') . ' a request',
    'max_file_uploads' => ini_get('max_file_uploads') . ' files',
    'upload_tmp_dir' => ini_get('upload_tmp_dir') ?: sys_get_temp_dir(),
    'php.ini' => php_ini_loaded_file() ?: 'none',
]);
page_foot();
