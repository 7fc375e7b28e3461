//! Where the control plane is: parses addresses and sets up the transport to them, for clients and workers
//! alike. No connection is made here.

use std::{env, time::Duration};

use tonic::transport::Endpoint;

use crate::Error;

/// The environment variable read when no address is given: one address, or several separated by commas.
pub const ADDR_ENV: &str = "DOWNBEAT_ADDR";
/// The address used when neither code nor environment names one.
pub const ADDR_DEFAULT: &str = "http://127.0.0.1:9083";

/// A peer that does not complete the TCP handshake for so long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is probed this often; a frozen or vanished peer is noticed by it alone.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// A probe unanswered for so long means that the connection is dead.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// One parsed address of the control plane.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// As people write it, for messages.
    pub(crate) text: String,
    pub(crate) endpoint: Endpoint,
}

/// Parses `given`, or what the environment says, or the default; never empty.
pub(crate) fn resolve(given: &[String]) -> Result<Vec<Address>, Error> {
    if !given.is_empty() {
        return parse(given.iter().map(String::as_str));
    }
    let from_env = env::var(ADDR_ENV).unwrap_or_default();
    if from_env.trim().is_empty() { parse([ADDR_DEFAULT]) } else { parse([from_env.as_str()]) }
}

fn parse<'a>(given: impl IntoIterator<Item = &'a str>) -> Result<Vec<Address>, Error> {
    let addresses: Vec<Address> = given
        .into_iter()
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|addr| !addr.is_empty())
        .map(parse_one)
        .collect::<Result<_, _>>()?;
    if addresses.is_empty() {
        return Err(Error::InvalidAddress { addr: String::new(), problem: "it is empty".to_owned() });
    }
    Ok(addresses)
}

fn parse_one(addr: &str) -> Result<Address, Error> {
    let invalid = |problem: String| Error::InvalidAddress { addr: addr.to_owned(), problem };
    let text = match addr.split_once("://") {
        None => format!("http://{addr}"),
        Some(("http", _)) => addr.to_owned(),
        Some((scheme, _)) => {
            return Err(invalid(format!("the scheme {scheme:?} is not supported, only \"http\"")));
        }
    };
    let text = text.trim_end_matches('/').to_owned();
    let endpoint = Endpoint::from_shared(text.clone()).map_err(|error| {
        let problem =
            std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        invalid(problem)
    })?;
    if endpoint.uri().port_u16().is_none() {
        return Err(invalid("it names no port".to_owned()));
    }
    let endpoint = endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    Ok(Address { text, endpoint })
}
