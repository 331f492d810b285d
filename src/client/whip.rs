//! The client's side of WHIP (RFC 9725): offer in, answer out, and a DELETE at the end.

use std::time::Duration;

use anyhow::Context;
use reqwest::header::{CONTENT_TYPE, ETAG, LOCATION};
use reqwest::{Client, StatusCode, Url};

/// A server that takes longer is as good as gone.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where to publish, and as whom.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub url: Url,
    pub token: Option<String>,
}

/// A session that the server opened (RFC 9725 §4.2).
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    url: Url,
    token: Option<String>,
    /// Of the session's ICE credentials.
    pub etag: Option<String>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum WhipError {
    /// Another attempt would end alike.
    #[error("the server refuses ({status}): {detail}")]
    Refused { status: StatusCode, detail: String },
    /// Worth another attempt.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl Endpoint {
    /// Posts the offer; gives the session and the answer.
    pub async fn post(&self, offer: String) -> Result<(Session, String), WhipError> {
        let client = Client::builder()
            .timeout(TIMEOUT)
            .build()
            .context("no HTTP client")?;
        let mut request = client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/sdp")
            .body(offer);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.context("the server does not answer")?;
        let status = response.status();
        if status != StatusCode::CREATED {
            let text = response.text().await.unwrap_or_default();
            let detail = detail_of(&text);
            return Err(match passes(status) {
                true => WhipError::Failed(anyhow::anyhow!("not now ({status}): {detail}")),
                false => WhipError::Refused { status, detail },
            });
        }
        let header = |name| response.headers().get(name)?.to_str().ok();
        let location = header(LOCATION).context("the server's answer has no Location")?;
        let session = Session {
            url: response
                .url()
                .join(location)
                .context("the server's Location is no URL")?,
            client,
            token: self.token.clone(),
            etag: header(ETAG).map(str::to_owned),
        };
        let answer = response.text().await.context("the answer broke off")?;
        Ok((session, answer))
    }
}

impl Session {
    /// Tells the server that this is the end (RFC 9725 §4.2).
    pub async fn delete(&self) -> anyhow::Result<()> {
        let mut request = self.client.delete(self.url.clone());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request.send().await?.error_for_status()?;
        Ok(())
    }
}

/// Whether the same request may succeed later.
fn passes(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS
        )
}

/// What a problem document (RFC 9457) says, or the plain text.
fn detail_of(body: &str) -> String {
    let problem = serde_json::from_str::<serde_json::Value>(body).ok();
    let field = |name| Some(problem.as_ref()?.get(name)?.as_str()?.to_owned());
    field("detail")
        .or_else(|| field("title"))
        .unwrap_or_else(|| body.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_come_of_problems_and_of_plain_text() {
        let check = |body: &str, expected: &str| assert_eq!(detail_of(body), expected);
        check(
            r#"{"title":"No","detail":"Ask for a token."}"#,
            "Ask for a token.",
        );
        check(r#"{"title":"No"}"#, "No");
        check("plain", "plain");
        check("", "");
    }
}
