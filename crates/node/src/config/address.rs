//! Addresses as people write them: `host:port`, `nats://host:port`, `:-1`.
//!
//! No name is resolved here. An error never repeats what was written: it may hold a password.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The port of a peer whose address names none: NATS's own.
pub const NATS_PORT: u16 = 4222;

/// Where a server is reached.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostPort {
    /// A name or an address, an IPv6 one without brackets.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
}

/// Where our own server listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// The network interface.
    pub host: IpAddr,
    /// The port; `None`: the system chooses.
    pub port: Option<u16>,
}

/// What is wrong with an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    /// Nothing before the port.
    #[error("the host is missing")]
    NoHost,
    /// Nothing after the colon, or no colon where one is needed.
    #[error("the port is missing")]
    NoPort,
    /// Not a number, 0, or too large.
    #[error("the port is not a number from 1 to 65535")]
    BadPort,
    /// An address must be a bare host or in brackets.
    #[error("the host is not a name or an address (write an IPv6 address in brackets)")]
    BadHost,
    /// A server listens on an address of this machine, not on a name.
    #[error("a server listens on an IP address of this machine, not on a name")]
    NotAnIp,
    /// `user:password@host`.
    #[error("the address holds credentials")]
    Credentials,
    /// `tls://`.
    #[error("whether nodes speak TLS is said by nats.ca_file, nats.cert_file and nats.key_file")]
    Tls,
    /// `dns://`.
    #[error(
        "dns:// is for the servers of nats.urls: a peer is one node, and its name is looked up at every connect anyway"
    )]
    Dns,
    /// Anything else before `://`.
    #[error("only nats:// addresses are understood")]
    Scheme,
    /// Anything else before `://` of a server.
    #[error("only nats://, tls:// and dns:// addresses are understood")]
    ServerScheme,
    /// A user without a password.
    #[error("there is something before the host that is not user:password")]
    Token,
    /// A `%` and no two hexadecimal digits.
    #[error("a % in the address is not followed by two hexadecimal digits, or the text is not UTF-8")]
    Escape,
    /// Something after the port.
    #[error("there is something after the port")]
    Trailing,
}

impl AddressError {
    /// What to write instead.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Credentials => "set nats.user_name and nats.user_password; they are the same on every node",
            Self::Tls => "write nats://, and set these three on every node",
            Self::Dns => "name each node by itself, as nats://host:port",
            Self::ServerScheme => "write for example nats://n1.example.net:4222",
            Self::Token => "set nats.user_name and nats.user_password, or nats.seed_file",
            Self::Escape => "write %25 for %, %40 for @, %3A for :, %2F for /",
            Self::NotAnIp => "write for example 127.0.0.1:4221, or 0.0.0.0:4221 for all interfaces",
            _ => "write host:port or nats://host:port, for example nats://10.0.0.2:4221",
        }
    }
}

impl HostPort {
    /// Reads `host`, `host:port` or `nats://host[:port]`; without a port it is [`NATS_PORT`].
    ///
    /// # Errors
    /// When it is neither, or names a scheme or credentials.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (host, port) = split(strip_scheme(text.trim())?)?;
        let port = port.map_or(Ok(NATS_PORT), parse_port)?;
        if host.is_empty() { Err(AddressError::NoHost) } else { Ok(Self { host: host.to_owned(), port }) }
    }

    /// Is it this very machine?
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Listen {
    /// Loopback, on a port that the system chooses.
    pub const LOOPBACK: Self = Self { host: IpAddr::V4(Ipv4Addr::LOCALHOST), port: None };

    /// Reads `ip:port`, `localhost:port` or `:port`; port -1 lets the system choose; without a host it is loopback.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (host, port) = split(strip_scheme(text.trim())?)?;
        let port = match port.ok_or(AddressError::NoPort)? {
            "-1" => None,
            digits => Some(parse_port(digits)?),
        };
        let host = match host {
            "" | "localhost" => Self::LOOPBACK.host,
            ip => ip.parse().map_err(|_| AddressError::NotAnIp)?,
        };
        Ok(Self { host, port })
    }

    /// The address to bind; port 0 lets the system choose.
    #[must_use]
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port.unwrap_or(0))
    }

    /// Only this machine reaches it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.is_loopback()
    }

    /// All interfaces: not an address that peers could use.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.host.is_unspecified()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port.map_or(-1, i32::from);
        match self.host {
            IpAddr::V4(ip) => write!(f, "{ip}:{port}"),
            IpAddr::V6(ip) => write!(f, "[{ip}]:{port}"),
        }
    }
}

