//! What a script finds in the superglobals and getenv().

use cornac_tests::{Case, Pair, Setup};

#[test]
fn server_array() {
    let mut pair = Pair::start(&Setup::new());
    pair.cases([
        Case::php("hello", "<?php echo 'hello';"),
        Case::php(
            "whole $_SERVER in order",
            "<?php foreach ($_SERVER as $k => $v) echo $k, '=', json_encode($v), \"\\n\";",
        )
        .query("a=b")
        .mask(r"REQUEST_TIME(_FLOAT)?=[\d.]+"),
    ]);
    pair.finish();
}
