//! `harmonylite certs`: makes a private authority and node certificates, and says what certificates are for.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

mod arguments;

pub(crate) use arguments::CertsCommand;
use arguments::{InitArguments, NodeArguments, ShowArguments};

use super::table::{columns, pairs};
use super::{print, to_json};
use crate::exit::{ExitCode, ExitError};
use crate::runtime::wall_ms;
use crate::tls::{
    Authority, Certificate, NodeCertificate, Term, TlsError, Validity, make_private_folder,
    read_certificates, write_private, write_public,
};

const DAY_S: u64 = 24 * 3600;
const AUTHORITY: &str = "ca.pem";
const AUTHORITY_KEY: &str = "ca.key";
const NODE: &str = "node.pem";
const NODE_KEY: &str = "node.key";

pub(super) fn run(command: &CertsCommand) -> Result<ExitCode, ExitError> {
    match command {
        CertsCommand::Init(arguments) => init(arguments)?,
        CertsCommand::Node(arguments) => node(arguments)?,
        CertsCommand::Show(arguments) => show(arguments)?,
    }
    Ok(ExitCode::Ok)
}

fn init(arguments: &InitArguments) -> Result<(), ExitError> {
    let folder = &arguments.folder.path;
    if arguments.cluster.trim().is_empty() {
        return Err(ExitError::new(ExitCode::Usage, "--cluster: the name is empty"));
    }
    let (certificate, key) = (folder.join(AUTHORITY), folder.join(AUTHORITY_KEY));
    refuse_existing(&[&certificate, &key], arguments.force)?;
    let validity = validity(arguments.days);
    let authority = Authority::new(&arguments.cluster, validity)?;
    make_private_folder(folder)?;
    write_private(&key, &authority.key, arguments.force)?;
    write_public(&certificate, &authority.certificate, arguments.force)?;
    print(&format!(
        "made the authority of cluster {}, valid until {}\n{}\n\
         next: a certificate for each node\n  harmonylite certs node{} --name NAME --host HOST\n",
        arguments.cluster,
        date(seconds(validity.end_s)),
        pairs(&[
            ("certificate", format!("{} (for every node)", certificate.display())),
            ("key", format!("{} (for no node; keep it secret)", key.display())),
        ]),
        folder_option(folder),
    ))
}

fn node(arguments: &NodeArguments) -> Result<(), ExitError> {
    let name = node_name(arguments)?;
    let (root, folder) = (&arguments.folder.path, arguments.folder.path.join(&name));
    let (certificate, key) = (folder.join(NODE), folder.join(NODE_KEY));
    refuse_existing(&[&certificate, &key], arguments.force)?;
    let hosts = hosts(arguments, &certificate)?;
    let (authority, signer) = read_authority(root)?;
    let mut validity = validity(arguments.days);
    validity.end_s = validity.end_s.min(u64::try_from(signer.not_after_s).unwrap_or(0));
    if signer.term(seconds(validity.now_s)) == Term::Expired {
        let message = format!("the authority in {} ended on {}", root.display(), date(signer.not_after_s));
        return Err(ExitError::new(ExitCode::Usage, message).with_hint(
            "`harmonylite certs init --force` makes a new one; then every node needs a new certificate",
        ));
    }
    let made = authority.issue(&name, &cluster_of(&signer), &hosts, validity)?;
    make_private_folder(&folder)?;
    write_private(&key, &made.key, arguments.force)?;
    write_public(&certificate, &made.certificate, arguments.force)?;
    // The authority's certificate belongs to the folder that is copied, and is the same in all of them.
    write_public(&folder.join(AUTHORITY), &authority.certificate, true)?;
    print(&node_report(&name, &folder, &made, validity))
}

/// What to do with the files, literally.
fn node_report(name: &str, folder: &Path, made: &NodeCertificate, validity: Validity) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let file = |name: &str| toml::Value::from(absolute.join(name).display().to_string()).to_string();
    format!(
        "made the certificate of {name}, valid until {}\n{}\n\
         next: move this folder to the node, and name its files in the node's configuration\n\n\
         [nats]\nca_file = {}\ncert_file = {}\nkey_file = {}\n",
        date(seconds(validity.end_s)),
        pairs(&[("hosts", made.hosts.join(", ")), ("folder", folder.display().to_string())]),
        file(AUTHORITY),
        file(NODE),
        file(NODE_KEY),
    )
}

fn refuse_existing(files: &[&PathBuf], force: bool) -> Result<(), TlsError> {
    let existing = files.iter().find(|file| !force && file.symlink_metadata().is_ok());
    existing.map_or(Ok(()), |path| Err(TlsError::Exists { path: path.to_path_buf() }))
}

/// The name is a folder's, too.
fn node_name(arguments: &NodeArguments) -> Result<String, ExitError> {
    let name = match (&arguments.name, arguments.node_id) {
        (Some(name), _) => name.clone(),
        (None, id) => format!("node-{}", id.unwrap_or_default()),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
        let message = "--name: use up to 64 letters, digits, `.`, `-` and `_`";
        return Err(ExitError::new(ExitCode::Usage, message).with_hint("for example --name db1"));
    }
    Ok(name)
}

