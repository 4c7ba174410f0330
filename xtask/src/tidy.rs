//! House rules that a machine can check: crate arrows, file lengths, names, leftovers, licences, a page for each family.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;

/// Production lines a Rust file may have.
const FILE_LINES_MAX: usize = 600;

/// File and module names that say nothing about what is inside.
const REFUSED_NAMES: [&str; 5] = ["utils", "helpers", "common", "misc", "manager"];

/// What each of our crates may depend on inside the workspace.
const ARROWS: [(&str, &[&str]); 21] = [
    ("types", &[]),
    ("wire", &["types"]),
    ("crypto", &["types", "wire"]),
    ("contracts", &["types"]),
    ("mesh", &["types", "wire", "crypto"]),
    ("session", &["types", "wire", "crypto"]),
    ("messaging", &["types", "wire", "crypto"]),
    ("storage", &["types", "wire", "crypto"]),
    ("channel", &["types", "wire", "crypto", "contracts"]),
    ("light-client", &["types", "wire", "crypto"]),
    ("wallet", &["types", "crypto", "contracts"]),
    ("devnet", &["types", "contracts", "light-client"]),
    (
        "node",
        &[
            "types",
            "wire",
            "crypto",
            "mesh",
            "session",
            "messaging",
            "storage",
            "contracts",
            "channel",
            "light-client",
            "wallet",
        ],
    ),
    (
        "sim",
        &[
            "types",
            "wire",
            "crypto",
            "contracts",
            "mesh",
            "channel",
            "storage",
            "node",
            "devnet",
        ],
    ),
    ("radio", &["types"]),
    ("api", &[]),
    (
        "daemon",
        &[
            "types",
            "wire",
            "crypto",
            "contracts",
            "channel",
            "light-client",
            "wallet",
            "node",
            "radio",
            "storage",
            "devnet",
            "api",
        ],
    ),
    (
        "smartmesh",
        &[
            "daemon",
            "api",
            "contracts",
            "wallet",
            "channel",
            "light-client",
            "devnet",
        ],
    ),
    (
        "tests",
        &[
            "api",
            "types",
            "wire",
            "crypto",
            "mesh",
            "session",
            "messaging",
            "storage",
            "contracts",
            "channel",
            "light-client",
            "wallet",
            "devnet",
            "node",
            "radio",
        ],
    ),
    ("xtask", &[]),
    ("fuzz", &["tests"]),
];

/// Crates that must not appear below the cores.
const NOT_IN_CORES: [&str; 4] = ["tokio", "socket2", "mio", "libc-net"];

/// The cores, and what they are made of.
const CORES: [&str; 11] = [
    "types",
    "wire",
    "crypto",
    "mesh",
    "session",
    "messaging",
    "storage",
    "channel",
    "light-client",
    "wallet",
    "node",
];

/// Licences that may ship on a phone.
const LICENCES: [&str; 13] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "Unicode-3.0",
    "CC0-1.0",
    "BlueOak-1.0.0",
    "Unlicense",
    "MIT-0",
];

pub(crate) fn run() -> Result<()> {
    let mut faults = Vec::new();
    let metadata =
        process::output(process::cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata is not JSON")?;
    check_arrows(&metadata, &mut faults);
    check_cores(&metadata, &mut faults);
    check_licences(&mut faults)?;
    let files = process::output(
        std::process::Command::new("git")
            .current_dir(process::root())
            .args(["ls-files"]),
    )?;
    for file in files.lines() {
        check_file(file, &mut faults)?;
    }
    check_pages(&mut faults)?;
    if faults.is_empty() {
        return Ok(());
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    bail!("{} house rules are broken", faults.len());
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata
        .get("packages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A workspace member's short name.
fn short(name: &str) -> &str {
    name.strip_prefix("smartmesh-").unwrap_or(name)
}

fn is_ours(package: &Value) -> bool {
    package.get("source").is_none_or(Value::is_null)
}

fn check_arrows(metadata: &Value, faults: &mut Vec<String>) {
    let ours: BTreeSet<&str> = packages(metadata)
        .filter(|package| is_ours(package))
        .map(|p| text(p, "name"))
        .collect();
    for package in packages(metadata).filter(|package| is_ours(package)) {
        let name = short(text(package, "name"));
        let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| *crate_name == name) else {
            faults.push(format!(
                "crate {name} is not in the map of arrows (xtask/src/tidy.rs)"
            ));
            continue;
        };
        let dependencies = package
            .get("dependencies")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for dependency in dependencies {
            let target = text(dependency, "name");
            let is_dev = text(dependency, "kind") == "dev";
            if ours.contains(target) && !is_dev && !allowed.contains(&short(target)) {
                faults.push(format!("crate {name} must not depend on {}", short(target)));
            }
        }
    }
}

/// No runtime, socket or thread below `daemon` and `radio`.
fn check_cores(metadata: &Value, faults: &mut Vec<String>) {
    let names: BTreeMap<&str, &str> = packages(metadata)
        .map(|p| (text(p, "id"), text(p, "name")))
        .collect();
    let normal = edges(metadata, |dep| {
        let kinds = dep.get("dep_kinds").and_then(Value::as_array);
        kinds
            .into_iter()
            .flatten()
            .any(|kind| kind.get("kind").is_none_or(Value::is_null))
    });
    for (id, name) in &names {
        if !CORES.contains(&short(name)) || !name.starts_with("smartmesh-") {
            continue;
        }
        let seen = reachable(&normal, std::iter::once(*id));
        for reached in seen
            .iter()
            .filter_map(|id| names.get(id))
            .filter(|reached| NOT_IN_CORES.contains(reached))
        {
            faults.push(format!("core {name} must not bring in {reached}"));
        }
    }
}

fn reachable<'a>(
    edges: &BTreeMap<&'a str, Vec<&'a str>>,
    from: impl Iterator<Item = &'a str>,
) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = from.collect();
    while let Some(next) = open.pop() {
        if seen.insert(next) {
            open.extend(edges.get(next).into_iter().flatten());
        }
    }
    seen
}

/// Who is built with whom, over the edges that `wanted` accepts.
fn edges(metadata: &Value, wanted: impl Fn(&Value) -> bool) -> BTreeMap<&str, Vec<&str>> {
    let nodes = metadata.pointer("/resolve/nodes").and_then(Value::as_array);
    let targets = |node| {
        let deps = Value::get(node, "deps").and_then(Value::as_array);
        deps.into_iter()
            .flatten()
            .filter(|dep| wanted(dep))
            .map(|dep| text(dep, "pkg"))
            .collect()
    };
    nodes
        .into_iter()
        .flatten()
        .map(|node| (text(node, "id"), targets(node)))
        .collect()
}

/// Judges what is really built: the lock file also names optional crates that no member uses.
fn check_licences(faults: &mut Vec<String>) -> Result<()> {
    let arguments = [
        "tree",
        "--workspace",
        "--locked",
        "--prefix",
        "none",
        "--format",
        "{p}\t{l}",
    ];
    let tree = process::output(process::cargo().args(arguments))?;
    let foreign: BTreeSet<&str> = tree.lines().filter(|line| !line.contains("(/")).collect();
    for (package, licence) in foreign.iter().filter_map(|line| line.split_once('\t')) {
        let licence = licence.trim_end_matches(" (*)").replace('/', " OR ");
        if !is_allowed(&licence) {
            faults.push(format!(
                "{package} has licence `{licence}`, which may not ship"
            ));
        }
    }
    Ok(())
}

/// Whether an SPDX expression can be fulfilled with the allowed licences alone.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.trim();
    if let Some(parts) = split_at_top(expression, " AND ") {
        return parts.iter().all(|part| is_allowed(part));
    }
    if let Some(parts) = split_at_top(expression, " OR ") {
        return parts.iter().any(|part| is_allowed(part));
    }
    match expression
        .strip_prefix('(')
        .and_then(|inner| inner.strip_suffix(')'))
    {
        Some(inner) => is_allowed(inner),
        None => LICENCES.contains(&expression),
    }
}

