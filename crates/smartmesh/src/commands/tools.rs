//! The node's state, measurements, advice, and its end.

use std::thread;
use std::time::Duration;

use serde_json::json;
use smartmesh_api::{Doctor, Perf, PerfReport, Pong, Status, TraceHop, Verdict, Visibility, Whom};

use super::Format;
use crate::cli::OnOff;
use crate::client::{Client, ClientError};
use crate::output;

/// How long `down` waits for the node's end.
const DOWN_CHECKS: u32 = 100;
const DOWN_CHECK_EVERY: Duration = Duration::from_millis(50);

pub(super) fn down(client: &Client) -> anyhow::Result<()> {
    client.tell("/v1/shutdown", &json!({}))?;
    let process = format!("/proc/{}", client.pid());
    for _ in 0..DOWN_CHECKS {
        let gone =
            !std::path::Path::new(&process).exists() && client.get::<Status>("/v1/status").is_err();
        if gone {
            output::note("stopped");
            return Ok(());
        }
        thread::sleep(DOWN_CHECK_EVERY);
    }
    anyhow::bail!(
        "the node at {} is still stopping; it may be waiting for the disk",
        client.url()
    )
}

pub(super) fn status(client: &Client, format: Format) -> anyhow::Result<()> {
    let status: Status = client.get("/v1/status")?;
    if format == Format::Json {
        output::json(&status);
        return Ok(());
    }
    output::line(format!(
        "{} ({}), up for {}",
        status.address,
        status.name,
        output::span_ms(status.uptime_secs.saturating_mul(1_000))
    ));
    for radio in &status.radios {
        let (sent, received) = (
            output::bytes(radio.sent_bytes),
            output::bytes(radio.received_bytes),
        );
        output::line(format!(
            "radio {}: sent {sent}, received {received}",
            radio.name
        ));
    }
    if let Some(tunnel) = &status.tunnel {
        output::line(format!("programs use the mesh through {tunnel}"));
    }
    output::line(format!(
        "{} neighbours, {} destinations, {} flows",
        status.neighbours.len(),
        status.destinations,
        status.flows.len()
    ));
    for neighbour in &status.neighbours {
        let who = neighbour.contact.as_deref().unwrap_or("a stranger");
        let state = if neighbour.suspect { ", silent" } else { "" };
        let loss = format!(
            "{}.{} %",
            neighbour.loss_permille / 10,
            neighbour.loss_permille % 10
        );
        output::line(format!(
            "  {who} over {}: round trip {}, loss {loss}{state}",
            neighbour.radio,
            output::rtt(neighbour.rtt_us)
        ));
    }
    let mail = status.bundles;
    output::line(format!(
        "carrying {} bundles ({}) for others; {} of our own on their way",
        mail.held,
        output::bytes(mail.bytes),
        mail.own
    ));
    let dropped: Vec<_> = status
        .counters
        .iter()
        .filter(|(_, count)| **count > 0)
        .collect();
    if !dropped.is_empty() {
        output::line("counters:");
        for (name, count) in dropped {
            output::line(format!("  {count:>10}  {name}"));
        }
    }
    Ok(())
}

pub(super) fn ping(
    client: &Client,
    format: Format,
    to: &str,
    count: u32,
    interval: f64,
) -> anyhow::Result<()> {
    let pause = Duration::try_from_secs_f64(interval).unwrap_or(Duration::from_secs(1));
    let mut answered: u32 = 0;
    let mut last = None;
    for number in 0..count {
        if number > 0 {
            thread::sleep(pause);
        }
        match client.post::<Pong>("/v1/ping", &Whom { to: to.to_owned() }) {
            Ok(pong) => {
                answered = answered.saturating_add(1);
                match format {
                    Format::Json => output::json(&pong),
                    Format::Text => output::line(format!(
                        "answer from {to}: {}, {} hops",
                        output::rtt(pong.rtt_us),
                        pong.hops
                    )),
                }
            }
            Err(ClientError::NotReached(reason)) => {
                match format {
                    Format::Json => output::json(&json!({ "error": reason })),
                    Format::Text => output::line(format!("no answer: {reason}")),
                }
                last = Some(reason);
            }
            Err(error) => return Err(error.into()),
        }
    }
    match last {
        Some(reason) if answered == 0 => Err(ClientError::NotReached(reason).into()),
        _ => Ok(()),
    }
}

pub(super) fn trace(client: &Client, format: Format, to: String) -> anyhow::Result<()> {
    let hops: Vec<TraceHop> = client.post("/v1/trace", &Whom { to })?;
    if format == Format::Json {
        output::json(&hops);
        return Ok(());
    }
    for hop in hops {
        let rtt = hop
            .rtt_us
            .map_or_else(|| "no answer".to_owned(), output::rtt);
        output::line(format!("{:>2}  {rtt}", hop.hop));
    }
    Ok(())
}

pub(super) fn perf(
    client: &Client,
    format: Format,
    to: String,
    seconds: f64,
) -> anyhow::Result<()> {
    let span = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(5));
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let report: PerfReport = client.post("/v1/perf", &Perf { to, millis })?;
    if format == Format::Json {
        output::json(&report);
        return Ok(());
    }
    let lost = report.packets_sent.saturating_sub(report.packets_received);
    let permille = lost
        .saturating_mul(1_000)
        .checked_div(report.packets_sent)
        .unwrap_or(0);
    output::line(format!(
        "{} over {}: {} arrived, {}.{} % of the probes lost",
        output::rate(report.bits_per_second),
        output::span_ms(report.elapsed_us / 1_000),
        output::bytes(report.bytes_received),
        permille / 10,
        permille % 10
    ));
    Ok(())
}

pub(super) fn doctor(client: &Client, format: Format) -> anyhow::Result<()> {
    let doctor: Doctor = client.get("/v1/doctor")?;
    if format == Format::Json {
        output::json(&doctor);
    } else {
        for check in &doctor.checks {
            let verdict = match check.verdict {
                Verdict::Ok => "ok     ",
                Verdict::Warning => "warning",
                Verdict::Broken => "BROKEN ",
            };
            output::line(format!("{verdict}  {:10}  {}", check.layer, check.finding));
            if let Some(advice) = &check.advice {
                output::line(format!("                     -> {advice}"));
            }
        }
    }
    let broken = doctor
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Broken)
        .count();
    anyhow::ensure!(
        broken == 0,
        "{broken} of {} layers don't work",
        doctor.checks.len()
    );
    Ok(())
}

pub(super) fn visible(client: &Client, format: Format, state: OnOff) -> anyhow::Result<()> {
    let wanted = Visibility {
        visible: state == OnOff::On,
    };
    let now: Visibility = client.post("/v1/visibility", &wanted)?;
    match (format, now.visible) {
        (Format::Json, _) => output::json(&now),
        (Format::Text, true) => output::line("People within a few hops see your name now."),
        (Format::Text, false) => output::line("Your name is hidden now."),
    }
    Ok(())
}
