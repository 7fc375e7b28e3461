//! A URL as an agent: the brief is posted, the answer is the output.

use std::{error::Error as _, fmt::Write as _, time::Duration};

use downbeat_sdk::{Context, HandlerError, Output};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};

use crate::{Error, brief, output_bytes_max, output_too_large};

/// An agent that does not take the connection for so long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// As much of an error page as a message holds.
const PROBLEM_BYTES_MAX: usize = 2048;

/// A URL that does the work.
///
/// The brief is posted as JSON, with the headers `Idempotency-Key` (the same for every attempt of a subtask) and
/// `Downbeat-Lease-Id` (another for each). A 2xx answer is the output, in JSON; 400 and 422 fail the attempt for
/// good; everything else fails it so that it may be tried again. Redirects are not followed. When the attempt shall
/// stop, the request is aborted.
#[derive(Debug, Clone)]
pub struct Http {
    /// The URL, `http` or `https`.
    pub url: String,
    /// More headers, for example to authenticate.
    pub headers: Vec<(String, String)>,
}

impl Http {
    /// A URL, without more headers.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), headers: Vec::new() }
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// A URL that can be called.
pub(crate) struct Prepared {
    client: Client,
    url: Url,
}

impl Prepared {
    pub(crate) fn new(http: Http) -> Result<Self, Error> {
        let Http { url, headers } = http;
        let invalid = |problem: String| Error::InvalidUrl { url: url.clone(), problem };
        let parsed = Url::parse(&url).map_err(|error| invalid(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(invalid(format!("the scheme {:?} is not supported", parsed.scheme())));
        }
        // Once per process; fails when another part of it was first, and that is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .default_headers(header_map(headers)?)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|source| Error::HttpClient { source })?;
        Ok(Self { client, url: parsed })
    }

    pub(crate) async fn attempt(&self, context: &Context) -> Result<Output, HandlerError> {
        tokio::select! {
            output = self.exchange(context) => output,
            () = context.cancelled() => {
                let reason = context.cancel_reason().map_or_else(String::new, ToString::to_string);
                Err(HandlerError::retryable("CANCELLED", reason))
            }
        }
    }

    async fn exchange(&self, context: &Context) -> Result<Output, HandlerError> {
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header("idempotency-key", idempotency_key(context))
            .header("downbeat-lease-id", context.lease_id())
            .body(brief::to_json(context).await?);
        let mut response = request.send().await.map_err(|error| broken("HTTP_UNREACHABLE", &error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(refused(status, response).await);
        }
        let limit = output_bytes_max(context);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken("HTTP_BROKEN", &error))? {
            if body.len() + chunk.len() > limit {
                return Err(output_too_large(limit));
            }
            body.extend_from_slice(&chunk);
        }
        let said = brief::read(&body).map_err(|problem| {
            let message = format!("the answer {status} is no output: {problem}");
            HandlerError::retryable("INVALID_OUTPUT", message)
        })?;
        said.done(context).await
    }
}

fn header_map(headers: Vec<(String, String)>) -> Result<HeaderMap, Error> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let invalid = |problem: String| Error::InvalidHeader { name: name.clone(), problem };
        let parsed = HeaderName::try_from(&name).map_err(|error| invalid(error.to_string()))?;
        let mut value = HeaderValue::try_from(value).map_err(|error| invalid(error.to_string()))?;
        value.set_sensitive(true);
        map.append(parsed, value);
    }
    Ok(map)
}

/// The same for every attempt of the subtask. Ids may hold what a header must not; that is percent-encoded.
fn idempotency_key(context: &Context) -> String {
    let mut key = String::new();
    for byte in context.key("http").bytes() {
        match byte {
            b'%' | 0..=b' ' | 0x7f.. => {
                let _ = write!(key, "%{byte:02X}");
            }
            _ => key.push(char::from(byte)),
        }
    }
    key
}

/// A connection that could not be made, or broke.
fn broken(code: &str, error: &reqwest::Error) -> HandlerError {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(message, ": {cause}");
        source = cause.source();
    }
    HandlerError::retryable(code, message)
}

/// An answer that is no output.
async fn refused(status: StatusCode, mut response: Response) -> HandlerError {
    let mut body = Vec::new();
    while body.len() < PROBLEM_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(PROBLEM_BYTES_MAX);
    let body = String::from_utf8_lossy(&body);
    let message = match body.trim() {
        "" => format!("the answer is {status}"),
        body => format!("the answer is {status}: {body}"),
    };
    HandlerError {
        code: format!("HTTP_{}", status.as_u16()),
        message,
        retryable: !matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY),
    }
}
