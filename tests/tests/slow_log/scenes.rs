//! Scripts that are slow in one place, each in another way. `nap()` is on line 1 of each.

/// Name and script, `<?php` and `nap()` put before it.
pub(crate) const SCENES: [(&str, &str); 46] = [
    ("builtin", "usleep(2600000);"),
    ("function", "function f() {\n  nap();\n}\nf();"),
    ("functions", "function a() { b(); }\nfunction b() { c(); }\nfunction c() {\n\n nap(); }\n\na();"),
    ("namespaced", "namespace_free();\nfunction namespace_free() { require __DIR__ . '/parts/spaced.inc'; }"),
    ("static-method", "class C {\n static function m() { nap(); }\n}\nC::m();"),
    (
        "method",
        "class C { function m() {\n return $this->n(); } private function n() { nap(); } }\n(new C)->m();",
    ),
    (
        "inherited",
        "class A { function m() { nap(); } }\nclass B extends A { function m() { parent::m(); } }\n(new B)->m();",
    ),
    ("constructor", "class C { function __construct() { nap(); } }\nnew C;"),
    ("destructor", "class C { function __destruct() { nap(); } }\n$c = new C;\nunset($c);"),
    ("anonymous-class", "(new class {\n function m() { nap(); }\n})->m();"),
    ("trait", "trait T { function t() { nap(); } }\nclass C { use T; }\n(new C)->t();"),
    ("closure", "$f = function () {\n nap(); };\n$f();"),
    ("arrow", "$f = fn () => nap();\n$f();"),
    (
        "bound-closure",
        "class C { private $x = 1; }\nClosure::bind(function () { return $this->x + nap(); }, new C, C::class)();",
    ),
    ("first-class-callable", "$f = nap(...);\n$f();"),
    ("callback", "function f($x) { nap(); }\narray_map('f', [1]);"),
    (
        "callback-of-callback",
        "array_map(function ($x) {\n  array_walk($x, function ($y) { usort($y, function ($a, $b) { nap(); return 0; }); });\n}, [[[1, 2]]]);",
    ),
    ("call-user-func", "function f() { nap(); }\ncall_user_func_array('f', []);\n"),
    ("call-of-calls", "call_user_func('call_user_func', 'call_user_func', 'usleep', 2600000);"),
    ("preg-callback", "preg_replace_callback('/x/', function ($m) { nap(); return ''; }, 'x');"),
    (
        "magic-call",
        "class C { function __call($n, $a) { nap(); } static function __callStatic($n, $a) { (new C)->$n(); } }\nC::x();",
    ),
    ("magic-get", "class C { function __get($n) { nap(); } }\n$c = new C;\n$c->x;"),
    ("to-string", "class C { function __toString() { nap(); return ''; } }\necho new C;"),
    (
        "offset",
        "class C implements ArrayAccess { function offsetGet($o): mixed { nap(); } function offsetSet($o, $v): void {} function offsetExists($o): bool { return true; } function offsetUnset($o): void {} }\n$c = new C;\n$c['x'];",
    ),
    (
        "iterator",
        "class C implements IteratorAggregate { function getIterator(): Iterator { nap(); return new ArrayIterator([]); } }\nforeach (new C as $x);",
    ),
    (
        "json",
        "class C implements JsonSerializable { function jsonSerialize(): mixed { nap(); } }\njson_encode([new C]);",
    ),
    ("reflection", "(new ReflectionFunction('nap'))->invoke();"),
    ("generator", "function g() {\n yield 1;\n nap();\n yield 2; }\nforeach (g() as $x);"),
    (
        "generator-in-callback",
        "function g($n) { for ($i = 0; $i < $n; $i++) { yield $i; nap(); } }\n$r = array_map(fn ($x) => iterator_to_array(g(2)), [1]);",
    ),
    ("recursion", "function r($n) {\n return $n ? r($n - 1) : nap();\n}\nr(300);"),
    (
        "mutual-recursion",
        "function p($n) { return $n ? q($n - 1) : nap(); }\nfunction q($n) {\n return p($n); }\np(6);",
    ),
    ("include", "include __DIR__ . '/parts/nap.inc';"),
    ("nested-includes", "function load() {\n return require __DIR__ . '/parts/outer.inc';\n}\nload();"),
    (
        "autoload",
        "spl_autoload_register(function ($c) { include __DIR__ . '/parts/nap.inc'; });\nclass_exists('Nowhere');",
    ),
    ("eval", "eval('nap();');"),
    ("eval-in-function", "function f() { eval(\"\\n\\nfunction made() { nap(); }\\nmade();\"); }\nf();"),
    ("output-callback", "ob_start(function ($b) { nap(); return $b; });\necho 'x';\nob_end_flush();"),
    ("exception-handler", "set_exception_handler(function ($e) { nap(); });\nthrow new Exception;"),
    (
        "error-handler",
        "set_error_handler(function () { nap(); return true; });\nfunction f() { return $undefined; }\nf();",
    ),
    ("finally", "function f() { try { return 1; } finally { nap(); } }\nf();"),
    (
        "destructor-while-unwinding",
        "class C { function __destruct() { nap(); } }\nfunction f() { $c = new C; throw new Exception; }\ntry {\n f(); } catch (Exception $e) {}",
    ),
    ("name-of-bytes", "class C { function m\u{e9}() { nap(); } }\n(new C)->m\u{e9}();"),
    ("fiber", "$f = new Fiber(function () {\n nap();\n});\nfunction start($f) { $f->start(); }\nstart($f);"),
    (
        "lock",
        "$a = fopen(__FILE__, 'r');\n$b = fopen(__FILE__, 'r');\nflock($a, LOCK_EX);\nfunction f($b) { flock($b, LOCK_EX); }\nf($b);",
    ),
    (
        "socket",
        "function f($c) { stream_set_timeout($c, 2, 500000);\n return fread($c, 1); }\n$s = stream_socket_server('tcp://127.0.0.1:0');\nf(stream_socket_client('tcp://' . stream_socket_get_name($s, false)));",
    ),
    ("command", "function f() { return shell_exec('exec sleep 2.6'); }\nf();"),
];

/// Scenes whose slow part is in no call, or in none that the slow log looks at: shutdown functions come after the
/// script.
pub(crate) const CALLLESS: [(&str, &str); 2] = [
    ("loop", "for ($i = 0; true; $i++) { $a[$i & 7] = $i; }"),
    ("shutdown", "register_shutdown_function('nap');"),
];

/// Included files.
pub(crate) const PARTS: [(&str, &str); 3] = [
    ("nap", "<?php\n\nnap();"),
    ("outer", "<?php\nfunction of_outer() {\n include __DIR__ . '/nap.inc';\n}\nreturn of_outer();"),
    (
        "spaced",
        "<?php\nnamespace Some\\Space;\nclass C { static function m() { \\nap(); } }\nfunction f() { C::m(); }\nf();",
    ),
];
