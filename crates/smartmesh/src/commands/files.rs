//! Offering and fetching files.

use std::fs::{File as LocalFile, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{io, thread};

use anyhow::{Context, bail};
use serde_json::json;
use smartmesh_api::{FetchState, File, Shared};

use super::Format;
use crate::client::{Client, ClientError, encode};
use crate::output;

/// Files of at most so many bytes ride inside their message (`POST /v1/messages`).
const RIDES_INSIDE_MAX: u64 = 12 * 1024;
/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) fn share(
    client: &Client,
    format: Format,
    path: &Path,
    to: Option<&str>,
    media_type: &str,
    plain: bool,
) -> anyhow::Result<()> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .context("the file has no name that can be told")?;
    let file = LocalFile::open(path).with_context(|| format!("can't read {}", path.display()))?;
    let mut query = format!(
        "/v1/files?name={}&media_type={}&plain={plain}",
        encode(name),
        encode(media_type)
    );
    if let Some(to) = to {
        query = format!("{query}&to={}", encode(to));
    }
    let shared: Shared = client.upload(&query, file)?;
    match (format, to) {
        (Format::Json, _) => output::json(&shared),
        (Format::Text, Some(to)) => {
            output::line(format!(
                "{} ({}) is offered to {to}",
                shared.file.name,
                output::bytes(shared.file.size)
            ));
        }
        (Format::Text, None) => output::line(format!(
            "stored; its reference is {}",
            shared.file.reference
        )),
    }
    Ok(())
}

/// Stores a file for a message; a small one so that it can ride inside.
pub(super) fn store(client: &Client, path: &Path, media_type: &str) -> anyhow::Result<Shared> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .context("the file has no name that can be told")?;
    let file = LocalFile::open(path).with_context(|| format!("can't read {}", path.display()))?;
    let plain = file.metadata()?.len() <= RIDES_INSIDE_MAX;
    let query = format!(
        "/v1/files?name={}&media_type={}&plain={plain}",
        encode(name),
        encode(media_type)
    );
    Ok(client.upload(&query, file)?)
}

pub(super) fn list(client: &Client, format: Format) -> anyhow::Result<()> {
    let files: Vec<File> = client.get("/v1/files")?;
    if format == Format::Json {
        output::json(&files);
        return Ok(());
    }
    if files.is_empty() {
        output::line("No files yet.");
    }
    for file in files {
        let state = describe(&file.fetch, file.file.size);
        output::line(format!(
            "{:24}  {:>9}  {state:24}  {}",
            file.file.name,
            output::bytes(file.file.size),
            file.message
        ));
    }
    Ok(())
}

fn describe(state: &FetchState, size: u64) -> String {
    match state {
        FetchState::Offered => "offered".to_owned(),
        FetchState::Fetching { bytes } => {
            let percent = bytes
                .saturating_mul(100)
                .checked_div(size)
                .unwrap_or(100)
                .min(100);
            format!("{percent} % is here")
        }
        FetchState::Complete => "here".to_owned(),
        FetchState::Stopped { reason } => format!("stopped: {reason}"),
    }
}

pub(super) fn get(
    client: &Client,
    format: Format,
    wanted: &str,
    out: Option<PathBuf>,
) -> anyhow::Result<()> {
    let files: Vec<File> = client.get("/v1/files")?;
    let found = files
        .iter()
        .rev()
        .find(|file| file.message.starts_with(wanted) || file.file.name == wanted);
    let Some(file) = found else {
        return Err(ClientError::Refused {
            error: format!("nobody has offered {wanted}"),
            advice: Some("`smartmesh get` lists what was offered".to_owned()),
        }
        .into());
    };
    let mut state: File = client.post(&format!("/v1/files/{}/fetch", file.message), &json!({}))?;
    let mut told = String::new();
    loop {
        match &state.fetch {
            FetchState::Complete => break,
            FetchState::Stopped { reason } => {
                return Err(ClientError::NotReached(format!(
                    "the file stopped coming: {reason}; what arrived is kept, try again"
                ))
                .into());
            }
            FetchState::Offered | FetchState::Fetching { .. } => {}
        }
        let now = describe(&state.fetch, state.file.size);
        if format == Format::Text && now != told {
            output::note(&now);
            told = now;
        }
        thread::sleep(LOOK_EVERY);
        let files: Vec<File> = client.get("/v1/files")?;
        let Some(next) = files.into_iter().find(|one| one.message == state.message) else {
            bail!("the offer is gone");
        };
        state = next;
    }
    let (path, mut local) = create(out, &state.file.name)?;
    let mut content = client.download(&format!("/v1/files/{}/content", state.message))?;
    let saved = io::copy(&mut content, &mut local)
        .and_then(|count| local.sync_all().map(|()| count))
        .with_context(|| format!("can't save {}", path.display()))?;
    anyhow::ensure!(
        saved == state.file.size,
        "{} bytes came instead of {}",
        saved,
        state.file.size
    );
    match format {
        Format::Json => {
            output::json(&json!({ "path": path, "bytes": saved, "message": state.message }))
        }
        Format::Text => output::line(format!(
            "saved {} ({})",
            path.display(),
            output::bytes(saved)
        )),
    }
    Ok(())
}

/// Opens where the file goes. The sender's name is no path, and nothing that exists is overwritten unless the user said so.
fn create(out: Option<PathBuf>, name: &str) -> anyhow::Result<(PathBuf, LocalFile)> {
    if let Some(path) = out {
        let file =
            LocalFile::create(&path).with_context(|| format!("can't write {}", path.display()))?;
        return Ok((path, file));
    }
    let safe = safe_name(name);
    for number in 0..1_000_u32 {
        let path = match number {
            0 => PathBuf::from(&safe),
            number => PathBuf::from(format!("{number}-{safe}")),
        };
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("can't write {}", path.display()));
            }
        }
    }
    bail!("a thousand files are called {safe} here; name another place with --out")
}

fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let safe: String = last.chars().filter(|letter| !letter.is_control()).collect();
    let safe = safe.trim_start_matches('.').trim();
    if safe.is_empty() {
        "file".to_owned()
    } else {
        safe.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_senders_name_leads_nowhere_else() {
        for (name, safe) in [
            ("photo.jpg", "photo.jpg"),
            ("../../.ssh/authorized_keys", "authorized_keys"),
            ("C:\\x\\a.txt", "a.txt"),
            (".bashrc", "bashrc"),
            ("..", "file"),
            ("a\u{1b}[2Jb", "a[2Jb"),
        ] {
            assert_eq!(safe_name(name), safe);
        }
    }

    #[test]
    fn progress_is_told_in_percent() {
        assert_eq!(
            describe(&FetchState::Fetching { bytes: 50 }, 200),
            "25 % is here"
        );
        assert_eq!(
            describe(&FetchState::Fetching { bytes: 0 }, 0),
            "100 % is here"
        );
    }
}
