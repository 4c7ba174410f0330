//! `rpc` and `light status`: what the node's light node answers and believes.

use anyhow::bail;
use serde_json::{Value, json};
use smartmesh_api::LightStatus;

use super::Format;
use crate::client::Client;
use crate::output;

/// Asks one question; parameters that are no JSON are taken as text.
pub(crate) fn ask(
    client: &Client,
    format: Format,
    method: &str,
    params: &[String],
) -> anyhow::Result<()> {
    let params: Vec<Value> = params
        .iter()
        .map(|param| serde_json::from_str(param).unwrap_or_else(|_| Value::from(param.as_str())))
        .collect();
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer: Value = client.post("/rpc?trust=1", &request)?;
    if let Some(error) = answer.get("error") {
        let message = error.get("message").and_then(Value::as_str);
        bail!("{}", message.unwrap_or("refused without a reason"));
    }
    let result = answer.get("result").unwrap_or(&Value::Null);
    let trust = answer.get("trust").and_then(Value::as_str).unwrap_or("");
    match format {
        Format::Json => output::json(&json!({ "result": result, "trust": trust })),
        Format::Text => {
            match result.as_str() {
                Some(text) => output::line(text),
                None => output::line(serde_json::to_string_pretty(result)?),
            }
            output::note(format!("  {}", in_words(trust)));
        }
    }
    Ok(())
}

fn in_words(trust: &str) -> &'static str {
    match trust {
        "finalized" => "proved under a final block",
        "optimistic" => "proved under a block that a majority signed; it may still be replaced",
        "local" => "known without asking anybody",
        "hint" => "a source says so; it cannot be proved",
        _ => "no source knows it, which proves nothing",
    }
}

/// Shows the light node's state.
pub(crate) fn status(client: &Client, format: Format) -> anyhow::Result<()> {
    let status: LightStatus = client.get("/v1/light")?;
    if format == Format::Json {
        output::json(&status);
        return Ok(());
    }
    let head = |name: &str, head: &Option<smartmesh_api::LightHead>| match head {
        Some(head) => output::line(format!(
            "{name} slot {}, block {}",
            head.slot,
            head.block.as_deref().unwrap_or("not named")
        )),
        None => output::line(format!("{name} none yet")),
    };
    output::line(format!("Network    {}", status.network));
    head("Signed    ", &status.head);
    head("Final     ", &status.finalized);
    output::line(format!(
        "Committee  period {}, {} of {} signed; the next one is {}",
        status.period,
        status.signed,
        status.members,
        if status.next_committee_known {
            "known"
        } else {
            "not known yet"
        }
    ));
    for source in &status.sources {
        let fault = match &source.last_fault {
            Some(fault) => format!("; {} faults, the last: {fault}", source.faults),
            None => String::new(),
        };
        let used = if source.in_use { "asked now" } else { "waits" };
        output::line(format!("Source     {} ({used}){fault}", source.name));
    }
    if let Some(trouble) = &status.trouble {
        output::line(format!("Trouble    {trouble}"));
    }
    Ok(())
}
