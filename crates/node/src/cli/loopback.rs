//! Addresses of this machine for nodes that are started to try something out.

use std::net::{Ipv4Addr, TcpListener};

use crate::config::HostPort;
use crate::exit::{ExitCode, ExitError};

/// So many free ports on loopback.
pub(super) fn free_addresses(count: usize) -> Result<Vec<HostPort>, ExitError> {
    find(count)
        .map_err(|error| ExitError::new(ExitCode::Unexpected, format!("cannot find free ports: {error}")))
}

fn find(count: usize) -> std::io::Result<Vec<HostPort>> {
    // All are bound before the first is given free: different ones.
    let bound = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let bound: Vec<_> = bound.collect::<Result<_, _>>()?;
    let address = |listener: &TcpListener| {
        let port = listener.local_addr()?.port();
        Ok(HostPort { host: Ipv4Addr::LOCALHOST.to_string(), port })
    };
    bound.iter().map(address).collect()
}
