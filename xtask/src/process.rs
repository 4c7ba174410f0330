//! Running other programs, and getting those that are missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::web;

/// The repository's root folder.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs a command to its end, and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({})", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program can be started.
pub(crate) fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    }) || Path::new("/usr/sbin").join(program).is_file()
}

/// Whether this user may install packages and make network namespaces.
pub(crate) fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

/// Makes sure that a program is there, from Debian's packages if need be.
///
/// # Errors
/// If it is missing and cannot be installed; the message says what to type.
pub(crate) fn need(program: &str, package: &str) -> Result<()> {
    if has(program) {
        return Ok(());
    }
    if !is_root() || !has("apt-get") {
        bail!("`{program}` is missing. Install it, on Debian with: sudo apt-get install {package}");
    }
    eprintln!("installing {package} (for `{program}`)");
    let quiet = [
        "install",
        "--yes",
        "--no-install-recommends",
        "-qq",
        package,
    ];
    if run(Command::new("apt-get")
        .args(quiet)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null()))
    .is_err()
    {
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        run(Command::new("apt-get")
            .args(quiet)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null()))?;
    }
    if !has(program) {
        bail!("package {package} was installed but there is still no `{program}`");
    }
    Ok(())
}

/// Builds the app and, in release form, the program that holds it; returns the program's path.
pub(crate) fn build_smartmesh() -> Result<PathBuf> {
    web::build()?;
    run(cargo().args(["build", "--release", "--quiet", "--package", "smartmesh"]))?;
    Ok(target_dir().join("release").join("smartmesh"))
}

fn show(command: &Command) -> String {
    let mut shown = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}
