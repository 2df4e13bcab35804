//! Certificates for 127.0.0.1, each signed by an authority of its own that nobody else knows.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::{Folder, StackError, write_private};

/// Where the files are, PEM.
pub(super) struct Files {
    pub(super) authority: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// The certificate of the authority that vouches for a part.
pub(super) fn authority(folder: &Path, part: &str) -> PathBuf {
    folder.join("tls").join(format!("{part}-authority.pem"))
}

/// Makes them anew: what they protect lives no longer than this process.
pub(super) fn certificate(folder: &Folder, part: &str) -> Result<Files, StackError> {
    let place = folder.sub("tls")?;
    let failed = |error: rcgen::Error| StackError::io("a certificate")(io::Error::other(error.to_string()));
    let mut of_authority = CertificateParams::default();
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().map_err(failed)?;
    let authority_certificate = of_authority.self_signed(&authority_key).map_err(failed)?;
    let issuer = Issuer::new(of_authority, authority_key);
    let key = KeyPair::generate().map_err(failed)?;
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate =
        CertificateParams::new(names).and_then(|params| params.signed_by(&key, &issuer)).map_err(failed)?;
    let files = Files {
        authority: authority(folder.path(), part),
        certificate: place.join(format!("{part}.pem")),
        key: place.join(format!("{part}-key.pem")),
    };
    let write =
        |path: &Path, text: &str| fs::write(path, text).map_err(StackError::io(path.display().to_string()));
    write(&files.authority, &authority_certificate.pem())?;
    write(&files.certificate, &certificate.pem())?;
    write_private(&files.key, &key.serialize_pem())
        .map_err(StackError::io(files.key.display().to_string()))?;
    Ok(files)
}
