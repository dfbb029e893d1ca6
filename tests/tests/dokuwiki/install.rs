//! A wiki of its own for each server, copied from the unpacked packages, with one administrator. Paths are made the
//! server's own; nothing outside its folder is read afterwards.

use std::fs;
use std::path::Path;

use cornac_tests::{Server, site};

/// The wiki's own files under `conf`. The hash is PHP's `password_hash(PASSWORD, PASSWORD_BCRYPT, ["cost" => 4])`.
const CONFIGURATION: [(&str, &str); 3] = [
    (
        "conf/local.php",
        "<?php $conf['title'] = 'Stable'; $conf['useacl'] = 1; $conf['superuser'] = '@admin'; $conf['rss_update'] = 0;\n",
    ),
    ("conf/acl.auth.php", "# <?php exit()?>\n* @ALL 1\n* @user 8\n"),
    (
        "conf/users.auth.php",
        "# <?php exit()?>\nkeeper:$2y$04$Eo4vKHDqCX6cVnomibQQguMubvjgpmvQZk4IyOiksKXpBB/ZP3fX6:The Keeper:keeper@example.test:admin,user\n",
    ),
];

/// Puts a wiki of its own below the server's folder: `www`, `conf`, `data` and the libraries under `share`.
pub(crate) fn install(server: &Server) {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dokuwiki");
    assert!(package.join("complete").exists(), "DokuWiki is not unpacked: run scripts/setup.sh test");
    let root = server.dir();
    let folders = [
        ("usr/share/dokuwiki", "www"),
        ("var/lib/dokuwiki/lib", "www/lib"),
        ("var/lib/dokuwiki/data", "data"),
        ("etc/dokuwiki", "conf"),
        ("usr/share/php", "share/php"),
        ("usr/share/php-geshi", "share/php-geshi"),
        ("usr/share/javascript", "share/javascript"),
    ];
    for (from, to) in folders {
        copy_tree(&package.join(from), &root.join(to), root, to == "data");
    }
    for (name, content) in CONFIGURATION {
        server.write(name, content);
    }
    give_tree_to_pool_user(&root.join("data"));
}

/// Copies what an English wiki needs. The package's absolute paths become those of `root`; links that are
/// absolute or lead nowhere are left out, because what they mean is put there by `install`.
fn copy_tree(from: &Path, to: &Path, root: &Path, data: bool) {
    fs::create_dir_all(to).expect("own folder");
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let (source, name) = entry.map(|entry| (entry.path(), entry.file_name())).expect("entry of a folder");
        let target = to.join(&name);
        let foreign = from.ends_with("lang") && name != "en";
        if foreign || !source.exists() || fs::read_link(&source).is_ok_and(|link| link.is_absolute()) {
            continue;
        }
        if source.is_dir() {
            copy_tree(&source, &target, root, data);
        } else if !data && source.extension().is_some_and(|extension| extension == "php") {
            let text = cornac_tests::response::readable(&fs::read(&source).expect("file of the package"));
            fs::write(&target, with_own_paths(&text, root)).expect("own folder");
        } else {
            fs::copy(&source, &target).expect("own folder");
        }
    }
}

fn with_own_paths(text: &str, root: &Path) -> String {
    let root = root.display();
    text.replace("/etc/dokuwiki", &format!("{root}/conf"))
        .replace("/var/lib/dokuwiki", &root.to_string())
        .replace("$vendorDir . '/usr/share/", "'/usr/share/")
        .replace("/usr/share/", &format!("{root}/share/"))
}

fn give_tree_to_pool_user(path: &Path) {
    site::give_to_pool_user(path);
    for entry in fs::read_dir(path).expect("own folder") {
        let path = entry.expect("entry of a folder").path();
        if path.is_dir() { give_tree_to_pool_user(&path) } else { site::give_to_pool_user(&path) }
    }
}
