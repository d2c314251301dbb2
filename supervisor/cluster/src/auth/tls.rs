//! Mutual TLS on the cluster port.
//!
//! # Contract
//! * TLS 1.3 only (RFC 8446), without resumption: connections between nodes last.
//! * A caller may come without a certificate, for the open routes; one that it shows must be of the
//!   authority in `--cluster-tls-ca`. A node that is called must show one that names the host by
//!   which it was called.
//! * Whatever is wrong with a file is said at the start, with its name: also that the certificate is
//!   not of that authority, has expired, is not for servers and clients both, or does not name the
//!   host that others are told.
//! * Files that change are taken up within [`TLS_LOOK_MS`], for new connections, if they are right;
//!   else the old ones go on.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::Flags;
use crate::limits::TLS_FILE_BYTES_MAX;

/// Where certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and the authority, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// The certificates of the authority, in PEM.
    pub ca: PathBuf,
}

/// Why files make no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("--{flag} {path}: {source}")]
    Read {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("--{flag} {path}: {problem}")]
    File {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be accepted.
        problem: String,
    },
}

/// What connections are made with.
#[derive(Debug)]
struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// When a file was changed, and which file it is.
pub type Stamp = (i64, i64, u64, u64);

/// The same for each of them; none for one that is not there.
type Stamps = [Option<Stamp>; 3];

/// Certificates in use.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    flags: &'static Flags,
    /// By which others call this node, if any do.
    host: Option<String>,
    configs: RwLock<Configs>,
    /// Of the files that were last looked at, whether they were right or not.
    seen: Mutex<Stamps>,
}

impl Tls {
    /// Reads the files. `host` is the name or address by which other nodes call this one. Blocks.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub fn load(
        files: TlsFiles,
        flags: &'static Flags,
        host: Option<&str>,
    ) -> Result<Self, TlsError> {
        let seen = Mutex::new(stamps(&files));
        let configs = RwLock::new(read(&files, flags, host)?);
        Ok(Self { files, flags, host: host.map(str::to_owned), configs, seen })
    }

    /// For connections that others make.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.configs.read().server)
    }

    /// For connections to others.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.configs.read().client)
    }

    /// Reads the files again if they have changed, and says whether they had. Blocks.
    ///
    /// # Errors
    /// [`TlsError`] once for every change; what was in use stays in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let stamps = stamps(&self.files);
        if std::mem::replace(&mut *self.seen.lock(), stamps) == stamps {
            return Ok(false);
        }
        let configs = read(&self.files, self.flags, self.host.as_deref())?;
        *self.configs.write() = configs;
        Ok(true)
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    [&files.cert, &files.key, &files.ca].map(|path| stamp(path))
}

/// Which file this is now, if there is one. Blocks.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let of = std::fs::metadata(path).ok()?;
    Some((of.mtime(), of.mtime_nsec(), of.ino(), of.size()))
}

/// One of the files while it is read: for errors that name it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The flag that names it.
    pub flag: &'static str,
    /// Where it is.
    pub path: &'a Path,
}

