//! Files of certificates, right and wrong.

use std::os::unix::fs::PermissionsExt;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;

use super::*;
use crate::auth::NODE_FLAGS;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { pem, issuer: Issuer::new(params, key) }
}

fn node(host: &str) -> CertificateParams {
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn write(dir: &TempDir, authority: &Authority, params: &CertificateParams) -> TlsFiles {
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &authority.issuer).unwrap();
    let file = |name: &str, contents: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    TlsFiles {
        cert: file("cert.pem", &cert.pem()),
        key: file("key.pem", &key.serialize_pem()),
        ca: file("ca.pem", &authority.pem),
    }
}

fn load(files: &TlsFiles, host: Option<&str>) -> Result<Tls, TlsError> {
    Tls::load(files.clone(), &NODE_FLAGS, host)
}

fn problem(files: &TlsFiles, host: Option<&str>) -> String {
    load(files, host).unwrap_err().to_string()
}

#[test]
fn certificates_that_name_the_host_are_taken() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), authority("ours"));
    for host in ["10.0.0.1", "node1", "node1.example", "fd00::1", "[fd00::1]"] {
        let files = write(&dir, &ca, &node(host.trim_matches(['[', ']'])));
        assert!(load(&files, Some(host)).is_ok(), "{host}");
        assert!(load(&files, None).is_ok(), "{host}");
    }
}

#[test]
fn what_others_would_not_take_is_said_at_the_start() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), authority("ours"));
    let files = write(&dir, &ca, &node("10.0.0.1"));
    let other_host = problem(&files, Some("10.0.0.2"));
    assert!(
        other_host.contains("--cluster-tls-cert") && other_host.contains("'10.0.0.2'"),
        "{other_host}"
    );
    std::fs::write(&files.ca, authority("theirs").pem).unwrap();
    let other_ca = problem(&files, Some("10.0.0.1"));
    assert!(
        other_ca.contains("--cluster-tls-cert") && other_ca.contains("UnknownIssuer"),
        "{other_ca}"
    );
    let mut old = node("10.0.0.1");
    (old.not_before, old.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    let old = problem(&write(&dir, &ca, &old), None);
    assert!(old.contains("expired"), "{old}");
    let mut serves = node("10.0.0.1");
    serves.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert!(load(&write(&dir, &ca, &serves), None).is_err(), "it cannot call");
    let mut calls = node("10.0.0.1");
    calls.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let files = write(&dir, &ca, &calls);
    assert!(load(&files, Some("10.0.0.1")).is_err(), "it cannot be called");
    assert!(load(&files, None).is_ok(), "an operator need not be");
}

#[test]
fn a_file_that_is_missing_or_something_else_is_named() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), authority("ours"));
    let good = write(&dir, &ca, &node("10.0.0.1"));
    let text = dir.path().join("text");
    std::fs::write(&text, "no PEM").unwrap();
    let broken = dir.path().join("broken");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    let large = dir.path().join("large");
    std::fs::write(&large, vec![b'\n'; TLS_FILE_BYTES_MAX + 1]).unwrap();
    for wrong in [Path::new("/nonexistent"), Path::new("/"), &text, &broken, &large] {
        let wrong = wrong.to_owned();
        let name = wrong.display().to_string();
        for (flag, files) in [
            ("--cluster-tls-cert", TlsFiles { cert: wrong.clone(), ..good.clone() }),
            ("--cluster-tls-ca", TlsFiles { ca: wrong.clone(), ..good.clone() }),
        ] {
            let error = problem(&files, None);
            assert!(error.starts_with(&format!("{flag} {name}: ")), "{error}");
        }
    }
    std::fs::write(&large, vec![b'\n'; TLS_FILE_BYTES_MAX]).unwrap();
    let at_the_bound = problem(&TlsFiles { ca: large, ..good.clone() }, None);
    assert!(at_the_bound.contains("no certificate in it"), "{at_the_bound}");
    let certificate_as_key = problem(&TlsFiles { key: good.cert.clone(), ..good.clone() }, None);
    assert!(certificate_as_key.contains("--cluster-tls-key"), "{certificate_as_key}");
    let other = tempfile::tempdir().unwrap();
    let other = write(&other, &ca, &node("10.0.0.1"));
    let mixed = problem(&TlsFiles { key: other.key, ..good.clone() }, None);
    assert!(mixed.contains("it is not the key of"), "{mixed}");
    for (mode, taken) in [(0o640, true), (0o644, false)] {
        std::fs::set_permissions(&good.key, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(load(&good, None).is_ok(), taken, "{mode:o}");
    }
}

#[test]
fn files_that_change_are_taken_up_if_they_are_right() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), authority("ours"));
    let files = write(&dir, &ca, &node("10.0.0.1"));
    let tls = load(&files, Some("10.0.0.1")).unwrap();
    let first = tls.server();
    assert!(!tls.reload().unwrap(), "nothing has changed");
    write(&dir, &ca, &node("10.0.0.1"));
    assert!(tls.reload().unwrap());
    let second = tls.server();
    assert!(!Arc::ptr_eq(&first, &second));
    // As in the middle of a change: the certificate is new, the key is not yet.
    let new = tempfile::tempdir().unwrap();
    let new = write(&new, &ca, &node("10.0.0.1"));
    std::fs::copy(&new.cert, &files.cert).unwrap();
    assert!(tls.reload().is_err());
    assert!(!tls.reload().unwrap(), "said once");
    assert!(Arc::ptr_eq(&second, &tls.server()), "the old ones go on");
    std::fs::copy(&new.key, &files.key).unwrap();
    assert!(tls.reload().unwrap());
}
