//! Paying and asking to be paid.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use smartmesh_api::{Amount, Pay, PaymentRequest, RequestPayment, SubmitPayment};

use super::Format;
use super::money::{self, Consent};
use crate::cli::AgentCommand;
use crate::client::Client;
use crate::output;

pub(super) fn pay(
    client: &Client,
    format: Format,
    to: &str,
    amount: Option<Amount>,
    memo: &str,
    yes: bool,
) -> anyhow::Result<()> {
    let body = |preview| Pay {
        to: to.to_owned(),
        amount,
        memo: memo.to_owned(),
        preview,
    };
    money::sign(client, format, Consent::from(yes), "/v1/pay", body)
}

pub(super) fn request(
    client: &Client,
    format: Format,
    amount: Option<Amount>,
    memo: String,
) -> anyhow::Result<()> {
    let request: PaymentRequest = client.post("/v1/request", &RequestPayment { amount, memo })?;
    if format == Format::Json {
        output::json(&request);
        return Ok(());
    }
    show_code(&request.text);
    output::line("Let the payer scan this, or send them this line:");
    output::line(format!("smartmesh pay {}", request.text));
    Ok(())
}

pub(super) fn agent(client: &Client, format: Format, command: AgentCommand) -> anyhow::Result<()> {
    match command {
        AgentCommand::Submit { payment, yes } => {
            let body = |preview| SubmitPayment {
                text: payment.clone(),
                preview,
            };
            money::sign(client, format, Consent::from(yes), "/v1/agent/submit", body)
        }
    }
}

/// Prints a text as a QR code, if it fits one.
pub(super) fn show_code(text: &str) {
    if let Ok(code) = QrCode::new(text) {
        output::line(code.render::<Dense1x2>().quiet_zone(true).build());
    }
}
