//! What the guide shows beside Rust and commands: configuration that loads, and excerpts that are in the
//! example.

use std::path::{Path, PathBuf};

use bus::Config;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// The blocks of a document that are fenced with this word.
fn blocks(document: &str, fence: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside: Option<String> = None;
    for line in document.lines() {
        match (&mut inside, line) {
            (None, line) if line == format!("```{fence}") => inside = Some(String::new()),
            (Some(_), "```") => found.extend(inside.take()),
            (Some(block), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

#[test]
fn configuration_loads() {
    let document = std::fs::read_to_string(docs().join("guide/07-configuration.md")).unwrap();
    let blocks = blocks(&document, "toml");
    assert!(!blocks.is_empty());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide.toml");
    for block in blocks {
        // The secret is on another machine; a transport that is not compiled in is said to be so.
        let block = block.replace("redis://localhost:6379", "memory://");
        let secret = file.with_extension("secret");
        std::fs::write(&secret, "x").unwrap();
        let block = block.replace("/run/secrets/redis", secret.to_str().unwrap());
        std::fs::write(&file, &block).unwrap();
        let none: [(&str, &str); 0] = [];
        let config = Config::loader().file(&file).environment(none).load();
        let config = config.unwrap_or_else(|error| panic!("{error} in\n{block}"));
        assert!(config.workers().contains_key("mail"));
    }
}

#[test]
fn excerpts_are_in_the_example() {
    let mut sources = String::new();
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("orders/src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let chapter = docs().join("guide/06-services-that-keep-state.md");
    let excerpts = blocks(&std::fs::read_to_string(chapter).unwrap(), "rust,excerpt");
    assert!(!excerpts.is_empty());
    for excerpt in excerpts {
        assert!(
            sources.contains(&excerpt),
            "not in examples/orders:\n{excerpt}"
        );
    }
}
