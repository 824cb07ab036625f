//! What requests are read with: every refusal is an `ErrorBody`.

use crate::problem::Problem;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use std::error::Error;

/// A JSON body. No body at all means one with nothing in it, so that every default holds. The
/// content type is not looked at: `curl -d` sends a wrong one.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| refuse_bytes(&rejection))?;
        let text = if bytes.trim_ascii().is_empty() { &b"{}"[..] } else { &bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| {
            Problem::request("cannot read the request's body")
                .cause(error.to_string())
                .hint("`/openapi.json` describes every body")
        })
    }
}

fn refuse_bytes(rejection: &BytesRejection) -> Problem {
    let status = rejection.status();
    let problem = Problem::request("cannot read the request's body").status(status);
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        problem.cause(format!("it has more than {} KiB", super::BODY_LIMIT >> 10))
    } else {
        problem.cause(rejection.body_text())
    }
}

/// The query of the URL.
#[derive(Debug)]
pub(super) struct Queried<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Queried<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        read.map(|Query(value)| Self(value)).map_err(|rejection| refuse_query(&rejection))
    }
}

fn refuse_query(rejection: &QueryRejection) -> Problem {
    let mut innermost: &dyn Error = rejection;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    Problem::request("cannot read the query of the URL")
        .cause(innermost.to_string())
        .hint("`/openapi.json` describes every parameter")
}

/// The VM that a path names.
#[derive(Debug)]
pub(super) struct Reference(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Reference {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Path(text)| Self(text)).map_err(|rejection| {
            Problem::request("cannot read the path of the URL").cause(rejection.body_text())
        })
    }
}
