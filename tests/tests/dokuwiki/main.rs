//! A real application through a real nginx: DokuWiki, from the files of Debian's package, used as a person uses it with
//! a browser: log in, write a page, change it, upload a picture, search, log out. Every step must work, and every answer
//! must be the same from either server but for tokens and times. `scripts/setup.sh test` unpacks the package; `install`
//! copies it, so that nothing is shared between the two wikis. Nothing is installed or configured on the system.

mod browser;
mod install;

use std::fs;
use std::panic::resume_unwind;
use std::thread;
use std::time::SystemTime;

use browser::{Browser, Form, article, unescape};
use cornac_tests::nginx::{Nginx, Options};
use cornac_tests::{Pair, Setup, wait};
use install::install;
use regex::Regex;

/// What `install` keeps the hash of.
const PASSWORD: &str = "elephant & driver";

#[test]
fn a_person_uses_a_wiki() {
    use_wiki(&Options::default());
}

#[test]
fn a_person_uses_a_wiki_over_kept_connections() {
    use_wiki(&Options { keep: Some(2), ..Options::default() });
}

/// Two workers: a page and the indexer it triggers may run at the same time.
fn use_wiki(options: &Options) {
    let mut pair =
        Pair::start(&Setup::new().www("pm.max_children = 2\nphp_value[session.save_path] = {dir}/tmp"));
    let used = |server| {
        install(server);
        let nginx = Nginx::start(server, options);
        let browser = Browser::new(server, &nginx);
        visit(&browser);
        browser.log.into_inner()
    };
    let steps = thread::scope(|scope| {
        let running = pair.servers().map(|server| scope.spawn(|| used(server)));
        running.map(|run| run.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let names: Vec<String> = steps[0].iter().map(|(name, _)| name.clone()).collect();
    for (index, name) in names.iter().enumerate() {
        pair.same(name, |server| match steps[server.side as usize].get(index) {
            Some((name, answer)) => format!("{name}\n{answer}"),
            None => "no such step".into(),
        });
    }
    pair.finish();
}

/// What the person does. Asserts that it worked; the browser keeps every answer for the comparison.
fn visit(browser: &Browser) {
    let front = browser.get("front page", "/");
    assert!(front.contains("This topic does not exist yet"), "{}", article(&front));
    let welcome = browser.get("a page of the package", "/doku.php?id=wiki:welcome");
    assert!(welcome.contains("Welcome to your new DokuWiki"), "{}", article(&welcome));
    let style = browser.get("style sheet", "/lib/exe/css.php?t=dokuwiki");
    assert!(style.len() > 50_000, "{} bytes of style sheet", style.len());
    for (name, path) in [("script", "/lib/exe/js.php?t=dokuwiki"), ("jQuery", "/lib/exe/jquery.php")] {
        assert!(browser.get(name, path).len() > 100_000, "{name} is too short");
    }

    let edit = "/doku.php?id=stable:elephant&do=edit";
    assert!(!browser.get("edit without login", edit).contains("dw__editform"), "a guest may edit");
    let wrong = Form::find(&browser.get("login form", "/doku.php?id=start&do=login"), "dw__login");
    let refused = browser.submit("wrong password", &wrong.fill("u", "keeper").fill("p", "mouse"));
    assert!(refused.contains("Sorry, username or password was wrong"));
    let login = Form::find(&refused, "dw__login");
    let inside = browser.submit("log in", &login.fill("u", "keeper").fill("p", PASSWORD));
    assert!(inside.contains("The Keeper"), "{}", article(&inside));

    write_pages(browser);
    upload_picture(browser);
    search(browser);
    let page = browser.get("page before logging out", "/doku.php?id=stable:elephant");
    let logout = Regex::new(r#"href="([^"]*do=logout[^"]*)""#).expect("pattern");
    let link = unescape(&logout.captures(&page).expect("link to log out")[1]);
    let outside = browser.get("log out", &link);
    assert!(!outside.contains("The Keeper"));
    let after = browser.get("page after logging out", "/doku.php?id=stable:elephant");
    assert!(after.contains("do=login") && !after.contains("do=logout"), "{}", article(&after));
}

fn write_pages(browser: &Browser) {
    let first = "====== Elephant ======\n\nÄ **cornac** drives the <elephant> & \"rides\" it.\n";
    let second = &format!(
        "{first}\n  * grey\n  * trumpetsounds\n\n<code php>\n<?php echo 1;\n</code>\n\n{{{{stable:picture.png}}}}\n"
    );
    let file = browser.root.join("data/pages/stable/elephant.txt");
    for (name, text, summary) in [("first", first, "created"), ("second", second, "a list & a picture")] {
        let form =
            Form::find(&browser.get("edit form", "/doku.php?id=stable:elephant&do=edit"), "dw__editform");
        let preview = form.clone().fill("wikitext", text).press("do[preview]");
        assert!(browser.submit("preview", &preview).contains("<strong>cornac</strong>"));
        let save = form.fill("wikitext", text).fill("summary", summary).press("do[save]");
        let saved = browser.submit(&format!("save the {name} version"), &save);
        assert!(saved.contains("Ä <strong>cornac</strong> drives the &lt;elephant&gt; &amp; “rides” it."));
        // A revision is named by its second, so that a second version in the same one would replace the first.
        let written = fs::metadata(&file).and_then(|file| file.modified()).expect("page on disk");
        wait::until(|| (whole_seconds(SystemTime::now()) > whole_seconds(written)).then_some(()));
    }
    let page = browser.get("page with highlighted code", "/doku.php?id=stable:elephant");
    assert!(page.contains("class=\"code php\""), "{}", article(&page));
    let raw = browser.get("source", "/doku.php?id=stable:elephant&do=export_raw");
    assert_eq!(raw.trim_end(), second.trim_end());
    let list = browser.get("revisions", "/doku.php?id=stable:elephant&do=revisions");
    assert!(list.contains("created") && list.contains("a list &amp; a picture"), "{}", article(&list));
    let old = Regex::new(r#"href="([^"]*\brev=\d+[^"]*)" class="wikilink1""#).expect("pattern");
    let path = unescape(&old.captures(&list).unwrap_or_else(|| panic!("{}", article(&list)))[1]);
    let old = browser.get("the first version", &path);
    assert!(old.contains("drives the") && !old.contains("trumpetsounds"));
    assert_eq!(fs::read_to_string(file).expect("page on disk").trim_end(), second.trim_end());
}

fn whole_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

fn upload_picture(browser: &Browser) {
    let picture =
        fs::read(browser.root.join("www/lib/tpl/dokuwiki/images/logo.png")).expect("logo of the package");
    let page = browser.get("media manager", "/lib/exe/mediamanager.php?ns=stable");
    let form = Form::find(&page, "dw__upload").fill("mediaid", "picture.png");
    let done = browser.upload("upload", &form, "upload", ("Größe 1.png", "image/png"), &picture);
    assert!(done.contains("Upload successful"), "{}", article(&done));
    let kept = fs::read(browser.root.join("data/media/stable/picture.png")).expect("picture on disk");
    assert!(kept == picture, "the picture changed on its way in");
    let path = "/lib/exe/fetch.php?media=stable:picture.png";
    let whole = browser.request("picture", "GET", path, &[], b"");
    assert!(whole.body == picture, "the picture changed on its way out");
    assert_eq!(whole.header("content-type"), Some("image/png"));
    let part = browser.request("part of it", "GET", path, &[("Range", "bytes=10-99")], b"");
    assert!(part.status == 206 && part.body == picture[10..100], "{} {}", part.status, part.body.len());
    let tag = whole.header("etag").expect("entity tag").to_owned();
    let since = whole.header("last-modified").expect("last modified").to_owned();
    let known = [("If-None-Match", tag.as_str()), ("If-Modified-Since", since.as_str())];
    assert_eq!(browser.request("unchanged", "GET", path, &known, b"").status, 304);
    let head = browser.request("only its head", "HEAD", path, &[], b"");
    assert!(head.status == 200 && head.body.is_empty());
}

/// The page is indexed by a picture it contains, whose script goes on after its answer was sent.
fn search(browser: &Browser) {
    let page = browser.get("page to index", "/doku.php?id=stable:elephant");
    let runner = Regex::new(r#"src="([^"]*taskrunner\.php[^"]*)""#).expect("pattern");
    let link = unescape(&runner.captures(&page).expect("task runner")[1]);
    browser.get("indexer", &link);
    let index = browser.root.join("data/index/page.idx");
    let indexed = || fs::read_to_string(&index).unwrap_or_default().contains("stable:elephant").then_some(());
    let meta = browser.root.join("data/meta/stable/elephant.indexed");
    wait::until(|| indexed().filter(|()| meta.exists())).expect("the page gets into the index");
    let found = browser.get("search", "/doku.php?do=search&q=trumpetsounds");
    assert!(found.contains("data-wiki-id=\"stable:elephant\""), "{}", article(&found));
    let nothing = browser.get("search for nothing", "/doku.php?do=search&q=hippopotamus");
    assert!(nothing.contains("Nothing was found."));
}
