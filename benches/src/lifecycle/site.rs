//! The document root of the lifecycle runs.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::load::SETTINGS_SCRIPT;
use crate::wire::Request;

/// A script and the only answer to it that counts.
pub(crate) struct Script {
    pub(crate) file: &'static str,
    code: &'static str,
    pub(crate) body: &'static [u8],
}

/// Nothing but an answer.
pub(crate) const HELLO: Script =
    Script { file: "hello.php", code: "<?php echo 'Hello, world!';\n", body: b"Hello, world!" };

/// Waits for 50 ms. A signal that cuts that short makes the answer a wrong one.
pub(crate) const NAP: Script = Script {
    file: "nap.php",
    code: "<?php
$began = hrtime(true);
usleep(50000);
$milliseconds = (hrtime(true) - $began) / 1e6;
echo $milliseconds >= 49.9 ? 'slept' : \"woken after $milliseconds ms\";
",
    body: b"slept",
};

/// Says which configuration its worker has.
pub(crate) const GENERATION: Script =
    Script { file: "generation.php", code: "<?php echo 'generation ', getenv('GENERATION');\n", body: b"" };

/// Answers with the moment at which it began, and occupies its worker until the file named by the query is gone.
pub(crate) const OCCUPY: Script = Script {
    file: "occupy.php",
    code: "<?php
echo hrtime(true);
for ($turn = 0; $turn < 5000 && file_exists($_SERVER['QUERY_STRING']); $turn++) {
    usleep(1000);
    clearstatcache();
}
",
    body: b"",
};

/// Answers at once with the moment at which it began.
pub(crate) const MOMENT: Script =
    Script { file: "moment.php", code: "<?php echo hrtime(true);\n", body: b"" };

/// Writes the scripts, readable by the pools' user.
pub(crate) fn write(dir: &Path) -> std::io::Result<PathBuf> {
    let root = dir.join("www");
    fs::create_dir(&root)?;
    for folder in [dir, &root] {
        fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    }
    let scripts = [HELLO, NAP, GENERATION, OCCUPY, MOMENT].map(|script| (script.file, script.code));
    for (name, code) in scripts.into_iter().chain([SETTINGS_SCRIPT]) {
        let path = root.join(name);
        fs::write(&path, code)?;
        // opcache does not cache a file that is seconds old.
        let past = SystemTime::now() - Duration::from_secs(3600);
        File::options().append(true).open(&path)?.set_modified(past)?;
    }
    Ok(root)
}

impl Script {
    /// The request for a connection of its own, and the one for a kept connection.
    pub(crate) fn requests(&self, root: &Path) -> [Request; 2] {
        let path = root.join(self.file);
        [Request::get(&path, false), Request::get(&path, true)]
    }
}