/// Those of the command line; when there are none, those of the certificate that is replaced.
fn hosts(arguments: &NodeArguments, old: &Path) -> Result<Vec<String>, ExitError> {
    if !arguments.hosts.is_empty() {
        return Ok(arguments.hosts.clone());
    }
    if !old.exists() {
        let message = "--host is missing: the names or addresses by which the other nodes reach this one";
        return Err(ExitError::new(ExitCode::Usage, message)
            .with_hint("--host 127.0.0.1 is enough for nodes that are all on this machine"));
    }
    let certificates = read_certificates(old)?;
    Ok(certificates.into_iter().next().map(|certificate| certificate.hosts).unwrap_or_default())
}

fn read_authority(root: &Path) -> Result<(Authority, Certificate), ExitError> {
    let (certificate, key) = (root.join(AUTHORITY), root.join(AUTHORITY_KEY));
    if !certificate.exists() || !key.exists() {
        let message = format!("there is no authority in {}", root.display());
        return Err(ExitError::new(ExitCode::Usage, message)
            .with_hint("make one: harmonylite certs init --cluster NAME; or name its folder with --dir"));
    }
    let authority = Authority::read(&certificate, &key)?;
    let signer = read_certificates(&certificate)?.into_iter().next();
    signer.map(|signer| (authority, signer)).ok_or_else(|| no_certificate(&certificate))
}

fn no_certificate(path: &Path) -> ExitError {
    ExitError::new(ExitCode::Usage, format!("{} holds no certificate", path.display()))
}

/// The cluster's name, from the authority's certificate.
fn cluster_of(authority: &Certificate) -> String {
    authority.organization.clone().unwrap_or_default()
}

fn validity(days: u64) -> Validity {
    let now_s = wall_ms() / 1000;
    Validity { now_s, end_s: now_s + days * DAY_S }
}

fn seconds(unsigned: u64) -> i64 {
    i64::try_from(unsigned).unwrap_or(i64::MAX)
}

fn date(at_s: i64) -> String {
    Timestamp::from_second(at_s).map_or_else(|_| at_s.to_string(), |at| at.strftime("%Y-%m-%d").to_string())
}

fn folder_option(folder: &Path) -> String {
    if folder == Path::new("certs") { String::new() } else { format!(" --dir {}", folder.display()) }
}

#[derive(Serialize)]
struct Report {
    certificates: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    file: PathBuf,
    subject: String,
    authority: bool,
    hosts: Vec<String>,
    not_before: String,
    not_after: String,
    days_left: i64,
    state: &'static str,
}

fn show(arguments: &ShowArguments) -> Result<(), ExitError> {
    let now_s = seconds(wall_ms() / 1000);
    let mut shown = Vec::new();
    for path in &arguments.paths {
        for file in files(path)? {
            let certificates = read_certificates(&file)?;
            shown.extend(certificates.into_iter().map(|certificate| describe(&file, certificate, now_s)));
        }
    }
    if arguments.json {
        return print(&to_json(&Report { certificates: shown })?);
    }
    print(&table(&shown))
}

fn describe(file: &Path, certificate: Certificate, now_s: i64) -> Shown {
    let time =
        |at_s: i64| Timestamp::from_second(at_s).map_or_else(|_| at_s.to_string(), |at| at.to_string());
    Shown {
        file: file.to_owned(),
        not_before: time(certificate.not_before_s),
        not_after: time(certificate.not_after_s),
        days_left: (certificate.not_after_s - now_s).div_euclid(24 * 3600),
        state: certificate.term(now_s).word(),
        subject: certificate.subject,
        authority: certificate.is_authority,
        hosts: certificate.hosts,
    }
}

fn table(shown: &[Shown]) -> String {
    let mut rows = vec![["file", "subject", "until", "state", "hosts"].map(str::to_owned).to_vec()];
    rows.extend(shown.iter().map(|one| {
        let hosts = if one.authority { "signs nodes".to_owned() } else { one.hosts.join(", ") };
        let until = one.not_after.split('T').next().unwrap_or_default().to_owned();
        vec![one.file.display().to_string(), one.subject.clone(), until, one.state.to_owned(), hosts]
    }));
    columns(&rows, 0)
}

/// The certificates of a folder and of the folders in it, or the one file.
fn files(path: &Path) -> Result<Vec<PathBuf>, ExitError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = pem_files(path)?;
    for folder in entries(path)?.into_iter().filter(|entry| entry.is_dir()) {
        // The authority's certificate is in the folder of each node; once is enough.
        found.extend(pem_files(&folder)?.into_iter().filter(|file| !file.ends_with(AUTHORITY)));
    }
    if found.is_empty() {
        let message = format!("there are no certificates (*.pem) in {}", path.display());
        return Err(ExitError::new(ExitCode::Usage, message));
    }
    Ok(found)
}

fn pem_files(folder: &Path) -> Result<Vec<PathBuf>, ExitError> {
    let is_pem = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pem");
    Ok(entries(folder)?.into_iter().filter(is_pem).collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ExitError> {
    let failed = |reason| TlsError::File { action: "read", path: folder.to_owned(), reason };
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}
