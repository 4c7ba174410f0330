//! What every command that signs has in common: it shows what is given, what is got, the fee and when it is final, and asks.

use std::io::{IsTerminal, Write};

use serde::Serialize;
use smartmesh_api::{Amount, Preview, Signed};

use super::Format;
use crate::client::Client;
use crate::output;

/// Whether a person is asked before something is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    Given,
    Ask,
}

impl From<bool> for Consent {
    fn from(yes: bool) -> Self {
        if yes { Self::Given } else { Self::Ask }
    }
}

/// Shows the preview of a request, asks, and carries it out.
pub(super) fn sign<B: Serialize>(
    client: &Client,
    format: Format,
    consent: Consent,
    path: &str,
    body: impl Fn(bool) -> B,
) -> anyhow::Result<()> {
    let Signed { preview, .. } = client.post(path, &body(true))?;
    if format == Format::Text {
        show(&preview);
    }
    ask(consent)?;
    let signed: Signed = client.post(path, &body(false))?;
    match (format, &signed.done) {
        (Format::Json, _) => output::json(&signed),
        (Format::Text, Some(done)) if done.id.is_empty() => output::line(&done.state),
        (Format::Text, Some(done)) => output::line(format!("{}: {}", done.id, done.state)),
        (Format::Text, None) => output::line("Nothing was done."),
    }
    Ok(())
}

/// What a person sees before anything is signed.
pub(super) fn show(preview: &Preview) {
    output::line(&preview.action);
    output::line(format!("  you give   {} SMT", preview.give));
    output::line(format!("  they get   {} SMT", preview.get));
    output::line(format!("  fee        {} SMT{}", preview.fee, gas(preview)));
    output::line(format!("  final      {}", preview.when_final));
    for note in &preview.notes {
        output::line(format!("  note       {note}"));
    }
}

fn gas(preview: &Preview) -> String {
    match preview.wei_max.parse::<u128>() {
        Ok(0) => String::new(),
        Ok(wei) => format!(", and at most {} ether for gas", Amount(wei)),
        Err(_) => format!(", and at most {} wei for gas", preview.wei_max),
    }
}

/// Asks the person at the terminal, unless they have said yes already.
pub(super) fn ask(consent: Consent) -> anyhow::Result<()> {
    if consent == Consent::Given {
        return Ok(());
    }
    anyhow::ensure!(
        std::io::stdin().is_terminal(),
        "nobody is here to be asked; say --yes to sign without a question"
    );
    let _ = write!(std::io::stderr(), "Sign? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    let yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    anyhow::ensure!(yes, "nothing was signed");
    Ok(())
}