fn strip_scheme(text: &str) -> Result<&str, AddressError> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(text) };
    match scheme.to_ascii_lowercase().as_str() {
        "nats" => Ok(rest.strip_suffix('/').unwrap_or(rest)),
        "tls" => Err(AddressError::Tls),
        "dns" => Err(AddressError::Dns),
        _ => Err(AddressError::Scheme),
    }
}

fn split(text: &str) -> Result<(&str, Option<&str>), AddressError> {
    if text.contains('@') {
        return Err(AddressError::Credentials);
    }
    if text.contains(['/', '?', '#']) {
        return Err(AddressError::Trailing);
    }
    if let Some(rest) = text.strip_prefix('[') {
        return split_bracketed(rest);
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let port_is_plain = port.is_none_or(|port| !port.contains(':'));
    if port_is_plain && is_name(host) { Ok((host, port)) } else { Err(AddressError::BadHost) }
}

/// `rest` is what follows the opening bracket.
fn split_bracketed(rest: &str) -> Result<(&str, Option<&str>), AddressError> {
    let (host, after) = rest.split_once(']').ok_or(AddressError::BadHost)?;
    host.parse::<std::net::Ipv6Addr>().map_err(|_| AddressError::BadHost)?;
    match after.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if after.is_empty() => Ok((host, None)),
        None => Err(AddressError::Trailing),
    }
}

fn is_name(host: &str) -> bool {
    host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    if text.is_empty() {
        return Err(AddressError::NoPort);
    }
    match text.parse::<u16>() {
        Ok(port) if port != 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(AddressError::BadPort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_in_every_spelling() {
        for (text, expected) in [
            ("nats://127.0.0.1:4222", "127.0.0.1:4222"),
            ("nats://127.0.0.1:4222/", "127.0.0.1:4222"),
            ("NATS://db-2.example:1", "db-2.example:1"),
            (" db_2:65535 ", "db_2:65535"),
            ("db2", "db2:4222"),
            ("[::1]:4222", "[::1]:4222"),
            ("nats://[fe80::1]", "[fe80::1]:4222"),
        ] {
            assert_eq!(HostPort::parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_peer_is_said() {
        use AddressError::*;
        for (text, expected) in [
            ("", NoHost),
            (":4222", NoHost),
            ("host:", NoPort),
            ("host:0", BadPort),
            ("host:+1", BadPort),
            ("host:65536", BadPort),
            ("host:-1", BadPort),
            ("::1:4222", BadHost),
            ("[::1", BadHost),
            ("[::1]x", Trailing),
            ("a b:1", BadHost),
            ("host:1/path", Trailing),
            ("nats://user:pass@host:1", Credentials),
            ("tls://host:1", Tls),
            ("dns://host:1", Dns),
            ("http://host:1", Scheme),
        ] {
            assert_eq!(HostPort::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn listeners_without_a_host_are_on_loopback() {
        for (text, expected) in [
            (":-1", "127.0.0.1:-1"),
            (":4221", "127.0.0.1:4221"),
            ("localhost:4221", "127.0.0.1:4221"),
            ("0.0.0.0:4221", "0.0.0.0:4221"),
            ("[::]:4221", "[::]:4221"),
        ] {
            assert_eq!(Listen::parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn a_port_that_the_system_chooses_is_bound_as_port_0() {
        assert_eq!(Listen::LOOPBACK.socket_addr().to_string(), "127.0.0.1:0");
        assert_eq!(Listen::parse("[::1]:9").unwrap().socket_addr().to_string(), "[::1]:9");
    }

    #[test]
    fn what_is_wrong_with_a_listener_is_said() {
        use AddressError::*;
        for (text, expected) in
            [("", NoPort), ("127.0.0.1", NoPort), (":-2", BadPort), (":0", BadPort), ("db-2:4221", NotAnIp)]
        {
            assert_eq!(Listen::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn errors_never_repeat_the_address() {
        let error = HostPort::parse("nats://user:hunter2@host:1").unwrap_err();
        assert!(!format!("{error} {error:?} {}", error.hint()).contains("hunter2"));
    }
}
