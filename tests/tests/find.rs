//! `find` and `ls` over many names.

use pairfs_tests::Cluster;
use std::fs;

fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_pattern_finds_base_names_or_whole_paths() {
    let cluster = Cluster::start(true);
    for path in ["/a/one.txt", "/a/b/two.txt", "/a/b/c/three.md", "/other.txt", "/a/b.txt/inner"] {
        cluster.write(path, b"x");
    }
    let find = |words: &[&str]| {
        let text = cluster.pairfs(&[&["find"], words].concat()).ok().text();
        lines(&text).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(find(&["*.txt"]), ["/a/b.txt/", "/a/b/two.txt", "/a/one.txt", "/other.txt"]);
    assert_eq!(find(&["*.txt", "--type", "file"]), ["/a/b/two.txt", "/a/one.txt", "/other.txt"]);
    assert_eq!(find(&["*.txt/"]), ["/a/b.txt/"]);
    assert_eq!(find(&["/a/*.txt", "-t", "f"]), ["/a/one.txt"]);
    assert_eq!(find(&["/a/**/*.[mt]*", "-t", "f"]), ["/a/b/c/three.md", "/a/b/two.txt", "/a/one.txt"]);
    assert_eq!(find(&["t*", "/a/b"]), ["/a/b/c/three.md", "/a/b/two.txt"]);
    assert!(find(&["nothing*"]).is_empty());
    let found = cluster.pairfs(&["--json", "find", "one.*"]).ok().json_lines();
    assert_eq!((found.len(), found[0]["path"].as_str()), (1, Some("/a/one.txt")));
    cluster.pairfs(&["find", "x", "/missing"]).exits(3);
    cluster.pairfs(&["find", "[x"]).exits(2);
}

#[test]
fn everything_is_found_and_listed_once_however_many_pages_it_takes() {
    let cluster = Cluster::start(true);
    let tree = cluster.desk().join("tree");
    for folder in 0..3 {
        fs::create_dir_all(tree.join(format!("d{folder}/empty"))).unwrap();
        for number in 0..1200 {
            fs::write(tree.join(format!("d{folder}/f{number:04}")), b"").unwrap();
        }
    }
    for number in 0..1100 {
        fs::create_dir_all(tree.join(format!("many/g{number:04}"))).unwrap();
    }
    cluster.pairfs(&["put", "-r", tree.to_str().unwrap(), "/tree"]).ok();
    let all = cluster.pairfs(&["find", "*"]).ok().text();
    let mut found = lines(&all);
    // The tree, its four folders, their files and folders.
    let expected = 1 + 4 + 3 * 1201 + 1100;
    assert_eq!(found.len(), expected);
    found.dedup();
    assert_eq!(found.len(), expected);
    assert_eq!(cluster.pairfs(&["find", "f1199"]).ok().text().lines().count(), 3);

    let listed = cluster.pairfs(&["--json", "ls", "-R", "/tree"]).ok().json_lines();
    assert_eq!(listed.len(), expected - 1);
    let text = cluster.pairfs(&["ls", "-R", "/tree"]).ok().text();
    assert!(text.starts_with("/tree:\nd0/\n") && text.contains("\n\n/tree/d1/empty:\n"), "deep before wide");
    assert_eq!(
        cluster.pairfs(&["ls", "-R", "/tree", "--limit", "2500", "--json"]).ok().json_lines().len(),
        2500
    );

    let mut pages = Vec::new();
    let mut after = String::new();
    loop {
        let page = cluster.pairfs(&["ls", "/tree/d1", "--limit", "500", "--after", &after]).ok().text();
        let Some(last) = page.lines().last() else { break };
        after = last.to_owned();
        pages.extend(page.lines().map(str::to_owned));
    }
    assert_eq!(pages.len(), 1201);
    assert_eq!(pages.iter().filter(|name| *name == "empty/").count(), 1);
}
