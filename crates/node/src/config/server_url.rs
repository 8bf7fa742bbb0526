//! The address of a NATS server that is not ours, as people write it: `nats://user:password@host:port`.
//!
//! The credentials are taken out of it at once: what is left can be shown.

use std::fmt;

use super::address::{AddressError, HostPort};
use super::settings::Credentials;
use crate::secret::Secret;

/// A server of an existing cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerUrl {
    /// Where it is. All addresses that a name has are tried.
    pub address: HostPort,
    /// Only over TLS.
    pub tls: bool,
}

impl ServerUrl {
    /// Reads `host[:port]`, `nats://`, `tls://` or `dns://` before it, `user:password@` in between; gives the
    /// credentials apart. `dns` says what is done with any name: it is looked up at each connect, and each of its
    /// addresses is tried.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &str) -> Result<(Self, Option<Credentials>), AddressError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "nats" | "dns" => false,
            "tls" => true,
            _ => return Err(AddressError::ServerScheme),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (Some(credentials(user)?), host),
            None => (None, rest),
        };
        // Not another scheme behind the first one.
        let address = if host.contains("://") { Err(AddressError::Trailing) } else { HostPort::parse(host) }?;
        Ok((Self { address, tls }, credentials))
    }
}

/// Where a server takes leaf nodes when its address names no port.
const LEAF_PORT: u16 = 7422;

impl ServerUrl {
    /// Reads an address that takes leaf nodes: as [`parse`](Self::parse), with `nats-leaf://` for `nats://`, and
    /// 7422 when it names no port.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse_leaf(text: &str) -> Result<(Self, Option<Credentials>), AddressError> {
        let text = text.trim();
        let plain = text.strip_prefix("nats-leaf://").unwrap_or(text);
        let (mut url, credentials) = Self::parse(plain)?;
        let names_a_port = plain.trim_end_matches('/').ends_with(&format!(":{}", url.address.port));
        if !names_a_port {
            url.address.port = LEAF_PORT;
        }
        Ok((url, credentials))
    }

    /// As nats-server writes the address of one that takes leaf nodes.
    #[must_use]
    pub fn as_leaf(&self) -> String {
        format!("{}://{}", if self.tls { "tls" } else { "nats-leaf" }, self.address)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "tls" } else { "nats" }, self.address)
    }
}

fn credentials(text: &str) -> Result<Credentials, AddressError> {
    let (user, password) = text.split_once(':').ok_or(AddressError::Token)?;
    let (user, password) = (decoded(user)?, decoded(password)?);
    if user.is_empty() || password.is_empty() {
        return Err(AddressError::Token);
    }
    Ok(Credentials { user_name: user, user_password: Secret::new(password) })
}

/// `%40` stands for `@`, and so on.
fn decoded(text: &str) -> Result<String, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(AddressError::Escape);
        };
        bytes.extend(u8::try_from(high * 16 + low));
    }
    String::from_utf8(bytes).map_err(|_| AddressError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (String, Option<(String, String)>) {
        let (url, credentials) = ServerUrl::parse(text).unwrap();
        let reveal = |c: Credentials| (c.user_name, c.user_password.reveal().to_owned());
        (url.to_string(), credentials.map(reveal))
    }

    #[test]
    fn servers_are_read_in_every_spelling() {
        for (text, expected) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("n1.example.net", "nats://n1.example.net:4222"),
            ("tls://n1.example.net/", "tls://n1.example.net:4222"),
            ("dns://nats.example.net:5222", "nats://nats.example.net:5222"),
            (" [::1]:4222 ", "nats://[::1]:4222"),
        ] {
            assert_eq!(parse(text), (expected.to_owned(), None), "{text}");
        }
    }

    #[test]
    fn leaf_nodes_have_a_port_of_their_own() {
        for (text, expected) in [
            ("nats-leaf://n1", "nats-leaf://n1:7422"),
            ("n1:4222", "nats-leaf://n1:4222"),
            ("tls://n1", "tls://n1:7422"),
            ("dns://u:p@n1:9/", "nats-leaf://n1:9"),
        ] {
            assert_eq!(ServerUrl::parse_leaf(text).unwrap().0.as_leaf(), expected, "{text}");
        }
    }

    #[test]
    fn a_password_is_taken_out_of_the_address() {
        let me = |password: &str| Some(("me".to_owned(), password.to_owned()));
        assert_eq!(parse("nats://me:s3cret@host:1"), ("nats://host:1".to_owned(), me("s3cret")));
        assert_eq!(parse("tls://me:p%40ss:w%2fo@host"), ("tls://host:4222".to_owned(), me("p@ss:w/o")));
    }

    #[test]
    fn what_is_wrong_with_a_server_is_said() {
        use AddressError::*;
        for (text, expected) in [
            ("http://host", ServerScheme),
            ("nats://token@host", Token),
            ("nats://me:@host", Token),
            ("nats://me:%4@host", Escape),
            ("nats://me:%zz@host", Escape),
            ("nats://tls://host", Trailing),
            ("nats://host:0", BadPort),
            ("nats://", NoHost),
            ("nats://host/path", Trailing),
        ] {
            let error = ServerUrl::parse(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!format!("{error} {}", error.hint()).contains("%zz"));
        }
    }
}
