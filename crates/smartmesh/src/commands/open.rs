//! `open`: the app, in a browser.

use std::env;
use std::io::{self, IsTerminal};
use std::process::{Command, Stdio};

use serde_json::json;
use smartmesh_api::OpenKey;

use super::Format;
use crate::client::Client;
use crate::output::{self, line, note};

/// What a node that has started does about its app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// Opens it where somebody sees it; otherwise says how.
    ForPeople,
    /// Leaves it alone.
    Nothing,
}

pub(super) fn open(client: &Client, format: Format, print: bool) -> anyhow::Result<()> {
    let key: OpenKey = client.post("/v1/browsers/key", &json!({}))?;
    if format == Format::Json {
        output::json(&key);
        return Ok(());
    }
    if print || !open_browser(&key.url) {
        line(&key.url);
        note(format!(
            "open this address in a browser on this device, once, within {} minutes",
            key.valid_secs / 60
        ));
    }
    Ok(())
}

/// Called when the node is up. A log file must hold no key, so it is shown on a terminal only.
pub(super) fn show(address: &str, show: Show) {
    if show == Show::Nothing || !io::stderr().is_terminal() {
        return;
    }
    if !open_browser(address) {
        note(format!(
            "open the app in a browser on this device: {address}\n(it opens once; `smartmesh open` makes another)"
        ));
    }
}

/// Hands an address to the desktop's browser; whether there is one. Never waits: some desktops end with the browser only.
pub(super) fn open_browser(address: &str) -> bool {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else {
        let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
        if !has_screen {
            return false;
        }
        "xdg-open"
    };
    Command::new(program)
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .is_ok()
}