impl Source<'_> {
    fn bytes(&self) -> Result<Vec<u8>, TlsError> {
        let failed =
            |source| TlsError::Read { flag: self.flag, path: self.path.to_owned(), source };
        let mut bytes = Vec::new();
        let most = u64::try_from(TLS_FILE_BYTES_MAX + 1).unwrap_or(u64::MAX);
        File::open(self.path)
            .and_then(|file| file.take(most).read_to_end(&mut bytes))
            .map_err(failed)?;
        if bytes.len() > TLS_FILE_BYTES_MAX {
            return Err(self.wrong(format!("larger than {TLS_FILE_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    }

    /// An error about it.
    pub fn wrong(&self, problem: impl Into<String>) -> TlsError {
        TlsError::File { flag: self.flag, path: self.path.to_owned(), problem: problem.into() }
    }

    /// Its certificates. Blocks.
    ///
    /// # Errors
    /// [`TlsError`] for a file that has none, or is too long.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let bytes = self.bytes()?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let certificates = read.map_err(|error| self.wrong(format!("no valid PEM: {error}")))?;
        if certificates.is_empty() {
            return Err(self.wrong("no certificate in it; accepted: certificates in PEM"));
        }
        Ok(certificates)
    }

    /// Its private key, which not everybody can read. Blocks.
    ///
    /// # Errors
    /// [`TlsError`] for a file that has none, or that everybody can read.
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let file = std::fs::metadata(self.path);
        if let Ok(mode) = file.map(|file| file.mode() & 0o7777)
            && mode & 0o007 != 0
        {
            return Err(self.wrong(format!(
                "everybody can read it (mode {mode:04o}). If nobody has, run: chmod o= {}; if \
                 somebody may have, make a new key and certificate",
                self.path.display()
            )));
        }
        PrivateKeyDer::from_pem_slice(&self.bytes()?).map_err(|error| {
            self.wrong(format!(
                "no private key ({error}); accepted: one in PEM that is not encrypted (PKCS#8, \
                 PKCS#1 or SEC1)"
            ))
        })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read(files: &TlsFiles, flags: &'static Flags, host: Option<&str>) -> Result<Configs, TlsError> {
    let cert = Source { flag: flags.cert, path: &files.cert };
    let key = Source { flag: flags.key, path: &files.key };
    let ca = Source { flag: flags.ca, path: &files.ca };
    let mut roots = RootCertStore::empty();
    for certificate in ca.certificates()? {
        roots
            .add(certificate)
            .map_err(|error| ca.wrong(format!("no certificate of an authority: {error}")))?;
    }
    let roots = Arc::new(roots);
    let callers = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| ca.wrong(error.to_string()))?;
    let chain = cert.certificates()?;
    check(&cert, &chain, &roots, callers.as_ref(), host)?;
    let private = key.key()?;
    let versions = [&rustls::version::TLS13];
    let wrong = |error: rustls::Error| match error {
        rustls::Error::InconsistentKeys(_) => {
            key.wrong(format!("it is not the key of {}", files.cert.display()))
        }
        error => key.wrong(error.to_string()),
    };
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&versions)
        .map_err(wrong)?
        .with_client_cert_verifier(callers)
        .with_single_cert(chain.clone(), private.clone_key())
        .map_err(wrong)?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&versions)
        .map_err(wrong)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, private)
        .map_err(wrong)?;
    client.resumption = Resumption::disabled();
    Ok(Configs { server: Arc::new(server), client: Arc::new(client) })
}

/// Looks at our own certificate as others will.
fn check(
    source: &Source<'_>,
    chain: &[CertificateDer<'static>],
    roots: &Arc<RootCertStore>,
    callers: &dyn ClientCertVerifier,
    host: Option<&str>,
) -> Result<(), TlsError> {
    let Some((own, between)) = chain.split_first() else { return Ok(()) };
    let now = UnixTime::now();
    callers
        .verify_client_cert(own, between, now)
        .map_err(|error| source.wrong(format!("others will not take it: {error}")))?;
    let Some(host) = host else { return Ok(()) };
    let name = server_name(host)
        .map_err(|problem| source.wrong(format!("others cannot check it: {problem}")))?;
    let called = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider())
        .build()
        .map_err(|error| source.wrong(error.to_string()))?;
    called.verify_server_cert(own, between, &name, &[], now).map(drop).map_err(|error| {
        source.wrong(format!(
            "others, who call this node '{host}' (--advertise-addr), will not take it: {error}"
        ))
    })
}

/// The name that a certificate must have for this host.
///
/// # Errors
/// When no certificate can have it.
pub fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    let plain = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(plain.to_owned())
        .map_err(|_| format!("'{host}' is no DNS name and no IP address"))
}

/// Finds what TLS says in an error, wherever it is wrapped.
pub fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // The source of an io::Error is that of what it wraps.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// What to do about an error of TLS with another node, in words.
pub fn advice(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS: start it with --cluster-tls-cert, --cluster-tls-key and \
             --cluster-tls-ca, or this one without"
        }
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            "its certificate is none for this host and of our authority"
        }
        rustls::Error::AlertReceived(_) => "it does not take our certificate",
        _ => "TLS failed",
    }
}

#[cfg(test)]
mod tests;