/// Splits at an operator outside all brackets, or `None` if there is none.
fn split_at_top<'a>(expression: &'a str, operator: &str) -> Option<Vec<&'a str>> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, character) in expression.char_indices() {
        match character {
            '(' => depth = depth.saturating_add(1),
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0
                && at >= start
                && expression
                    .get(at..)
                    .is_some_and(|rest| rest.starts_with(operator)) =>
            {
                parts.extend(expression.get(start..at));
                start = at.saturating_add(operator.len());
            }
            _ => {}
        }
    }
    parts.extend(expression.get(start..));
    (parts.len() > 1).then_some(parts)
}

fn check_file(file: &str, faults: &mut Vec<String>) -> Result<()> {
    let path = Path::new(file);
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    if REFUSED_NAMES.contains(&stem) {
        faults.push(format!(
            "{file}: the name `{stem}` says nothing about what is inside"
        ));
    }
    if stem == "mod" && file.ends_with(".rs") {
        faults.push(format!("{file}: use foo.rs beside foo/"));
    }
    let is_source = [".rs", ".sol", ".mjs", ".sh"]
        .iter()
        .any(|ending| file.ends_with(ending));
    if !is_source || file.starts_with("xtask/src/tidy.rs") {
        return Ok(());
    }
    let full = process::root().join(path);
    let Ok(content) = std::fs::read_to_string(&full) else {
        return Ok(());
    };
    let words = content.split(|c: char| !c.is_alphanumeric() && c != '_');
    let markers =
        words.filter(|word| ["TODO", "FIXME", "XXX", "HACK", "unimplemented"].contains(word));
    for marker in markers {
        faults.push(format!("{file}: leftover marker {marker}"));
    }
    if content.contains(&format!("#[{}", "ignore")) {
        faults.push(format!("{file}: an ignored test"));
    }
    let is_test = stem.ends_with("tests") || file.contains("/tests/");
    if file.ends_with(".rs") && !is_test {
        let production = content
            .split("#[cfg(test)]")
            .next()
            .unwrap_or_default()
            .lines()
            .count();
        if production > FILE_LINES_MAX {
            faults.push(format!(
                "{file}: {production} production lines, at most {FILE_LINES_MAX} are allowed"
            ));
        }
    }
    Ok(())
}

/// Each message family on the air has its page.
fn check_pages(faults: &mut Vec<String>) -> Result<()> {
    let folder = process::root().join("crates/wire/src");
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(family) = name
            .strip_suffix(".rs")
            .filter(|family| !["lib", "family", "codec"].contains(family))
        else {
            continue;
        };
        let pages = std::fs::read_dir(process::root().join("docs"))?.flatten();
        let mentioned = pages.filter_map(|page| std::fs::read_to_string(page.path()).ok());
        if !mentioned
            .into_iter()
            .any(|page| page.contains(&format!("wire/src/{family}.rs")))
        {
            faults.push(format!(
                "no page in docs/ names crates/wire/src/{family}.rs"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions_are_judged_by_their_operators() {
        assert!(is_allowed("MIT OR GPL-3.0"));
        assert!(!is_allowed("MIT AND GPL-3.0"));
        assert!(is_allowed("(MIT OR GPL-3.0) AND Unicode-3.0"));
        assert!(is_allowed("ISC AND (Apache-2.0 OR ISC)"));
        assert!(is_allowed(
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"
        ));
        assert!(!is_allowed("GPL-3.0"));
        assert!(!is_allowed(""));
    }
}
