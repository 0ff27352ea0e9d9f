//! Dependencies point one way: this test reads the `use` lines and paths of each layer and fails when one reaches
//! down. It also keeps clock and randomness out of the pure part.

use std::fs;
use std::path::{Path, PathBuf};

/// Layer, and the `crate::` modules that it may name beside its own.
const LAYERS: &[(&str, &[&str])] = &[
    ("addr", &[]),
    ("wire", &["addr"]),
    ("cga", &["addr", "wire"]),
    ("proto", &["addr", "wire", "cga"]),
    ("control", &["addr"]),
    ("dataplane", &["addr", "wire", "proto"]),
    ("netlink", &["addr"]),
    // Both speak netlink; the sockets and attribute readers are shared.
    ("nft", &["addr", "netlink"]),
];

/// The parts of `proto` that the data plane may know: values, never the engine.
const DATAPLANE_SEES: &[&str] = &["forward", "input", "signs", "time", "config", "output"];

fn rust_files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("readable source tree") {
        let path = entry.expect("readable entry").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

fn layer_files(layer: &str) -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let single = src.join(format!("{layer}.rs"));
    if single.exists() {
        files.push(single);
    }
    let dir = src.join(layer);
    if dir.is_dir() {
        rust_files(&dir, &mut files);
    }
    files
}

/// Code lines without comments; string contents do not matter here.
fn code(path: &Path) -> Vec<(usize, String)> {
    fs::read_to_string(path)
        .expect("readable source")
        .lines()
        .enumerate()
        .map(|(n, l)| (n + 1, l.split("//").next().unwrap_or("").to_owned()))
        .collect()
}

fn crate_paths(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1)
}

#[test]
fn every_layer_names_only_layers_above_it() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (layer, allowed) in LAYERS {
        for file in layer_files(layer) {
            seen += 1;
            for (n, line) in code(&file) {
                for path in crate_paths(&line) {
                    let module: String =
                        path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    if module != *layer && !allowed.contains(&module.as_str()) {
                        wrong.push(format!("{}:{n}: {layer} names {module}", file.display()));
                    }
                }
            }
        }
    }
    assert!(seen > 20, "only {seen} files were read: the test looks in the wrong place");
    assert!(wrong.is_empty(), "layers reach down:\n{}", wrong.join("\n"));
}

#[test]
fn the_data_plane_knows_values_of_the_protocol_but_not_its_engine() {
    let known = [
        "Activity",
        "ContextId",
        "DropReason",
        "Forward",
        "ForwardChange",
        "Inbound",
        "Notice",
        "Outbound",
        "Time",
        "WakeOn",
    ];
    let mut wrong = Vec::new();
    for file in layer_files("dataplane") {
        for (n, line) in code(&file) {
            for path in line.split("crate::proto::").skip(1) {
                let names: Vec<String> = if let Some(group) = path.strip_prefix('{') {
                    group.split(['}', ',']).map(|s| s.trim().to_owned()).collect()
                } else {
                    vec![path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()]
                };
                for name in names {
                    let first = name.split("::").next().unwrap_or("").to_owned();
                    let ok = first.is_empty()
                        || first.starts_with(';')
                        || DATAPLANE_SEES.contains(&first.as_str())
                        || known.contains(&first.as_str());
                    if !ok {
                        wrong.push(format!("{}:{n}: {first}", file.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "the data plane reaches into the engine:\n{}", wrong.join("\n"));
}

#[test]
fn the_pure_part_reads_neither_clock_nor_operating_system() {
    let banned = [
        "Instant::now",
        "SystemTime",
        "std::net::UdpSocket",
        "std::net::Tcp",
        "std::fs",
        "std::env",
        "thread_rng",
        "from_os_rng",
        "rand::rng()",
        "libc::",
        "tokio::",
        "nix::",
    ];
    let mut wrong = Vec::new();
    for layer in ["addr", "wire", "cga", "proto"] {
        for file in layer_files(layer) {
            // Tests may read vectors from files.
            if file.components().any(|c| c.as_os_str().to_string_lossy().contains("tests")) {
                continue;
            }
            let mut in_tests = false;
            for (n, line) in code(&file) {
                in_tests |= line.contains("mod tests {");
                if in_tests {
                    continue;
                }
                for word in banned {
                    if line.contains(word) {
                        wrong.push(format!("{}:{n}: {word}", file.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "the pure part touches the outside:\n{}", wrong.join("\n"));
}
