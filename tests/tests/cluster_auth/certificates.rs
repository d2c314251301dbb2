//! Certificates for tests, made on the spot.

use std::path::PathBuf;
use std::sync::Arc;

use mcp_v8_tests::cluster::{Cluster, ip};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// An authority that signs for nodes and operators.
pub struct Authority {
    /// Its certificate.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Signed {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate that names this host.
    pub fn sign(&self, host: &str) -> Signed {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Signed { cert, key: key.serialize_pem() }
    }

    /// Files for whoever is called so, and the flags that name them after `--{prefix}`.
    pub fn files(&self, cluster: &Cluster, name: &str, host: &str, prefix: &str) -> Vec<String> {
        let Signed { cert, key } = self.sign(host);
        let flag = |what: &str, contents: &str| {
            let path: PathBuf = cluster.secret_file(&format!("{name}.{what}"), contents);
            format!("--{prefix}{what}={}", path.display())
        };
        vec![flag("cert", &cert), flag("key", &key), flag("ca", &self.pem)]
    }

    /// The flags of a node.
    pub fn node(&self, cluster: &Cluster, number: usize) -> Vec<String> {
        self.files(cluster, &format!("node{number}"), &ip(number), "cluster-tls-")
    }

    /// A client that trusts this authority, and shows a certificate if it has one.
    pub fn client(&self, own: Option<&Signed>) -> reqwest::Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => config.with_no_client_auth(),
            Some(Signed { cert, key }) => {
                let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        let client = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(config);
        client.build().unwrap()
    }
}
