//! A plain HTTP/1.1 client, one connection a request, for requests that no proper client would send: broken
//! bodies, wrong methods, lengths that lie.

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::soon;

/// Where REST is served.
#[derive(Clone, Debug)]
pub struct Http {
    /// `127.0.0.1:8083`
    addr: String,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Http {
    /// `url`: `http://127.0.0.1:8083`.
    pub fn new(url: &str) -> Http {
        Http { addr: url.trim_start_matches("http://").trim_end_matches('/').to_owned() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, body.to_string()).await
    }

    /// A body that may be anything, sent as JSON.
    pub async fn post_text(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.as_ref()).await
    }

    /// # Panics
    /// When there is no answer that is HTTP.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.addr);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let what = format!("{method} {path} is answered");
        soon(&what, self.exchange(head.as_bytes(), body))
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    async fn exchange(&self, head: &[u8], body: &[u8]) -> std::io::Result<Answer> {
        let stream = TcpStream::connect(&self.addr).await?;
        let (mut reader, mut writer) = stream.into_split();
        let request = [head, body].concat();
        // An answer may come before the request is read to its end, and then the rest has nobody to go to.
        let sent = tokio::spawn(async move {
            let _ = writer.write_all(&request).await;
            writer
        });
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 16 * 1024];
        loop {
            match reader.read(&mut chunk).await {
                Ok(0) => break,
                Ok(read) => bytes.extend_from_slice(&chunk[..read]),
                Err(_) if whole(&bytes) => break,
                Err(error) => return Err(error),
            }
            if whole(&bytes) {
                break;
            }
        }
        sent.abort();
        parse(&bytes).ok_or_else(|| std::io::Error::other(format!("not HTTP: {} bytes", bytes.len())))
    }
}

impl Answer {
    /// # Panics
    /// When the body is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body, when the status is what is expected.
    ///
    /// # Panics
    /// When it is not.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        self.json()
    }

    /// The code of an error, and the fields it names.
    pub fn problems(&self) -> (String, Vec<(String, String)>) {
        let body = self.json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let fields = body["fields"].as_array().cloned().unwrap_or_default();
        let fields = fields.iter().map(|field| (text(&field["field"]), text(&field["issue"])));
        (text(&body["error"]["code"]), fields.collect())
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(2_000)]);
        write!(f, "{} {body}", self.status)
    }
}

/// Whether an answer with a stated length is complete.
fn whole(bytes: &[u8]) -> bool {
    let Some(answer) = parse(bytes) else { return false };
    let length = answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
    length.is_some_and(|length| answer.body.len() >= length)
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| {
        line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: Vec<(String, String)> = lines.filter_map(header).collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if chunked { unchunked(&bytes[end + 4..]) } else { bytes[end + 4..].to_vec() };
    Some(Answer { status, headers, body })
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size =
            std::str::from_utf8(&bytes[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(chunk) = size.filter(|size| *size > 0).and_then(|size| bytes.get(line + 2..line + 2 + size))
        else {
            break;
        };
        body.extend_from_slice(chunk);
        bytes = bytes.get(line + 4 + chunk.len()..).unwrap_or_default();
    }
    body
}
