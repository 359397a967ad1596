//! Encryption: whose certificates are taken, and which cryptography does it.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::Settings;

/// An endpoint that encrypts as the settings say; the reason, if they cannot be followed.
pub(crate) fn configure(endpoint: Endpoint, settings: &Settings) -> Result<Endpoint, String> {
    install_provider();
    let mut config = ClientTlsConfig::new();
    if let Some((certificate, key)) = &settings.identity {
        config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    if !settings.tls_verify {
        return endpoint
            .tls_config_with_verifier(config, Arc::new(AnyCertificate))
            .map_err(|error| format!("TLS cannot be set up: {error}"));
    }
    config = match &settings.tls_ca_file {
        Some(file) => config.ca_certificate(Certificate::from_pem(read(file)?)),
        None => config.with_native_roots(),
    };
    endpoint.tls_config(config).map_err(|error| {
        let mut reason = format!("TLS cannot be set up: {error}");
        crate::fault::add_causes(&mut reason, std::error::Error::source(&error));
        reason
    })
}

/// A program may hold two implementations of the cryptography (ours, and another dependency's), and rustls panics where
/// it would have to choose. So it is told, once, unless somebody has already.
fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // An error means that somebody was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("the file `{}` cannot be read: {error}", file.display()))
}

/// Takes any certificate: `tlsVerifyCert=false`. What is sent is encrypted, but to whom is not known.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
