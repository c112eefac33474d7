//! Every link of every page leads to something, and every page is in the book.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// What is built or brought, and not written here.
const NOT_OURS: &[&str] = &["target", ".tools", ".git", "node_modules", "plugins", "dist", "book"];

fn root() -> PathBuf {
    normal(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
}

/// A path without `..` in it.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, component| {
        match component {
            Component::ParentDir => _ = normal.pop(),
            Component::CurDir => {}
            other => normal.push(other),
        }
        normal
    })
}

/// All markdown files below a directory, with their texts.
fn pages(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() && !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
            found.extend(pages(&path));
        } else if kind.is_file() && path.extension().is_some_and(|ext| ext == "md") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.insert(path, text);
        }
    }
    found
}

/// The lines of a page that are no code, without the code in them.
fn prose(page: &str) -> Vec<String> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            lines.push(line.split('`').step_by(2).collect());
        }
    }
    lines
}

/// What a page links to: `[text](target)` and `[name]: target`.
fn links(page: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(page) {
        links.extend(line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
        let definition = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        links.extend(definition.map(|(_, target)| target.trim().to_owned()));
    }
    links.retain(|link| !link.contains("://") && !link.starts_with("mailto:"));
    links
}

/// The anchors of a page's headings, made as those who show it make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut is_code = false;
    for line in page.lines() {
        is_code ^= line.starts_with("```");
        let title = line.trim_start_matches('#');
        let Some(title) = title.strip_prefix(' ').filter(|_| !is_code && title.len() < line.len()) else { continue };
        let kept = title.trim().to_lowercase().replace(' ', "-");
        let slug: String = kept.chars().filter(|c| c.is_alphanumeric() || ['-', '_'].contains(c)).collect();
        let mut anchor = slug.clone();
        for number in 1.. {
            if anchors.insert(anchor.clone()) {
                break;
            }
            anchor = format!("{slug}-{number}");
        }
    }
    anchors
}

/// The file that a link of a page leads to; of a directory its README, if it has one.
fn target(page: &Path, link: &str) -> PathBuf {
    let path = link.split('#').next().unwrap();
    if path.is_empty() {
        return page.to_owned();
    }
    let file = normal(&page.parent().unwrap().join(path));
    let readme = file.join("README.md");
    if readme.is_file() { readme } else { file }
}

#[test]
fn every_link_of_every_page_leads_to_something() {
    let pages = pages(&root());
    let mut dead = Vec::new();
    let mut seen = 0;
    for (page, text) in &pages {
        for link in links(text) {
            seen += 1;
            let file = target(page, &link);
            let anchor = link.split_once('#').map(|(_, anchor)| anchor);
            let is_there = match (anchor, pages.get(&file)) {
                (Some(anchor), Some(text)) => anchors(text).contains(anchor),
                (Some(_), None) => false,
                (None, _) => file.exists(),
            };
            if !is_there {
                dead.push(format!("{}: {link}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(dead.is_empty(), "these links lead nowhere:\n{}", dead.join("\n"));
    assert!(seen > 100, "only {seen} links were found");
}

#[test]
fn the_book_has_every_page_of_docs_and_whatever_its_pages_lead_to() {
    let pages = pages(&root());
    let summary = root().join("docs/SUMMARY.md");
    let listed: Vec<PathBuf> = links(&pages[&summary]).iter().map(|link| target(&summary, link)).collect();
    let book: BTreeSet<&PathBuf> = listed.iter().collect();
    assert_eq!(book.len(), listed.len(), "a page is listed twice");
    for page in pages.keys().filter(|page| page.starts_with(root().join("docs")) && **page != summary) {
        assert!(book.contains(page), "docs/SUMMARY.md lacks {}", page.display());
    }
    for page in &book {
        for link in links(&pages[*page]) {
            let file = target(page, &link);
            let is_page = file.extension().is_some_and(|ext| ext == "md");
            assert!(!is_page || book.contains(&file), "the book lacks {link}, which {} leads to", page.display());
        }
    }
}

#[test]
fn links_and_anchors_are_found_where_a_reader_finds_them() {
    let page =
        "# A `b.c` d\n[x](y.md#z) and [`v`](w)\n`[no](code)`\n```\n[no](block)\n# No\n```\n[r]: r.md\n## A b.c d\n";
    assert_eq!(links(page), ["y.md#z", "w", "r.md"]);
    assert_eq!(anchors(page).into_iter().collect::<Vec<_>>(), ["a-bc-d", "a-bc-d-1"]);
}
