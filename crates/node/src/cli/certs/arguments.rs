//! The command line of `harmonylite certs`, as clap reads it.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};

#[derive(Subcommand, Debug)]
pub(crate) enum CertsCommand {
    /// Make a private authority: it signs the certificates of one cluster's nodes.
    #[command(after_help = "\
Example:
  harmonylite certs init --cluster shop

Makes FOLDER/ca.pem, which every node needs, and FOLDER/ca.key, which no node needs: whoever has it can make nodes of
this cluster. Keep it where you make certificates, for example offline.")]
    Init(InitArguments),
    /// Make the certificate of one node, signed by the authority.
    #[command(after_help = "\
Examples:
  harmonylite certs node --name db1 --host db1.example.net --host 10.0.0.1
  harmonylite certs node --node-id 2 --host 10.0.0.2
  harmonylite certs node --name db1 --force          a new one for the same hosts, before the old one ends

Makes a folder with all that the node needs: FOLDER/NAME/ca.pem, node.pem and node.key. The hosts are those by which the
other nodes reach this one: what stands in their cluster.peers, and in its own cluster.advertise. Names and addresses of
the machine itself (localhost, 127.0.0.1, ::1) are always in it.")]
    Node(NodeArguments),
    /// Say what certificates are for and until when they hold.
    #[command(after_help = "\
Examples:
  harmonylite certs show
  harmonylite certs show /etc/harmonylite/tls/node.pem --json | jq .certificates[].days_left")]
    Show(ShowArguments),
}

#[derive(Args, Debug)]
pub(crate) struct InitArguments {
    /// The cluster's name, as in cluster.name; it is written into the certificates, for people.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: String,
    #[command(flatten)]
    pub(crate) folder: FolderArguments,
    /// For how many days it holds. When it ends, all nodes need new certificates.
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = days())]
    pub(crate) days: u64,
    /// Replace an authority that is there: no node takes certificates of the old one any more.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct NodeArguments {
    /// What the node is called, in the certificate and as its folder.
    #[arg(long, value_name = "NAME", required_unless_present = "node_id", conflicts_with = "node_id")]
    pub(crate) name: Option<String>,
    /// The same as --name node-N.
    #[arg(long, value_name = "N")]
    pub(crate) node_id: Option<u64>,
    /// A name or an address by which other nodes reach it, without port; may be given several times.
    #[arg(long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
    #[command(flatten)]
    pub(crate) folder: FolderArguments,
    /// For how many days it holds, but not longer than the authority.
    #[arg(long, value_name = "N", default_value_t = 730, value_parser = days())]
    pub(crate) days: u64,
    /// Replace a certificate that is there; without --host by one for the same hosts.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ShowArguments {
    /// Certificates, or folders of them.
    #[arg(value_name = "PATH", default_value = FOLDER)]
    pub(crate) paths: Vec<PathBuf>,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct FolderArguments {
    /// The folder of the authority and of what it signs.
    #[arg(long = "dir", value_name = "FOLDER", default_value = FOLDER)]
    pub(crate) path: PathBuf,
}

const FOLDER: &str = "certs";

/// A century at most: certificates count years with four digits.
fn days() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=36_500)
}
