//! The app: built by npm into `web/dist`, where the daemon's build takes it from.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::process;

/// What the built app is made of, beside the sources.
const SOURCES: [&str; 10] = [
    "src",
    "public",
    "index.html",
    "village.html",
    "build.mjs",
    "openapi.json",
    "package.json",
    "package-lock.json",
    "svelte.config.js",
    "vite.config.ts",
];

/// Builds the app, if anything it is made of is newer than what was built.
pub(crate) fn build() -> Result<()> {
    let folder = process::root().join("web");
    let stamp = folder.join("dist/sw.js.gz");
    if is_newer_than_all(&stamp, &folder)? {
        return Ok(());
    }
    install(&folder)?;
    process::run(
        Command::new("npm")
            .current_dir(&folder)
            .args(["run", "--silent", "build"]),
    )
    .context("the app in web/ does not build")
}

/// Writes `web/openapi.json` as the node serves it.
pub(crate) fn describe() -> Result<()> {
    process::run(process::cargo().env("SMARTMESH_DESCRIBE", "1").args([
        "test",
        "--quiet",
        "--package",
        "smartmesh-daemon",
        "the_app_is_built_with_the_served_description",
    ]))
}

/// Has the packages of a folder's lock file, and nothing else, under its `node_modules`.
pub(crate) fn install(folder: &Path) -> Result<()> {
    process::need("node", "nodejs")?;
    process::need("npm", "npm")?;
    let lock = folder.join("package-lock.json");
    let installed = folder.join("node_modules/.package-lock.json");
    let is_current = modified(&installed)
        .zip(modified(&lock))
        .is_some_and(|(installed, wanted)| installed >= wanted);
    if is_current {
        return Ok(());
    }
    process::run(
        Command::new("npm")
            .current_dir(folder)
            .args(["ci", "--silent"]),
    )
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|data| data.modified()).ok()
}

fn is_newer_than_all(stamp: &Path, folder: &Path) -> Result<bool> {
    let Some(built) = modified(stamp) else {
        return Ok(false);
    };
    for source in SOURCES {
        if newest(&folder.join(source))? > built {
            return Ok(false);
        }
    }
    Ok(true)
}

/// When anything at or below a path changed last.
fn newest(path: &Path) -> Result<SystemTime> {
    let data = path
        .metadata()
        .with_context(|| format!("{} is missing", path.display()))?;
    let mut newest_time = data.modified()?;
    if data.is_dir() {
        for entry in path.read_dir()? {
            newest_time = newest_time.max(newest(&entry?.path())?);
        }
    }
    Ok(newest_time)
}
