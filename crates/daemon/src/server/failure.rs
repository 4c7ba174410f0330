//! Every answer that is not a success: a status, what was wrong, what to do.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use smartmesh_api::ErrorBody;
use smartmesh_node::RefusedReason;

use crate::database::DatabaseError;
use crate::disk::DiskGone;
use crate::wallet::WalletError;

/// Why a request has no better answer.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    body: ErrorBody,
}

impl Failure {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            body: ErrorBody {
                error: error.into(),
                advice: None,
            },
        }
    }

    pub(crate) fn advise(mut self, advice: &str) -> Self {
        self.body.advice = Some(advice.to_owned());
        self
    }

    pub(crate) fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(crate) fn forbidden(error: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, error)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong").advise(
            "send the token of api.json in the data folder as `Authorization: Bearer TOKEN`",
        )
    }

    pub(crate) fn not_found_thing(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// It makes sense, but not now.
    pub(crate) fn conflict(error: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, error)
    }

    pub(crate) fn wallet(error: WalletError) -> Self {
        tracing::error!(%error, "the wallet can't be used");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    pub(crate) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the node is stopping")
    }

    pub(crate) fn too_large(error: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    }

    /// The node answered a command with something that belongs to another one.
    pub(crate) fn unexpected() -> Self {
        tracing::error!("the node gave an answer to another command");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the node gave an unexpected answer",
        )
    }

    pub(crate) fn refused(reason: &RefusedReason) -> Self {
        let status = match reason {
            RefusedReason::NotAnInvite(_) | RefusedReason::Invalid(_) => StatusCode::BAD_REQUEST,
            RefusedReason::UnknownContact(_) | RefusedReason::NotFound(_) => StatusCode::NOT_FOUND,
            RefusedReason::Money(_) => StatusCode::CONFLICT,
            RefusedReason::Full(_) => StatusCode::TOO_MANY_REQUESTS,
            RefusedReason::NoPath(..) => StatusCode::BAD_GATEWAY,
            RefusedReason::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        };
        let advice = match reason {
            RefusedReason::NotAnInvite(_) => {
                Some("the other person finds theirs with `smartmesh id`")
            }
            RefusedReason::NoPath(..) | RefusedReason::Timeout(_) => Some(
                "`smartmesh nearby` shows who can be reached; messages are carried there even when nobody can",
            ),
            RefusedReason::UnknownContact(_)
            | RefusedReason::Invalid(_)
            | RefusedReason::Money(_)
            | RefusedReason::NotFound(_)
            | RefusedReason::Full(_) => None,
        };
        let failure = Self::new(status, reason.to_string());
        match advice {
            Some(advice) => failure.advise(advice),
            None => failure,
        }
    }
}

impl From<DiskGone> for Failure {
    fn from(_: DiskGone) -> Self {
        Self::stopping()
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        tracing::error!(%error, "the database can't be read");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// No such path.
pub(crate) async fn not_found() -> Failure {
    std::future::ready(()).await;
    Failure::not_found_thing("there is no such path").advise("GET /openapi.json lists all paths")
}
